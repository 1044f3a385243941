import type { MissingRow, ViewEngine } from '../core/engine/view-engine.ts'
import { FeatureStoreError } from '../core/errors.ts'
import { identicalPosition } from '../core/event/position.ts'
import type { OnlineStore, ShardPosition } from '../core/ports/online-store.ts'
import type { Shard } from './shard-set.ts'

type Shards = ReadonlyMap<number, Shard>
type Stale = (shards: readonly Shard[]) => void

/**
 * Brings into memory what the batch at hand needs. Heads have parts, and a changelog's rows name further entities: so the
 * engine is asked more than once.
 *
 * Rows count only at the position where their owner believes the shard to be. Elsewhere (a replica that is behind, a
 * failover that lost the tail) they lack events that memory takes for stored, and would be written back without them:
 * their shard is `stale`, and none of it is used.
 *
 * Errors: FS_ROW_CORRUPT, FS_STATE_FORMAT, and those of the store.
 */
export async function loadMissing(engine: ViewEngine, store: OnlineStore, shards: Shards, stale: Stale): Promise<void> {
  for (let missing = engine.unloaded(); missing.length > 0; missing = engine.unloaded()) {
    await loadParts(
      engine,
      store,
      shards,
      missing.filter(({ part }) => part !== null),
      stale,
    )
    const whole = missing.filter(({ part }) => part === null)
    for (const table of new Set(whole.map((row) => row.table)))
      await loadRows(
        engine,
        store,
        shards,
        whole.filter((row) => row.table === table),
        stale,
      )
  }
}

async function loadRows(
  engine: ViewEngine,
  store: OnlineStore,
  shards: Shards,
  missing: readonly MissingRow[],
  stale: Stale,
): Promise<void> {
  const table = (missing[0] as MissingRow).table
  const beliefs = new Beliefs(shards, missing)
  const { rows, positions, corrupt } = await store.read(
    table,
    missing.map(({ shard }) => shard),
    missing.map(({ key }) => key),
  )
  missing.forEach(({ shard }, index) => beliefs.check(shard, positions[index] ?? null))
  stale(beliefs.stale)
  const damaged = (corrupt ?? []).filter((index) => beliefs.isGood((missing[index] as MissingRow).shard))
  if (damaged.length > 0)
    throw new FeatureStoreError('FS_ROW_CORRUPT', `${damaged.length} rows of ${table} fail their checksum`)
  if (beliefs.areAllGood) return engine.load(missing, rows)
  const good = missing.map(({ shard }) => beliefs.isGood(shard))
  engine.load(
    missing.filter((_, index) => good[index]),
    rows.filter((_, index) => good[index]),
  )
}

/** One read an entity, one entity at a time: the parts of a hot one are many megabytes. */
async function loadParts(
  engine: ViewEngine,
  store: OnlineStore,
  shards: Shards,
  missing: readonly MissingRow[],
  stale: Stale,
): Promise<void> {
  for (let from = 0; from < missing.length;) {
    const { table, shard, key, of } = missing[from] as MissingRow
    let to = from
    while (to < missing.length && missing[to]?.of === of) to++
    const own = missing.slice(from, to)
    from = to
    const beliefs = new Beliefs(shards, own)
    const parts = await store.readParts(
      table,
      shard,
      key,
      own.map(({ part }) => part as number),
    )
    if (!beliefs.isGood(shard)) continue
    try {
      engine.load(own, parts)
    } catch (error) {
      if (!(error instanceof FeatureStoreError && error.code === 'FS_ROW_CORRUPT')) throw error
      // Parts come without a position: the store may have gone elsewhere since the head was read.
      beliefs.check(shard, (await store.positions([shard]))[0] ?? null)
      if (beliefs.isGood(shard)) throw error
      stale(beliefs.stale)
    }
  }
}

/**
 * Held shards of which the store says that they stand elsewhere than their owner believes. Errors: those of the store.
 */
export async function strayedShards(store: OnlineStore, shards: Shards): Promise<readonly Shard[]> {
  const held = [...shards.values()].filter(({ isHeld }) => isHeld).map(({ number }) => ({ shard: number }))
  const beliefs = new Beliefs(shards, held)
  const positions = await store.positions(held.map(({ shard }) => shard))
  held.forEach(({ shard }, index) => beliefs.check(shard, positions[index] ?? null))
  return beliefs.stale
}

/** Where the shards of some rows may stand while they are read: where they stood, or where a flush on its way takes them. */
class Beliefs {
  readonly #shards = new Map<number, { readonly shard: Shard; readonly places: readonly (ShardPosition | null)[] }>()
  /** Answers are mostly one object a shard. */
  readonly #checked = new Map<number, ShardPosition | null>()
  readonly #stale = new Set<Shard>()

  constructor(shards: Shards, rows: readonly Pick<MissingRow, 'shard'>[]) {
    for (const { shard: number } of rows) {
      const shard = this.#shards.has(number) ? undefined : shards.get(number)
      if (shard !== undefined) this.#shards.set(number, { shard, places: placesOf(shard) })
    }
  }

  check(number: number, found: ShardPosition | null): void {
    if (this.#checked.has(number) && this.#checked.get(number) === found) return
    this.#checked.set(number, found)
    const own = this.#shards.get(number)
    if (own === undefined || !own.shard.isHeld) return
    if (![...own.places, ...placesOf(own.shard)].some((place) => isSame(place, found))) this.#stale.add(own.shard)
  }

  /** Those that stand elsewhere. */
  get stale(): readonly Shard[] {
    return [...this.#stale].filter(({ isHeld }) => isHeld)
  }

  isGood(number: number): boolean {
    const own = this.#shards.get(number)
    return own !== undefined && own.shard.isHeld && !this.#stale.has(own.shard)
  }

  get areAllGood(): boolean {
    return [...this.#shards.keys()].every((number) => this.isGood(number))
  }
}

const placesOf = ({ stored, flight }: Shard): readonly (ShardPosition | null)[] =>
  flight === null ? [stored] : [stored, flight.to]

const isSame = (a: ShardPosition | null, b: ShardPosition | null): boolean =>
  a === null || b === null ? a === b : identicalPosition(a.position, b.position)
