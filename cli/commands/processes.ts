import type { Command } from 'commander'
import { loadRegistry } from '../../worker/registry-log.ts'
import { summaryOf, type LagSummary } from '../../worker/lag.ts'
import type { WorkerProgress } from '../../worker/run.ts'
import { action, portOption, requireApplied, withCommon, type CommonOptions } from '../command.ts'
import { createLogger, stopSignal } from '../environment.ts'
import { peakOf } from '../memory.ts'
import type { Project } from '../project.ts'
import { serveProject } from '../serve-process.ts'
import { openLogToRead } from '../stores.ts'
import { grouped, print, printJson, Progress, seconds } from '../terminal.ts'
import { runProjectWorker } from '../worker-process.ts'
import { runUp } from '../up.ts'

/** What child processes tell the one that started them, over Node's channel. */
export type ChildMessage =
  | {
      readonly kind: 'progress'
      readonly projection: WorkerProgress['projection']
      readonly applied: number
      readonly total: number
      readonly lag: LagSummary
    }
  | { readonly kind: 'stopped'; readonly applied: number }
  | { readonly kind: 'done'; readonly peakBytes: number }
  | { readonly kind: 'serving'; readonly address: string }

const progressMs = 100

/** Progress with the lag in a few words. */
type Told = Omit<WorkerProgress, 'lag'> & { readonly lag: LagSummary }

export async function checkApplied(project: Project): Promise<void> {
  await using open = await openLogToRead(project)
  requireApplied(project, await loadRegistry(open.log))
}

const tell = (message: ChildMessage): void => void process.send?.(message)

export function addWorker(program: Command): void {
  withCommon(program.command('worker'))
    .summary('keep the stores up to date with the log')
    .description('Runs the projections: online rows and offline tables. Follows the log until Ctrl-C.')
    .option('--once', 'end when the end of the log is reached')
    .option('--stop-at <counts>', 'comma-separated record counts at which to flush and wait for the parent process')
    .action(
      action<CommonOptions & { readonly once?: true; readonly stopAt?: string }, []>(async (project, options) => {
        await checkApplied(project)
        const progress = new Progress('stream', 'events')
        let toldMs = 0
        let last: Told | null = null
        const supervised = process.send !== undefined
        if (supervised) process.on('disconnect', () => process.exit(1))
        const started = Date.now()
        await runProjectWorker(project, {
          signal: stopSignal(),
          until: options.once === true ? 'caught-up' : 'aborted',
          logger: createLogger('worker'),
          stops: options.stopAt?.split(',').map(Number),
          onStop: async (applied) => {
            if (!supervised) return
            const resumed = new Promise<void>((resolve) => process.once('message', () => resolve()))
            tell({ kind: 'stopped', applied })
            await resumed
          },
          onProgress: (now) => {
            const isFrequent = now.applied < now.total && Date.now() - toldMs < progressMs
            if (isFrequent && now.projection !== 'online') return
            const told = { ...now, lag: summaryOf(now.lag) }
            if (now.projection === 'online') last = told
            if (isFrequent) return
            toldMs = Date.now()
            tell({ kind: 'progress', ...told })
            if (!supervised && options.json !== true && options.once === true) progress.update(now.applied, now.total)
          },
        })
        progress.end()
        tell({ kind: 'done', peakBytes: peakOf(process.pid) })
        if (supervised) return
        if (options.json === true) printJson(last)
        else if (last !== null)
          print(`${grouped((last as Told).applied)} records applied in ${seconds(Date.now() - started)}`)
      }),
    )
}

export function addServe(program: Command): void {
  withCommon(program.command('serve'))
    .summary('answer lookups over gRPC')
    .description('Serves features and predictions (tidemark.v1.FeatureService) on loopback until Ctrl-C.')
    .option('--port <port>', 'port to listen on (0: any free one)')
    .action(
      action<CommonOptions & { readonly port?: string }, []>(async (project, options) => {
        const port = portOption(options.port)
        await checkApplied(project)
        if (process.send !== undefined) process.on('disconnect', () => process.exit(1))
        await serveProject(project, {
          signal: stopSignal(),
          logger: createLogger('serve'),
          port,
          onReady: ({ address }) => {
            tell({ kind: 'serving', address })
            if (process.send !== undefined) return
            if (options.json === true) printJson({ serving: address })
            else print(`serving tidemark.v1.FeatureService on ${address}; Ctrl-C ends it`)
          },
        })
      }),
    )
}

export function addUp(program: Command): void {
  withCommon(program.command('up'))
    .summary('worker and server together, on this machine')
    .description('Starts a worker and a server and takes append and import of other processes, until Ctrl-C.')
    .option('--port <port>', 'port to serve on (0: any free one)')
    .action(
      action<CommonOptions & { readonly port?: string }, []>(async (project, options) => {
        await runUp(project, {
          signal: stopSignal(),
          logger: createLogger('up'),
          port: portOption(options.port),
          onReady: (address) => {
            if (options.json === true) printJson({ serving: address })
            else {
              print(`serving tidemark.v1.FeatureService on ${address}`)
              print('append, import and apply of other processes go through this one; Ctrl-C ends it')
            }
          },
        })
      }),
    )
}
