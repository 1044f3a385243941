/**
 * What was started, in the cache folder, so that later commands find it and stop nothing else:
 *
 *     <folder>/services.json     each server that was started and not stopped: address, version, pid, …
 *     <folder>/data/<name>/      its data, its server.log
 *
 * One file for all: programs read the addresses there.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Problem } from './problem.ts'
import { serviceNames, type ServiceName } from './settings.ts'

export interface ServerRecord {
  readonly address: string
  readonly port: number
  readonly version: string
  readonly pid: number
  /** When the process began: another process with the same pid is not ours. */
  readonly identity: string
  readonly folder: string
  readonly heapMb: number | null
}

export type Records = Readonly<Partial<Record<ServiceName, ServerRecord>>>

const fileIn = (folder: string): string => join(folder, 'services.json')

export function readRecords(folder: string): Records {
  let text: string
  try {
    text = readFileSync(fileIn(folder), 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return {}
    throw error
  }
  try {
    const parsed: unknown = JSON.parse(text)
    if (isObject(parsed)) {
      const entries = serviceNames
        .map((name) => [name, parsed[name]] as const)
        .filter(([, value]) => value !== undefined)
      if (entries.every(([, value]) => isRecord(value))) return Object.fromEntries(entries)
    }
  } catch {
    // Said below.
  }
  throw new Problem(
    `${fileIn(folder)} is damaged`,
    'end the servers that it named, if any, by hand (their logs are in data/), then remove the file',
  )
}

export function writeRecord(folder: string, name: ServiceName, record: ServerRecord | null): void {
  const { [name]: _old, ...others } = readRecords(folder)
  const part = `${fileIn(folder)}.part`
  writeFileSync(part, `${JSON.stringify(record === null ? others : { ...others, [name]: record }, null, 2)}\n`)
  renameSync(part, fileIn(folder))
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const isRecord = (value: unknown): value is ServerRecord =>
  isObject(value) &&
  ['address', 'version', 'identity', 'folder'].every((field) => typeof value[field] === 'string') &&
  ['port', 'pid'].every((field) => Number.isSafeInteger(value[field])) &&
  (value['heapMb'] === null || Number.isSafeInteger(value['heapMb']))
