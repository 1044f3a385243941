import { describe, expect, it } from 'vitest'
import { MemoryLog } from '../../connectors/memory/log.ts'
import { MemoryOnlineStore } from '../../connectors/memory/online-store.ts'
import { buildCatalog } from '../../core/definition/catalog.ts'
import { string, timestamp } from '../../core/definition/fields.ts'
import { count, days } from '../../core/definition/functions.ts'
import { entity, stream } from '../../core/definition/stream.ts'
import { view } from '../../core/definition/view.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import { silentLogger } from '../../core/ports/environment.ts'
import { keptForEver, type EventLog, type StreamKeeping } from '../../core/ports/event-log.ts'
import { needOf } from '../../core/registry/log-check.ts'
import { streamSchema } from '../../schemas/avro/index.ts'
import { inspectLog } from '../../worker/inspect-log.ts'
import { runWorker } from '../../worker/run.ts'

const taps = stream('taps', { fields: { at: timestamp(), who: string() }, eventTime: 'at' })
const person = entity('person', { key: { who: string() } })
const people = view('people', { from: taps, entity: person, features: () => ({ n: count().over(days(7)) }) })
const catalog = buildCatalog([taps, person, people])
const schema = streamSchema('taps', taps.fields)

/** A log that says what it keeps as `answers` do, one after the other; an error is thrown. */
async function logThat(...answers: readonly (Partial<StreamKeeping> | Error)[]): Promise<EventLog> {
  const log = new MemoryLog()
  await log.create('taps', { partitions: 1 })
  let asked = 0
  return Object.assign(Object.create(log) as MemoryLog, {
    inspect: async () => {
      const answer = answers[Math.min(asked++, answers.length - 1)]
      if (answer instanceof Error) throw answer
      return [{ ...keptForEver(true, 1), ...answer }]
    },
  })
}

/** Runs a worker to the end of the log; what it warned of. */
async function worked(log: EventLog): Promise<unknown[]> {
  const warned: unknown[] = []
  await runWorker({
    catalog,
    log,
    schemas: () => schema,
    online: new MemoryOnlineStore({ bytes: (length) => new Uint8Array(length) }),
    settings: { shards: 2, historyMs: 0, memoryBytesMax: 1 << 20, flushMs: 10, pollMs: 1 },
    clock: { nowMs: () => 0 },
    logger: { ...silentLogger, warn: (event, fields) => void warned.push([event, fields?.['code']]) },
    sleep: () => Promise.resolve(),
    signal: new AbortController().signal,
    until: 'caught-up',
  })
  return warned
}

describe('a worker that begins', () => {
  it.each([
    ['FS_LOG_KNOWN_AT', { knownAt: 'createTime' as const }],
    ['FS_LOG_COMPACTED', { isCompacted: true }],
  ])('stops with %s, since values would be wrong', async (code, keeping) => {
    await expect(worked(await logThat(keeping))).rejects.toMatchObject({ code })
  })

  it('says what else is not kept, and works', async () => {
    expect(await worked(await logThat({ retentionMs: 1_000 }))).toEqual([['log.keeping', 'FS_LOG_RETENTION']])
    expect(await worked(await logThat({ retentionMs: 1e15 }))).toEqual([])
    expect(await worked(await logThat({}))).toEqual([])
  })

  it('asks again while the log does not answer', async () => {
    const away = new FeatureStoreError('FS_KAFKA_UNAVAILABLE', 'away')
    await expect(worked(await logThat(away, away, { isCompacted: true }))).rejects.toMatchObject({
      code: 'FS_LOG_COMPACTED',
    })
  })
})

it('a log that says nothing keeps everything; errors come before warnings, of all streams', async () => {
  const log = await logThat({})
  const silent: EventLog = Object.assign(Object.create(log) as MemoryLog, { inspect: undefined })
  expect((await inspectLog(silent, [needOf(catalog, taps)])).findings).toEqual([])
  const two: EventLog = Object.assign(Object.create(log) as MemoryLog, {
    inspect: async () => [
      { ...keptForEver(true, 1), retentionMs: 1e15 },
      { ...keptForEver(true, 1), isCompacted: true },
    ],
  })
  const { findings, keepings } = await inspectLog(two, [
    needOf(catalog, taps),
    { ...needOf(catalog, taps), stream: 'b' },
  ])
  expect(findings.map(({ stream: of, code }) => `${of} ${code}`)).toEqual([
    'b FS_LOG_COMPACTED',
    'taps FS_LOG_RETENTION',
  ])
  expect(keepings).toHaveLength(2)
})
