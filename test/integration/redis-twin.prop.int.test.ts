import fc from 'fast-check'
import { describe, expect, onTestFinished, test } from 'vitest'
import { MemoryOnlineStore } from '../../connectors/memory/online-store.ts'
import type { DeadLetter } from '../../core/event/batch.ts'
import { offset } from '../../core/event/position.ts'
import type { OnlineStore, ShardLease, ShardPosition } from '../../core/ports/online-store.ts'
import { adminOf, serverOfFile, startRedis } from '../support/services.ts'
import { local, openAt } from './support/online.ts'
import { random } from './support/random.ts'

const numRuns = Number(process.env['TIDEMARK_PROPERTY_RUNS'] ?? 150)
const shards = [0, 1, 2]
const views = ['v', 'v*', 'w']

const partitions = fc.array(
  fc.record({ epoch: fc.integer({ min: 1, max: 2 }), next: fc.integer({ min: 0, max: 2 }).map(offset) }),
  { maxLength: 2 },
)
/** Few of them, so that they meet; with streams that are absent, and streams without partitions, which are the same. */
const position: fc.Arbitrary<ShardPosition> = fc.record({
  position: fc.record({
    logId: fc.constantFrom('log', 'log', 'log', 'other'),
    streams: fc.oneof(
      fc.record({ a: partitions, b: partitions }, { requiredKeys: [] }),
      fc.record({ b: partitions, a: partitions }, { requiredKeys: [] }),
    ),
  }),
  newestEventTimeMs: fc.dictionary(fc.constantFrom('a', 'b'), fc.integer()),
})
const key = fc.oneof(
  fc.constantFrom('a', 'b', '', 'a\0', '\0').map((text) => Buffer.from(text)),
  fc.uint8Array({ maxLength: 3 }),
)
const part = fc.integer({ min: 1, max: 4 })
const write = fc.record({
  view: fc.constantFrom(...views),
  key,
  row: fc.uint8Array({ maxLength: 20 }),
  put: fc.uniqueArray(fc.record({ name: part, bytes: fc.uint8Array({ maxLength: 5 }) }), { selector: (p) => p.name }),
  drop: fc.uniqueArray(part),
})
const dead: fc.Arbitrary<DeadLetter> = fc.record({
  scope: fc.constantFrom('view:v', 'stream:a'),
  stream: fc.constantFrom('a', 'b'),
  partition: fc.integer({ min: 0, max: 1 }),
  offset: fc.integer({ min: 0, max: 2 }).map(offset),
  knownAt: fc.integer(),
  code: fc.constant('FS_DEAD_TOO_LATE'),
  reason: fc.string(),
})
const flushed = fc.record({
  shard: fc.constantFrom(...shards),
  /** Which lease of this shard, the newest first. */
  lease: fc.constantFrom(0, 0, 0, 1, 2),
  /** From where the shard stands, mostly. */
  from: fc.oneof({ weight: 4, arbitrary: fc.constant('stands' as const) }, fc.constant(null), position),
  to: fc.oneof({ weight: 4, arbitrary: position }, fc.constant('stands' as const)),
  rows: fc.array(write, { maxLength: 4 }),
  deadLetters: fc.array(dead, { maxLength: 2 }),
})
const command = fc.oneof(
  fc.record({ kind: fc.constant('acquire' as const), shards: fc.subarray(shards, { minLength: 1 }) }),
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('apply' as const), flushes: fc.array(flushed, { maxLength: 4 }) }),
  },
  fc.record({
    kind: fc.constant('read' as const),
    view: fc.constantFrom(...views),
    asked: fc.array(fc.tuple(fc.constantFrom(...shards), key)),
  }),
  fc.record({ kind: fc.constant('parts' as const), shard: fc.constantFrom(...shards), key, names: fc.array(part) }),
  fc.record({ kind: fc.constant('forget-scripts' as const) }),
)
type Command = typeof command extends fc.Arbitrary<infer T> ? T : never

const plain = (bytes: Uint8Array | null): string | null => (bytes === null ? null : Buffer.from(bytes).toString('hex'))

