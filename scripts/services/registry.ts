/** Apicurio Registry from Maven Central: a schema registry that speaks Confluent's API under /apis/ccompat/v7. */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { lastLines, runCommand } from './command.ts'
import type { Say } from './debian.ts'
import { findJava, findOrInstallJava, type Java } from './java.ts'
import { downloadFile } from './maven.ts'
import { Problem } from './problem.ts'
import type { Launch, Service } from './service.ts'
import { versions, type Settings } from './settings.ts'

export interface RegistryFiles {
  readonly java: Java
  readonly home: string
}

const homeIn = (folder: string): string => join(folder, `registry-${versions.registry}`)
const runner = `apicurio-registry-app-${versions.registry}-runner.jar`
const apiPath = '/apis/ccompat/v7'

export async function findRegistry(folder: string): Promise<RegistryFiles | Problem> {
  const home = homeIn(folder)
  if (!existsSync(home))
    return new Problem(
      `the schema registry ${versions.registry} is not in ${folder}`,
      'run: npm run services -- install registry',
    )
  const java = await findJava(folder)
  return java instanceof Problem ? java : { java, home }
}

async function install(folder: string, say: Say): Promise<void> {
  const java = await findOrInstallJava(folder, say)
  const home = homeIn(folder)
  if (existsSync(home)) return
  say(`downloading Apicurio Registry ${versions.registry} (109 MB)`)
  const work = `${home}.${process.pid}.part`
  try {
    const coordinates = `io.apicurio:apicurio-registry-app:${versions.registry}:tar.gz:all`
    await downloadFile(folder, work, coordinates, java, say)
    const archive = readdirSync(work).find((name) => name.endsWith('.tar.gz')) ?? ''
    const { code, output } = await runCommand('tar', ['-xzf', archive], { cwd: work, timeoutMs: 120_000 })
    if (code !== 0)
      throw new Problem(
        `tar cannot unpack ${archive}: ${lastLines(output, 3)}`,
        'install tar and gzip; look at the disk',
      )
    rmSync(join(work, archive))
    renameSync(work, home)
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

/** Its schemas lie in a file of the folder, so they outlive a stop. */
export function registryLaunch({ java, home }: RegistryFiles, port: number, folder: string): Launch {
  mkdirSync(folder, { recursive: true })
  const options = {
    'quarkus.http.host': '127.0.0.1',
    'quarkus.http.port': port,
    'apicurio.storage.kind': 'sql',
    'apicurio.storage.sql.kind': 'h2',
    'apicurio.datasource.url': `jdbc:h2:file:${join(folder, 'schemas')}`,
  }
  return {
    command: java.program,
    args: [
      ...['-Xmx384m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1'],
      ...Object.entries(options).map(([name, value]) => `-D${name}=${value}`),
      ...['-jar', join(home, runner)],
    ],
    env: java.env,
    cwd: folder,
  }
}

export const registryAddress = (port: number): string => `http://127.0.0.1:${port}${apiPath}`

export async function checkRegistry(port: number): Promise<void> {
  const response = await fetch(`${registryAddress(port)}/subjects`, { signal: AbortSignal.timeout(5_000) })
  const body = await response.text()
  if (!response.ok) throw new Error(`GET /subjects was answered with ${response.status}`)
  if (!Array.isArray(JSON.parse(body))) throw new Error('GET /subjects was answered with no list')
}

export const registry: Service = {
  name: 'registry',
  readyMs: 60_000,
  stopMs: 10_000,
  async find(folder) {
    const files = await findRegistry(folder)
    return files instanceof Problem ? files : versions.registry
  },
  install,
  ports: ({ ports }) => [ports.registry],
  address: registryAddress,
  async prepare({ folder, ports }: Settings, dataFolder) {
    const files = await findRegistry(folder)
    if (files instanceof Problem) throw files
    return registryLaunch(files, ports.registry, dataFolder)
  },
  check: checkRegistry,
}
