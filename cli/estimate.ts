import { planView, type ViewPlan } from '../core/engine/plan.ts'
import { FeatureStoreError } from '../core/errors.ts'
import { countText, estimateText, estimateView, type ViewEstimate, type ViewSample } from '../core/registry/estimate.ts'
import { sampledFields, sampleViews } from '../worker/estimate/sample-log.ts'
import type { Project } from './project.ts'
import { streamReader } from './readers.ts'
import { openLogToRead, type OpenLog } from './stores.ts'

/** Estimates of the views of one stream, and the records that they rest on. */
export interface StreamEstimate {
  readonly stream: string
  readonly records: number
  readonly sampled: number
  /** Why nothing was sampled; null where something was. */
  readonly unsampled: string | null
  readonly views: readonly ViewEstimate[]
}

/** What the views would hold, from a sample of the log. A log that cannot be read stands in `unsampled`. */
export async function estimateViews(project: Project, names: readonly string[]): Promise<StreamEstimate[]> {
  const plans = names.map((name) => planView(project.catalog, name, project.config.online.historyMs))
  const streams = [...new Set(plans.map(({ stream }) => stream.name))]
  if (streams.length === 0) return []
  await using open = await openIfThere(project)
  const estimates: StreamEstimate[] = []
  for (const stream of streams) {
    const own = plans.filter((plan) => plan.stream.name === stream)
    const sample = await sampleOf(project, open, own)
    const samples = typeof sample === 'string' ? own.map(() => null) : sample
    estimates.push({
      stream,
      records: samples[0]?.records ?? 0,
      sampled: samples[0]?.sampled ?? 0,
      unsampled: typeof sample === 'string' ? sample : null,
      views: own.map((plan, index) => estimateView(plan, samples[index] ?? null)),
    })
  }
  return estimates
}

async function openIfThere(project: Project): Promise<OpenLog | null> {
  try {
    return await openLogToRead(project)
  } catch (error) {
    if (error instanceof FeatureStoreError && error.code === 'FS_NOT_APPLIED') return null
    throw error
  }
}

async function sampleOf(
  project: Project,
  open: OpenLog | null,
  plans: readonly ViewPlan[],
): Promise<ViewSample[] | string> {
  const stream = plans[0]?.stream.name ?? ''
  if (open === null) return 'there is no log yet'
  try {
    const reader = streamReader(project.catalog, open, stream, sampledFields(plans))
    return (await sampleViews(reader, plans)) ?? `stream ${stream} has no records`
  } catch (error) {
    if (!(error instanceof FeatureStoreError)) throw error
    return error.code === 'FS_STREAM_UNKNOWN'
      ? `the log has no stream ${stream} yet`
      : `${error.code}: ${error.message}`
  }
}

export function streamEstimateText({ stream, records, sampled, unsampled, views }: StreamEstimate): string[] {
  const from =
    unsampled === null
      ? `estimated from ${sampled === records ? 'all' : `${countText(sampled)} of`} ${countText(records)} records of stream ${stream}:`
      : `nothing to sample: ${unsampled}`
  return [from, ...views.flatMap((view) => estimateText(view).map((line) => `  ${line}`))]
}
