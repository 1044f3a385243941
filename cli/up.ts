import { fork, type ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import { FeatureStoreError } from '../core/errors.ts'
import type { Logger } from '../core/ports/environment.ts'
import { newStream } from '../core/registry/log-check.ts'
import { loadRegistry } from '../worker/registry-log.ts'
import { requireApplied } from './command.ts'
import type { ChildMessage } from './commands/processes.ts'
import { startControl } from './control-server.ts'
import { sleeper } from './environment.ts'
import { LocalIngest } from './ingest.ts'
import type { Project } from './project.ts'
import { openLogToWrite } from './stores.ts'

const main = join(import.meta.dirname, 'main.ts')

/** As bin/tidemark.js starts it: a small young generation for the server. */
const nodeFlags = (command: string | undefined): string[] => [
  '--disable-warning=ExperimentalWarning',
  // kafkajs sets timers to moments that have passed.
  '--disable-warning=TimeoutNegativeWarning',
  ...(command === 'serve' ? ['--max-semi-space-size=2'] : []),
]

/** Another command of this program as a child that ends with this process. */
export function startChild(
  project: Project,
  args: readonly string[],
  onMessage: (message: ChildMessage) => void,
): ChildProcess {
  const child = fork(main, [...args, '--project', project.folder], {
    execArgv: nodeFlags(args[0]),
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  child.on('message', (message) => onMessage(message as ChildMessage))
  return child
}

/** Resolves with the exit code, or 128 + 15 after a signal. */
export const exitOf = (child: ChildProcess): Promise<number> =>
  new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) resolve(child.exitCode ?? 143)
    child.once('exit', (code) => resolve(code ?? 143))
  })

/** Asks a child to end and waits; kills it when it does not. */
export async function endChild(child: ChildProcess, graceMs: number): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), graceMs)
  await exitOf(child)
  clearTimeout(timer)
}

export interface UpOptions {
  readonly signal: AbortSignal
  readonly logger: Logger
  readonly port: number | undefined
  readonly onReady: (address: string) => void
}

const graceMs = 15_000
const restartMsMin = 200
const restartMsMax = 10_000

/** Runs worker and server as children and starts each again when it ends; holds the log and writes for other processes. */
export async function runUp(project: Project, options: UpOptions): Promise<void> {
  const { signal, logger } = options
  await using open = await openLogToWrite(project, 'tidemark up')
  requireApplied(project, await loadRegistry(open.log))
  for (const [name, stream] of project.catalog.streams) await open.log.create(name, newStream(stream))
  const stop = new AbortController()
  const running = AbortSignal.any([signal, stop.signal])
  const keep = (args: readonly string[], onMessage: (message: ChildMessage) => void): Promise<void> =>
    keepRunning(project, args, running, logger, onMessage).catch((error: unknown) => {
      stop.abort()
      throw error
    })
  let begin = (): void => {}
  const begun = new Promise<void>((resolve) => (begin = resolve))
  let address = (_text: string): void => {}
  const serving = new Promise<string>((resolve) => (address = resolve))
  const children = [
    keep(['worker'], (message) => {
      if (message.kind === 'progress' && message.projection === 'online') begin()
    }),
  ]
  await Promise.race([begun, aborted(running)])
  if (!running.aborted) {
    children.push(
      keep(['serve', ...(options.port === undefined ? [] : ['--port', String(options.port)])], (message) => {
        if (message.kind === 'serving') address(message.address)
      }),
    )
  }
  const grpc = await Promise.race([serving, aborted(running)])
  if (typeof grpc === 'string') {
    await using _control = await startControl(project.paths.control, new LocalIngest(project, open), grpc)
    options.onReady(grpc)
    await aborted(running)
  }
  const ended = await Promise.allSettled(children)
  const failed = ended.find((result) => result.status === 'rejected')
  if (failed !== undefined) throw failed.reason
}

/** Exit code of a command whose caller has something to correct: starting it again would not help. */
const hopeless = 2

async function keepRunning(
  project: Project,
  args: readonly string[],
  signal: AbortSignal,
  logger: Logger,
  onMessage: (message: ChildMessage) => void,
): Promise<void> {
  let waitMs = restartMsMin
  while (!signal.aborted) {
    const child = startChild(project, args, onMessage)
    const startedMs = performance.now()
    const end = (): void => void endChild(child, graceMs)
    signal.addEventListener('abort', end)
    const code = await exitOf(child)
    signal.removeEventListener('abort', end)
    if (signal.aborted) return
    if (code === hopeless) throw endedEarly(`the ${args[0]}`, code)
    if (performance.now() - startedMs > restartMsMax) waitMs = restartMsMin
    logger.warn('child.ended', { command: args[0], code, againInMs: waitMs })
    await sleeper(signal)(waitMs)
    waitMs = Math.min(waitMs * 2, restartMsMax)
  }
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve()
    signal.addEventListener('abort', () => resolve(), { once: true })
  })

/** The process that must be there for a step ended before it was done. */
export const endedEarly = (what: string, code: number): FeatureStoreError =>
  new FeatureStoreError('FS_INTERNAL', `${what} ended with exit code ${code} before it was done`, {
    remedy: 'Its own message is above.',
  })
