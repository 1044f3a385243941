/**
 * The main job, end to end: import, stream, training set, train, serve, prove. Every step is what the command of the
 * same name does; this file only strings them together and measures.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join, relative, resolve } from 'node:path'
import { featureOf, modelOf, serviceOf, streamOf, viewOf } from '../core/definition/catalog.ts'
import { referenceText, type FeatureReference, type ServiceDefinition } from '../core/definition/types.ts'
import { valueAt, type FeatureColumn } from '../core/engine/feature-column.ts'
import { FeatureStoreError } from '../core/errors.ts'
import { recordCount, type Position } from '../core/event/position.ts'
import { formatInstant } from '../core/time/time.ts'
import type { Scalar } from '../core/event/types.ts'
import { connectFeatureClient } from '../serving/grpc/client.ts'
import { DatasetBuilder } from '../training/dataset.ts'
import { labelFields, labelsFromStream } from '../training/label-sample.ts'
import { writeDataset } from '../training/output.ts'
import { trainModel } from '../training/train.ts'
import { explainValue } from '../worker/audit/explain.ts'
import type { AuditSample } from '../worker/audit/sample.ts'
import { loadRegistry } from '../worker/registry-log.ts'
import { logPosition } from '../worker/run.ts'
import { drawPool, runAudit, sampleOnline, samplePast, sampleTraining, seeded, type Pool } from './audit.ts'
import { reportLines } from './commands/audit.ts'
import { applyProject } from './commands/definitions.ts'
import { explanationLines } from './commands/explain.ts'
import { cellText } from './commands/get.ts'
import type { ChildProcess } from 'node:child_process'
import { startControl } from './control-server.ts'
import { LocalIngest } from './ingest.ts'
import type { Project } from './project.ts'
import { serviceScan, streamReader } from './readers.ts'
import { openLookup } from './serve-process.ts'
import { openLogToWrite, openOnline, type OpenLog } from './stores.ts'
import { grouped, print, Progress, seconds, table } from './terminal.ts'
import { trainAndRegister } from './train.ts'
import { endChild, endedEarly, exitOf, startChild } from './up.ts'

export interface DemoOptions {
  readonly signal: AbortSignal
  readonly once: boolean
  readonly seed: number
  readonly port: string | undefined
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

const stopsDuringStreaming = 5
/** Rows sampled, each with every feature: at each stop and at the end, from the training set, and in the past. */
const rowsPerStop = 180
const trainingRows = 840
const pastRows = 80
const explainedEvents = 3
const graceMs = 15_000

const step = (name: string, text: string): void => print(`  ${name.padEnd(9)} ${text}`)

export async function runDemo(project: Project, options: DemoOptions): Promise<DemoReport> {
  const { demo } = project.config
  if (demo === undefined)
    throw new FeatureStoreError(
      'FS_CONFIG_INVALID',
      'demo: the project does not say which file to import into which stream',
    )
  const started = Date.now()
  const model = modelOf(project.catalog, demo.model)
  const service = serviceOf(project.catalog, model.service)
  const random = seeded(options.seed)
  const steps: Record<string, number> = {}
  const peakBytes: Record<string, number> = {}
  print(`Tidemark: ${relative(process.cwd(), project.folder) || '.'}`)
  await applyProject(project)

  await using open = await openLogToWrite(project, 'tidemark demo')
  const ingest = new LocalIngest(project, open)
  steps['import'] = await importStep(ingest, demo.stream, resolve(project.folder, demo.file))
  const position = await logPosition(open.log, project.catalog.streams.keys())
  const events = recordCount(position, demo.stream)
  const pool = await drawPool(project.catalog, open, service, position, random)

  const samples: AuditSample[] = []
  const streamed = await streamStep(project, pool, service.name, events, random, samples)
  steps['stream'] = streamed.ms
  peakBytes['worker'] = streamed.peakBytes

  const trained = await trainStep(project, open, ingest, position, demo.model)
  steps['dataset'] = trained.datasetMs
  steps['train'] = trained.trainMs
  samples.push(...sampleTraining(service.name, trained.labels, trained.columns, position, trainingRows, random))

  const children: ChildProcess[] = []
  try {
    const serveStarted = Date.now()
    const { child, address } = await startServe(project, options.once ? '0' : options.port)
    children.push(child)
    await serveStep(address, service.name, pool, random)
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
    const report = await runAudit(project.catalog, open, samples)
    for (const [index, line] of reportLines(report).entries())
      step(index === 0 ? 'prove' : '', index === 0 ? `${line} in ${seconds(Date.now() - proveStarted)}` : line)
    steps['prove'] = Date.now() - proveStarted
    peakBytes['serve'] = peakOf(child.pid)
    peakBytes['chdb'] = peakOf(chdbPid(project))
    await explainStep(project, open, service, pool, position)

    const elapsedMs = Date.now() - started
    const memory = Object.entries(peakBytes).filter(([, bytes]) => bytes > 0)
    print(
      `  total     ${seconds(elapsedMs)}; peak memory ${memory.map(([name, bytes]) => `${name} ${grouped(bytes / 2 ** 20)} MiB`).join(', ')}`,
    )
    const result: DemoReport = {
      events,
      applied: streamed.applied,
      checked: report.checked,
      mismatched: report.mismatched,
      elapsedMs,
      steps,
      peakBytes,
      auc: trained.auc,
    }
    if (!options.once && !options.signal.aborted) await stayUp(project, ingest, address, options.signal, children)
    return result
  } finally {
    await Promise.all(children.map((child) => endChild(child, graceMs)))
  }
}

