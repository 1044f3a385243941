import { Prng } from '../support/prng.ts'
import { Arena, type Recovery } from './arena.ts'
import type { Scenario } from './scenario.ts'
import { verify } from './verify.ts'

export interface ScenarioResult {
  readonly name: string
  readonly what: string
  readonly faults: number
  /** Workers that ended by SIGKILL. */
  readonly kills: number
  /** Workers that ended by themselves and were started again. */
  readonly endings: number
  readonly events: number
  readonly applied: number
  readonly mismatches: readonly string[]
  readonly recoveries: readonly Recovery[]
  /** False: something else than Tidemark, run to be compared with. */
  readonly counts: boolean
  readonly seconds: number
}

/** Runs one scenario to its end, whatever goes wrong in it. */
export async function runScenario(scenario: Scenario, seed: number): Promise<ScenarioResult> {
  const begunMs = performance.now()
  const { name, what } = scenario
  const result = (arena: Arena | null, found: Pick<ScenarioResult, 'events' | 'applied' | 'mismatches'>) => ({
    name,
    what,
    faults: arena?.faults ?? 0,
    kills: arena?.kills ?? 0,
    endings: arena?.endings ?? 0,
    recoveries: arena?.recoveries ?? [],
    counts: scenario.compare === undefined,
    seconds: (performance.now() - begunMs) / 1_000,
    ...found,
  })
  let arena: Arena | null = null
  try {
    await using opened = await Arena.open(scenario, seed)
    arena = opened
    await scenario.run(opened, new Prng(seed))
    return result(opened, await (scenario.compare ?? verify)(opened))
  } catch (error) {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
    const mismatches = [...(arena?.findings ?? []), text]
    return result(arena, { events: arena?.producer.records ?? 0, applied: 0, mismatches })
  }
}
