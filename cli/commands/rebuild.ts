import { rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from 'commander'
import { FileLock } from '../../connectors/kit/file-lock.ts'
import type { ClickHouseClient } from '../../connectors/clickhouse/index.ts'
import { historyStepOf } from '../../core/definition/history.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import { planView } from '../../core/engine/plan.ts'
import { stateDigest } from '../../worker/audit/digest.ts'
import type { CodedStrings } from '../../schemas/sql/native.ts'
import { action, withCommon, type CommonOptions } from '../command.ts'
import { createLogger, stopSignal } from '../environment.ts'
import { makeDataFolder, type Project } from '../project.ts'
import { openLogToRead, openOffline, openOnline } from '../stores.ts'
import { print, printJson, Progress, seconds } from '../terminal.ts'
import { runProjectWorker } from '../worker-process.ts'
import { checkApplied } from './processes.ts'

export function addRebuild(program: Command): void {
  withCommon(program.command('rebuild'))
    .summary('throw the projections away and build them again')
    .description(
      'Drops online rows and offline tables and builds them from the log. With --verify: brings them up to date first and compares digests before and after.',
    )
    .option('--verify', 'compare the state before and after')
    .action(
      action<CommonOptions & { readonly verify?: true }, []>(async (project, options) => {
        await checkApplied(project)
        const signal = stopSignal()
        const run = async (label: string): Promise<number> => {
          const progress = new Progress(label, 'events')
          await runProjectWorker(project, {
            signal,
            until: 'caught-up',
            logger: createLogger('rebuild'),
            onProgress: ({ projection, applied, total }) => {
              if (projection !== 'history') progress.update(applied, total)
            },
          })
          return progress.end()
        }
        let before: Digests | null = null
        if (options.verify === true) {
          await run('catch up')
          before = await digests(project).catch(damaged)
        }
        await dropProjections(project)
        const ms = await run('rebuild')
        const after = await digests(project)
        const matches = before === null ? null : projections.every((name) => before[name] === after[name])
        if (options.json === true) printJson({ before, after, matches, ms })
        else {
          print(`rebuilt in ${seconds(ms)}`)
          for (const name of projections) {
            const was =
              before === null ? '' : before[name] === after[name] ? '  as before' : `  before: ${before[name]}`
            print(`${name.padEnd(7)}  ${after[name]}${was}`)
          }
        }
        if (matches === false)
          throw new FeatureStoreError('FS_INTERNAL', 'the rebuilt state differs from the one before', {
            remedy: 'The state before was wrong (the log is the truth), or it was changed by hand; report it.',
          })
      }),
    )
}

/** State that cannot be read has no digest: it differs from any. */
function damaged(error: unknown): Digests {
  if (!(error instanceof FeatureStoreError && error.code === 'FS_ROW_CORRUPT')) throw error
  return { online: `unreadable (${error.message})`, offline: '', history: '' }
}

const projections = ['online', 'offline', 'history'] as const

interface Digests {
  readonly online: string
  readonly offline: string
  readonly history: string
}

async function digests(project: Project): Promise<Digests> {
  await using open = await openLogToRead(project)
  await using online = await openOnline(project, 'read')
  await using offline = await openOffline(project, open.log.logId, 'read')
  const parts: string[] = []
  for (const stream of [...project.catalog.streams.keys()].sort()) {
    parts.push(`${stream}:${await digestOf(offline.client, `\`events_${stream}\``)}`)
  }
  const plans = [...project.catalog.views.keys()].map((view) =>
    planView(project.catalog, view, project.config.online.historyMs),
  )
  return {
    online: await stateDigest(online, plans),
    offline: parts.join(' '),
    history: await historyDigest(project, offline.client),
  }
}

/** Of the rows that hold. The position under which one was written depends on when, so it is no part of it. */
async function historyDigest(project: Project, client: ClickHouseClient): Promise<string> {
  const parts: string[] = []
  for (const view of [...project.catalog.views.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1)))
    if (historyStepOf(view) !== null)
      parts.push(
        `${view.name}:${await digestOf(client, `(SELECT * EXCEPT (_position) FROM \`features_${view.name}\`)`)}`,
      )
  return parts.join(' ')
}

/** Order-free: one 64-bit hash per row, summed, and the number of rows. */
async function digestOf(client: ClickHouseClient, from: string): Promise<string> {
  const { columns } = await client.query(
    `SELECT concat(toString(count()), ':', hex(sum(cityHash64(tuple(*))))) AS digest FROM ${from}`,
  )
  const { strings, codes } = columns[0]?.data as CodedStrings
  return strings[codes[0] as number] as string
}

/** Drops what is derived; the log stays. */
async function dropProjections(project: Project): Promise<void> {
  makeDataFolder(project)
  await using _lock = FileLock.acquire(project.paths.workerLock, 'tidemark rebuild')
  await using open = await openLogToRead(project)
  await using online = await openOnline(project, 'write')
  await online.dropGeneration(project.generation)
  await using offline = await openOffline(project, open.log.logId, 'write')
  for (const stream of project.catalog.streams.keys()) await offline.store.drop(stream)
  for (const view of project.catalog.views.keys()) await offline.features.drop(view)
  rmSync(join(project.paths.offline, 'journal'), { recursive: true, force: true })
}
