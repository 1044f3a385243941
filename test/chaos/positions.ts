import { setTimeout as sleep } from 'node:timers/promises'
import type { GenerationStore } from '../../connectors/kit/generation-store.ts'
import type { DeadLetter } from '../../core/event/batch.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import type { Project } from '../../cli/project.ts'
import { openOnline } from '../../cli/stores.ts'

/** A store that hangs is asked anew, milliseconds. */
const answerMsMax = 2_000

/** Where the shards stand, as the store itself says. One that does not answer stands nowhere. */
export class Positions implements AsyncDisposable {
  readonly #project: Project
  readonly #stream: string
  #store: GenerationStore | null = null
  /** By shard and partition, as last seen. */
  #seen: readonly (readonly number[])[] = []
  #problem = 'the store was not asked'

  constructor(project: Project, stream: string) {
    this.#project = project
    this.#stream = stream
  }

  /** Next offsets by shard and partition; null where the store does not answer. */
  async read(): Promise<readonly (readonly number[])[] | null> {
    const { shards } = this.#project.config.online
    try {
      this.#store ??= await openOnline(this.#project, 'read')
      const all = Array.from({ length: shards }, (_, shard) => shard)
      const found = await Promise.race([this.#store.positions(all), sleep(answerMsMax, null, { ref: false })])
      if (found === null) throw new FeatureStoreError('FS_ONLINE_UNAVAILABLE', 'no answer')
      this.#seen = found.map((held) => (held?.position.streams[this.#stream] ?? []).map(({ next }) => next))
      return this.#seen
    } catch (error) {
      if (!(error instanceof FeatureStoreError && error.kind === 'unavailable')) throw error
      this.#problem = `${error.code}: ${error.message}`
      this.#seen = []
      this.#forget()
      return null
    }
  }

  /** Whether every shard has come to these offsets, by partition. */
  async reach(target: readonly number[]): Promise<boolean> {
    const found = await this.read()
    return found !== null && found.every((held) => target.every((next, partition) => (held[partition] ?? 0) >= next))
  }

  /** Each once, by scope and source position. */
  async deadLetters(): Promise<readonly DeadLetter[]> {
    this.#store ??= await openOnline(this.#project, 'read')
    return Array.fromAsync(this.#store.deadLetters())
  }

  /** For a message: the slowest shard, as last seen. */
  get text(): string {
    if (this.#seen.length === 0) return this.#problem
    const totals = this.#seen.map((held) => held.reduce((sum, next) => sum + next, 0))
    const least = Math.min(...totals)
    const shard = totals.indexOf(least)
    return `shard ${shard} stands at ${this.#seen[shard]?.join(', ')}; ${totals.filter((total) => total === least).length} stand there`
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
