/** What `plan` and `apply` say about the log itself: whether it keeps what the definitions need, and what would be made. */
import { FeatureStoreError } from '../core/errors.ts'
import type { EventLog, StreamKeeping } from '../core/ports/event-log.ts'
import { needOf, needOfEmpty, needOfOwn, type LogFinding, type StreamNeed } from '../core/registry/log-check.ts'
import { schemaStream } from '../schemas/schema-log.ts'
import { inspectLog } from '../worker/inspect-log.ts'
import { registryStream } from '../worker/registry-log.ts'
import { shardStream } from './kafka.ts'
import type { Project } from './project.ts'
import { openLogToRead } from './stores.ts'

export interface ProjectLog {
  readonly findings: readonly LogFinding[]
  /** Streams that `apply` makes in a system that others know as well. */
  readonly made: readonly MadeStream[]
}

export interface MadeStream extends Pick<StreamKeeping, 'partitions' | 'knownAt' | 'batchBytesMax'> {
  readonly stream: string
  readonly place: string
}

/** Errors: those of the log. A project without a log yet has nothing that is wrong with it. */
export async function inspectProject(project: Project): Promise<ProjectLog> {
  try {
    await using open = await openLogToRead(project)
    return await inspectProjectLog(project, open.log)
  } catch (error) {
    if (error instanceof FeatureStoreError && error.code === 'FS_NOT_APPLIED') return { findings: [], made: [] }
    throw error
  }
}

export async function inspectProjectLog(project: Project, log: EventLog): Promise<ProjectLog> {
  const needs = needsOf(project)
  const { findings, keepings } = await inspectLog(log, needs)
  const made = keepings.flatMap(({ isThere, system, ...keeping }, index): MadeStream[] => {
    const { stream } = needs[index] as StreamNeed
    // Its own ones are made by whoever needs them first.
    if (isThere || system === null || !project.catalog.streams.has(stream)) return []
    const { partitions, knownAt, batchBytesMax } = keeping
    return [{ stream, place: system.place, partitions, knownAt, batchBytesMax }]
  })
  return { findings, made }
}

function needsOf({ catalog, config }: Project): StreamNeed[] {
  const streams = [...catalog.streams.values()].map((stream) => needOf(catalog, stream))
  if (config.log.kind === 'embedded') return streams
  const shared = config.online.kind === 'redis' ? [needOfEmpty(shardStream, config.online.shards)] : []
  return [...streams, needOfOwn(registryStream, 1), needOfOwn(schemaStream, 1), ...shared]
}

export const madeText = ({ place, partitions, knownAt, batchBytesMax }: MadeStream): string => {
  const counted = `${partitions} partition${partitions === 1 ? '' : 's'}`
  const batches = batchBytesMax === null ? '' : `, batches of ${batchBytesMax} bytes at most`
  return `+ ${place} (${counted}, knownAt ${knownAt ?? 'as given'}, kept for ever${batches})`
}

export const findingText = ({ severity, code, message, remedy }: LogFinding): string[] => [
  `${severity} ${code}: ${message}`,
  `    ${remedy}`,
]
