/** engine/start: how soon a worker applies events again after it was killed, beside a store full of rows. */
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { systemRandom } from '../../cli/environment.ts'
import { openOnlineStore } from '../../connectors/lmdb/online-store.ts'
import { silentLogger } from '../../core/ports/environment.ts'
import { ensure, interleaved, type BenchOptions, type Cost, type Reading } from '../harness.ts'
import { mainCatalog, viewName } from './cards.ts'
import { makeDataset, type Dataset } from './dataset.ts'
import { expectedOf, sampledCards } from './expected.ts'
import { ensureStored } from './ingest.ts'

const bench = 'engine/start'

export type StartMode = 'write' | 'start' | 'limit' | 'finish'
export type StartChildMessage =
  | { readonly kind: 'wrote'; readonly applied: number; readonly stored: number }
  | { readonly kind: 'done'; readonly from: number; readonly next: number; readonly cost: Cost }

/** Two events of each entity: after the first half of the log every one has a row. */
export const startDataset = (entities: number): Dataset =>
  makeDataset({ name: bench, events: entities * 2, entities, draw: 'in-turn' })

export async function benchStart(options: BenchOptions, entities: number): Promise<void> {
  const dataset = startDataset(entities)
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-bench-'))
  const child = (mode: StartMode): ChildProcess =>
    fork(resolve(import.meta.dirname, 'start-child.ts'), [mode, folder, String(entities)])
  try {
    const written = await killedAmid(child('write'), dataset.entities)
    let from = -1
    const reading = async (mode: StartMode): Promise<Reading[]> => {
      const { cost, ...done } = await doneBy(child(mode), mode)
      from = from < 0 ? done.from : from
      ensure(done.from === from, `${bench}: the ${mode} went on from ${done.from}, the one before from ${from}`)
      ensure(done.next > done.from, `${bench}: the ${mode} applied nothing`)
      return [{ bench, unit: 's', value: cost.seconds, cpuSecondsPerMillion: null }]
    }
    await interleaved(
      options,
      () => reading('start'),
      () => reading('limit'),
      async () => {
        const full = from >= dataset.entities && from < dataset.events
        ensure(full, `${bench}: the store stood at ${from} of ${dataset.events}`)
        const rest = await doneBy(child('finish'), 'finish')
        ensure(
          rest.from === from && rest.next === dataset.events,
          `${bench}: the rest was ${rest.from} to ${rest.next}`,
        )
        await ensureRows(dataset)
      },
    )
    options.note(`${bench}: killed when ${written} events were applied; the store had ${from} of ${dataset.events}`)
  } finally {
    rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 })
  }

  /** After the kill, and after whoever came next, every event counts once. */
  async function ensureRows(of: Dataset): Promise<void> {
    await using store = await openOnlineStore(folder, {
      mode: 'read',
      generation: 'bench',
      logger: silentLogger,
      random: systemRandom,
    })
    let rows = 0
    for await (const _ of store.scan(viewName)) rows++
    ensure(rows === of.entities, `${bench}: the store has ${rows} rows of ${of.entities} entities`)
    await ensureStored({ bench, expected: expectedOf(mainCatalog, of, sampledCards(of, 10)) }, store)
  }
}

/** Ends the writer with SIGKILL once its store has so many events; returns how many it had applied by then. */
async function killedAmid(child: ChildProcess, after: number): Promise<number> {
  let applied = 0
  child.on('message', (message: StartChildMessage) => {
    if (message.kind !== 'wrote') return
    applied = message.applied
    if (message.stored >= after) child.kill('SIGKILL')
  })
  const [, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null]
  ensure(signal === 'SIGKILL' && applied >= after, `${bench}: the writer ended after ${applied} events`)
  return applied
}

async function doneBy(child: ChildProcess, mode: StartMode): Promise<Extract<StartChildMessage, { kind: 'done' }>> {
  let done: Extract<StartChildMessage, { kind: 'done' }> | null = null
  child.on('message', (message: StartChildMessage) => {
    if (message.kind === 'done') done = message
  })
  const [code] = (await once(child, 'exit')) as [number | null]
  ensure(done !== null && code === 0, `${bench}: the process to ${mode} ended with ${code}`)
  return done
}
