/**
 * The main job, end to end: import, stream, training set, train, serve, prove. Every step is what the command of the
 * same name does; this folder only strings them together and measures.
 */
import type { ChildProcess } from 'node:child_process'
import { basename, relative, resolve } from 'node:path'
import { modelOf, serviceOf } from '../../core/definition/catalog.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import { recordCount } from '../../core/event/position.ts'
import { formatInstant } from '../../core/time/time.ts'
import { connectFeatureClient } from '../../serving/grpc/client.ts'
import type { AuditSample } from '../../worker/audit/sample.ts'
import { logPosition } from '../../worker/run.ts'
import { drawPool, runAudit, samplePast, sampleTraining, seeded, type Pool } from '../audit.ts'
import { reportLines } from '../commands/audit.ts'
import { applyProject } from '../commands/definitions.ts'
import { startControl } from '../control-server.ts'
import { LocalIngest } from '../ingest.ts'
import type { Project } from '../project.ts'
import { openLogToWrite } from '../stores.ts'
import { grouped, Progress, seconds } from '../terminal.ts'
import { endChild, startChild } from '../up.ts'
import { peakOf } from '../memory.ts'
import { chdbPid, type Report } from './report.ts'
import { explainStep, serveStep, startServe } from './serve.ts'
import { streamStep } from './stream.ts'
import { trainStep } from './train.ts'

export interface DemoOptions {
  readonly signal: AbortSignal
  readonly once: boolean
  readonly seed: number
  readonly port: number | undefined
  readonly report: Report
}

export interface DemoReport {
  readonly events: number
  readonly applied: number
  readonly checked: number
  readonly mismatched: number
  readonly elapsedMs: number
  readonly steps: Readonly<Record<string, number>>
  readonly peakBytes: Readonly<Record<string, number>>
  readonly auc: { readonly honest: number | null; readonly leaking: number | null }
}

/** Rows sampled from the training set and in the past, each with every feature. */
const trainingRows = 840
const pastRows = 80
const graceMs = 15_000

export async function runDemo(project: Project, options: DemoOptions): Promise<DemoReport> {
  const { demo } = project.config
  if (demo === undefined)
    throw new FeatureStoreError(
      'FS_CONFIG_INVALID',
      'demo: the project does not say which file to import into which stream',
    )
  const { report } = options
  const started = Date.now()
  const model = modelOf(project.catalog, demo.model)
  const service = serviceOf(project.catalog, model.service)
  const random = seeded(options.seed)
  const steps: Record<string, number> = {}
  const peakBytes: Record<string, number> = {}
  report.line(`Tidemark: ${relative(process.cwd(), project.folder) || '.'}`)
  await applyProject(project)

  await using open = await openLogToWrite(project, 'tidemark demo')
  const ingest = new LocalIngest(project, open)
  steps['import'] = await importStep(report, ingest, demo.stream, resolve(project.folder, demo.file))
  const position = await logPosition(open.log, project.catalog.streams.keys())
  const events = recordCount(position, demo.stream)
  const pool = await drawPool(project.catalog, open, service, position, random)

  const samples: AuditSample[] = []
  const streamed = await streamStep(report, project, pool, service.name, events, random, samples)
  steps['stream'] = streamed.ms
  peakBytes['worker'] = streamed.peakBytes

  const trained = await trainStep(report, project, open, ingest, position, demo.model)
  steps['dataset'] = trained.datasetMs
  steps['train'] = trained.trainMs
  samples.push(...sampleTraining(service.name, trained.labels, trained.columns, position, trainingRows, random))

  const children: ChildProcess[] = []
  try {
    const serveStarted = Date.now()
    const { child, address } = await startServe(project, options.once ? 0 : options.port)
    children.push(child)
    await serveStep(report, address, service.name, pool, random)
    steps['serve'] = Date.now() - serveStarted

    const proveStarted = Date.now()
    await using client = connectFeatureClient(address)
    samples.push(
      ...(await samplePast({
        lookup: { getFeatures: (request) => client.getFeatures({ ...request, deadlineMs: 60_000 }) },
        service: service.name,
        pool,
        rows: pastRows,
        random,
        rowsPerTime: 10,
      })),
    )
    const audit = await runAudit(project.catalog, open, samples)
    for (const [index, line] of reportLines(audit).entries())
      report.step(index === 0 ? 'prove' : '', index === 0 ? `${line} in ${seconds(Date.now() - proveStarted)}` : line)
    steps['prove'] = Date.now() - proveStarted
    peakBytes['serve'] = peakOf(child.pid)
    peakBytes['chdb'] = peakOf(chdbPid(project))
    await explainStep(report, project, open, service, pool, position)

    const elapsedMs = Date.now() - started
    const memory = Object.entries(peakBytes).filter(([, bytes]) => bytes > 0)
    report.line(
      `  total     ${seconds(elapsedMs)}; peak memory ${memory.map(([name, bytes]) => `${name} ${grouped(bytes / 2 ** 20)} MiB`).join(', ')}`,
    )
    const result: DemoReport = {
      events,
      applied: streamed.applied,
      checked: audit.checked,
      mismatched: audit.mismatched,
      elapsedMs,
      steps,
      peakBytes,
      auc: trained.auc,
    }
    if (!options.once && !options.signal.aborted)
      await stayUp(report, project, service.name, pool, ingest, address, options.signal, children)
    return result
  } finally {
    await Promise.all(children.map((child) => endChild(child, graceMs)))
  }
}

async function importStep(report: Report, ingest: LocalIngest, stream: string, file: string): Promise<number> {
  const progress = new Progress('import', 'events')
  const imported = await ingest.import({ stream, file }, (done, total) => progress.update(done, total))
  const ms = progress.end()
  if (imported.appended === 0)
    report.step('import', `${grouped(imported.rows)} rows of ${basename(file)} are in the log already (${seconds(ms)})`)
  else
    report.step(
      'import',
      `${grouped(imported.appended)} events from ${basename(file)} in ${seconds(ms)}, ${grouped((imported.appended / ms) * 1000)} events/s`,
    )
  return ms
}

async function stayUp(
  report: Report,
  project: Project,
  service: string,
  pool: Pool,
  ingest: LocalIngest,
  address: string,
  signal: AbortSignal,
  children: ChildProcess[],
): Promise<void> {
  children.push(startChild(project, ['worker'], () => {}))
  await using _control = await startControl(project.paths.control, ingest, address)
  const folder = relative(process.cwd(), project.folder) || '.'
  report.line('')
  report.line(`Up on ${address} until Ctrl-C. In ${folder}, for example:`)
  const row = pool.rows[0] as Pool['rows'][number]
  const flags = (name: string, values: Readonly<Record<string, unknown>>): string =>
    Object.entries(values)
      .map(([field, value]) => ` --${name} ${field}=${String(value)}`)
      .join('')
  report.line(`  npx tidemark get ${service}${flags('entity', row.entities)}${flags('request', row.request)}`)
  report.line(
    `  npx tidemark get ${service}${flags('entity', row.entities)}${flags('request', row.request)} --as-of ${formatInstant(row.eventTimeMs)}`,
  )
  report.line('  npx tidemark status')
  report.line('  npx tidemark --help')
  await new Promise<void>((done) => {
    if (signal.aborted) done()
    signal.addEventListener('abort', () => done(), { once: true })
  })
}
