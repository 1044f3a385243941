/** A partition as a broker holds it: batches of transactions and markers, made by hand. */
import { crc32c, encodeBatch } from '../../../schemas/recordbatch/index.ts'

export interface FakeRecord {
  readonly offset: number
  readonly value: string
}

interface FakeBatch {
  readonly bytes: Uint8Array
  readonly base: number
  readonly last: number
}

interface FakeTransaction {
  readonly producer: bigint
  readonly first: number
  /** Offset of the abort marker. */
  readonly last: number
}

export interface FakeAnswer {
  /** Batches from the one that holds the asked offset on; the last one may be cut off. */
  readonly bytes: Uint8Array
  readonly aborted: readonly { readonly producer: bigint; readonly first: number }[]
}

const transactionalBit = 0x10
const controlBit = 0x20
const text = new TextEncoder()

export class FakePartition {
  start = 0
  end = 0
  /** What a reader of committed data is to see. */
  readonly committed: FakeRecord[] = []
  readonly batches: FakeBatch[] = []
  readonly sequences = new Map<bigint, number>()
  private readonly open = new Map<bigint, { readonly first: number; readonly records: FakeRecord[] }>()
  private readonly aborted: FakeTransaction[] = []

  /** Up to which everything is decided. */
  get stable(): number {
    return Math.min(this.end, ...[...this.open.values()].map(({ first }) => first))
  }

  /** One batch; with a producer it is part of its transaction, which begins with it. */
  append(values: readonly string[], producer?: bigint): void {
    const records = values.map((value, index) => ({ offset: this.end + index, value }))
    const batch = encodeBatch(
      values.map((value) => ({ key: null, value: text.encode(value), timestampMs: 1_700_000_000_000 + this.end })),
      { baseOffset: this.end, ...(producer === undefined ? {} : { producerId: producer }) },
    )
    if (producer === undefined) this.committed.push(...records)
    else {
      const transaction = this.open.get(producer) ?? { first: this.end, records: [] }
      this.open.set(producer, transaction)
      transaction.records.push(...records)
    }
    this.add(producer === undefined ? batch : withAttributes(batch, transactionalBit), values.length)
  }

  /** A batch as somebody else made it. */
  add(bytes: Uint8Array, count: number): number {
    const base = this.end
    this.batches.push({ bytes, base, last: base + count - 1 })
    this.end += count
    return base
  }

  /** Ends the producer's transaction, if there is one, with a marker. */
  finish(producer: bigint, commit: boolean): void {
    const transaction = this.open.get(producer)
    if (transaction === undefined) return
    this.open.delete(producer)
    if (commit) {
      this.committed.push(...transaction.records)
      this.committed.sort((a, b) => a.offset - b.offset)
    } else this.aborted.push({ producer, first: transaction.first, last: this.end })
    this.add(marker(this.end, producer, commit), 1)
  }

  /** As a broker answers a reader of committed data; `firstWhole` as it does for the first partition with data. */
  fetch(from: number, maxBytes: number, firstWhole = true): FakeAnswer {
    const taken: Uint8Array[] = []
    let bytes = 0
    let upper = from
    for (const batch of this.batches) {
      if (batch.last < from) continue
      if (batch.base >= this.stable || (bytes >= maxBytes && !(firstWhole && taken.length === 0))) break
      const room = firstWhole && taken.length === 0 ? Number.POSITIVE_INFINITY : maxBytes - bytes
      const part = batch.bytes.subarray(0, Math.min(batch.bytes.length, room))
      taken.push(part)
      bytes += part.length
      upper = batch.last + 1
    }
    // In the order in which they ended, as the broker's index of transactions has them.
    const overlapping = this.aborted.filter(({ first, last }) => last >= from && first < upper)
    return { bytes: Uint8Array.from(Buffer.concat(taken)), aborted: overlapping }
  }
}

/** The batch with these attributes, its checksum right again. */
export function withAttributes(batch: Uint8Array, attributes: number): Uint8Array {
  const copy = batch.slice()
  const view = new DataView(copy.buffer)
  view.setInt16(21, attributes)
  view.setUint32(17, crc32c(copy, 21, copy.length))
  return copy
}

/** A control batch: key = version 0, type 0 for abort and 1 for commit. */
export function marker(base: number, producer: bigint, commit: boolean): Uint8Array {
  const record = {
    key: Uint8Array.of(0, 0, 0, commit ? 1 : 0),
    value: Uint8Array.of(0, 0, 0, 0, 0, 7),
    timestampMs: 1_700_000_000_000,
  }
  return withAttributes(
    encodeBatch([record], { baseOffset: base, producerId: producer }),
    transactionalBit | controlBit,
  )
}
