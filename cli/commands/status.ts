import type { Command } from 'commander'
import { FeatureStoreError } from '../../core/errors.ts'
import type { DeadLetter } from '../../core/event/batch.ts'
import { historyText } from '../../core/definition/format.ts'
import { historyStepOf } from '../../core/definition/history.ts'
import type { PartitionPosition } from '../../core/event/position.ts'
import type { ShardPosition } from '../../core/ports/online-store.ts'
import { isApplied } from '../../core/registry/decide.ts'
import { formatInstant } from '../../core/time/time.ts'
import { LogLag, summaryOf, type ByStream, type PartitionLag } from '../../worker/lag.ts'
import { totalOf } from '../../worker/log-ends.ts'
import { action, withCommon, type CommonOptions } from '../command.ts'
import { connectControl, readControlFile } from '../control-client.ts'
import { systemClock } from '../environment.ts'
import { behindOf, countedBy, describeStreams, endsOf, lagText, leastOfShards, shardLags, type Behind } from '../lag.ts'
import type { Project } from '../project.ts'
import { openLogToRead, openOffline, openOnline, type OpenOffline } from '../stores.ts'
import { grouped, print, printJson, table } from '../terminal.ts'
import { readRegistry } from './definitions.ts'

interface StatusOptions extends CommonOptions {
  readonly deadLetters?: true
}

export function addStatus(program: Command): void {
  withCommon(program.command('status'))
    .summary('where log and stores stand')
    .description(
      'Streams, views, services and models of the project, and how far each projection has come: with --json by stream, partition and shard.',
    )
    .option('--dead-letters', 'list every dead letter')
    .action(
      action<StatusOptions, []>(async (project, options) => {
        const status = await statusOf(project, options.json === true)
        const { deadLetters } = status
        if (options.json !== true) return printStatus(status, options.deadLetters === true)
        printJson({
          ...status,
          deadLetters: deadLetters.length,
          deadLettersByCode: countsByCode(deadLetters),
          ...(options.deadLetters === true ? { deadLetterList: deadLetters } : {}),
        })
      }),
    )
}

async function statusOf(project: Project, withShards: boolean) {
  const registry = await readRegistry(project)
  await using open = await openLogToRead(project)
  const partitions = await describeStreams(open, [...project.catalog.streams.keys()])
  const ends = endsOf(partitions)
  const online = await onlineStatus(project, ends)
  await using offline = await openOffline(project, open.log.logId, 'read')
  const stored = await offlineStatus(offline, ends)
  const lag = new LogLag(open.log, ends, systemClock.nowMs())
  const onlineStreams = [...new Set([...project.catalog.views.values()].map(({ from }) => from))]
  const onlineLags = online.position === null ? null : await lag.of(online.position, onlineStreams)
  const offlineLags = await lag.of(stored, Object.keys(stored))
  return {
    project: project.folder,
    logId: open.log.logId,
    applied: isApplied(project.catalog, registry),
    up: await runningUp(project.paths.control),
    /** What the counts of streams and histories count. */
    counted: countedBy(open),
    streams: [...project.catalog.streams.keys()].map((stream) => ({
      stream,
      records: countIn(ends, stream),
      online: online.position === null ? null : countIn(online.position, stream),
      offline: stored[stream] === undefined ? null : countIn(stored, stream),
      newestEventTime: online.newest[stream] === undefined ? null : formatInstant(online.newest[stream]),
      partitions: (partitions[stream] ?? []).map(({ start, end }, partition) => ({
        partition,
        start,
        end,
        online: partitionIn(onlineLags ?? [], stream, partition),
        offline: partitionIn(offlineLags, stream, partition),
      })),
    })),
    lag: {
      online: onlineLags === null ? null : summaryOf(onlineLags),
      offline: offlineLags.length === 0 ? null : summaryOf(offlineLags),
    },
    ...(withShards ? { shards: await shardLags(lag, onlineStreams, online.positions) } : {}),
    views: [...project.catalog.views.values()].map((view) => ({
      view: view.name,
      version: registry.definitions.get(`view/${view.name}`)?.version ?? null,
      features: view.features.map(({ name }) => name),
      history: historyText(view),
    })),
    histories: await Promise.all(
      [...project.catalog.views.values()]
        .filter((view) => historyStepOf(view) !== null)
        .map(async ({ name, from }) => {
          const held = await offline.features.position(name).catch(() => null)
          return { view: name, ...(await historyStatus(lag, ends, from, held?.partitions ?? null)) }
        }),
    ),
    services: [...project.catalog.services.keys()],
    models: [...registry.models.values()]
      .flat()
      .map(({ model, version, service, metrics }) => ({ model, version, service, metrics })),
    deadLetters: online.deadLetters,
  }
}

type Status = Awaited<ReturnType<typeof statusOf>>

