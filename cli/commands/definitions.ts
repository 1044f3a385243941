import type { Command } from 'commander'
import { decideApply } from '../../core/registry/decide.ts'
import { isError, newStream, refuseFindings } from '../../core/registry/log-check.ts'
import { planOf, planText } from '../../core/registry/plan.ts'
import { initialState, type RegistryState } from '../../core/registry/state.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import { loadRegistry } from '../../worker/registry-log.ts'
import { action, withCommon, type CommonOptions } from '../command.ts'
import { estimateViews, streamEstimateText } from '../estimate.ts'
import { LocalIngest, openIngest } from '../ingest.ts'
import { findingText, inspectProject, inspectProjectLog, madeText } from '../log-inspection.ts'
import type { Project } from '../project.ts'
import { openLogToRead } from '../stores.ts'
import { print, printJson } from '../terminal.ts'

/** The registry as it stands, empty for a project that was never applied. */
export async function readRegistry(project: Project): Promise<RegistryState> {
  try {
    await using open = await openLogToRead(project)
    return await loadRegistry(open.log)
  } catch (error) {
    if (error instanceof FeatureStoreError && error.code === 'FS_NOT_APPLIED') return initialState
    throw error
  }
}

export function addPlan(program: Command): void {
  withCommon(program.command('plan'))
    .summary('what apply would change and hold')
    .description(
      'Compares the definitions of the project with those applied, checks that the log keeps what they need, and estimates from a sample of it what new and changed views hold and cost to read. Changes nothing.',
    )
    .action(
      action<CommonOptions, []>(async (project, options) => {
        const state = await readRegistry(project)
        const plan = planOf(project.catalog, state)
        const log = await inspectProject(project)
        const estimates = await estimateViews(project, plan.builds)
        // As apply would answer.
        if (log.findings.some(isError)) process.exitCode = exitCorrect
        if (options.json === true) return printJson({ ...plan, estimates, log })
        for (const line of [
          ...planText(project.catalog, state),
          ...log.made.map(madeText),
          ...estimates.flatMap(streamEstimateText),
          ...log.findings.flatMap(findingText),
        ])
          print(line)
      }),
    )
}

/** Something to correct, as errors of that kind end a command (cli/README.md). */
const exitCorrect = 2

/**
 * Writes what changed to the registry and makes new streams. Returns the lines of the plan.
 *
 * Errors: those of `checkKeeping`, where the log does not keep what the definitions need; nothing is written then.
 */
export async function applyProject(
  project: Project,
): Promise<{ readonly lines: readonly string[]; readonly through: number | null }> {
  await using ingest = await openIngest(project, 'tidemark apply')
  // Under the log's lock where this process has it, so that nobody applies in between.
  const state = ingest instanceof LocalIngest ? await loadRegistry(ingest.open.log) : await readRegistry(project)
  const lines = planText(project.catalog, state)
  if (ingest instanceof LocalIngest)
    refuseFindings((await inspectProjectLog(project, ingest.open.log)).findings.filter(isError))
  await ingest.register(decideApply(project.catalog, state))
  if (ingest instanceof LocalIngest) {
    for (const [name, stream] of project.catalog.streams) await ingest.open.log.create(name, newStream(stream))
  }
  return { lines, through: ingest.through }
}

export function addApply(program: Command): void {
  withCommon(program.command('apply'))
    .summary('make the definitions of the project hold')
    .description(
      'Writes changed definitions to the registry. Changed views are built anew from the log by the next worker.',
    )
    .action(
      action<CommonOptions, []>(async (project, options) => {
        const plan = planOf(project.catalog, await readRegistry(project))
        const { lines, through } = await applyProject(project)
        if (options.json === true) return printJson({ ...plan, through })
        for (const line of lines) print(line)
        if (plan.changes.length > 0 && through !== null)
          print(`written through up (process ${through}): start it again to serve these definitions`)
      }),
    )
}
