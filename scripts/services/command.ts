/** Programs that run to their end. */
import { spawn } from 'node:child_process'
import { accessSync, constants, statSync } from 'node:fs'
import { delimiter, join } from 'node:path'

export interface Ended {
  /** Null when it did not run, was killed or took too long. */
  readonly code: number | null
  /** stdout and stderr as they came, at most the last 64 KiB. */
  readonly output: string
}

export interface CommandOptions {
  readonly cwd?: string
  readonly env?: Readonly<Record<string, string>>
  readonly timeoutMs?: number
}

const outputCharsMax = 65_536

/** Never rejects: a program that cannot start has code null and says why in its output. */
export function runCommand(command: string, args: readonly string[], options: CommandOptions = {}): Promise<Ended> {
  const { cwd, env, timeoutMs = 60_000 } = options
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      ...(cwd !== undefined && { cwd }),
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
    })
    let output = ''
    const add = (text: string): void => {
      output = (output + text).slice(-outputCharsMax)
    }
    child.stdout.setEncoding('utf8').on('data', add)
    child.stderr.setEncoding('utf8').on('data', add)
    child.once('error', (error) => resolve({ code: null, output: `${output}${error.message}` }))
    child.once('close', (code, signal) => {
      if (signal !== null) add(`\n${command} was ended by ${signal}; it may take ${timeoutMs / 1000} s`)
      resolve({ code, output })
    })
  })
}

/** Full path of an executable, looked for as a shell would, or null. */
export function onPath(name: string, path: string = process.env['PATH'] ?? ''): string | null {
  for (const folder of path.split(delimiter)) {
    const file = join(folder, name)
    if (folder !== '' && isExecutable(file)) return file
  }
  return null
}

export function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return statSync(file).isFile()
  } catch {
    return false
  }
}

export const lastLines = (text: string, lines: number): string => text.trimEnd().split('\n').slice(-lines).join('\n')
