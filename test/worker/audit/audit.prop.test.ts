import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encodeKey } from '../../../core/event/key.ts'
import { Status, statusName } from '../../../core/engine/feature-column.ts'
import { auditSamples, sameBits } from '../../../worker/audit/audit.ts'
import type { AuditSample } from '../../../worker/audit/sample.ts'
import { generatedEvent, logged } from '../../support/history.ts'
import {
  catalog,
  flipped,
  openSystem,
  smallHistory,
  tampered,
  type Question,
  valuesPerSample,
  type SystemOptions,
} from './system.ts'

const numRuns = Number(process.env['TIDEMARK_PROPERTY_RUNS'] ?? 60)

const questions = fc.array(
  fc.record(
    {
      asOfMs: fc.integer({ min: 999_000, max: 1_012_000 }),
      knownAsOfMs: fc.integer({ min: 999_000, max: 1_014_000 }),
    },
    { requiredKeys: [] },
  ),
  { minLength: 2, maxLength: 5 },
)
const runs = fc.record({
  history: fc.array(generatedEvent(7_000, 2_000), { minLength: 20, maxLength: 120, size: 'max' }).map(logged),
  stops: fc.integer({ min: 1, max: 4 }),
  recordsPerBatch: fc.integer({ min: 1, max: 30 }),
  questions,
})
type Run = typeof runs extends fc.Arbitrary<infer R> ? R : never

/** Runs the history in stops, asks at each of them, and audits everything at the end. */
async function sampled({ history, stops, recordsPerBatch, questions }: Run, options: SystemOptions = {}) {
  const system = await openSystem(options)
  const samples: AuditSample[] = []
  for (let stop = 0; stop < stops; stop++) {
    const cut = (at: number): number => Math.floor((history.length * at) / stops)
    await system.append(history.slice(cut(stop), cut(stop + 1)), recordsPerBatch)
    await system.project(500)
    for (const question of questions) samples.push(...(await system.ask(question)))
  }
  const { readers } = system
  return { samples, readers, report: await auditSamples({ catalog, samples, readers, mismatchesMax: 1e9 }) }
}

/** How many values of two lists of samples differ. */
const differences = (a: readonly AuditSample[], b: readonly AuditSample[]): number =>
  a.reduce(
    (sum, sample, index) =>
      sum +
      sample.values.filter(({ status, value }, at) => {
        const other = b[index]?.values[at]
        return other?.status !== status || !sameBits(other.value, value)
      }).length,
    0,
  )

describe('the audit of an honest store', () => {
  it('finds nothing: any history, batches, stops, T and K', { timeout: 100_000 }, async () => {
    const statuses = new Set<string>()
    await fc.assert(
      fc.asyncProperty(runs, async (run) => {
        const { samples, report } = await sampled(run)
        for (const { values } of samples) for (const { status } of values) statuses.add(statusName(status))
        expect(report.mismatches.slice(0, 3)).toEqual([])
        expect(report.mismatched).toBe(0)
        expect(report.checked).toBe(samples.length * valuesPerSample)
        expect([...report.byFeature.values()].every(({ checked }) => checked === samples.length)).toBe(true)
      }),
      { numRuns },
    )
    expect([...statuses].sort()).toEqual(['ERROR', 'EXPIRED', 'NOT_FOUND', 'NULL', 'OVERFLOW', 'PRESENT'])
  })

  it('an event that the view refuses makes no entity EXPIRED that is NOT_FOUND', async () => {
    const fields = { who: 'a', region: 0, i: null, b: null, f: null, s: null, ok: null }
    const event = (offset: number, eventTimeMs: number, knownAtMs: number) => ({
      partition: 0,
      offset,
      eventTimeMs,
      knownAtMs,
      fields: { ...fields, at: eventTimeMs },
    })
    const { report } = await sampled({
      // The first is 41 ms ahead of its time, one more than the view takes; the second is pruned with the third.
      history: [event(0, 1_000_000, 999_959), event(1, 1_000_000, 1_000_000), event(2, 1_004_338, 1_004_338)],
      stops: 1,
      recordsPerBatch: 3,
      questions: [{ asOfMs: 1_004_339, knownAsOfMs: 999_959 }],
    })
    expect(report.mismatches).toEqual([])
  })

  it('tallies by kind, and takes STALE for the present value that it is', async () => {
    const system = await openSystem()
    await system.append(smallHistory, 4)
    await system.project(1_000)
    const online = await system.ask({})
    const asOf = (await system.ask({ asOfMs: 1_000_500 })).map((sample) => ({
      ...sample,
      values: sample.values.map((value) =>
        value.status === Status.PRESENT ? { ...value, status: Status.STALE } : value,
      ),
    }))
    const report = await auditSamples({ catalog, samples: [...online, ...asOf], readers: system.readers })
    expect(report.byKind).toEqual(
      new Map([
        ['online', { checked: online.length * valuesPerSample, mismatched: 0 }],
        ['as-of', { checked: asOf.length * valuesPerSample, mismatched: 0 }],
      ]),
    )
  })

  it('refuses samples of two logs, and of features that are not defined', async () => {
    const system = await openSystem()
    await system.append(smallHistory, 4)
    await system.project(1_000)
    const [sample] = (await system.ask({})) as [AuditSample]
    const audit = (...samples: AuditSample[]) => auditSamples({ catalog, samples, readers: system.readers })
    await expect(audit(sample, { ...sample, position: { ...sample.position, logId: 'other' } })).rejects.toThrow(
      /2 logs/,
    )
    const named = (name: string): AuditSample => ({ ...sample, values: [{ name, status: Status.NULL, value: null }] })
    await expect(audit(named('places:gone'))).rejects.toMatchObject({ code: 'FS_FEATURE_UNKNOWN' })
    await expect(audit(named('gone'))).rejects.toMatchObject({ code: 'FS_FEATURE_UNKNOWN' })
  })
})

