import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { streamOf, viewOf } from '../../core/definition/catalog.ts'
import type { ServiceDefinition } from '../../core/definition/types.ts'
import { statusName, valueAt, type FeatureColumn } from '../../core/engine/feature-column.ts'
import { acceptedEvents, naiveValue, type NaiveEvent } from '../../core/engine/naive.ts'
import { scalarAt } from '../../core/event/column.ts'
import { nextOffset, type Position } from '../../core/event/position.ts'
import type { Column } from '../../core/event/types.ts'
import { stringColumn } from '../../schemas/arrow/columns.ts'
import { buildDataset, DatasetBuilder } from '../../training/dataset.ts'
import type { LabelSet } from '../../training/labels.ts'
import { describeDataset } from '../../training/output.ts'
import { generatedEvent, logged } from '../support/history.ts'
import { batchesOf, catalog, everything, positionOf, scanOf, windows } from './support.ts'

interface Row {
  readonly who: string
  readonly region: number
  readonly at: number
  readonly known: number
}

/** Rows lie at the very edges of events more often than not: T at an event or a window behind it, K at its knownAt. */
const edges = fc.constantFrom(0, 0, 0, 1, -1, 700, 701, 2_000, 2_001, 4_000, 4_001)
const labelRow = fc.record({
  event: fc.nat(),
  who: fc.option(fc.constantFrom('a', 'b', 'ü\0', '', 'never seen'), { freq: 3 }),
  region: fc.option(fc.nat({ max: 2 }), { freq: 3 }),
  atShift: fc.oneof(edges, edges, fc.integer({ min: -3_000, max: 6_000 })),
  known: fc.oneof(
    fc.constantFrom('as of', 'event', 'before event', 'after event'),
    fc.integer({ min: -3_000, max: 3_000 }),
  ),
})
type LabelRow = typeof labelRow extends fc.Arbitrary<infer T> ? T : never

function rowOf(history: readonly NaiveEvent[], { event: pick, who, region, atShift, known }: LabelRow): Row {
  const event = history[pick % history.length] as NaiveEvent
  const at = event.eventTimeMs + atShift
  const knownBy = {
    'as of': at,
    event: event.knownAtMs,
    'before event': event.knownAtMs - 1,
    'after event': event.knownAtMs + 1,
  }
  return {
    who: who ?? String(event.fields['who']),
    region: region ?? Number(event.fields['region']),
    at,
    known: typeof known === 'number' ? at + known : knownBy[known as keyof typeof knownBy],
  }
}

function labelsOf(rows: readonly Row[]): LabelSet {
  return {
    rows: rows.length,
    entities: {
      who: stringColumn(
        rows.map(({ who }) => who),
        null,
      ),
      region: { type: 'int32', values: Int32Array.from(rows, ({ region }) => region), nulls: null },
    },
    asOfMs: Float64Array.from(rows, ({ at }) => at),
    knownAsOfMs: Float64Array.from(rows, ({ known }) => known),
    knownAsOfGiven: true,
    request: {
      planned: { type: 'int32', values: new Int32Array(rows.length).fill(2), nulls: null },
      note: stringColumn(new Array<null>(rows.length).fill(null), new Uint8Array(rows.length).fill(1)),
    },
    passthrough: [],
    label: null,
  }
}

/** Every feature of the service at every row, by full scans. */
function naive(service: ServiceDefinition, history: readonly NaiveEvent[], position: Position, rows: readonly Row[]) {
  return service.features.map(({ view: name, feature: featureName }) => {
    const view = viewOf(catalog, name)
    const { fields } = streamOf(catalog, view.from)
    const feature = view.features.find((candidate) => candidate.name === featureName)
    return rows.map((row) => {
      const own = history.filter((event) =>
        view.keyFields.every((field) => event.fields[field] === row[field as 'who' | 'region']),
      )
      const accepted = acceptedEvents(view, own, (partition) => nextOffset(position, 'events', partition))
      const asOf = { asOfMs: row.at, knownAsOfMs: row.known }
      const { status, value } = naiveValue(view, fields, feature as never, accepted, asOf)
      return [statusName(status), value]
    })
  })
}

const seen = (columns: readonly FeatureColumn[], rows: number) =>
  columns.map((column) =>
    Array.from({ length: rows }, (_, row) => [statusName(column.statuses[row] as number), valueAt(column, row)]),
  )

const histories = fc.array(generatedEvent(9_000, 2_000), { minLength: 20, maxLength: 200, size: 'max' })

