import { FeatureStoreError } from '../core/errors.ts'
import type { Clock, Logger } from '../core/ports/environment.ts'
import type { OwnershipListener } from '../core/ports/shard-ownership.ts'
import type { OnlineProjection } from './online-projection.ts'
import { isUnavailable, Outage } from './outage.ts'
import type { LostShard } from './shard-set.ts'

export interface KeeperOptions {
  readonly projection: Pick<OnlineProjection, 'held' | 'lost' | 'assign' | 'release' | 'drop'>
  /** False: one that is fenced has a successor, and that is the end. */
  readonly shared: boolean
  readonly clock: Clock
  readonly logger: Logger
  readonly sleep: (ms: number) => Promise<void>
}

interface Revocation {
  readonly shards: readonly number[]
  readonly done: () => void
}

interface Loss {
  readonly loss: LostShard
  readonly times: number
  readonly atMs: number
}

/**
 * How long a shard's last flush may hold up its next owner, milliseconds. Then it is dropped, and what was not written is
 * applied by whoever has it next.
 */
const releaseMsMax = 3_000
/** Before a shard is taken back from another: it may be that we were not told yet. */
const fencedMsMin = 1_000
const pauseMsMax = 30_000
/** A loss that long after the last one is a first one again. */
const forgottenMs = 120_000

/**
 * Keeps a projection at the shards that are said to be ours: takes what is assigned, gives back what is revoked, and takes
 * what was lost again, later each time. It is told by the ownership at any moment and acts between two batches (`step`).
 */
export class ShardKeeper implements OwnershipListener, Disposable {
  readonly #options: KeeperOptions
  readonly #outage: Outage
  readonly #ours = new Set<number>()
  readonly #losses = new Map<number, Loss>()
  #revocations: Revocation[] = []
  #told = Promise.withResolvers<void>()
  #closed = false

  constructor(options: KeeperOptions) {
    this.#options = options
    this.#outage = new Outage(options.clock, options.logger, 'shards')
  }

  assigned(shards: readonly number[]): Promise<void> {
    for (const shard of shards) this.#ours.add(shard)
    this.#told.resolve()
    return Promise.resolve()
  }

  revoked(shards: readonly number[]): Promise<void> {
    for (const shard of shards) this.#ours.delete(shard)
    if (this.#closed) return Promise.resolve()
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#revocations.push({ shards, done: resolve })
    this.#told.resolve()
    return promise
  }

  /** Resolves when there is something for `step` to do: no sleep lasts longer. */
  get told(): Promise<void> {
    return this.#told.promise
  }

  /** All that is ours is held, and nothing else. */
  get isSettled(): boolean {
    const { held } = this.#options.projection
    return this.#revocations.length === 0 && held.length === this.#ours.size && held.every((own) => this.#ours.has(own))
  }

  /** How long until what is missing is asked for again, milliseconds; 0 where nothing waits. */
  get waitMs(): number {
    return this.#outage.waitMs
  }

  /**
   * Gives back, then takes. True: there are new shards.
   *
   * Errors: FS_FENCED, where that is the end; those of `assign` and `flush` that are not of kind unavailable.
   */
  async step(): Promise<boolean> {
    this.#told = Promise.withResolvers()
    for (let next = this.#revocations.shift(); next !== undefined; next = this.#revocations.shift()) {
      await this.#giveBack(next)
    }
    this.#noteLosses()
    return this.#takeMissing()
  }

  /** Whoever revokes from now on need not wait: nothing is held any more. */
  [Symbol.dispose](): void {
    this.#closed = true
    for (const { done } of this.#revocations) done()
    this.#revocations = []
  }

  async #giveBack({ shards, done }: Revocation): Promise<void> {
    const { projection, clock, logger, sleep } = this.#options
    const outage = new Outage(clock, logger, 'release')
    const sinceMs = clock.nowMs()
    let waitedMs = 0
    try {
      while (!(await this.#isReleased(shards, outage))) {
        waitedMs += outage.waitMs
        if (Math.max(waitedMs, clock.nowMs() - sinceMs) > releaseMsMax) {
          logger.warn('shards.dropped', { shards })
          projection.drop(shards)
          break
        }
        await sleep(outage.waitMs)
      }
    } finally {
      done()
    }
    for (const shard of shards) this.#losses.delete(shard)
  }

  /** False: the store does not answer. */
  async #isReleased(shards: readonly number[], outage: Outage): Promise<boolean> {
    try {
      await this.#options.projection.release(shards)
      return true
    } catch (error) {
      if (!isUnavailable(error)) throw error
      outage.failed(error)
      return false
    }
  }

  #noteLosses(): void {
    const { projection, shared, clock, logger } = this.#options
    for (const loss of projection.lost) {
      const { shard, reason } = loss
      const before = this.#losses.get(shard)
      if (before?.loss === loss) continue
      if (reason === 'fenced' && !shared) throw new FeatureStoreError('FS_FENCED', `another owner took shard ${shard}`)
      const nowMs = clock.nowMs()
      const times = before === undefined || nowMs - before.atMs > forgottenMs ? 1 : before.times + 1
      this.#losses.set(shard, { loss, times, atMs: nowMs })
      logger.warn('shards.lost', { shard, reason, times })
    }
  }

  async #takeMissing(): Promise<boolean> {
    const { projection, clock } = this.#options
    const held = new Set(projection.held)
    const nowMs = clock.nowMs()
    const missing = [...this.#ours].filter((shard) => !held.has(shard) && !this.#waits(shard, nowMs))
    if (missing.length === 0) return false
    try {
      await projection.assign(missing)
    } catch (error) {
      if (!isUnavailable(error)) throw error
      this.#outage.failed(error)
      return false
    }
    this.#outage.answered()
    return true
  }

  #waits(shard: number, nowMs: number): boolean {
    const lost = this.#losses.get(shard)
    return lost !== undefined && nowMs - lost.atMs < pauseMs(lost)
  }
}

/** A shard that was lost to nobody is taken again at once, the first time. */
const pauseMs = ({ loss, times }: Loss): number =>
  loss.reason === 'fenced'
    ? Math.min(pauseMsMax, fencedMsMin * 2 ** (times - 1))
    : times === 1
      ? 0
      : Math.min(pauseMsMax, 50 * 2 ** (times - 1))
