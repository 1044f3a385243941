/** The embedded log: README.md. */
export { appendBytesMax, appendRecordsMax } from './append.ts'
export { type FsyncPolicy, logFormat } from './format.ts'
export { EmbeddedLog, openLog, type ReadOptions, type WriteOptions } from './log.ts'
export { LogSchemas } from './schemas.ts'
