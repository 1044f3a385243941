import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type EmbeddedClickHouse, openEmbeddedClickHouse } from '../../connectors/chdb/index.ts'
import {
  openClickHouseClient,
  openFeatureHistoryStore,
  type ClickHouseClient,
} from '../../connectors/clickhouse/index.ts'
import { featureHistorySuite, rowsOf } from '../../connectors/kit/feature-history-suite.ts'
import { openMemoryFeatureHistoryStore } from '../../connectors/memory/feature-history-store.ts'
import { offset } from '../../core/event/position.ts'
import type { FeatureTable } from '../../core/ports/feature-history-store.ts'
import { discardEmbedded } from '../connectors/chdb/embedded.ts'

featureHistorySuite('memory', () => {
  const store = openMemoryFeatureHistoryStore()
  return Promise.resolve({
    store,
    lines: ({ view }) =>
      Promise.resolve(
        store.rows(view).map(({ key, asOf, knownAt, values, statuses }) => {
          const texts = values.map((value, index) =>
            Array.isArray(value)
              ? `[${value.map((item) => (item === null ? 'null' : String(item))).join(',')}]`
              : value === null
                ? statuses[index]
                : String(value),
          )
          return `${key.map(String).join(' ')} @${asOf} ${knownAt}: ${texts.join(', ')}`
        }),
      ),
    close: () => Promise.resolve(),
  })
})

const folder = mkdtempSync(join(tmpdir(), 'tidemark-history-suite-'))
let embedded: EmbeddedClickHouse
beforeAll(async () => {
  embedded = await openEmbeddedClickHouse(folder, { idleMs: 200 })
})
afterAll(() => discardEmbedded(embedded, folder))

async function texts(client: ClickHouseClient, sql: string): Promise<string[]> {
  const { columns } = await client.query(sql)
  const data = columns[0]?.data
  return data !== undefined && 'codes' in data ? Array.from(data.codes, (code) => data.strings[code] as string) : []
}

/** The same lines, by SQL over what people read. */
function linesSql({ view, key, features }: FeatureTable): string {
  const ms = (name: string): string => `toString(toUnixTimestamp64Milli(${name}))`
  const keys = key.map(({ name, type }) => (type === 'timestamp' ? ms(name) : `toString(${name})`))
  const values = features.map(({ name, type }) =>
    type.kind === 'list'
      ? `if(empty(${name}), ${without(name, `'NULL'`)}, concat('[', arrayStringConcat(arrayMap(x -> ifNull(toString(x), 'null'), ${name}), ','), ']'))`
      : `ifNull(toString(${name}), ${without(name, `'NULL'`)})`,
  )
  return `SELECT concat(${keys.join(", ' ', ")}, ' @', ${ms('_as_of')}, ' ', ${ms('_known_at')}, ': ', ${values.join(", ', ', ")})
FROM features_${view} ORDER BY ${key.map(({ name }) => name).join(', ')}, _as_of, _known_at`
}
const without = (name: string, otherwise: string): string =>
  `multiIf(_status != 'PRESENT', _status, has(_overflow, '${name}'), 'OVERFLOW', ${otherwise})`

featureHistorySuite('ClickHouse, embedded', () => {
  const client = openClickHouseClient({ endpoint: () => embedded.endpoint() })
  return Promise.resolve({
    store: openFeatureHistoryStore(client, 'log'),
    lines: (table) => texts(client, linesSql(table)),
    close: () => client.close(),
  })
})

describe('feature history: ClickHouse, two writers', () => {
  const table: FeatureTable = {
    view: 'two',
    key: [{ name: 'who', type: 'string' }],
    features: [{ name: 'n', type: { kind: 'scalar', type: 'int64' } }],
    meaning: 'one',
  }
  const write = (revision: number, next: number, who: string) => ({
    view: 'two',
    to: { revision, partitions: [{ epoch: 1, next: offset(next) }] },
    rows: [rowsOf(table, [{ key: [who], asOf: 1, knownAt: 1, values: [1n] }])],
  })
  test('of two writes of one revision one applies, and the other writer is told', async () => {
    const client = openClickHouseClient({ endpoint: () => embedded.endpoint() })
    const [a, b] = [openFeatureHistoryStore(client, 'log'), openFeatureHistoryStore(client, 'log')]
    await a.prepare([table])
    await b.prepare([table])
    const outcomes = await Promise.all([a.write(write(1, 5, 'a')), b.write(write(1, 7, 'b'))])
    expect(outcomes.toSorted()).toEqual(['applied', 'gap'])
    const winner = outcomes[0] === 'applied' ? 'a' : 'b'
    expect(await texts(client, 'SELECT who FROM features_two')).toEqual([winner])
    expect((await a.position('two'))?.partitions[0]?.next).toBe(winner === 'a' ? 5 : 7)
    await a.drop('two')
    await client.close()
  })
})
