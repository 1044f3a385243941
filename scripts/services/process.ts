/** Servers that outlive the command which started them: who a pid is, how to start one and how to stop one. */
import { spawn, spawnSync } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/**
 * Tells one process from a later one with the same pid: boot and time of start. Null when there is no such process, or
 * when it has ended and only waits for its parent.
 */
export function identityOf(pid: number): string | null {
  if (process.platform !== 'linux') {
    const { stdout } = spawnSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' })
    return stdout?.trim() || null
  }
  try {
    // `pid (command) state ppid …`, proc(5): the command may hold blanks and brackets; start time is field 22.
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const [state, ...rest] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    if (state === 'Z' || state === 'X') return null
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()} ${rest[18]}`
  } catch {
    return null
  }
}

export interface Started {
  readonly pid: number
  readonly identity: string
}

export const isAlive = ({ pid, identity }: Started): boolean => identityOf(pid) === identity

export interface DetachedOptions {
  readonly cwd: string
  readonly env: Readonly<Record<string, string>>
  readonly logFile: string
}

/** In a session of its own, so that neither the end of this process nor Ctrl-C in its terminal reaches it. */
export async function startDetached(
  command: string,
  args: readonly string[],
  { cwd, env, logFile }: DetachedOptions,
): Promise<Started> {
  const log = openSync(logFile, 'w', 0o600)
  try {
    const child = spawn(command, args, {
      cwd,
      env: { ...process.env, ...env },
      stdio: ['ignore', log, log],
      detached: true,
    })
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve)
      child.once('error', reject)
    })
    child.unref()
    const pid = child.pid ?? 0
    return { pid, identity: identityOf(pid) ?? 'ended at once' }
  } finally {
    closeSync(log)
  }
}

/** Asks it to end, waits, and kills it when it does not. A process that is another one by now is left alone. */
export async function stopProcess(started: Started, graceMs: number): Promise<'ended' | 'killed' | 'was gone'> {
  if (!isAlive(started)) return 'was gone'
  signal(started, 'SIGTERM')
  if (await gone(started, graceMs)) return 'ended'
  signal(started, 'SIGKILL')
  if (await gone(started, 10_000)) return 'killed'
  throw new Error(`process ${started.pid} does not end, even when killed`)
}

function signal(started: Started, name: NodeJS.Signals): void {
  try {
    if (isAlive(started)) process.kill(started.pid, name)
  } catch {
    // It ended in between.
  }
}

async function gone(started: Started, waitMs: number): Promise<boolean> {
  const end = performance.now() + waitMs
  while (isAlive(started)) {
    if (performance.now() >= end) return false
    await sleep(25)
  }
  return true
}
