/** up, down, status and install, for one server. The caller holds the lock of the folder, except for `stateOf`. */
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { lastLines } from './command.ts'
import type { Say } from './debian.ts'
import { kafka } from './kafka.ts'
import { isPortFree } from './ports.ts'
import { Problem } from './problem.ts'
import { isAlive, startDetached, stopProcess } from './process.ts'
import { readRecords, writeRecord, type ServerRecord } from './records.ts'
import { redis } from './redis.ts'
import { registry } from './registry.ts'
import type { Service } from './service.ts'
import { portVariables, type ServiceName, type Settings } from './settings.ts'
import { until } from './wait.ts'

export const services: Readonly<Record<ServiceName, Service>> = { kafka, redis, registry }

export type State =
  | { readonly kind: 'missing'; readonly problem: Problem }
  | { readonly kind: 'down'; readonly version: string }
  | { readonly kind: 'up'; readonly record: ServerRecord }
  | { readonly kind: 'sick'; readonly record: ServerRecord; readonly reason: string }
  /** It was started, and ended without `down`. */
  | { readonly kind: 'ended'; readonly record: ServerRecord }

export async function stateOf(service: Service, folder: string): Promise<State> {
  const record = readRecords(folder)[service.name]
  if (record !== undefined) {
    if (!isAlive(record)) return { kind: 'ended', record }
    const reason = await reasonOf(service.check(record.port))
    return reason === null ? { kind: 'up', record } : { kind: 'sick', record, reason }
  }
  const found = await service.find(folder)
  return found instanceof Problem ? { kind: 'missing', problem: found } : { kind: 'down', version: found }
}

const reasonOf = (check: Promise<void>): Promise<string | null> =>
  check.then(
    () => null,
    (error: unknown) => (error instanceof Error ? error.message : String(error)),
  )

/** Whether it had to be started. What runs already is checked and left as it is. */
export async function up(service: Service, settings: Settings, say: Say): Promise<ServerRecord & { started: boolean }> {
  const state = await stateOf(service, settings.folder)
  switch (state.kind) {
    case 'up':
      refuseOtherSettings(service, state.record, settings)
      return { ...state.record, started: false }
    case 'sick':
      throw new Problem(
        `${service.name} runs as process ${state.record.pid}, and does not answer as it should: ${state.reason}`,
        `npm run services -- down ${service.name}, then up; its log is ${logFileOf(state.record.folder)}`,
      )
    case 'ended':
      writeRecord(settings.folder, service.name, null)
      break
    case 'missing':
    case 'down':
      await service.install(settings.folder, say)
  }
  return { ...(await start(service, settings)), started: true }
}

function refuseOtherSettings(service: Service, record: ServerRecord, settings: Settings): void {
  const [port] = service.ports(settings)
  const what =
    record.port !== port
      ? `on port ${record.port}, not ${port}`
      : service.name === 'kafka' && settings.heapMb !== null && record.heapMb !== settings.heapMb
        ? `with ${record.heapMb === null ? 'the small heap' : `a heap of ${record.heapMb}m`}`
        : null
  if (what !== null)
    throw new Problem(
      `${service.name} runs already, ${what}`,
      `npm run services -- down ${service.name}, then up again`,
    )
}

const logFileOf = (folder: string): string => join(folder, 'server.log')

async function start(service: Service, settings: Settings): Promise<ServerRecord> {
  const { name } = service
  const ports = service.ports(settings)
  for (const port of ports) await refuseTakenPort(name, port)
  const folder = join(settings.folder, 'data', name)
  mkdirSync(folder, { recursive: true })
  const { command, args, env, cwd } = await service.prepare(settings, folder)
  const found = await service.find(settings.folder)
  if (found instanceof Problem) throw found
  const logFile = logFileOf(folder)
  const started = await startDetached(command, args, { cwd, env, logFile })
  const [port] = ports
  const heapMb = name === 'kafka' ? settings.heapMb : null
  const record = { address: service.address(port), port, version: found, ...started, folder, heapMb }
  // Before it is ready: a command that is interrupted now leaves a server that `down` knows.
  writeRecord(settings.folder, name, record)
  const stillWorth = (): void => {
    if (!isAlive(started)) throw new Error('the process ended')
  }
  try {
    await until(`${name} on ${record.address}`, () => service.check(port), { deadlineMs: service.readyMs, stillWorth })
  } catch (cause) {
    await stopProcess(started, 2_000)
    writeRecord(settings.folder, name, null)
    const reason = cause instanceof Error ? cause.message : String(cause)
    const log = lastLines(readFileSync(logFile, 'utf8'), 10)
    throw new Problem(`${name} does not get ready: ${reason}`, `see ${logFile}, which ends with:\n${log}`, { cause })
  }
  return record
}

async function refuseTakenPort(name: ServiceName, port: number): Promise<void> {
  if (await isPortFree(port)) return
  const variables = Object.entries(portVariables).filter(([key]) => key.startsWith(name))
  throw new Problem(
    `port ${port}, for ${name}, is taken by a process that this command did not start`,
    `end that process, or give another port in ${variables.map(([, [variable]]) => variable).join(' and ')}`,
  )
}

/** What became of it. Only the very process that `up` started is ended. */
export async function down(service: Service, folder: string): Promise<'was not up' | 'ended' | 'killed' | 'was gone'> {
  const record = readRecords(folder)[service.name]
  if (record === undefined) return 'was not up'
  const outcome = await stopProcess(record, service.stopMs)
  writeRecord(folder, service.name, null)
  return outcome
}