/** Runs commands against one store, and says all that can be seen. */
class Observer {
  readonly #store: OnlineStore
  /** Of each shard, the newest first. Owners of before keep theirs. */
  readonly #leases = new Map<number, ShardLease[]>()

  constructor(store: OnlineStore) {
    this.#store = store
  }

  async run(command: Exclude<Command, { kind: 'forget-scripts' }>): Promise<unknown> {
    switch (command.kind) {
      case 'acquire': {
        const taken = await this.#store.acquire(command.shards)
        for (const { lease } of taken) this.#leases.set(lease.shard, [lease, ...(this.#leases.get(lease.shard) ?? [])])
        return taken.map(({ lease, position }) => [lease.shard, lease.epoch, position])
      }
      case 'apply': {
        const stands = await this.#store.positions(shards)
        const flushes = command.flushes.flatMap(({ shard, lease, from, to, rows, deadLetters }) => {
          const held = this.#leases.get(shard)?.[lease]
          const standing = stands[shard] ?? null
          const target = to === 'stands' ? standing : to
          if (held === undefined || target === null) return []
          return {
            lease: held,
            from: from === 'stands' ? standing : from,
            to: target,
            deadLetters,
            rows: rows.map(({ view, key, row, put, drop }) => ({
              view,
              key,
              row,
              // No flush puts what it drops.
              parts: { put, drop: drop.filter((name) => !rows.some((one) => one.put.some((p) => p.name === name))) },
            })),
          }
        })
        return this.#store.apply(flushes)
      }
      case 'read': {
        const asked = [command.asked.map(([shard]) => shard), command.asked.map(([, key]) => key)] as const
        const { rows, positions, corrupt } = await this.#store.read(command.view, ...asked)
        return { rows: rows.map(plain), positions, corrupt }
      }
      case 'parts':
        return (await this.#store.readParts('v', command.shard, command.key, command.names)).map(plain)
    }
  }

  async all(): Promise<unknown> {
    const found: unknown[] = [await this.#store.positions(shards)]
    for (const view of views)
      for await (const { shard, key, row } of this.#store.scan(view)) found.push([view, shard, plain(key), plain(row)])
    for (const view of views)
      for (const shard of shards)
        for (const key of ['a', 'b', '', 'a\0', '\0']) {
          const parts = await this.#store.readParts(view, shard, Buffer.from(key), [1, 2, 3, 4])
          if (parts.some((one) => one !== null)) found.push([view, shard, key, parts.map(plain)])
        }
    const letters = (await Array.fromAsync(this.#store.deadLetters())).map(({ scope, stream, partition, offset }) =>
      [scope, stream, partition, offset].join('/'),
    )
    return [found, letters.sort()]
  }
}

describe('online store on Redis and its plain twin', async () => {
  const server = await serverOfFile('redis', () => startRedis())

  test('any commands of any owners have the same outcomes, and leave the same behind', async () => {
    const admin = adminOf(server().port)
    onTestFinished(() => admin.disconnect())
    await using store = await openAt(local(server().port), { shards: shards.length })
    const met = new Map<string, number>()
    await fc.assert(
      fc.asyncProperty(fc.array(command, { minLength: 5, maxLength: 25 }), async (commands) => {
        await admin.flushall()
        const [ours, twin] = [new Observer(store), new Observer(new MemoryOnlineStore(random))]
        const first: Command = { kind: 'acquire', shards }
        for (const one of [first, ...commands]) {
          if (one.kind === 'forget-scripts') {
            await admin.script('FLUSH')
            continue
          }
          const [found, expected] = [await ours.run(one), await twin.run(one)]
          expect(found).toEqual(expected)
          if (one.kind === 'apply')
            for (const { kind } of expected as { kind: string }[]) met.set(kind, (met.get(kind) ?? 0) + 1)
        }
        expect(await ours.all()).toEqual(await twin.all())
      }),
      { numRuns },
    )
    // The commands reach every outcome, or the property says little.
    if (numRuns >= 20)
      for (const kind of ['applied', 'already-applied', 'gap', 'fenced']) expect(met.get(kind) ?? 0).toBeGreaterThan(5)
  })
})