describe('the audit of a store that is wrong', () => {
  const asks: readonly Question[] = [
    {},
    { asOfMs: 1_000_450 },
    { asOfMs: 1_000_901, knownAsOfMs: 1_000_700 },
    { asOfMs: 1_004_100 },
  ]

  it(
    'finds every value that one flipped bit of a row changes, of that entity alone',
    { timeout: 100_000 },
    async () => {
      const system = await openSystem()
      await system.append(smallHistory, 4)
      await system.project(1_000)
      const key = encodeKey(['a', 0], ['string', 'int32'])
      let bits = 0
      for await (const stored of system.store.scan('places'))
        if (Buffer.compare(stored.key, key) === 0) bits = stored.row.length * 8
      expect(bits).toBeGreaterThan(1_000)

      const honest = await Promise.all(asks.map((question) => system.ask(question)))
      const samples: AuditSample[] = []
      let changed = 0
      let flips = 0
      let silent = 0
      // Every fifth: each of the eight bits of a byte has its turn.
      for (let bit = 0; bit < bits; bit += 5) {
        const store = tampered(system.store, 'places', key, (row) => flipped(row, bit))
        let changes = 0
        for (const [index, question] of asks.entries()) {
          const got = await system.ask(question, store)
          changes += differences(got, honest[index] as AuditSample[])
          samples.push(...got)
        }
        changed += changes
        flips++
        if (changes === 0) silent++
      }
      const report = await auditSamples({ catalog, samples, readers: system.readers, mismatchesMax: 1e9 })
      expect(report.mismatched).toBe(changed)
      expect(silent).toBeLessThan(flips / 2)
      expect(entitiesOf(report.mismatches)).toEqual(['a/0'])
      expect([...report.byFeature].filter(([, { mismatched }]) => mismatched > 0).map(([name]) => name)).not.toContain(
        'people:n',
      )
      expect(new Set(report.mismatches.map(({ got }) => statusName(got.status)))).toContain('ERROR')
      expect(report.mismatches.some(({ got }) => got.status === Status.PRESENT)).toBe(true)
    },
  )

  it('finds one dropped event, in its entities alone', async () => {
    const dropped = smallHistory[8] as (typeof smallHistory)[number]
    const run: Run = { history: [...smallHistory], stops: 2, recordsPerBatch: 3, questions: [...asks] }
    const { samples, report, readers } = await sampled(run, { drop: dropped })
    const names = [...report.byFeature].filter(([, { mismatched }]) => mismatched > 0).map(([name]) => name)
    expect(names).toEqual(expect.arrayContaining(['places:n', 'places:i_mean', 'people:n', 'twice']))
    expect(entitiesOf(report.mismatches)).toEqual(['a/0', 'a/1'])
    // ('a', 1) has no events of its own: what is wrong there is that of person 'a'.
    for (const { sample, name } of report.mismatches)
      if (sample.entities['region'] === 1) expect(name).toMatch(/^people:|^part$/)
    expect(report.mismatched).toBeGreaterThan(20)
    expect((await auditSamples({ catalog, samples, readers })).mismatches).toEqual(report.mismatches.slice(0, 20))
  })

  it('reports exactly what a dropped event changes, whatever the history', { timeout: 100_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(runs, fc.nat(), async (run, pick) => {
        const drop = run.history[pick % run.history.length] as (typeof run.history)[number]
        const honest = await sampled(run)
        const { samples, report } = await sampled(run, { drop })
        // Without an as-of the moment is the newest event's, which may be the dropped one: another question then.
        const same = samples.every(({ asOfMs }, index) => asOfMs === honest.samples[index]?.asOfMs)
        if (same) expect(report.mismatched).toBe(differences(samples, honest.samples))
        for (const { sample } of report.mismatches) expect(sample.entities['who']).toBe(drop.fields['who'])
      }),
      { numRuns: Math.ceil(numRuns / 2) },
    )
  })
})

const entitiesOf = (mismatches: readonly { readonly sample: AuditSample }[]): string[] =>
  [
    ...new Set(
      mismatches.map(({ sample: { entities } }) => `${String(entities['who'])}/${String(entities['region'])}`),
    ),
  ].sort()