async function importStep(ingest: LocalIngest, stream: string, file: string): Promise<number> {
  const progress = new Progress('import', 'events')
  const report = await ingest.import({ stream, file }, (done, total) => progress.update(done, total))
  const ms = progress.end()
  if (report.appended === 0)
    step('import', `${grouped(report.rows)} rows of ${basename(file)} are in the log already (${seconds(ms)})`)
  else
    step(
      'import',
      `${grouped(report.appended)} events from ${basename(file)} in ${seconds(ms)}, ${grouped((report.appended / ms) * 1000)} events/s`,
    )
  return ms
}

async function streamStep(
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
  const applied = { online: 0, offline: 0 }
  let peakBytes = 0
  let sampledMs = 0
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
      progress.update(Math.min(applied.online, applied.offline), message.total)
    } else if (message.kind === 'done') peakBytes = message.peakBytes
    else if (message.kind === 'stopped') {
      takeSamples(rowsPerStop)
        .catch((error: unknown) => (failed = error))
        .finally(() => child.send('go on'))
    }
  })
  const code = await exitOf(child)
  const ms = progress.end() - sampledMs
  if (failed !== null) throw failed
  if (code !== 0) throw endedEarly('the worker', code)
  // Rows that were there before this run have no stops to wait for: all are taken at the end.
  await takeSamples(rowsPerStop * (stopsDuringStreaming + 1) - samples.length)
  step(
    'stream',
    `${grouped(applied.online)} events to online rows, ${grouped(applied.offline)} to events_* in ${seconds(ms)}, ${grouped((events / ms) * 1000)} events/s to both`,
  )
  return { ms, peakBytes, applied: Math.min(applied.online, applied.offline) }
}

async function trainStep(project: Project, open: OpenLog, ingest: LocalIngest, position: Position, name: string) {
  const { catalog } = project
  const model = modelOf(catalog, name)
  const service = serviceOf(catalog, model.service)
  const stream = streamOf(catalog, model.labels.from)
  const progress = new Progress('dataset', 'events')
  const total = recordCount(position)
  const labels = await labelsFromStream(
    catalog,
    model,
    streamReader(catalog, open, stream.name, labelFields(catalog, model)).scan(position.streams[stream.name] ?? []),
  )
  const drawn = Date.now()
  let scanned = 0
  const builder = await DatasetBuilder.scan({
    catalog,
    service,
    position,
    scan: serviceScan(catalog, open, service, position, (batch) => progress.update((scanned += batch.count), total)),
  })
  const finishing = Date.now()
  const { columns, rows } = builder.finish(labels)
  const finished = Date.now()
  const { arrow, digest } = writeDataset({ catalog, service, labels, columns, position })
  const folder = join(project.paths.data, 'training')
  mkdirSync(folder, { recursive: true })
  const file = join(folder, `${name}.arrow`)
  writeFileSync(file, arrow)
  const datasetMs = progress.end()
  step(
    'dataset',
    `${grouped(rows)} rows x ${columns.length} features in ${seconds(datasetMs)} (scan ${seconds(finishing - drawn)}, finish ${seconds(finished - finishing)}) → ${relative(process.cwd(), file)}`,
  )

  const begun = Date.now()
  const { trained, registered } = await trainAndRegister({
    project,
    model: name,
    labels,
    columns,
    position,
    digest,
    registry: await loadRegistry(open.log),
    ingest,
  })
  const leaking = trainModel({
    catalog,
    model,
    labels,
    columns: builder.finish(labels, { leaky: true }).columns,
    position,
    digest,
  })
  const trainMs = Date.now() - begun
  const auc = { honest: trained.metrics.test?.auc ?? null, leaking: leaking.metrics.test?.auc ?? null }
  const text = (value: number | null): string => (value === null ? '-' : value.toFixed(4))
  step(
    'train',
    `${name} version ${registered.version}: AUC ${text(auc.honest)} on ${grouped(trained.metrics.testRows)} later rows in ${seconds(trainMs)} (a leaking join would have claimed ${text(auc.leaking)})`,
  )
  return { labels, columns, datasetMs, trainMs, auc }
}

