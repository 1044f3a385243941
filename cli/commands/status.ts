import type { Command } from 'commander'
import { FeatureStoreError } from '../../core/errors.ts'
import type { DeadLetter } from '../../core/event/batch.ts'
import { historyText } from '../../core/definition/format.ts'
import { historyStepOf } from '../../core/definition/history.ts'
import { recordCount } from '../../core/event/position.ts'
import { isApplied } from '../../core/registry/decide.ts'
import { formatInstant } from '../../core/time/time.ts'
import { logPosition } from '../../worker/run.ts'
import { action, withCommon, type CommonOptions } from '../command.ts'
import { connectControl, readControlFile } from '../control-client.ts'
import { openLogToRead, openOffline, openOnline } from '../stores.ts'
import { grouped, print, printJson, table } from '../terminal.ts'
import { readRegistry } from './definitions.ts'

interface StatusOptions extends CommonOptions {
  readonly deadLetters?: true
}

export function addStatus(program: Command): void {
  withCommon(program.command('status'))
    .summary('where log and stores stand')
    .description('Streams, views, services and models of the project, and how far each projection has come.')
    .option('--dead-letters', 'list every dead letter')
    .action(
      action<StatusOptions, []>(async (project, options) => {
        const registry = await readRegistry(project)
        await using open = await openLogToRead(project)
        const streams = [...project.catalog.streams.keys()]
        const log = await logPosition(open.log, streams)
        const online = await onlineStatus(project)
        await using offline = await openOffline(project, open.log.logId, 'read')
        const status = {
          project: project.folder,
          logId: open.log.logId,
          applied: isApplied(project.catalog, registry),
          up: await runningUp(project.paths.control),
          streams: await Promise.all(
            streams.map(async (stream) => ({
              stream,
              records: recordCount(log, stream),
              online: online.position === null ? null : recordCount(online.position, stream),
              offline: await offline.position([stream]).then(
                (position) => recordCount(position, stream),
                () => null,
              ),
              newestEventTime: online.newest[stream] === undefined ? null : formatInstant(online.newest[stream]),
            })),
          ),
          views: [...project.catalog.views.values()].map((view) => ({
            view: view.name,
            version: registry.definitions.get(`view/${view.name}`)?.version ?? null,
            features: view.features.map(({ name }) => name),
            history: historyText(view),
          })),
          histories: await Promise.all(
            [...project.catalog.views.values()]
              .filter((view) => historyStepOf(view) !== null)
              .map(async (view) => {
                const records = recordCount(log, view.from)
                const held = await offline.features.position(view.name).catch(() => null)
                const covered = held === null ? null : held.partitions.reduce((sum, { next }) => sum + next, 0)
                return { view: view.name, records, covered, lag: covered === null ? null : records - covered }
              }),
          ),
          services: [...project.catalog.services.keys()],
          models: [...registry.models.values()]
            .flat()
            .map(({ model, version, service, metrics }) => ({ model, version, service, metrics })),
          deadLetters: online.deadLetters.length,
          deadLettersByCode: countsByCode(online.deadLetters),
          ...(options.deadLetters === true ? { deadLetterList: online.deadLetters } : {}),
        }
        if (options.json === true) return printJson(status)
        const text = (count: number | null): string => (count === null ? '-' : grouped(count))
        print(
          `log ${status.logId}${status.applied ? '' : ', definitions not applied'}${status.up === null ? '' : `, up (process ${status.up.pid}) on ${status.up.grpc}`}`,
        )
        for (const line of table(
          [
            ['stream', 'records', 'online', 'offline', 'newest event'],
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
        for (const { view, version, features } of status.views)
          print(`view ${view}${version === null ? '' : ` version ${version}`}: ${features.join(', ')}`)
        for (const { view, covered, lag } of status.histories)
          print(
            `history of ${view}: ${text(covered)} records${lag === null || lag === 0 ? '' : `, ${grouped(lag)} behind`}`,
          )
        for (const service of status.services) print(`service ${service}`)
        for (const { model, version, service } of status.models)
          print(`model ${model} version ${version} of service ${service}`)
        const byCode = Object.entries(status.deadLettersByCode).map(([code, count]) => `${code} ${grouped(count)}`)
        print(`dead letters: ${grouped(status.deadLetters)}${byCode.length === 0 ? '' : ` (${byCode.join(', ')})`}`)
        for (const letter of options.deadLetters === true ? online.deadLetters : []) {
          print(
            `  ${letter.scope}  ${letter.stream}/${letter.partition}@${letter.offset}  ${letter.code}  ${letter.reason}`,
          )
        }
      }),
    )
}

/** The most frequent code first. */
function countsByCode(letters: readonly DeadLetter[]): Readonly<Record<string, number>> {
  const counts = new Map<string, number>()
  for (const { code } of letters) counts.set(code, (counts.get(code) ?? 0) + 1)
  return Object.fromEntries([...counts].toSorted(([a, n], [b, m]) => m - n || (a < b ? -1 : 1)))
}

async function onlineStatus(project: Parameters<typeof openOnline>[0]) {
  try {
    await using online = await openOnline(project, 'read')
    const [first] = await online.positions([0])
    return {
      position: first?.position ?? null,
      newest: first?.newestEventTimeMs ?? {},
      deadLetters: await Array.fromAsync(online.deadLetters()),
    }
  } catch (error) {
    if (!(error instanceof FeatureStoreError && error.code === 'FS_NOT_READY')) throw error
    return { position: null, newest: {} as Readonly<Record<string, number>>, deadLetters: [] }
  }
}

/** After a kill its file is left behind, so it is asked. */
async function runningUp(control: string): Promise<{ readonly pid: number; readonly grpc: string } | null> {
  const file = readControlFile(control)
  return file === null || (await connectControl(control)) === null ? null : { pid: file.pid, grpc: file.grpc }
}
