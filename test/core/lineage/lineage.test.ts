import { describe, expect, it } from 'vitest'
import { derivedFingerprint, featureFingerprint } from '../../../core/definition/fingerprint.ts'
import { offset, type PartitionPosition } from '../../../core/event/position.ts'
import { servicePosition, trainingSetLineage } from '../../../core/lineage/lineage.ts'
import { catalog, everything } from '../../training/support.ts'

const covered: PartitionPosition[] = [{ epoch: 0, next: offset(4) }]
const position = { logId: 'log', streams: { zebra: covered, events: covered } }
const lineage = (of = position) =>
  trainingSetLineage({ catalog, service: everything, position: of, rows: 3, contentDigest: 'abc' })

describe('the lineage of a training set', () => {
  it('says of each feature what it is and what it reads', () => {
    const { columns } = lineage()
    expect(columns['by_who__n']).toEqual({
      'tidemark.reference': 'by_who:n',
      'tidemark.fingerprint': featureFingerprint(catalog, { view: 'by_who', feature: 'n' }),
      'tidemark.sources': '["events.at","events.who"]',
      'tidemark.window': '{"kind":"sliding","spanMs":700}',
      'tidemark.function': 'count()',
    })
    expect(columns['by_place__i_mean']).toMatchObject({
      'tidemark.window': '{"kind":"lifetime"}',
      'tidemark.function': 'mean($"i")',
    })
    expect(Object.keys(columns)).toHaveLength(everything.features.length + 2)
  })

  it('says of a derived feature what it was derived from', () => {
    expect(lineage().columns['busy']).toEqual({
      'tidemark.reference': 'busy',
      'tidemark.fingerprint': derivedFingerprint(catalog, everything, 'busy'),
      'tidemark.sources': '["events.at","events.who","request.planned"]',
      'tidemark.inputs': '["by_who.n","request.planned"]',
      'tidemark.function': '(gt $"by_who.n" $"request.planned")',
    })
  })

  it('is a function of what was read: other streams and the order of keys do not change it', () => {
    const other = { streams: { events: [{ next: offset(4), epoch: 0 }] }, logId: 'log' }
    expect(lineage(other as never)).toEqual(lineage())
    expect(servicePosition(catalog, everything, position)).toEqual({ logId: 'log', streams: { events: covered } })
    expect(lineage().schema['tidemark.position']).toBe('{"logId":"log","streams":{"events":[{"epoch":0,"next":4}]}}')
  })
})
