import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { modelOf } from '../../core/definition/catalog.ts'
import type { ModelDefinition } from '../../core/definition/types.ts'
import { scalarAt } from '../../core/event/column.ts'
import { Op } from '../../core/event/operation.ts'
import type { NaiveEvent } from '../../core/engine/naive.ts'
import { labelFields, labelsFromStream } from '../../training/label-sample.ts'
import type { LabelSet } from '../../training/labels.ts'
import { generatedEvent, logged } from '../support/history.ts'
import { batchesOf, catalog, scanOf } from './support.ts'

const model = (sampleRows: number): ModelDefinition => {
  const defined = modelOf(catalog, 'risk_model')
  return { ...defined, labels: { ...defined.labels, sampleRows } }
}

const rowsOf = (labels: LabelSet) =>
  Array.from({ length: labels.rows }, (_, row) => ({
    who: scalarAt(labels.entities['who'] as never, row),
    region: scalarAt(labels.entities['region'] as never, row),
    again: scalarAt(labels.request['region_again'] as never, row),
    asOfMs: labels.asOfMs[row],
    knownAsOfMs: labels.knownAsOfMs[row],
    label: labels.label?.[row],
  }))

const plain = (event: NaiveEvent) => ({
  who: event.fields['who'],
  region: event.fields['region'],
  again: event.fields['region'],
  asOfMs: event.eventTimeMs,
  knownAsOfMs: event.eventTimeMs,
  label: (event.fields['i'] as number) > 3 ? 1 : 0,
})

const inOrder = (history: readonly NaiveEvent[]): NaiveEvent[] =>
  history
    .filter((event) => event.fields['i'] !== null)
    .sort((a, b) => a.eventTimeMs - b.eventTimeMs || a.partition - b.partition || a.offset - b.offset)

const histories = fc.array(generatedEvent(300, 100), { maxLength: 250, size: 'max' })

describe('labels from a stream', () => {
  it('are every event whose label is not null, as of its own time, where the sample is large enough', async () => {
    await fc.assert(
      fc.asyncProperty(histories, fc.integer({ min: 1, max: 80 }), async (generated, size) => {
        const history = logged(generated)
        const labels = await labelsFromStream(catalog, model(1_000), scanOf(batchesOf(history, size)))
        expect(rowsOf(labels)).toEqual(inOrder(history).map(plain))
      }),
    )
  })

  it('are no records that only take back others', async () => {
    const history = logged(fc.sample(generatedEvent(300, 100), { numRuns: 100, seed: 7 })).map((event, index) => ({
      ...event,
      op: index % 3 === 0 ? Op.retract : Op.insert,
    }))
    const labels = await labelsFromStream(catalog, model(1_000), scanOf(batchesOf(history, 9)))
    expect(rowsOf(labels)).toEqual(inOrder(history.filter(({ op }) => op === Op.insert)).map(plain))
    expect(labels.rows).toBeGreaterThan(20)
  })

  it('are exactly sampleRows, the same ones for any batches and order of partitions, and grow with sampleRows', async () => {
    await fc.assert(
      fc.asyncProperty(histories, fc.integer({ min: 1, max: 60 }), async (generated, sampleRows) => {
        const history = logged(generated)
        const forwards = await labelsFromStream(catalog, model(sampleRows), scanOf(batchesOf(history, 5)))
        const backwards = await labelsFromStream(catalog, model(sampleRows), scanOf(batchesOf(history, 99).reverse()))
        const all = inOrder(history).map(plain)
        expect(forwards.rows).toBe(Math.min(sampleRows, all.length))
        expect(rowsOf(backwards)).toEqual(rowsOf(forwards))
        const more = await labelsFromStream(catalog, model(sampleRows + 7), scanOf(batchesOf(history, 5)))
        const text = new Set(rowsOf(more).map((row) => JSON.stringify(row)))
        for (const row of rowsOf(forwards)) expect(text.has(JSON.stringify(row))).toBe(true)
      }),
    )
  })

  it('spread evenly over offsets and partitions', async () => {
    const history = logged(
      Array.from({ length: 3_000 }, (_, index) => ({
        partition: index % 3,
        eventTimeMs: 1_000_000 + index,
        delayMs: 0,
        fields: { who: 'a', region: index % 3, i: 1, b: null, f: null, s: null, ok: null },
      })),
    )
    const labels = await labelsFromStream(catalog, model(600), scanOf(batchesOf(history, 100)))
    for (let tenth = 0; tenth < 10; tenth++) {
      const from = 1_000_000 + tenth * 300
      const here = labels.asOfMs.filter((at) => at >= from && at < from + 300).length
      expect(here).toBeGreaterThan(35)
      expect(here).toBeLessThan(90)
    }
    const regions = labels.entities['region']?.values as Int32Array
    for (const region of [0, 1, 2]) expect(regions.filter((value) => value === region).length).toBeGreaterThan(150)
  })

  it('need the event time, the keys, the request fields and what the label reads', () => {
    expect(labelFields(catalog, model(1)).sort()).toEqual(['at', 'i', 'region', 'who'])
  })
})
