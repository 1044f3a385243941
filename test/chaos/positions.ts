import { setTimeout as sleep } from 'node:timers/promises'
import type { GenerationStore } from '../../connectors/kit/generation-store.ts'
import type { DeadLetter } from '../../core/event/batch.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import type { Position } from '../../core/event/position.ts'
import type { Project } from '../../cli/project.ts'
import { openOnline } from '../../cli/stores.ts'
import type { Ends } from './producer.ts'

/** A store that hangs is asked anew, milliseconds. */
const answerMsMax = 2_000

/** Where the shards stand, as the store itself says. One that does not answer stands nowhere. */
export class Positions implements AsyncDisposable {
  readonly #project: Project
  #store: GenerationStore | null = null
  /** By shard, as last seen. */
  #seen: readonly Ends[] = []
  #problem = 'the store was not asked'

  constructor(project: Project) {
    this.#project = project
  }

  /** Next offsets by shard; null where the store does not answer. */
  async read(): Promise<readonly Ends[] | null> {
    const { shards } = this.#project.config.online
    try {
      this.#store ??= await openOnline(this.#project, 'read')
      const all = Array.from({ length: shards }, (_, shard) => shard)
      const found = await Promise.race([this.#store.positions(all), sleep(answerMsMax, null, { ref: false })])
      if (found === null) throw new FeatureStoreError('FS_ONLINE_UNAVAILABLE', 'no answer')
      this.#seen = found.map((held) => endsOf(held?.position.streams ?? {}))
      return this.#seen
    } catch (error) {
      if (!(error instanceof FeatureStoreError && error.kind === 'unavailable')) throw error
      this.#problem = `${error.code}: ${error.message}`
      this.#seen = []
      this.#forget()
      return null
    }
  }

  /** Whether every shard has come to these offsets. */
  async reach(target: Ends): Promise<boolean> {
    const found = await this.read()
    return found !== null && found.every((held) => covers(held, target))
  }

  /** Each once, by scope and source position. */
  async deadLetters(): Promise<readonly DeadLetter[]> {
    this.#store ??= await openOnline(this.#project, 'read')
    return Array.fromAsync(this.#store.deadLetters())
  }

  /** For a message: the slowest shard, as last seen. */
  get text(): string {
    if (this.#seen.length === 0) return this.#problem
    const totals = this.#seen.map((held) =>
      Object.values(held)
        .flat()
        .reduce((sum, next) => sum + next, 0),
    )
    const least = Math.min(...totals)
    const shard = totals.indexOf(least)
    const count = totals.filter((total) => total === least).length
    return `shard ${shard} stands at ${JSON.stringify(this.#seen[shard])}; ${count} stand there`
  }

  /** Closing it waits for what is under way; nobody waits for that. */
  #forget(): void {
    const store = this.#store
    this.#store = null
    if (store !== null) Promise.resolve(store[Symbol.asyncDispose]()).catch(() => {})
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#store?.[Symbol.asyncDispose]()
    this.#store = null
  }
}

const endsOf = (streams: Position['streams']): Ends =>
  Object.fromEntries(Object.entries(streams).map(([name, partitions]) => [name, partitions.map(({ next }) => next)]))

const covers = (held: Ends, target: Ends): boolean =>
  Object.entries(target).every(([stream, ends]) =>
    ends.every((next, partition) => (held[stream]?.[partition] ?? 0) >= next),
  )
