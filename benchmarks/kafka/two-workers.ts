/** kafka/two-workers: the same topic shared by two workers, each of which reads all of it and keeps its half. */
import { fork, type ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Project } from '../../cli/project.ts'
import { exitOf } from '../../cli/up.ts'
import { mainCatalog } from '../engine/cards.ts'
import type { Dataset } from '../engine/dataset.ts'
import { expectedOf, sampledCards } from '../engine/expected.ts'
import { ensure, interleaved, median, rate, type BenchOptions, type Reading } from '../harness.ts'
import { costsSince, ensureRows, type KafkaBench } from './context.ts'
import type { WorkerChildMessage } from './worker-child.ts'

const bench = 'kafka/two-workers'
const settledMsMax = 60_000

interface Run {
  readonly reading: Reading
  readonly cpuSeconds: number
}

/** Two workers against one of the same composition. */
export async function benchTwoWorkers(
  options: BenchOptions,
  on: KafkaBench,
  project: Project,
  dataset: Dataset,
): Promise<void> {
  const expected = expectedOf(mainCatalog, dataset, sampledCards(dataset))
  const cpu = { one: [] as number[], two: [] as number[] }
  const round = async (workers: 1 | 2): Promise<readonly Reading[]> => {
    await on.client.flushall()
    const { reading, cpuSeconds } = await run(on, project, dataset.events, workers)
    await ensureRows(bench, project, dataset, expected, workers === 2)
    cpu[workers === 2 ? 'two' : 'one'].push((cpuSeconds / dataset.events) * 1e6)
    return [reading]
  }
  await interleaved(
    options,
    () => round(2),
    () => round(1),
  )
  const [one, two] = [median(cpu.one), median(cpu.two)]
  options.note(
    `${bench}: CPU-s per million: one worker ${one.toFixed(2)}, two together ${two.toFixed(2)}; ` +
      `reading what the other keeps: ${(two - one).toFixed(2)}`,
  )
}

async function run(on: KafkaBench, project: Project, events: number, count: 1 | 2): Promise<Run> {
  const workers = Array.from({ length: count }, () => new SharingWorker(project, events))
  await settled(workers, project.config.online.shards / count)
  const cost = costsSince(
    on,
    workers.map(({ pid }) => pid),
  )
  const started = performance.now()
  for (const worker of workers) worker.go()
  const applied = await Promise.all(workers.map(({ stopped }) => stopped))
  const seconds = (performance.now() - started) / 1000
  const { worker: cpuSeconds } = cost()
  ensure(
    applied.every((each) => each === events),
    `${bench}: the workers applied ${applied.join(' and ')} of ${events} events`,
  )
  for (const { child } of workers) ensure((await exitOf(child)) === 0, `${bench}: a worker failed`)
  return { reading: rate(bench, 'events/s', events, { seconds, cpuSeconds }), cpuSeconds }
}

async function settled(workers: readonly SharingWorker[], each: number): Promise<void> {
  const until = performance.now() + settledMsMax
  while (workers.some(({ held }) => held !== each)) {
    ensure(
      performance.now() < until,
      `${bench}: the workers hold ${workers.map(({ held }) => held).join(' and ')} shards`,
    )
    await sleep(20)
  }
}

class SharingWorker {
  readonly child: ChildProcess
  readonly stopped: Promise<number>
  held = 0

  constructor(project: Project, events: number) {
    const file = join(import.meta.dirname, 'worker-child.ts')
    this.child = fork(file, [project.folder, String(events)], {
      execArgv: ['--disable-warning=TimeoutNegativeWarning'],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    this.stopped = new Promise((resolve, reject) => {
      this.child.once('exit', (code) => reject(new Error(`a worker ended with exit code ${code}`)))
      this.child.on('message', (message) => {
        const told = message as WorkerChildMessage
        if (told.kind === 'held') this.held = told.shards
        else resolve(told.applied)
      })
    })
    this.stopped.catch(() => {})
  }

  get pid(): number {
    return this.child.pid ?? 0
  }

  go(): void {
    this.child.send('go')
  }
}