function printStatus(status: Status, listsDeadLetters: boolean): void {
  const text = (count: number | null): string => (count === null ? '-' : grouped(count))
  const { logId, applied, up, counted, lag, deadLetters } = status
  print(
    `log ${logId}${applied ? '' : ', definitions not applied'}${up === null ? '' : `, up (process ${up.pid}) on ${up.grpc}`}`,
  )
  for (const line of table(
    [
      ['stream', counted, 'online', 'offline', 'newest event'],
      ...status.streams.map((row) => [
        row.stream,
        text(row.records),
        text(row.online),
        text(row.offline),
        row.newestEventTime ?? '-',
      ]),
    ],
    [1, 2, 3],
  ))
    print(line)
  print(`online rows: ${lag.online === null ? 'not built yet' : lagText(lag.online, counted)}`)
  print(`offline tables: ${lag.offline === null ? 'not built yet' : lagText(lag.offline, counted)}`)
  for (const { view, version, features } of status.views)
    print(`view ${view}${version === null ? '' : ` version ${version}`}: ${features.join(', ')}`)
  for (const { view, covered, lag } of status.histories)
    print(
      `history of ${view}: ${text(covered)} ${counted}${lag === null || lag === 0 ? '' : `, ${grouped(lag)} behind`}`,
    )
  for (const service of status.services) print(`service ${service}`)
  for (const { model, version, service } of status.models)
    print(`model ${model} version ${version} of service ${service}`)
  const byCode = Object.entries(countsByCode(deadLetters)).map(([code, count]) => `${code} ${grouped(count)}`)
  print(`dead letters: ${grouped(deadLetters.length)}${byCode.length === 0 ? '' : ` (${byCode.join(', ')})`}`)
  if (!listsDeadLetters) return
  for (const { scope, stream, partition, offset, code, reason } of deadLetters)
    print(`  ${scope}  ${stream}/${partition}@${offset}  ${code}  ${reason}`)
}

async function historyStatus(
  lag: LogLag,
  ends: ByStream<PartitionPosition>,
  stream: string,
  held: readonly PartitionPosition[] | null,
) {
  const records = countIn(ends, stream)
  if (held === null) return { records, covered: null, lag: null, lagMs: null, partitions: [] }
  const covered = totalOf({ [stream]: held })
  const own = await lag.of({ [stream]: held }, [stream])
  const partitions = own.map((each) => ({ partition: each.partition, ...behindOf(each) }))
  return { records, covered, lag: records - covered, lagMs: summaryOf(own).lagMs, partitions }
}

/** The most frequent code first. */
function countsByCode(letters: readonly DeadLetter[]): Readonly<Record<string, number>> {
  const counts = new Map<string, number>()
  for (const { code } of letters) counts.set(code, (counts.get(code) ?? 0) + 1)
  return Object.fromEntries([...counts].toSorted(([a, n], [b, m]) => m - n || (a < b ? -1 : 1)))
}

const countIn = (positions: ByStream<PartitionPosition>, stream: string): number =>
  totalOf({ [stream]: positions[stream] ?? [] })

function partitionIn(lags: readonly PartitionLag[], stream: string, partition: number): Behind | null {
  const own = lags.find((each) => each.stream === stream && each.partition === partition)
  return own === undefined ? null : behindOf(own)
}

interface OnlineStatus {
  /** By shard. */
  readonly positions: readonly (ShardPosition | null)[]
  /** What all shards have. Null: nothing was ever written. */
  readonly position: ByStream<PartitionPosition> | null
  /** Of any shard: an event counts for the clock of replayed history once it was applied. */
  readonly newest: Readonly<Record<string, number>>
  readonly deadLetters: readonly DeadLetter[]
}

async function onlineStatus(project: Project, ends: ByStream<PartitionPosition>): Promise<OnlineStatus> {
  const shards = Array.from({ length: project.config.online.shards }, (_, shard) => shard)
  try {
    await using online = await openOnline(project, 'read')
    const positions = await online.positions(shards)
    return {
      positions,
      position: leastOfShards(ends, positions),
      newest: newestOf(positions),
      deadLetters: await Array.fromAsync(online.deadLetters()),
    }
  } catch (error) {
    if (!(error instanceof FeatureStoreError && error.code === 'FS_NOT_READY')) throw error
    return { positions: shards.map(() => null), position: null, newest: {}, deadLetters: [] }
  }
}

function newestOf(positions: readonly (ShardPosition | null)[]): Readonly<Record<string, number>> {
  const newest: Record<string, number> = {}
  for (const position of positions)
    for (const [stream, ms] of Object.entries(position?.newestEventTimeMs ?? {}))
      newest[stream] = Math.max(ms, newest[stream] ?? ms)
  return newest
}

/** What the offline tables hold; a stream whose table cannot be asked for is left out. */
async function offlineStatus(
  { store }: OpenOffline,
  ends: ByStream<PartitionPosition>,
): Promise<ByStream<PartitionPosition>> {
  const held: Record<string, readonly PartitionPosition[]> = {}
  for (const [stream, { length }] of Object.entries(ends)) {
    const positions = await store.positions(stream, length).catch(() => null)
    if (positions !== null) held[stream] = positions
  }
  return held
}

/** After a kill its file is left behind, so it is asked. */
async function runningUp(control: string): Promise<{ readonly pid: number; readonly grpc: string } | null> {
  const file = readControlFile(control)
  return file === null || (await connectControl(control)) === null ? null : { pid: file.pid, grpc: file.grpc }
}
