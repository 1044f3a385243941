/**
 * Ways to lay rows out, side by side: what an entity takes, and what it costs to read 100 of them over 64 shards with the
 * positions. Notes of a full run; connectors/redis/README.md says what was chosen and why.
 */
import { collect, ensure, median, timed, type BenchOptions } from '../harness.ts'
import { batchKeys, isRowOf, keyOf, rowOf, shardOf, shards, usedMemory, view, type Bench } from './context.ts'

interface Layout {
  readonly name: string
  /** Arguments of one write, the command among them. */
  writes(entity: number): readonly (readonly (string | Buffer)[])[]
  /** One command that reads the position of a shard and these entities. */
  read(shard: number, entities: readonly number[]): readonly (string | Buffer)[]
  readonly position: (shard: number) => readonly string[]
}

const text = (entity: number): string => Buffer.from(keyOf(entity)).toString()
const tag = (name: string, shard: number): string => `{${name}:benchmark:${shard}}`
const keyed = (name: string, withIndex: boolean): Layout => ({
  name,
  writes(entity) {
    const shard = shardOf(entity)
    const key = `${tag(name, shard)}:r:${view}:${text(entity)}`
    const row = ['set', key, rowOf(entity, 0)]
    return withIndex ? [row, ['zadd', `${tag(name, shard)}:i:${view}`, '0', text(entity)]] : [row]
  },
  read: (shard, entities) => [
    'mget',
    `${tag(name, shard)}:p`,
    ...entities.map((entity) => `${tag(name, shard)}:r:${view}:${text(entity)}`),
  ],
  position: (shard) => ['set', `${tag(name, shard)}:p`, 'position'],
})
const layouts: readonly Layout[] = [
  {
    name: 'one hash a shard',
    writes: (entity) => [['hset', `${tag('h', shardOf(entity))}:rows`, `${view}\0${text(entity)}`, rowOf(entity, 0)]],
    read: (shard, entities) => [
      'hmget',
      `${tag('h', shard)}:rows`,
      'position',
      ...entities.map((entity) => `${view}\0${text(entity)}`),
    ],
    position: (shard) => ['hset', `${tag('h', shard)}:rows`, 'position', 'position'],
  },
  keyed('a key a row', false),
  keyed('a key a row, sorted index', true),
]

export async function noteLayouts(
  options: BenchOptions,
  { client, serverPid }: Bench,
  entities: number,
): Promise<void> {
  const bytes: number[] = []
  for (const layout of layouts) {
    const before = await usedMemory(client)
    for (let shard = 0; shard < shards; shard++) await client.call(...split(layout.position(shard)))
    for (let from = 0; from < entities; from += 500) {
      const pipeline = client.pipeline()
      for (let entity = from; entity < Math.min(entities, from + 500); entity++)
        for (const command of layout.writes(entity)) pipeline.call(...split(command))
      await pipeline.exec()
    }
    bytes.push(((await usedMemory(client)) - before) / entities)
  }
  const rates = layouts.map((): number[] => [])
  const servers = layouts.map((): number[] => [])
  for (let round = 0; round < options.rounds; round++) {
    for (const [index, layout] of layouts.entries()) {
      collect()
      const own = process.cpuUsage()
      const cost = await timed(() => readSome({ client }, layout, entities, 500), [serverPid])
      const { user, system } = process.cpuUsage(own)
      rates[index]?.push((500 * batchKeys) / cost.seconds)
      servers[index]?.push((cost.cpuSeconds * 1e6 - user - system) / (500 * batchKeys))
    }
  }
  layouts.forEach(({ name }, index) =>
    options.note(
      `redis/layouts: ${name}: ${(bytes[index] as number).toFixed(0)} bytes an entity, ` +
        `${Math.round(median(rates[index] as number[])).toLocaleString('en-US')} rows/s read, ` +
        `server ${median(servers[index] as number[]).toFixed(2)} CPU-s per million`,
    ),
  )
}

const split = (command: readonly (string | Buffer)[]): [string, (string | Buffer)[]] => [
  String(command[0]),
  command.slice(1),
]

async function readSome(
  { client }: Pick<Bench, 'client'>,
  layout: Layout,
  entities: number,
  count: number,
): Promise<void> {
  let state = 99
  for (let batch = 0; batch < count; batch++) {
    const groups = new Map<number, number[]>()
    for (let index = 0; index < batchKeys; index++) {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
      const entity = Math.floor((state / 2 ** 32) * entities)
      const group = groups.get(shardOf(entity))
      if (group === undefined) groups.set(shardOf(entity), [entity])
      else group.push(entity)
    }
    const pipeline = client.pipeline()
    for (const [shard, group] of groups) pipeline.callBuffer(...split(layout.read(shard, group)))
    const replies = (await pipeline.exec()) ?? []
    let at = 0
    for (const group of groups.values()) {
      const values = replies[at++]?.[1] as readonly Buffer[]
      group.forEach((entity, index) => ensure(isRowOf(values[index + 1], entity), `${layout.name} gave another row`))
    }
  }
}
