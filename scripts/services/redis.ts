/** redis-server of the machine, or of Debian. */
import { mkdirSync } from 'node:fs'
import { runCommand } from './command.ts'
import { environmentOf, findProgram, installPackages, type Say } from './debian.ts'
import { Problem } from './problem.ts'
import { redisCommand } from './resp.ts'
import type { Launch, Service } from './service.ts'
import type { Settings } from './settings.ts'

export interface RedisFiles {
  readonly program: string
  readonly version: string
  readonly env: Readonly<Record<string, string>>
}

const byHand = 'install redis-server 7 or newer (Debian: redis-server) and put it on the PATH'

export async function findRedis(folder: string): Promise<RedisFiles | Problem> {
  const program = findProgram(folder, 'redis-server')
  if (program === null)
    return new Problem('there is no redis-server', `run: npm run services -- install redis; or ${byHand}`)
  const env = environmentOf(folder, program)
  const { code, output } = await runCommand(program, ['--version'], { env })
  const version = /v=([\d.]+)/.exec(output)?.[1]
  if (code !== 0 || version === undefined) return new Problem(`${program} does not run: ${output.trim()}`, byHand)
  return { program, version, env }
}

async function install(folder: string, say: Say): Promise<void> {
  if (findProgram(folder, 'redis-server') === null) await installPackages(folder, ['redis-server'], byHand, say)
  const found = await findRedis(folder)
  if (found instanceof Problem) throw found
}

/** A server on loopback that keeps nothing on disk and never drops a key: what is asked of it, unless `args` say else. */
export function redisLaunch(files: RedisFiles, port: number, folder: string, args: readonly string[] = []): Launch {
  mkdirSync(folder, { recursive: true })
  return {
    command: files.program,
    args: [
      ...['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--daemonize', 'no'],
      ...['--save', '', '--appendonly', 'no', '--maxmemory-policy', 'noeviction', ...args],
    ],
    env: files.env,
    cwd: folder,
  }
}

/** Rejects while it loads its data, too. */
export async function checkRedis(port: number): Promise<void> {
  const reply = await redisCommand(port, ['PING'])
  if (reply !== 'PONG') throw new Error(`PING was answered with ${JSON.stringify(reply)}`)
}

export const redis: Service = {
  name: 'redis',
  readyMs: 20_000,
  stopMs: 10_000,
  async find(folder) {
    const files = await findRedis(folder)
    return files instanceof Problem ? files : files.version
  },
  install,
  ports: ({ ports }) => [ports.redis],
  address: (port) => `127.0.0.1:${port}`,
  async prepare({ folder, ports }: Settings, dataFolder) {
    const files = await findRedis(folder)
    if (files instanceof Problem) throw files
    // Here the data outlives a stop, as that of the other servers does.
    return redisLaunch(files, ports.redis, dataFolder, ['--appendonly', 'yes'])
  },
  check: checkRedis,
}
