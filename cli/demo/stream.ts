import type { AuditSample } from '../../worker/audit/sample.ts'
import { sampleOnline, type Pool } from '../audit.ts'
import type { Project } from '../project.ts'
import { openLookup } from '../serve-process.ts'
import { openOnline } from '../stores.ts'
import { grouped, Progress, seconds } from '../terminal.ts'
import { endedEarly, exitOf, startChild } from '../up.ts'
import type { Report } from './report.ts'

const stopsDuringStreaming = 5
/** Rows sampled at each stop and at the end, each with every feature. */
const rowsPerStop = 180

/** Runs a worker to the end of the log; it stops five times, and rows are sampled as they stand there. */
export async function streamStep(
  report: Report,
  project: Project,
  pool: Pool,
  service: string,
  events: number,
  random: () => number,
  samples: AuditSample[],
): Promise<{ readonly ms: number; readonly peakBytes: number; readonly applied: number }> {
  const progress = new Progress('stream', 'events')
  const stops = Array.from({ length: stopsDuringStreaming }, (_, index) =>
    Math.floor((events * (index + 1)) / (stopsDuringStreaming + 1)),
  )
  const applied = { online: 0, offline: 0, history: 0 }
  let peakBytes = 0
  let sampledMs = 0
  const begunMs = Date.now()
  /** When online rows and events were done; the history is built after them. */
  let streamedMs: number | null = null
  const takeSamples = async (rows: number): Promise<void> => {
    const begun = Date.now()
    await using opened = await openLookup(project)
    const online = await openOnline(project, 'read')
    const [shard] = await online.positions([0])
    await online[Symbol.asyncDispose]()
    const newestMs = Math.max(...Object.values(shard?.newestEventTimeMs ?? {}))
    samples.push(
      ...(await sampleOnline({ lookup: opened.lookup, service, pool, rows, random, rowsPerTime: 6 }, newestMs)),
    )
    sampledMs += Date.now() - begun
  }
  let failed: unknown = null
  const child = startChild(project, ['worker', '--once', '--stop-at', stops.join(',')], (message) => {
    if (message.kind === 'progress') {
      applied[message.projection] = message.applied
      // The history counts every record once per view.
      if (message.projection !== 'history') progress.update(Math.min(applied.online, applied.offline), message.total)
      if (Math.min(applied.online, applied.offline) >= events) streamedMs ??= Date.now() - begunMs - sampledMs
    } else if (message.kind === 'done') peakBytes = message.peakBytes
    else if (message.kind === 'stopped') {
      takeSamples(rowsPerStop)
        .catch((error: unknown) => (failed = error))
        .finally(() => child.send('go on'))
    }
  })
  const code = await exitOf(child)
  const wholeMs = progress.end() - sampledMs
  const ms = streamedMs ?? wholeMs
  if (failed !== null) throw failed
  if (code !== 0) throw endedEarly('the worker', code)
  // Rows that were there before this run have no stops to wait for: all are taken at the end.
  await takeSamples(rowsPerStop * (stopsDuringStreaming + 1) - samples.length)
  report.step(
    'stream',
    `${grouped(applied.online)} events to online rows, ${grouped(applied.offline)} to events_* in ${seconds(ms)}, ${grouped((events / ms) * 1000)} events/s to both`,
  )
  return { ms, peakBytes, applied: Math.min(applied.online, applied.offline) }
}
