import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { FeatureStoreError } from '../../core/errors.ts'
import { type Random } from '../../core/ports/environment.ts'
import { readJson, replaceFile } from './files.ts'
import { isStreamName } from './names.ts'

/** Version of the folder layout (README.md). Another one is refused, never converted in passing. */
export const logFormat = 1

/**
 * When an append is acknowledged: `always` once it is on disk (shared by appends that wait at the same time), `interval`
 * at once, on disk within intervalMs, `never` at once, on disk when the system likes or a segment ends. A killed process loses nothing under any.
 */
export type FsyncPolicy = 'always' | 'interval' | 'never'

export interface LogIdentity {
  readonly logId: string
  /** The policy it was made with: what a writer does that names none. */
  readonly fsync: FsyncPolicy
}

/** Who the log is, or null when there is none. Reads only. Errors: FS_LOG_FORMAT for another version. */
export function readIdentity(root: string): LogIdentity | null {
  const path = join(root, 'log.json')
  const json = readJson(path)
  if (json === undefined) return null
  const { format, logId, fsync } = (json ?? {}) as Partial<LogIdentity> & { readonly format?: unknown }
  if (format !== logFormat)
    throw new FeatureStoreError('FS_LOG_FORMAT', `${path} has format ${JSON.stringify(format)}, not ${logFormat}`)
  if (typeof logId !== 'string' || !isPolicy(fsync))
    throw new FeatureStoreError('FS_FILE_INVALID', `${path} lacks its log id or its fsync policy`)
  return { logId, fsync }
}

const isPolicy = (text: unknown): text is FsyncPolicy => text === 'always' || text === 'interval' || text === 'never'

export function createIdentity(root: string, fsync: FsyncPolicy, random: Random): LogIdentity {
  // Streams without a log.json are somebody's history: nothing is begun over them.
  const orphan = streamFolders(root)[0]
  if (orphan !== undefined)
    throw new FeatureStoreError('FS_LOG_FORMAT', `${root} has the stream ${orphan} but no log.json`)
  const identity = { logId: uuid(random.bytes(16)), fsync }
  replaceFile(join(root, 'log.json'), JSON.stringify({ format: logFormat, ...identity }))
  return identity
}

/** RFC 9562, version 4. */
function uuid(bytes: Uint8Array): string {
  const hex = Array.from(bytes, (byte, index) =>
    (index === 6 ? (byte & 0x0f) | 0x40 : index === 8 ? (byte & 0x3f) | 0x80 : byte).toString(16).padStart(2, '0'),
  ).join('')
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
}

export const streamFolders = (root: string): string[] =>
  readdirSync(root)
    .filter((name) => isStreamName(name) && existsSync(join(root, name, 'stream.json')))
    .sort()

/** Partitions of a stream, or null when there is no such stream. */
export function readPartitionCount(root: string, stream: string): number | null {
  const path = join(root, stream, 'stream.json')
  const json = readJson(path)
  if (json === undefined) return null
  const { partitions } = (json ?? {}) as { readonly partitions?: unknown }
  if (!Number.isSafeInteger(partitions) || (partitions as number) < 1)
    throw new FeatureStoreError('FS_FILE_INVALID', `${path} does not say how many partitions there are`)
  return partitions as number
}

/**
 * How the last writer left: kept in writer.json. After a clean close the ends are known, so a log that was cut at the
 * edge of a batch shows. Under a writer that never closed, a kill loses nothing that was written, but a machine that
 * went down may have: the boot id tells the two apart.
 */
export interface WriterState {
  readonly clean: boolean
  readonly bootId: string | null
  /** Of a clean close: end offset by `stream/partition`. */
  readonly ends: Readonly<Record<string, number>>
}

export function readWriterState(root: string): WriterState | null {
  const json = readJson(join(root, 'writer.json'))
  if (typeof json !== 'object' || json === null) return null
  const { clean, bootId, ends } = json as Partial<WriterState>
  return {
    clean: clean === true,
    bootId: typeof bootId === 'string' ? bootId : null,
    ends: typeof ends === 'object' && ends !== null ? ends : {},
  }
}

export const writeWriterState = (root: string, state: WriterState): void =>
  replaceFile(join(root, 'writer.json'), JSON.stringify(state))

/** Changes when the machine starts; null where the system does not tell, which counts as changed. */
export function currentBootId(): string | null {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  } catch {
    return null
  }
}
