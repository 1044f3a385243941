/** main/memory: peak resident memory of each process, from the system's own high-water mark. */
import type { ChildProcess } from 'node:child_process'
import { seeded, samplePast } from '../../cli/audit.ts'
import type { Project } from '../../cli/project.ts'
import { endChild, endedEarly, exitOf, startChild } from '../../cli/up.ts'
import { readServerFile } from '../../connectors/chdb/server-file.ts'
import { connectFeatureClient } from '../../serving/grpc/client.ts'
import { againstBound, ensure, peakMiBOf, type BenchOptions } from '../harness.ts'
import { ensureAudited, names, type FlightLog, type Workplace } from './context.ts'

/** MiB, of issue 3. */
const bounds = { worker: 1024, serve: 300, chdb: 1536 } as const
type Process = keyof typeof bounds

const pollMs = 20
const graceMs = 10_000
const pastRows = 20
const pastDeadlineMs = 60_000

/** The peaks of processes that come and go, by what they are. */
export class Peaks {
  readonly #project: Project
  readonly #workplace: Workplace
  readonly #pids = new Map<number, Process>()
  readonly #peaks = new Map<Process, number>()
  readonly #timer: NodeJS.Timeout

  constructor(project: Project, workplace: Workplace) {
    this.#project = project
    this.#workplace = workplace
    this.#timer = setInterval(() => this.look(), pollMs)
  }

  watch(kind: Process, pid: number): void {
    if (this.#pids.has(pid)) return
    this.#pids.set(pid, kind)
    if (kind === 'chdb') this.#workplace.ends(pid)
  }

  /** A high-water mark never falls: the last look before the end says it. */
  look(): void {
    const chdb = readServerFile(this.#project.paths.offline)
    if (chdb !== null) this.watch('chdb', chdb.pid)
    for (const [pid, kind] of this.#pids) {
      const peak = peakMiBOf(pid)
      if (peak !== null) this.#peaks.set(kind, Math.max(peak, this.#peaks.get(kind) ?? 0))
    }
  }

  emit({ emit, note }: BenchOptions): void {
    this.look()
    for (const kind of Object.keys(bounds) as Process[]) {
      const peak = this.#peaks.get(kind)
      if (peak === undefined)
        note(`main/memory-${kind} skipped: this system has no VmHWM in /proc/PID/status (Linux has)`)
      else emit(againstBound(`main/memory-${kind}`, 'MiB', peak, bounds[kind]))
    }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
  }
}

/** `tidemark worker --once` as a child, on stores that are empty. */
export async function runWorkerChild(project: Project, peaks: Peaks, events: number): Promise<void> {
  const applied = { online: 0, offline: 0, history: 0 }
  const child = startChild(project, ['worker', '--once'], (message) => {
    peaks.look()
    if (message.kind === 'progress') applied[message.projection] = message.applied
  })
  peaks.watch('worker', child.pid ?? 0)
  const code = await exitOf(child)
  if (code !== 0) throw endedEarly('the worker', code)
  ensure(
    applied.online === events && applied.offline === events,
    `the worker applied ${applied.online} and ${applied.offline} of ${events} events`,
  )
}

export interface Serving extends AsyncDisposable {
  readonly address: string
  readonly pid: number
}

/** `tidemark serve` as a child. */
export async function startServeChild(project: Project, peaks: Peaks): Promise<Serving> {
  let child: ChildProcess | null = null
  const address = await new Promise<string>((resolve, reject) => {
    child = startChild(project, ['serve', '--port', '0'], (message) => {
      if (message.kind === 'serving') resolve(message.address)
    })
    child.once('exit', (code) => reject(endedEarly('the server', code ?? 1)))
  })
  const started = child as unknown as ChildProcess
  const pid = started.pid ?? 0
  peaks.watch('serve', pid)
  return {
    address,
    pid,
    async [Symbol.asyncDispose]() {
      peaks.look()
      await endChild(started, graceMs)
    },
  }
}

/** Lookups at past moments, which the server answers from the offline table: part of what both of them hold. */
export async function askPast(log: FlightLog, address: string): Promise<void> {
  const random = seeded(5)
  const { pool } = log
  await using client = connectFeatureClient(address)
  const lookup = {
    getFeatures: (request: Parameters<typeof client.getFeatures>[0]) =>
      client.getFeatures({ ...request, deadlineMs: pastDeadlineMs }),
  }
  const samples = await samplePast({
    lookup,
    service: names.service,
    pool,
    rows: pastRows,
    random,
    rowsPerTime: pastRows / 4,
  })
  await ensureAudited(log, samples, 'lookups at past moments')
}
