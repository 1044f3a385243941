import { setTimeout as sleep } from 'node:timers/promises'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { streamOf } from '../../core/definition/catalog.ts'
import { eventually, isAlive, json, readJson } from '../cli/support.ts'
import { loadProject, type Project } from '../../cli/project.ts'
import { openLogToWrite, type OpenLog } from '../../cli/stores.ts'
import { Prng } from '../support/prng.ts'
import { Producer, type Ends } from './producer.ts'
import { Positions } from './positions.ts'
import type { Scenario } from './scenario.ts'
import { startServers, type Places, type Servers } from './servers.ts'
import { WorkerProcess, type WorkerStart } from './worker-process.ts'

export interface Recovery {
  readonly fault: string
  readonly ms: number
}

export interface FaultOptions {
  /** Until then every shard must be at work again, milliseconds. Generous: a slow machine is no finding. */
  readonly deadlineMs?: number
}

const recoveryMsMax = 180_000
const settleMsMax = 180_000
/** Between two looks at the store, milliseconds: what a recovery time is exact to. */
const lookMs = 20
/** Before a worker that ended by itself is started again, as a supervisor waits. */
const restartMs = 500

/**
 * Servers, a project on them, payments that are appended all the time, and workers that are harmed meanwhile. All that is
 * said of how far workers are is read from the store; what the log has is known from having appended it.
 */
export class Arena implements AsyncDisposable {
  readonly servers: Servers
  readonly project: Project
  readonly producer: Producer
  readonly log: OpenLog
  readonly positions: Positions
  /** Those that were started and have not ended. */
  readonly workers: WorkerProcess[] = []
  readonly recoveries: Recovery[] = []
  /** What is wrong already, whatever the store says at the end. */
  readonly findings: string[] = []
  /** How often something was harmed. */
  faults = 0
  /** Workers that ended by SIGKILL. */
  kills = 0
  /** Workers that ended by themselves. */
  endings = 0
  readonly #scenario: Scenario
  readonly #resources: AsyncDisposableStack
  #started = 0
  #isClosing = false

  private constructor(
    parts: Pick<Arena, 'servers' | 'project' | 'producer' | 'log' | 'positions'>,
    scenario: Scenario,
    resources: AsyncDisposableStack,
  ) {
    this.servers = parts.servers
    this.project = parts.project
    this.producer = parts.producer
    this.log = parts.log
    this.positions = parts.positions
    this.#scenario = scenario
    this.#resources = resources
  }

  /** Payments are being appended, and the scenario's workers have applied some. */
  static async open(scenario: Scenario, seed: number): Promise<Arena> {
    await using stack = new AsyncDisposableStack()
    const servers = stack.use(await (scenario.open ?? startServers)())
    const folder = projectFolder(servers.direct)
    stack.defer(() => removeProject(folder))
    await json(folder, ['apply'])
    const project = await loadProject(folder)
    const log = stack.use(await openLogToWrite(project, 'chaos'))
    const producer = await Producer.start({
      log: log.log,
      putSchema: log.putSchema,
      streams: { payments: streamOf(project.catalog, 'payments'), visits: streamOf(project.catalog, 'visits') },
      random: new Prng(seed),
      ...(scenario.paymentsPerTick === undefined ? {} : { paymentsPerTick: scenario.paymentsPerTick }),
    })
    stack.defer(() => producer.stop().catch(() => {}))
    const positions = stack.use(new Positions(project))
    const arena = new Arena({ servers, project, producer, log, positions }, scenario, stack.move())
    try {
      for (let count = scenario.workers ?? 2; count > 0; count--) arena.spawn()
      if (scenario.program === undefined) await arena.#reach(await producer.appended(), recoveryMsMax)
      return arena
    } catch (error) {
      await arena[Symbol.asyncDispose]()
      throw error
    }
  }

