import type { DeadLetter, EventBatch } from '../core/event/batch.ts'
import { offset, type PartitionPosition } from '../core/event/position.ts'
import type { RowWrite, ShardFlush, ShardLease, ShardPosition } from '../core/ports/online-store.ts'

/**
 * What a worker knows of one shard that it took:
 *
 *     acquiring ── acquired ──► owned ── sent ──► flushing ── answered ──► owned
 *         │                       │                  │  ▲
 *         │                       │                  │  └── sent: the same flush again, until it is answered
 *         └────── released ───────┴─────── refused ──┴──► lost
 *
 * A lost one stays lost: whoever takes the shard again begins with a new one, so that answers that come late find the one
 * that they are for.
 */
export type ShardState = 'acquiring' | 'owned' | 'flushing' | 'lost'
export type ShardEvent = 'acquired' | 'sent' | 'answered' | 'refused' | 'released'

const transitions: Readonly<Record<ShardState, Readonly<Record<ShardEvent, ShardState | 'impossible'>>>> = {
  acquiring: {
    acquired: 'owned',
    sent: 'impossible',
    answered: 'impossible',
    refused: 'impossible',
    released: 'lost',
  },
  owned: { acquired: 'impossible', sent: 'flushing', answered: 'impossible', refused: 'lost', released: 'lost' },
  flushing: { acquired: 'impossible', sent: 'flushing', answered: 'owned', refused: 'lost', released: 'lost' },
  lost: { acquired: 'lost', sent: 'impossible', answered: 'lost', refused: 'lost', released: 'lost' },
}

/**
 * Why a shard was lost. `fenced`: another owner took it. `gap`: the store does not stand where this owner left it.
 * `stale`: it answered a read from elsewhere than where this owner left it.
 */
export type LossReason = 'fenced' | 'gap' | 'stale'

export interface LostShard {
  readonly shard: number
  readonly reason: LossReason
}

export class Shard {
  readonly number: number
  #state: ShardState = 'acquiring'
  /** Null as long as it was not lost, or was given up by its owner. */
  loss: LostShard | null = null
  #lease: ShardLease | null = null
  /** What the store holds, as far as this owner knows. */
  stored: ShardPosition | null = null
  /** What memory covers. */
  readonly #applied: Record<string, PartitionPosition[]> = {}
  readonly #newest: Record<string, number> = {}
  readonly #newestKnownAt: Record<string, number[]> = {}
  dead: DeadLetter[] = []
  /** About what they take. */
  deadBytes = 0
  /** Memory is ahead of what was sent. */
  changed = false
  /** What was sent and is not answered. */
  flight: ShardFlush | null = null
  /** About what that takes. */
  flightBytes = 0
  /** Settles when the store has answered it, or failed to. Null: nobody waits for an answer. */
  sending: Promise<unknown> | null = null

  constructor(number: number) {
    this.number = number
  }

  get state(): ShardState {
    return this.#state
  }

  /** Its rows are in memory, or may be. */
  get isHeld(): boolean {
    return this.#state === 'owned' || this.#state === 'flushing'
  }

  /** A flush went out, nobody waits for its answer any more, and what became of it is not known. */
  get isUnanswered(): boolean {
    return this.flight !== null && this.sending === null
  }

  /** False: it was lost meanwhile. */
  meets(event: ShardEvent): boolean {
    const next = transitions[this.#state][event]
    if (next === 'impossible') throw new Error(`shard ${this.number} is ${this.#state} and was ${event}`)
    this.#state = next
    return next !== 'lost'
  }

  acquired(lease: ShardLease, position: ShardPosition | null): boolean {
    if (!this.meets('acquired')) return false
    this.#lease = lease
    this.stored = position
    for (const [stream, partitions] of Object.entries(position?.position.streams ?? {}))
      this.#applied[stream] = [...partitions]
    Object.assign(this.#newest, position?.newestEventTimeMs ?? {})
    for (const [stream, partitions] of Object.entries(position?.newestKnownAtMs ?? {}))
      this.#newestKnownAt[stream] = [...partitions]
    return true
  }

  /** A partition as it is known now, so that a position names every partition, idle ones too. */
  begin(stream: string, partition: number, epoch: number): void {
    const partitions = (this.#applied[stream] ??= [])
    const held = partitions[partition]
    // A store that does not name it yet is told, so that readers can tell empty from not built.
    if (held === undefined) this.changed = true
    partitions[partition] = { epoch, next: held?.next ?? offset(0) }
  }

  /** The first record of a partition that is not in memory. */
  next(stream: string, partition: number): number {
    return this.#applied[stream]?.[partition]?.next ?? 0
  }

  covered(stream: string, partition: number): PartitionPosition | null {
    return this.#applied[stream]?.[partition] ?? null
  }

  /** Whether the batch goes on where this shard is. One that is ahead has it already, one that is behind is read for later. */
  takes(batch: EventBatch): boolean {
    const next = this.next(batch.stream, batch.partition)
    return batch.firstOffset <= next && next < batch.nextOffset
  }

  advance(batch: EventBatch, newestMs: number): void {
    const { stream, partition, epoch, nextOffset } = batch
    ;(this.#applied[stream] ??= [])[partition] = { epoch, next: nextOffset }
    if (newestMs > (this.#newest[stream] ?? Number.NEGATIVE_INFINITY)) this.#newest[stream] = newestMs
    if (batch.newestKnownAtMs !== undefined) (this.#newestKnownAt[stream] ??= [])[partition] = batch.newestKnownAtMs
    this.changed = true
  }

  keepDead(letter: DeadLetter): void {
    this.dead.push(letter)
    this.deadBytes += letterBytes + letter.reason.length
  }

  /** The flush that brings the store to where memory is. */
  take(logId: string, rows: ShardFlush['rows']): void {
    const streams = Object.fromEntries(
      Object.entries(this.#applied).map(([stream, partitions]) => [stream, [...partitions]]),
    )
    this.flight = {
      lease: this.#lease as ShardLease,
      from: this.stored,
      to: { position: { logId, streams }, newestEventTimeMs: { ...this.#newest }, ...this.#known() },
      rows,
      deadLetters: this.dead,
    }
    this.flightBytes = this.deadBytes + rowBytes(rows)
    this.dead = []
    this.deadBytes = 0
    this.changed = false
  }

  #known(): Pick<ShardPosition, 'newestKnownAtMs'> {
    const known = Object.entries(this.#newestKnownAt)
    if (known.length === 0) return {}
    return { newestKnownAtMs: Object.fromEntries(known.map(([stream, partitions]) => [stream, [...partitions]])) }
  }

  answered(to: ShardPosition): void {
    if (!this.meets('answered')) return
    this.stored = to
    this.flight = null
    this.flightBytes = 0
  }

  lose(reason: LossReason | null): void {
    this.meets(reason === null ? 'released' : 'refused')
    this.loss = reason === null ? null : { shard: this.number, reason }
    this.flight = null
    this.flightBytes = 0
    this.dead = []
    this.deadBytes = 0
    this.changed = false
  }
}

/** Of a letter, beside its reason: an object of a few numbers and names that are shared. */
const letterBytes = 200

function rowBytes(rows: readonly RowWrite[]): number {
  let bytes = 0
  for (const { key, row, parts } of rows) {
    bytes += key.length + row.length
    if (parts !== undefined) for (const part of parts.put) bytes += part.bytes.length
  }
  return bytes
}
