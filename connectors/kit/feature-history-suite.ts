/** The laws of FeatureHistoryStore, for every connector that fills it. */
import { describe, expect, test } from 'vitest'
import { ColumnBuilder } from '../../core/engine/column-builder.ts'
import { Status, type FeatureValue, type StatusCode } from '../../core/engine/feature-column.ts'
import { offset } from '../../core/event/position.ts'
import type { Scalar } from '../../core/event/types.ts'
import type {
  FeatureHistoryStore,
  FeaturePosition,
  FeatureRows,
  FeatureTable,
} from '../../core/ports/feature-history-store.ts'
import { columnOf } from '../memory/offline-store.ts'

export interface OpenedFeatureHistory {
  readonly store: FeatureHistoryStore
  /** One line a row, in order: `key @as-of known-at: value, value, …`; a value that is none by its status. */
  lines(table: FeatureTable): Promise<readonly string[]>
  close(): Promise<void>
}

interface TestRow {
  readonly key: readonly Scalar[]
  readonly asOf: number
  readonly knownAt: number
  /** A status for a value that is none; null: removed. */
  readonly values: readonly (FeatureValue | { readonly status: StatusCode })[] | null
}

export function rowsOf(table: FeatureTable, rows: readonly TestRow[]): FeatureRows {
  return {
    count: rows.length,
    keys: table.key.map(({ type }, part) =>
      columnOf(
        { type },
        rows.map(({ key }) => key[part] as Scalar),
      ),
    ),
    asOfs: Float64Array.from(rows, ({ asOf }) => asOf),
    knownAts: Float64Array.from(rows, ({ knownAt }) => knownAt),
    removed: Uint8Array.from(rows, ({ values }) => (values === null ? 1 : 0)),
    features: table.features.map(({ name, type }, index) => {
      const counts = name.startsWith('n')
      const builder = new ColumnBuilder(rows.length, { name, type, fingerprint: 'f', counts })
      rows.forEach(({ values }, row) => {
        const value = values?.[index]
        if (value === undefined || value === null) builder.setStatus(row, Status.NULL)
        else if (Array.isArray(value)) builder.setList(row, value as readonly Scalar[])
        else if (typeof value === 'object') builder.setStatus(row, (value as { readonly status: StatusCode }).status)
        else builder.setValue(row, value)
      })
      return builder.build()
    }),
  }
}

const at = (revision: number, ...nexts: readonly number[]): FeaturePosition => ({
  revision,
  partitions: nexts.map((next) => ({ epoch: 1, next: offset(next) })),
})

const simple = (view: string): FeatureTable => ({
  view,
  key: [{ name: 'who', type: 'string' }],
  features: [
    { name: 'n', type: { kind: 'scalar', type: 'int64' } },
    { name: 'mean_1h', type: { kind: 'scalar', type: 'float64' } },
  ],
  meaning: 'one',
})

const row = (who: string, asOf: number, knownAt: number, n: bigint, mean: number | null): TestRow => ({
  key: [who],
  asOf,
  knownAt,
  values: [n, mean],
})