  /** One more worker. */
  spawn(options: Pick<WorkerStart, 'killAt'> = {}): WorkerProcess {
    const { program } = this.#scenario
    const worker = new WorkerProcess(++this.#started, {
      folder: this.project.folder,
      places: this.servers.forWorkers ?? null,
      ...(program === undefined ? {} : { program }),
      ...options,
    })
    this.workers.push(worker)
    void worker.ended.then(async ({ code, stderr }) => {
      const index = this.workers.indexOf(worker)
      if (index >= 0) this.workers.splice(index, 1)
      if (worker.isKilled && !this.#isClosing) this.kills++
      if (worker.mayEnd || this.#isClosing) return
      this.endings++
      if (this.#scenario.workersMayEnd !== true)
        this.findings.push(`worker ${worker.number} ended by itself, code ${code}: ${lastProblem(stderr)}`)
      await sleep(restartMs)
      if (!this.#isClosing) this.spawn()
    })
    return worker
  }

  /** Harms something; nobody waits until all is well again. */
  async strike(action: () => Promise<void> | void): Promise<void> {
    this.faults++
    await action()
  }

  /**
   * Harms something, and measures how long until all shards have gone on: every one of them has applied records that were
   * appended after the harm was done. The time counts from the beginning of `action`, or from where it calls `mark`.
   *
   * Returns milliseconds. Errors: they have not gone on within the deadline.
   */
  async fault(
    name: string,
    action: (mark: () => void) => Promise<void> | void,
    { deadlineMs = recoveryMsMax }: FaultOptions = {},
  ): Promise<number> {
    let sinceMs = performance.now()
    await this.strike(() =>
      action(() => {
        sinceMs = performance.now()
      }),
    )
    const target = await this.producer.appended()
    try {
      await this.#reach(target, deadlineMs)
    } catch (error) {
      throw new Error(`${name}: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
    }
    const ms = performance.now() - sinceMs
    this.recoveries.push({ fault: name, ms })
    return ms
  }

  /** All shards have applied all that the log has now; of a producer that is stopped: all that there will be. */
  async settled(deadlineMs = settleMsMax): Promise<void> {
    await this.#reach(await this.producer.appended(), deadlineMs)
  }

  /** Every worker that is there ends in order. */
  async dismiss(): Promise<void> {
    this.#isClosing = true
    for (const worker of this.workers) worker.mayEnd = true
    for (const result of await Promise.allSettled([...this.workers].map((worker) => worker.leave())))
      if (result.status === 'rejected') this.findings.push(String(result.reason))
  }

  async #reach(target: Ends, deadlineMs: number): Promise<void> {
    const until = performance.now() + deadlineMs
    while (!(await this.positions.reach(target))) {
      if (performance.now() > until)
        throw new Error(
          `not every shard came to ${JSON.stringify(target)} within ${deadlineMs} ms: ${this.positions.text}; ` +
            this.workers.map(({ number, stderr }) => `worker ${number}: ${lastProblem(stderr)}`).join('; '),
        )
      await sleep(lookMs)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosing = true
    await Promise.all([...this.workers].map((worker) => worker.kill()))
    await this.#resources.disposeAsync()
  }
}

/** The config names the servers, and takes others from the environment: those that workers are to see. */
const configOf = (
  direct: Places,
): string => `const places = JSON.parse(process.env.TIDEMARK_CHAOS_PLACES ?? 'null') ?? ${JSON.stringify(direct)}
export default {
  log: { kind: 'kafka', topicPrefix: 'chaos.', ...places.log },
  online: { kind: 'redis', ...places.online },
  worker: { flushMs: 100, pollMs: 5 },
}
`

function projectFolder(direct: Places): string {
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-chaos-'))
  writeFileSync(join(folder, 'tidemark.config.ts'), configOf(direct))
  writeFileSync(join(folder, 'features.ts'), readFileSync(join(import.meta.dirname, 'project', 'features.ts')))
  return folder
}

/** Once its embedded ClickHouse has ended, which goes by itself when nobody uses it. */
async function removeProject(folder: string): Promise<void> {
  const server = readJson<{ readonly pid: number }>(join(folder, '.tidemark', 'offline', 'server.json'))
  if (server !== null) await eventually('the embedded ClickHouse ends', 30_000, () => !isAlive(server.pid))
  rmSync(folder, { recursive: true, force: true })
}

/** The last lines that say more than that all is as usual. */
const lastProblem = (stderr: string): string =>
  stderr
    .trimEnd()
    .split('\n')
    .filter((line) => !line.startsWith('{"level":30'))
    .slice(-2)
    .join(' ')
