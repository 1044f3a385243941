import { existsSync, mkdirSync } from 'node:fs'
import { registerHooks } from 'node:module'
import { join, relative, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { buildCatalog, type Catalog } from '../core/definition/catalog.ts'
import { projectionFingerprint } from '../core/definition/fingerprint.ts'
import type { Definition } from '../core/definition/types.ts'
import { rowFormat } from '../core/engine/row.ts'
import { FeatureStoreError } from '../core/errors.ts'
import { parseConfig, type Config } from './config.ts'

/** A project folder, loaded: its config, its definitions, and where its data lives. */
export interface Project {
  readonly folder: string
  readonly config: Config
  readonly catalog: Catalog
  readonly paths: ProjectPaths
  /** Names the online rows that these definitions make: rows of others are never read. */
  readonly generation: string
}

export interface ProjectPaths {
  readonly data: string
  readonly log: string
  readonly online: string
  readonly offline: string
  readonly models: string
  readonly workerLock: string
  /** Where a running `up` says how to reach it. */
  readonly control: string
}

const configNames = ['tidemark.config.ts', 'tidemark.config.js', 'tidemark.config.mjs']
const kinds: readonly string[] = ['stream', 'entity', 'view', 'service', 'model']

/** `import … from 'tidemark'` is this package, wherever the project folder lies. */
function resolveOwnName(): void {
  const own = pathToFileURL(resolve(import.meta.dirname, '..', 'index.ts')).href
  registerHooks({
    resolve: (specifier, context, next) =>
      specifier === 'tidemark' ? { url: own, shortCircuit: true } : next(specifier, context),
  })
}

let hooked = false

/** Errors: FS_PROJECT_NOT_FOUND, FS_CONFIG_INVALID, FS_DEFINITION_INVALID, FS_NOT_YET; definitions with file and line. */
export async function loadProject(folder: string): Promise<Project> {
  const root = resolve(folder)
  const configFile = configNames.map((name) => join(root, name)).find(existsSync)
  if (configFile === undefined)
    throw new FeatureStoreError('FS_PROJECT_NOT_FOUND', `there is no tidemark.config.ts in ${root}`)
  if (!hooked) resolveOwnName()
  hooked = true
  const config = parseConfig((await load(root, configFile))['default'] ?? {}, relative(root, configFile))
  const definitions: Definition[] = []
  for (const file of config.definitions) {
    const path = resolve(root, file)
    if (!existsSync(path))
      throw new FeatureStoreError('FS_CONFIG_INVALID', `definitions: there is no ${file} in ${root}`)
    for (const value of Object.values(await load(root, path)))
      if (isDefinition(value) && !definitions.includes(value)) definitions.push(value)
  }
  const catalog = buildCatalog(definitions)
  const data = resolve(root, config.dataFolder)
  return {
    folder: root,
    config,
    catalog,
    paths: {
      data,
      log: join(data, 'log'),
      online: join(data, 'online'),
      offline: join(data, 'offline'),
      models: join(data, 'models'),
      workerLock: join(data, 'worker.lock'),
      control: join(data, 'up.json'),
    },
    generation: projectionFingerprint(catalog, {
      shards: config.online.shards,
      historyMs: config.online.historyMs,
      rowFormat,
    }).slice(0, 32),
  }
}

export function makeDataFolder({ paths }: Project): void {
  mkdirSync(paths.data, { recursive: true })
}

const isDefinition = (value: unknown): value is Definition =>
  typeof value === 'object' &&
  value !== null &&
  kinds.includes((value as { readonly kind?: string }).kind ?? '') &&
  'name' in value

async function load(root: string, path: string): Promise<Record<string, unknown>> {
  try {
    return (await import(pathToFileURL(path).href)) as Record<string, unknown>
  } catch (error) {
    if (error instanceof FeatureStoreError)
      throw new FeatureStoreError(error.code, `${placeOf(error, root) ?? relative(root, path)}: ${error.message}`, {
        cause: error,
      })
    const reason = error instanceof Error ? error.message : String(error)
    throw new FeatureStoreError('FS_DEFINITION_INVALID', `${placeOf(error, root) ?? relative(root, path)}: ${reason}`, {
      cause: error,
    })
  }
}

/** File and line of the project where an error arose, from its stack. */
function placeOf(error: unknown, root: string): string | null {
  if (!(error instanceof Error)) return null
  for (const line of (error.stack ?? '').split('\n')) {
    const match = /(?:file:\/\/)?(\/[^():]+|[A-Za-z]:[^():]+):(\d+):\d+\)?$/.exec(line)
    if (match?.[1]?.startsWith(root) === true && !match[1].includes('node_modules'))
      return `${relative(root, match[1])}:${match[2]}`
  }
  return null
}
