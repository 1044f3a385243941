import { describe, expect, test } from 'vitest'
import { openLog } from '../../connectors/log/index.ts'
import { MemoryLog } from '../../connectors/memory/log.ts'
import { buildCatalog } from '../../core/definition/catalog.ts'
import { serviceFingerprints } from '../../core/definition/fingerprint.ts'
import type { EventLog } from '../../core/ports/event-log.ts'
import { decideApply, decideRegisterModel, isApplied } from '../../core/registry/decide.ts'
import { initialState } from '../../core/registry/state.ts'
import { RecordCursor } from '../../schemas/recordbatch/index.ts'
import { appendRegistry, loadRegistry, registryStream } from '../../worker/registry-log.ts'
import { testFolder, write } from '../connectors/log/support.ts'
import { otherDelays, project, registration, replay, flights, origin } from '../core/registry/support.ts'

const catalog = buildCatalog(project)
const logs: [string, () => Promise<EventLog & AsyncDisposable>][] = [
  ['memory', async () => new MemoryLog()],
  ['embedded', () => write(testFolder())],
]

describe.each(logs)('the registry in the %s log', (_, open) => {
  test('is the initial state where nothing was applied, and reading makes nothing', async () => {
    await using log = await open()
    expect(await loadRegistry(log)).toEqual(initialState)
    await appendRegistry(log, [], 1)
    expect(await log.describe(registryStream)).toBeNull()
  })

  test('is what its events make of it, decision after decision', async () => {
    await using log = await open()
    await appendRegistry(log, decideApply(catalog, initialState), 1_000)
    const first = await loadRegistry(log)
    expect(first).toEqual(replay(decideApply(catalog, initialState)))
    expect(isApplied(catalog, first)).toBe(true)
    const features = serviceFingerprints(catalog, 'delay_risk')
    await appendRegistry(log, decideRegisterModel({ ...registration, features }, first), 2_000)
    const next = buildCatalog([flights, origin, otherDelays])
    await appendRegistry(log, decideApply(next, await loadRegistry(log)), 3_000)
    const state = await loadRegistry(log)
    expect(isApplied(next, state)).toBe(true)
    expect(state.definitions.get('view/origin_delays')?.version).toBe(2)
    expect(state.models.get('delay_risk')).toMatchObject([{ version: 1, metrics: { auc: 0.75 } }])
    expect(decideApply(next, state)).toEqual([])
  })

  test('one decision is one batch, keyed by what it is about, known when it was made', async () => {
    await using log = await open()
    await appendRegistry(log, decideApply(catalog, initialState), 1_234)
    const cursor = new RecordCursor()
    cursor.reset((await log.fetch(registryStream, 0, 0 as never, 1)).bytes)
    const keys: string[] = []
    while (cursor.next()) {
      keys.push(Buffer.from(cursor.bytes.subarray(cursor.keyStart, cursor.keyEnd)).toString())
      expect(cursor.timestampMs).toBe(1_234)
    }
    expect(keys).toEqual([
      'stream/flights',
      'entity/origin',
      'view/origin_delays',
      'service/delay_risk',
      'model/delay_model',
    ])
  })

  test('keeps what it cannot read', async () => {
    await using log = await open()
    await appendRegistry(log, decideApply(catalog, initialState), 1)
    const values = ['{"type":"view-frozen","format":7}', 'no json', '']
    await log.append(
      registryStream,
      0,
      values.map((value) => ({ key: null, value: Buffer.from(value), timestampMs: 2 })),
    )
    const state = await loadRegistry(log)
    expect(state.unknown).toEqual([{ type: 'view-frozen', format: 7 }, 'no json', ''])
    expect(isApplied(catalog, state)).toBe(true)
  })

  test('is read through many fetches', async () => {
    await using log = await open()
    const changed = buildCatalog([flights, origin, otherDelays])
    let state = initialState
    for (let turn = 0; turn < 700; turn++) {
      const events = decideApply(turn % 2 === 0 ? catalog : changed, state)
      await appendRegistry(log, events, turn)
      state = replay(events, state)
    }
    expect(await loadRegistry(log)).toEqual(state)
    expect(state.definitions.get('view/origin_delays')?.version).toBe(700)
  })
})

test('another process reads what the writer of an embedded log applied', async () => {
  const root = testFolder()
  await using writer = await write(root)
  await appendRegistry(writer, decideApply(catalog, initialState), 1)
  await using reader = await openLog(root, { mode: 'read' })
  expect(isApplied(catalog, await loadRegistry(reader))).toBe(true)
  await expect(appendRegistry(reader, decideApply(catalog, initialState), 1)).rejects.toMatchObject({
    code: 'FS_LOCKED',
  })
})