describe('a data set', () => {
  it.each([everything, windows])(
    'equals the naive twin for every feature of $name at every label row',
    { timeout: 60_000 },
    async (service) => {
      await fc.assert(
        fc.asyncProperty(
          histories,
          fc.array(labelRow, { maxLength: 30, size: 'max' }),
          fc.integer({ min: 1, max: 60 }),
          fc.constantFrom(0, 0.5, 1),
          async (generated, wanted, size, share) => {
            const history = logged(generated)
            const rows = wanted.map((row) => rowOf(history, row))
            const position = positionOf(history, share)
            const scan = scanOf(batchesOf(history, size))
            const builder = await DatasetBuilder.scan({ catalog, service, scan, position })
            const dataset = builder.finish(labelsOf(rows))
            const features = dataset.columns.slice(0, service.features.length)
            expect(seen(features, rows.length)).toEqual(naive(service, history, position, rows))
            const leaky = builder.finish(labelsOf(rows), { leaky: true })
            const later = rows.map((row) => ({ ...row, at: row.at + 1, known: Number.POSITIVE_INFINITY }))
            expect(seen(leaky.columns.slice(0, service.features.length), rows.length)).toEqual(
              naive(service, history, position, later),
            )
          },
        ),
        { numRuns: 60 },
      )
    },
  )

  it('does not depend on batches or on the order of partitions', async () => {
    await fc.assert(
      fc.asyncProperty(histories, fc.array(labelRow, { maxLength: 8 }), async (generated, wanted) => {
        const history = logged(generated)
        const rows = wanted.map((row) => rowOf(history, row))
        const position = positionOf(history)
        const columns = async (size: number, backwards: boolean) => {
          const batches = batchesOf(history, size)
          if (backwards) batches.sort((a, b) => b.partition - a.partition)
          const clock = { nowMs: () => 5 }
          const scan = scanOf(batches)
          const labels = labelsOf(rows)
          return (await buildDataset({ catalog, service: everything, scan, position, labels, clock })).columns
        }
        expect(await columns(7, true)).toEqual(await columns(1_000, false))
      }),
      { numRuns: 30 },
    )
  })

  it('derives from features and request fields, row by row', async () => {
    const history = logged(
      [10, 20, 30].map((delayMs, index) => ({
        partition: index,
        eventTimeMs: 1_000_000 + index,
        delayMs,
        fields: { who: 'a', region: 0, i: index, b: null, f: null, s: null, ok: null },
      })),
    )
    const options = { catalog, service: everything, position: positionOf(history) }
    const builder = await DatasetBuilder.scan({ ...options, scan: scanOf(batchesOf(history, 2)) })
    const row = { who: 'a', region: 0, at: 1_000_700, known: 1_000_700 }
    const { columns } = builder.finish(labelsOf([row, { ...row, at: 1_000_100, known: 1_000_100 }]))
    const value = (name: string, at: number) =>
      valueAt(columns.find((column) => column.name === name) as FeatureColumn, at)
    expect([value('busy', 0), value('busy', 1)]).toEqual([true, true])
    expect([value('above', 0), value('above', 1)]).toEqual([0, 0])
  })

  it('refuses a scan that ends before the position', async () => {
    const position = { logId: 'x', streams: { events: [{ epoch: 0, next: 3 as never }] } }
    await expect(
      DatasetBuilder.scan({ catalog, service: everything, scan: scanOf([]), position }),
    ).rejects.toMatchObject({ code: 'FS_LOG_CORRUPT' })
  })

  it('a key that is null or too long is an error of its row, as in a lookup, and changes no other row', async () => {
    const history = logged(
      [0, 1, 2].map((index) => ({
        partition: index,
        eventTimeMs: 1_000_000 + index,
        delayMs: 0,
        fields: { who: 'a', region: 0, i: index, b: null, f: null, s: null, ok: null },
      })),
    )
    const options = { catalog, service: everything, position: positionOf(history) }
    const builder = await DatasetBuilder.scan({ ...options, scan: scanOf(batchesOf(history, 2)) })
    const row = { who: 'a', region: 0, at: 1_000_100, known: 1_000_100 }
    const good = builder.finish(labelsOf([row, row]))
    const rows = [row, { ...row, who: 'x'.repeat(1_025) }, row, { ...row, who: 'not there' }]
    const labels = labelsOf(rows)
    // Of the key (who, region) only the region is null: the view by `who` alone answers.
    const nulls = Uint8Array.of(0, 0, 0, 1)
    const entities = { ...labels.entities, region: { ...(labels.entities['region'] as Column), nulls } as Column }
    const { columns } = builder.finish({ ...labels, entities })
    const invalid = (at: number) => ({ row: at, code: 'FS_ENTITY_INVALID' })
    for (const [index, column] of columns.entries()) {
      const byPlace = column.name.startsWith('by_place:') || ['above'].includes(column.name)
      expect([column.name, column.errors]).toEqual([column.name, byPlace ? [invalid(1), invalid(3)] : [invalid(1)]])
      expect([column.name, statusName(column.statuses[1] as number), valueAt(column, 1)]).toEqual([
        ...[column.name, 'ERROR', null],
      ])
      for (const at of [0, 2]) expect(valueAt(column, at)).toEqual(valueAt(good.columns[index] as FeatureColumn, 0))
    }
    const output = describeDataset({ ...options, labels: { ...labels, entities }, columns })
    const count = output.columns.find(({ name }) => name === 'by_place__n')?.column as Column
    expect([0, 1, 2, 3].map((at) => scalarAt(count, at))).toEqual([3n, null, 3n, null])
  })
})
