import type { Command } from 'commander'
import { decideApply } from '../../core/registry/decide.ts'
import { planOf, planText } from '../../core/registry/plan.ts'
import { initialState, type RegistryState } from '../../core/registry/state.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import { loadRegistry } from '../../worker/registry-log.ts'
import { action, withCommon, type CommonOptions } from '../command.ts'
import { estimateViews, streamEstimateText } from '../estimate.ts'
import { LocalIngest, openIngest } from '../ingest.ts'
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
      'Compares the definitions of the project with those applied, and estimates from a sample of the log what new and changed views hold and cost to read. Changes nothing.',
    )
    .action(
      action<CommonOptions, []>(async (project, options) => {
        const state = await readRegistry(project)
        const plan = planOf(project.catalog, state)
        const estimates = await estimateViews(project, plan.builds)
        if (options.json === true) return printJson({ ...plan, estimates })
        for (const line of [...planText(project.catalog, state), ...estimates.flatMap(streamEstimateText)]) print(line)
      }),
    )
}

/** Writes what changed to the registry and makes new streams. Returns the lines of the plan. */
export async function applyProject(
  project: Project,
): Promise<{ readonly lines: readonly string[]; readonly through: number | null }> {
  await using ingest = await openIngest(project, 'tidemark apply')
  // Under the log's lock where this process has it, so that nobody applies in between.
  const state = ingest instanceof LocalIngest ? await loadRegistry(ingest.open.log) : await readRegistry(project)
  const lines = planText(project.catalog, state)
  await ingest.register(decideApply(project.catalog, state))
  if (ingest instanceof LocalIngest) {
    for (const [stream, { partitions }] of project.catalog.streams) await ingest.open.log.create(stream, { partitions })
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