/** `open` answers a store of one log; views of earlier tests may be there. */
export function featureHistorySuite(name: string, open: () => Promise<OpenedFeatureHistory>): void {
  let views = 0
  const withTable = async (
    make: (view: string) => FeatureTable,
    body: (opened: OpenedFeatureHistory, table: FeatureTable) => Promise<void>,
  ): Promise<void> => {
    const opened = await open()
    const table = make(`suite_${++views}`)
    try {
      await opened.store.prepare([table])
      await body(opened, table)
      await opened.store.drop(table.view)
    } finally {
      await opened.close()
    }
  }

  describe(`feature history: ${name}`, () => {
    test('a new table covers nothing and has no rows', () =>
      withTable(simple, async ({ store, lines }, table) => {
        expect(await store.position(table.view)).toBeNull()
        expect(await store.position('nobody')).toBeNull()
        expect(await lines(table)).toEqual([])
      }))

    test('rows and position are written together; a position alone is one too', () =>
      withTable(simple, async ({ store, lines }, table) => {
        const { view } = table
        const rows = [rowsOf(table, [row('b', 1000, 1000, 2n, 0.5)]), rowsOf(table, [row('a', 1000, 1007, 1n, null)])]
        expect(await store.write({ view, to: at(1, 4, 0), rows })).toBe('applied')
        expect(await store.write({ view, to: at(2, 4, 3), rows: [] })).toBe('applied')
        expect(await store.position(view)).toEqual(at(2, 4, 3))
        expect(await lines(table)).toEqual(['a @1000 1007: 1, NULL', 'b @1000 1000: 2, 0.5'])
      }))

    test('a row takes the place of the one of its name, and a removed one is gone until it comes again', () =>
      withTable(simple, async ({ store, lines }, table) => {
        const { view } = table
        const write = async (revision: number, ...rows: readonly TestRow[]): Promise<void> => {
          expect(await store.write({ view, to: at(revision, revision), rows: [rowsOf(table, rows)] })).toBe('applied')
        }
        await write(1, row('a', 1000, 1000, 1n, 1), row('a', 1000, 1500, 2n, 2))
        await write(2, row('a', 1000, 1500, 3n, 3), { key: ['a'], asOf: 1000, knownAt: 1000, values: null })
        expect(await lines(table)).toEqual(['a @1000 1500: 3, 3'])
        await write(3, row('a', 1000, 1000, 7n, null), { key: ['b'], asOf: 1, knownAt: 1, values: null })
        expect(await lines(table)).toEqual(['a @1000 1000: 7, NULL', 'a @1000 1500: 3, 3'])
      }))

    test('a write that is not the next one writes nothing', () =>
      withTable(simple, async ({ store, lines }, table) => {
        const { view } = table
        const rows = [rowsOf(table, [row('a', 1000, 1000, 1n, 1)])]
        expect(await store.write({ view, to: at(2, 1), rows })).toBe('gap')
        expect(await store.write({ view, to: at(1, 1), rows })).toBe('applied')
        expect(await store.write({ view, to: at(1, 1), rows: [] })).toBe('gap')
        expect(await store.write({ view, to: at(3, 1), rows: [] })).toBe('gap')
        expect(await store.position(view)).toEqual(at(1, 1))
        expect(await lines(table)).toEqual(['a @1000 1000: 1, 1'])
      }))

    test('a table of another meaning, key or features is made anew; one that nobody names is dropped', () =>
      withTable(simple, async ({ store, lines }, table) => {
        const { view } = table
        const rows = [rowsOf(table, [row('a', 1000, 1000, 1n, 1)])]
        await store.write({ view, to: at(1, 1), rows })
        await store.prepare([table])
        expect(await lines(table)).toHaveLength(1)
        const other = { ...table, meaning: 'two' }
        await store.prepare([other])
        expect(await store.position(view)).toBeNull()
        expect(await lines(other)).toEqual([])
        expect(await store.write({ view, to: at(1, 1), rows })).toBe('applied')
        await store.prepare([])
        expect(await store.position(view)).toBeNull()
      }))

    test('every type, lists with nulls, and statuses without a value', () =>
      withTable(
        (view): FeatureTable => ({
          view,
          key: [
            { name: 'who', type: 'string' },
            { name: 'large', type: 'int64' },
            { name: 'flag', type: 'bool' },
            { name: 'day', type: 'timestamp' },
          ],
          features: [
            { name: 'n', type: { kind: 'scalar', type: 'int64' } },
            { name: 'small', type: { kind: 'scalar', type: 'int32' } },
            { name: 'text', type: { kind: 'scalar', type: 'string' } },
            { name: 'ok', type: { kind: 'scalar', type: 'bool' } },
            { name: 'texts', type: { kind: 'list', of: 'string' } },
            { name: 'longs', type: { kind: 'list', of: 'int64' } },
            { name: 'ratios', type: { kind: 'list', of: 'float64' } },
            { name: 'oks', type: { kind: 'list', of: 'bool' } },
          ],
          meaning: 'all',
        }),
        async ({ store, lines }, table) => {
          const key = ["o'hara\t\n\\", 2n ** 60n, true, 86_400_000]
          const none = (status: StatusCode) => table.features.map(() => ({ status }))
          const rows: TestRow[] = [
            {
              key,
              asOf: -1000,
              knownAt: 5000,
              values: [2n ** 63n - 1n, -5, 'ü', true, ['x', null, ''], [1n, null], [0.5, null], [false, true]],
            },
            { key, asOf: 0, knownAt: 5000, values: none(Status.NOT_FOUND) },
            { key, asOf: 1000, knownAt: 5000, values: none(Status.EXPIRED) },
            {
              key,
              asOf: 2000,
              knownAt: 5000,
              values: [0n, { status: Status.OVERFLOW }, null, null, null, { status: Status.OVERFLOW }, null, null],
            },
          ]
          await store.write({ view: table.view, to: at(1, 9), rows: [rowsOf(table, rows)] })
          const name = `o'hara\t\n\\ ${2n ** 60n} true 86400000`
          expect(await lines(table)).toEqual([
            `${name} @-1000 5000: 9223372036854775807, -5, ü, true, [x,null,], [1,null], [0.5,null], [false,true]`,
            `${name} @0 5000: 0, NOT_FOUND, NOT_FOUND, NOT_FOUND, NOT_FOUND, NOT_FOUND, NOT_FOUND, NOT_FOUND`,
            `${name} @1000 5000: EXPIRED, EXPIRED, EXPIRED, EXPIRED, EXPIRED, EXPIRED, EXPIRED, EXPIRED`,
            `${name} @2000 5000: 0, OVERFLOW, NULL, NULL, NULL, OVERFLOW, NULL, NULL`,
          ])
        },
      ))

    test('many rows in many parts are one write', () =>
      withTable(simple, async ({ store, lines }, table) => {
        const part = (from: number): FeatureRows =>
          rowsOf(
            table,
            Array.from({ length: 1000 }, (_, index) => row(`k${index}`, from, from, BigInt(index), null)),
          )
        const rows = Array.from({ length: 5 }, (_, index) => part(1000 + index))
        expect(await store.write({ view: table.view, to: at(1, 5000), rows })).toBe('applied')
        expect(await lines(table)).toHaveLength(5000)
      }))
  })
}