async function startServe(
  project: Project,
  port: string | undefined,
): Promise<{ readonly child: ChildProcess; readonly address: string }> {
  let ready = (_address: string): void => {}
  const serving = new Promise<string>((resolve) => (ready = resolve))
  const child = startChild(project, ['serve', ...(port === undefined ? [] : ['--port', port])], (message) => {
    if (message.kind === 'serving') ready(message.address)
  })
  const address = await Promise.race([
    serving,
    exitOf(child).then((code) => {
      throw endedEarly('the server', code)
    }),
  ])
  return { child, address }
}

async function serveStep(address: string, service: string, pool: Pool, random: () => number): Promise<void> {
  await using client = connectFeatureClient(address)
  const rows = Array.from(
    { length: 3 },
    () => pool.rows[Math.floor(random() * pool.rows.length)] as Pool['rows'][number],
  )
  const columns = (part: 'entities' | 'request', of: typeof rows): Record<string, Scalar[]> =>
    Object.fromEntries(
      Object.keys(rows[0]?.[part] ?? {}).map((field) => [field, of.map((row) => row[part][field] ?? null)]),
    )
  const reply = await client.getFeatures({
    service,
    entities: columns('entities', rows),
    request: columns('request', rows),
    deadlineMs: 10_000,
  })
  const one = rows.slice(0, 1)
  const asked = performance.now()
  const prediction = await client.predict({
    service,
    entities: columns('entities', one),
    request: columns('request', one),
    deadlineMs: 10_000,
  })
  const ms = performance.now() - asked
  step('serve', `tidemark.v1.FeatureService on ${address}, as of ${formatInstant(reply.asOfMs)}`)
  const shown = reply.columns.filter((_, index) => index % 5 === 2)
  const heading = ['', ...rows.map((row) => Object.values(row.entities).join(' → '))]
  for (const line of table(
    [heading, ...shown.map((column) => [column.name, ...rows.map((_, row) => shortCell(column, row))])],
    [1, 2, 3],
  ))
    print(`            ${line}`)
  step(
    '',
    `prediction for ${Object.values(one[0]?.entities ?? {}).join(' → ')}: ${(prediction.scores[0] as number).toFixed(4)} by ${prediction.model} version ${prediction.modelVersion}, ${ms.toFixed(1)} ms`,
  )
}

/** A cell for the report: two decimals are enough there; `get` prints the exact value. */
function shortCell(column: FeatureColumn, row: number): string {
  const value = valueAt(column, row)
  return typeof value === 'number' && !Number.isInteger(value) ? value.toFixed(2) : cellText(column, row)
}

/** One value of the service with the events that it rests on: a list of the last few events reads best. */
async function explainStep(
  project: Project,
  open: OpenLog,
  service: ServiceDefinition,
  pool: Pool,
  position: Position,
): Promise<void> {
  const { catalog } = project
  const reference =
    service.features.find((candidate) => featureOf(catalog, candidate).aggregation.function === 'lastN') ??
    (service.features[0] as FeatureReference)
  const view = viewOf(catalog, reference.view)
  const row = pool.rows[0] as Pool['rows'][number]
  const entities = Object.fromEntries(view.keyFields.map((field) => [field, row.entities[field] ?? null]))
  const text = referenceText(reference)
  const explanation = await explainValue({
    catalog,
    reference: text,
    entities,
    asOfMs: row.eventTimeMs,
    knownAsOfMs: row.eventTimeMs,
    position,
    reader: streamReader(catalog, open, view.from),
  })
  step('explain', `${text} of ${Object.values(entities).join(' → ')} as of ${formatInstant(row.eventTimeMs)}`)
  for (const line of explanationLines(explanation, explainedEvents)) print(`            ${line}`)
}

/** Peak resident bytes of a process, 0 where the system does not tell. */
function peakOf(pid: number | undefined): number {
  if (pid === undefined) return 0
  try {
    return Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024
  } catch {
    return 0
  }
}

function chdbPid(project: Project): number | undefined {
  try {
    return (JSON.parse(readFileSync(join(project.paths.offline, 'server.json'), 'utf8')) as { readonly pid?: number })
      .pid
  } catch {
    return undefined
  }
}

async function stayUp(
  project: Project,
  ingest: LocalIngest,
  address: string,
  signal: AbortSignal,
  children: ChildProcess[],
): Promise<void> {
  children.push(startChild(project, ['worker'], () => {}))
  await using _control = await startControl(project.paths.control, ingest, address)
  const folder = relative(process.cwd(), project.folder) || '.'
  print('')
  print(`Up on ${address} until Ctrl-C. In ${folder}, for example:`)
  print('  npx tidemark get delay_risk --entity origin=ATL --entity destination=LAX --request distance=1946')
  print('  npx tidemark get origin_delays:mean_delay_1d --entity origin=ORD --as-of 2001-03-01T12:00:00Z')
  print(
    '  npx tidemark explain route_delays:last_3_delays --entity origin=ATL --entity destination=LAX --as-of 2001-03-01T12:00:00Z',
  )
  await new Promise<void>((done) => {
    if (signal.aborted) done()
    signal.addEventListener('abort', () => done(), { once: true })
  })
}
