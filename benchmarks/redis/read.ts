/** redis/read: lookups through the port, against ioredis alone asking the same of the same server. */
import { ensure, interleaved, rate, timed, type BenchOptions, type Reading } from '../harness.ts'
import { batchKeys, isRowOf, keyOf, positionAt, rowOf, shardOf, view, type Bench, type Loader } from './context.ts'

const bench = 'redis/read'
/** Lookups under way at a time, as a server that answers several callers has. */
const flights = 8

interface Batch {
  readonly entities: readonly number[]
  readonly keys: readonly Uint8Array[]
  readonly shards: readonly number[]
}

function batchesOf(entities: number, count: number): readonly Batch[] {
  let state = 12_345
  return Array.from({ length: count }, () => {
    const drawn = Array.from({ length: batchKeys }, () => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
      return Math.floor((state / 2 ** 32) * entities)
    })
    return { entities: drawn, keys: drawn.map(keyOf), shards: drawn.map(shardOf) }
  })
}

export async function benchRead(
  options: BenchOptions,
  { serverPid, client, store }: Bench,
  loader: Loader,
  { entities, rounds }: { readonly entities: number; readonly rounds: number },
): Promise<void> {
  const batches = batchesOf(entities, rounds)
  const rows = batches.length * batchKeys
  const stands = JSON.stringify(positionAt(loader.stands))

  const inFlight = async (lookup: (batch: Batch) => Promise<void>): Promise<void> => {
    let next = 0
    const loop = async (): Promise<void> => {
      for (let batch = batches[next++]; batch !== undefined; batch = batches[next++]) await lookup(batch)
    }
    await Promise.all(Array.from({ length: flights }, loop))
  }
  const ours = async (batch: Batch): Promise<void> => {
    const read = await store.read(view, batch.shards, batch.keys)
    ensure(read.corrupt === undefined && read.positions[0] !== null, 'a row is corrupt, or a shard has no position')
    for (let index = 0; index < batchKeys; index++)
      ensure(isRowOf(read.rows[index], batch.entities[index] as number), 'the store gave another row than was asked')
  }
  /** What any client must do: one command a shard in one pipeline, position included; nothing is parsed or checked. */
  const bare = async (batch: Batch): Promise<void> => {
    const groups = new Map<number, number[]>()
    for (const entity of batch.entities) {
      const shard = shardOf(entity)
      const group = groups.get(shard)
      if (group === undefined) groups.set(shard, [entity])
      else group.push(entity)
    }
    const pipeline = client.pipeline()
    for (const [shard, group] of groups)
      pipeline.hmgetBuffer(
        `{tidemark:benchmark:${shard}}:rows`,
        'position',
        ...group.map((entity) => `${view}\0${String(keyOf(entity))}`),
      )
    const replies = (await pipeline.exec()) ?? []
    let at = 0
    for (const group of groups.values()) {
      const values = replies[at++]?.[1] as readonly Buffer[]
      group.forEach((entity, index) => {
        const value = values[index + 1]
        ensure(isRowOf(value?.subarray(4), entity), 'the limit got another row than was asked')
      })
    }
  }
  const round = async (lookup: (batch: Batch) => Promise<void>): Promise<readonly Reading[]> => [
    rate(bench, 'rows/s', rows, await timed(() => inFlight(lookup), [serverPid])),
  ]
  await inFlight(ours)
  await inFlight(bare)
  await interleaved(
    options,
    () => round(ours),
    () => round(bare),
    async () => {
      for (const batch of batches.slice(0, 20)) {
        const read = await store.read(view, batch.shards, batch.keys)
        read.rows.forEach((row, index) =>
          ensure(
            row !== null && rowOf(batch.entities[index] as number, 0).equals(row),
            'a row is not as it was written',
          ),
        )
        for (const position of read.positions)
          ensure(JSON.stringify(position) === stands, 'a position is not that of the last flush')
      }
    },
  )
}
