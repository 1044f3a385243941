/**
 * Kafka's RecordBatch, magic 2 (KIP-98). Big-endian; a varint is zigzag and base 128, low group first.
 *
 *     at  bytes
 *      0   8    base offset
 *      8   4    batch length: bytes after this field
 *     12   4    partition leader epoch (the embedded log: its epoch); not under the checksum
 *     16   1    magic, 2
 *     17   4    CRC-32C of everything from byte 21 to the end
 *     21   2    attributes: bits 0-2 compression, 3 timestamp type (1 = LogAppendTime), 4 transactional, 5 control
 *     23   4    last offset delta
 *     27   8    base timestamp, epoch milliseconds
 *     35   8    max timestamp
 *     43   8    producer id, -1 when none
 *     51   2    producer epoch, -1 when none
 *     53   4    base sequence, -1 when none
 *     57   4    record count
 *     61        records, back to back, compressed as one piece where the attributes say so:
 *
 *               varint   length of the rest
 *               int8     attributes, unused
 *               varlong  timestamp - base timestamp
 *               varint   offset - base offset
 *               varint   key length, -1 for null;   key
 *               varint   value length, -1 for null; value
 *               varint   header count; per header: varint length, key, varint length (-1 for null), value
 */
export const batchHeaderBytes = 61
/** Bytes of a batch that its length field does not count. */
export const lengthPrefixBytes = 12
/** Where the bytes under the checksum begin. */
export const checksumFrom = 21
/** The smallest record: seven fields of one byte each. */
export const recordBytesMin = 7

export const compressionMask = 0x07
export const logAppendTimeBit = 0x08
export const controlBit = 0x20

export const noProducer = -1n

export interface BatchHeader {
  readonly baseOffset: number
  /** Bytes of the whole batch, the length prefix included. */
  readonly byteLength: number
  /** The length field as it stands: bytes after it. */
  readonly batchLength: number
  readonly epoch: number
  readonly magic: number
  /** Checksum as written. */
  readonly crc: number
  readonly attributes: number
  readonly lastOffsetDelta: number
  readonly baseTimestamp: number
  readonly maxTimestamp: number
  readonly producerId: bigint
  readonly producerEpoch: number
  readonly baseSequence: number
  readonly recordCount: number
}

/** int64 as a number: exact within the safe integers. */
export const readInt64 = (view: DataView, at: number): number =>
  view.getInt32(at) * 0x1_0000_0000 + view.getUint32(at + 4)

/** Reads the header at `at`, as it stands: nothing is checked. The caller has 61 bytes from there. */
export function batchHeader(bytes: Uint8Array, at: number): BatchHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, batchHeaderBytes)
  const batchLength = view.getInt32(8)
  return {
    baseOffset: readInt64(view, 0),
    byteLength: lengthPrefixBytes + batchLength,
    batchLength,
    epoch: view.getInt32(12),
    magic: view.getInt8(16),
    crc: view.getUint32(17),
    attributes: view.getInt16(21),
    lastOffsetDelta: view.getInt32(23),
    baseTimestamp: readInt64(view, 27),
    maxTimestamp: readInt64(view, 35),
    producerId: view.getBigInt64(43),
    producerEpoch: view.getInt16(51),
    baseSequence: view.getInt32(53),
    recordCount: view.getInt32(57),
  }
}
