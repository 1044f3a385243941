/** Kafka's RecordBatch v2: its layout, a writer, a walker in place, the checksum. Byte layout in layout.ts. */
export { crc32c } from './crc32c.ts'
export { type BatchOptions, type BatchRecord, encodeBatch, timestampMagnitudeMax } from './encode.ts'
export { batchHeader, type BatchHeader, batchHeaderBytes, noProducer } from './layout.ts'
export { announcedRecords, isGoodBatch, RecordCursor } from './walk.ts'
