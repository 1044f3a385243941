import { seriesParts, windowEnd, windowReachMs } from '../../asof/visible.ts'
import type { FunctionName, WindowDefinition } from '../../definition/types.ts'
import type { FeaturePlan, ViewPlan } from '../plan.ts'
import type { Wanted } from './input-prefix.ts'

/** How the numbers of a group are come by; `none`: no member wants any but a count of events. */
export type Numbers = 'none' | 'tally' | 'floats' | 'big'

/** Position of a feature among those asked for. */
export interface Member {
  readonly at: number
  readonly plan: FeaturePlan
}

/** Features that read the same input over the same window, computed together. */
export interface Group extends Wanted {
  readonly window: number
  /** -1: events alone. */
  readonly input: number
  readonly numbers: Numbers
  readonly members: readonly Member[]
  /** Over a series: where its parts end before T, oldest first, milliseconds; null for one window. */
  readonly partEnds: readonly number[] | null
}

const summing: readonly FunctionName[] = ['count', 'sum', 'mean', 'variance', 'stddev', 'share']
const spreading: readonly FunctionName[] = ['variance', 'stddev']
const extreme: readonly FunctionName[] = ['min', 'max']

/** Those of shorter windows first: what lies in one is then known to the next. */
export function groupsOf(plan: ViewPlan, features: readonly FeaturePlan[]): Group[] {
  const groups = new Map<string, Member[]>()
  features.forEach((feature, at) => {
    const key = `${feature.window}/${feature.input}`
    const members = groups.get(key) ?? []
    groups.set(key, members)
    members.push({ at, plan: feature })
  })
  const reach = ({ plan: { window } }: Member): number =>
    windowReachMs(plan.windows[window] as WindowDefinition, plan.view.ttlMs)
  const byReach = [...groups.values()].sort(([a], [b]) => compared(reach(a as Member), reach(b as Member)))
  return byReach.map((members): Group => {
    const { window, input } = (members[0] as Member).plan
    const wants = (functions: readonly FunctionName[]): boolean =>
      members.some(({ plan: feature }) => functions.includes(feature.definition.aggregation.function))
    const squares = wants(spreading)
    const sums = input >= 0 && wants(summing)
    const extremes = wants(extreme)
    const asked = plan.windows[window] as WindowDefinition
    return {
      window,
      input,
      members,
      sums,
      squares,
      extremes,
      numbers: sums || extremes ? numbersOf(plan, input) : 'none',
      partEnds: asked.kind === 'series' ? seriesParts(asked).map((part) => -windowEnd(0, part)) : null,
    }
  })
}

/** Not by subtraction: without a bound both are Infinity. */
const compared = (a: number, b: number): number => (a < b ? -1 : a > b ? 1 : 0)

function numbersOf({ inputs }: ViewPlan, input: number): Numbers {
  switch (inputs[input]?.type) {
    case 'int32':
    case 'bool':
      return 'tally'
    case 'int64':
    case 'decimal':
      return 'big'
    default:
      return 'floats'
  }
}

/** By input: what some group wants of it. */
export function wantedOf({ inputs }: ViewPlan, groups: readonly Group[]): Wanted[] {
  return inputs.map((_, input) => {
    const own = groups.filter((group) => group.input === input)
    return {
      sums: own.some(({ sums }) => sums),
      squares: own.some(({ squares }) => squares),
      extremes: own.some(({ extremes }) => extremes),
    }
  })
}
