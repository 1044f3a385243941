import { describe, expect, it } from 'vitest'
import { columnFingerprints } from '../../core/lineage/lineage.ts'
import { scalarAt } from '../../core/event/column.ts'
import { encodeToken } from '../../core/event/position.ts'
import { valueAt } from '../../core/engine/feature-column.ts'
import { featureColumnName } from '../../core/engine/matrix.ts'
import { listStart, type FileColumn } from '../../schemas/arrow/columns.ts'
import { contentDigest } from '../../schemas/arrow/digest.ts'
import { readArrowFile } from '../../schemas/arrow/read.ts'
import { readCsv } from '../../schemas/csv/read.ts'
import { DatasetBuilder } from '../../training/dataset.ts'
import { labelsFromTable, labelTableOfCsv } from '../../training/labels.ts'
import { writeDataset, writeDatasetCsv } from '../../training/output.ts'
import type { GeneratedEvent } from '../support/history.ts'
import { logged } from '../support/history.ts'
import { batchesOf, catalog, everything, positionOf, scanOf } from './support.ts'

const generated = Array.from({ length: 40 }, (_, index): GeneratedEvent => ({
  partition: index % 3,
  eventTimeMs: 1_000_000 + index * 10,
  delayMs: 5,
  fields: {
    who: index % 2 === 0 ? 'a' : 'b',
    region: 0,
    i: index,
    b: 2n ** 40n,
    f: index / 3,
    s: index % 5 === 0 ? null : `s"${index % 3}`,
    ok: index % 2 === 0,
  },
}))
const text =
  'weight,who,region,as_of,known_as_of,planned,note\n' +
  '1.50,a,0,1000300,1000300,3,n\n,b,0,1000350,,4,\nx,never,0,1000350,,4,\nold,a,0,1090000,,4,\n'

async function options(size = 10) {
  const history = logged(generated)
  const position = positionOf(history)
  const scan = scanOf(batchesOf(history, size))
  const builder = await DatasetBuilder.scan({ catalog, service: everything, scan, position })
  const labels = labelsFromTable(catalog, everything, labelTableOfCsv(readCsv(text)))
  return { catalog, service: everything, labels, columns: builder.finish(labels).columns, position }
}

function cell(column: FileColumn, row: number): unknown {
  if (column.nulls?.[row] === 1) return null
  if (column.type !== 'list') return scalarAt(column, row)
  const items: unknown[] = []
  for (let at = listStart(column, row); at < (column.ends[row] as number); at++)
    items.push(column.items.type === 'bool' ? column.items.values[at] === 1 : column.items.values[at])
  return items
}

describe('a training set as a file', () => {
  it('has the label columns, then the features, with their values, in Arrow', async () => {
    const given = await options()
    const { arrow } = writeDataset(given)
    const file = readArrowFile(arrow)
    expect(file.rowCount).toBe(4)
    expect(Object.keys(file.columns)).toEqual([
      ...['who', 'region', 'as_of', 'known_as_of', 'planned', 'note', 'weight'],
      ...everything.features.map(({ view, feature }) => `${view}__${feature}`),
      ...['above', 'busy'],
    ])
    expect([0, 1, 2, 3].map((row) => cell(file.columns['weight'] as FileColumn, row))).toEqual([
      '1.50',
      null,
      'x',
      'old',
    ])
    for (const column of given.columns) {
      const read = file.columns[featureColumnName(column.name)] as FileColumn
      for (let row = 0; row < 4; row++) expect(cell(read, row)).toEqual(valueAt(column, row))
    }
    // Never seen: counts are 0. Older than the ttl: nothing, counts included.
    expect([2, 3].map((row) => cell(file.columns['by_who__n'] as FileColumn, row))).toEqual([0n, null])
  })

  it('names what it was computed from', async () => {
    const given = await options()
    const { arrow, digest } = writeDataset(given)
    const { schemaMetadata, fieldMetadata, columns } = readArrowFile(arrow)
    expect(schemaMetadata).toMatchObject({
      'tidemark.service': 'everything',
      'tidemark.rows': '4',
      'tidemark.content_digest': digest,
      'tidemark.token': encodeToken(given.position),
    })
    expect(JSON.parse(schemaMetadata['tidemark.fingerprints'] as string)).toEqual(
      columnFingerprints(catalog, everything),
    )
    expect(JSON.parse(schemaMetadata['tidemark.position'] as string)).toEqual(given.position)
    expect(fieldMetadata['by_who__i_last3']).toMatchObject({
      'tidemark.reference': 'by_who:i_last3',
      'tidemark.function': 'lastN($"i", 3)',
      'tidemark.sources': '["events.at","events.i","events.who"]',
    })
    // Whoever reads the file can check its content.
    expect(contentDigest(Object.entries(columns).map(([name, column]) => ({ name, column })))).toBe(digest)
  })

  it('has the same bytes when it is built again, whatever the batches', async () => {
    const once = writeDataset(await options(3))
    const again = writeDataset(await options(100))
    expect(again.digest).toBe(once.digest)
    expect(Buffer.compare(again.arrow, once.arrow)).toBe(0)
  })

  it('reads back from CSV, and its label columns make the same labels', async () => {
    const given = await options()
    const csv = [...writeDatasetCsv(given)].join('')
    const { header, rows } = readCsv(csv)
    const at = (name: string) => rows.map((row) => row[header.indexOf(name)])
    expect(at('who')).toEqual(['a', 'b', 'never', 'a'])
    expect(at('by_who__n')).toEqual(['15', '17', '0', null])
    expect(JSON.parse(at('by_who__i_last3')[0] as string)).toHaveLength(3)
    const own = ['who', 'region', 'as_of', 'known_as_of', 'planned', 'note', 'weight']
    const table = { header: own, rows: rows.map((row) => own.map((name) => row[header.indexOf(name)] ?? null)) }
    const labels = labelsFromTable(catalog, everything, labelTableOfCsv(table))
    expect(labels).toEqual(given.labels)
  })

  it('refuses two columns of one name', async () => {
    const given = await options()
    const labels = {
      ...given.labels,
      label: new Uint8Array(4),
      passthrough: [{ name: 'label', column: given.labels.passthrough[0]?.column as FileColumn }],
    }
    expect(() => writeDataset({ ...given, labels })).toThrow(/column label would be twice/)
  })
})
