import type { RootDatabase } from 'lmdb'
import { FeatureStoreError } from '../../core/errors.ts'
import { generationsKey, sealJson, unsealJson } from './layout.ts'

/** Which generations have state, under which number in the keys. Numbers are never used twice. */
interface GenerationsRecord {
  readonly next: number
  readonly ids: Readonly<Record<string, number>>
  readonly current: string | null
  /** Numbers of dropped generations whose rows are not all removed yet. */
  readonly dropped: readonly number[]
}

const none: GenerationsRecord = { next: 1, ids: {}, current: null, dropped: [] }
const idMax = 0xfffe

/** The record of generations, read anew at each call: another process may have changed it. Writes need a transaction. */
export class Generations {
  readonly #environment: RootDatabase<Buffer, Buffer>
  #bytes: Buffer | null = null
  #record = none

  constructor(environment: RootDatabase<Buffer, Buffer>) {
    this.#environment = environment
  }

  names(): readonly string[] {
    return Object.keys(this.#read().ids).sort()
  }

  current(): string | null {
    return this.#read().current
  }

  dropped(): readonly number[] {
    return this.#read().dropped
  }

  find(generation: string): number | null {
    return this.#read().ids[generation] ?? null
  }

  ensure(generation: string): number {
    const record = this.#read()
    const known = record.ids[generation]
    if (known !== undefined) return known
    const id = record.next
    if (id > idMax) throw new FeatureStoreError('FS_INTERNAL', 'the online store has no number left for a generation')
    this.#write({ ...record, next: id + 1, ids: { ...record.ids, [generation]: id } })
    return id
  }

  markCurrent(generation: string): void {
    const record = this.#read()
    if (record.ids[generation] === undefined)
      throw new FeatureStoreError('FS_INTERNAL', `generation ${generation} has no state in the online store`)
    this.#write({ ...record, current: generation })
  }

  drop(generation: string): void {
    const record = this.#read()
    const { [generation]: id, ...ids } = record.ids
    if (id === undefined) return
    const current = record.current === generation ? null : record.current
    this.#write({ ...record, ids, current, dropped: [...record.dropped, id] })
  }

  forgetDropped(id: number): void {
    const record = this.#read()
    this.#write({ ...record, dropped: record.dropped.filter((dropped) => dropped !== id) })
  }

  #read(): GenerationsRecord {
    const bytes = this.#environment.getBinary(generationsKey)
    if (bytes === undefined) return none
    if (this.#bytes?.equals(bytes) !== true) {
      this.#record = unsealJson(bytes) as GenerationsRecord
      this.#bytes = bytes
    }
    return this.#record
  }

  #write(record: GenerationsRecord): void {
    this.#environment.putSync(generationsKey, sealJson(record))
  }
}
