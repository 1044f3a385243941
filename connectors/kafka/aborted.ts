/**
 * What a reader of committed data keeps of the batches that a broker sent (KIP-98, "Message Format" and "Consumer").
 *
 * A broker sends batches of aborted transactions like any others, and control batches that end transactions; beside
 * them it names each aborted transaction that overlaps the range, by producer and first offset. A producer's batches
 * are dropped from there to the abort marker that follows:
 *
 *     offset        0    1    2    3    4    5    6    7    8    9   10   11
 *     producer p    c1   C    A1   X    c2   C    A2   X    A3   X   c3   C      C = commit marker, X = abort marker
 *     aborted                (p, 2)              (p, 6)    (p, 8)
 *     kept          c1                  c2                           c3
 *
 * Between the batches of one producer lie those of others, which is why the set of aborted producers changes by marker
 * and not by range. A fetch that begins inside an aborted transaction gets it named all the same, with a first offset
 * below what was asked for; so nothing has to be remembered between fetches.
 *
 * Kept batches are moved together in place, so that they lie back to back:
 *
 *     before   | c1 | C | A1 | X | c2 | C | A2 | part of a batch
 *     after    | c1 | c2 |
 */
import { FeatureStoreError } from '../../core/errors.ts'
import { crc32c } from '../../schemas/recordbatch/index.ts'
import {
  batchHeaderBytes,
  checksumFrom,
  controlBit,
  lengthPrefixBytes,
  readInt64,
} from '../../schemas/recordbatch/layout.ts'
import { type AbortedTransaction } from './protocol/fetch.ts'

const transactionalBit = 0x10
const abortMarker = 0

export interface FetchedBatches {
  readonly bytes: Uint8Array
  /** Where the batches lie in `bytes`; the last one may be cut off. */
  readonly from: number
  readonly to: number
  /** The offset that was asked for. */
  readonly asked: number
  readonly aborted: readonly AbortedTransaction[]
  /** For messages: `topic/partition`. */
  readonly name: string
}

export interface KeptBatches {
  /** The kept batches lie in `bytes` from `from` of the fetched ones to here. */
  readonly end: number
  /** Offset of the first kept batch; the asked one when none was kept. */
  readonly baseOffset: number
  /** Behind the last whole batch, kept or not; the asked offset when there is none. */
  readonly nextOffset: number
  /** Bytes that the first batch needs when not even that is whole; else 0. */
  readonly needed: number
}

/**
 * Keeps the whole batches that reach to the asked offset and were not aborted, and no control batches.
 *
 * A kept batch is not checked here beyond its place (the record cursor checks each checksum); one that is dropped is,
 * since nobody would see it again. Errors: FS_LOG_CORRUPT, naming topic, partition and offset.
 */
export function keepCommitted(fetched: FetchedBatches): KeptBatches {
  const { bytes, from, to, asked, name } = fetched
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const producers = fetched.aborted.length === 0 ? null : new AbortedProducers(fetched.aborted)
  let end = from
  let baseOffset = asked
  let nextOffset = asked
  let at = from
  while (to - at >= lengthPrefixBytes) {
    const byteLength = lengthPrefixBytes + view.getInt32(at + 8)
    if (byteLength < batchHeaderBytes) throw corrupt(name, nextOffset, `a batch of ${byteLength} bytes cannot be`)
    if (byteLength > to - at) {
      if (at === from) return { end, baseOffset, nextOffset, needed: byteLength }
      break
    }
    const base = readInt64(view, at)
    const last = base + view.getInt32(at + 23)
    if (view.getInt8(at + 16) !== 2) throw corrupt(name, base, `magic is ${view.getInt8(at + 16)}, not 2`)
    // The first may begin below the asked offset; after that, each goes on behind the one before it.
    if (last < base || (at > from && base < nextOffset))
      throw corrupt(name, nextOffset, `a batch of the offsets ${base} to ${last} comes next`)
    const batchEnd = at + byteLength
    if (last >= asked && keeps(view, at, batchEnd, last, producers, fetched)) {
      if (end === from) baseOffset = base
      if (at !== end) bytes.copyWithin(end, at, batchEnd)
      end += byteLength
    }
    if (last >= nextOffset) nextOffset = last + 1
    at = batchEnd
  }
  // Fewer bytes than a length are left of the only batch: any larger answer tells more.
  const needed = at === from && to > from ? batchHeaderBytes : 0
  return { end, baseOffset, nextOffset, needed }
}

function keeps(
  view: DataView,
  at: number,
  batchEnd: number,
  last: number,
  producers: AbortedProducers | null,
  { bytes, name }: FetchedBatches,
): boolean {
  const attributes = view.getInt16(at + 21)
  if ((attributes & (controlBit | transactionalBit)) === 0) return true
  const control = (attributes & controlBit) !== 0
  if (!control && producers === null) return true
  producers?.startedBy(last)
  const [high, low] = [view.getInt32(at + 43), view.getInt32(at + 47)]
  if (!control && producers?.has(high, low) !== true) return true
  if (crc32c(bytes, at + checksumFrom, batchEnd) !== view.getUint32(at + 17))
    throw corrupt(name, readInt64(view, at), 'the checksum fails')
  if (control && producers !== null && controlType(bytes, view, at, batchEnd) === abortMarker)
    producers.ended(high, low)
  return false
}

/**
 * The type of a control batch, which has one record:  length | attributes | time | offset | key length | key: version i16, type i16.
 * -1 when it holds no record that could tell.
 */
function controlType(bytes: Uint8Array, view: DataView, at: number, batchEnd: number): number {
  let position = at + batchHeaderBytes
  const skipVarint = (): void => {
    while (position < batchEnd && (bytes[position] as number) >= 128) position++
    position++
  }
  skipVarint()
  position++
  for (let varint = 0; varint < 3; varint++) skipVarint()
  return position + 4 > batchEnd ? -1 : view.getInt16(position + 2)
}

/** The producers that are inside an aborted transaction, as the walk goes on. */
class AbortedProducers {
  private readonly coming: readonly AbortedTransaction[]
  private next = 0
  private inside: AbortedTransaction[] = []

  constructor(aborted: readonly AbortedTransaction[]) {
    // A broker names them by where they end; they are met by where they begin.
    this.coming = aborted.toSorted((a, b) => a.firstOffset - b.firstOffset)
  }

  /** Takes in the transactions that began at `last` or before. */
  startedBy(last: number): void {
    for (; this.next < this.coming.length; this.next++) {
      const transaction = this.coming[this.next] as AbortedTransaction
      if (transaction.firstOffset > last) return
      if (!this.has(transaction.high, transaction.low)) this.inside.push(transaction)
    }
  }

  has(high: number, low: number): boolean {
    for (const each of this.inside) if (each.low === low && each.high === high) return true
    return false
  }

  ended(high: number, low: number): void {
    this.inside = this.inside.filter((each) => each.low !== low || each.high !== high)
  }
}

const corrupt = (name: string, offset: number, what: string): FeatureStoreError =>
  new FeatureStoreError('FS_LOG_CORRUPT', `${name} at offset ${offset}: ${what}`)
