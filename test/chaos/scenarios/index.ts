import type { Scenario } from '../scenario.ts'
import { killsAtSteps } from './kill-steps.ts'
import { naive } from './naive.ts'
import { killsOfBoth, randomKills } from './random-kills.ts'
import { rebalanceStorms } from './rebalance-storms.ts'
import { zombies } from './zombies.ts'

export interface ScenarioOptions {
  /** kill -9 of workers over all scenarios, about. */
  readonly kills: number
}

/** All that `npm run chaos` runs, in this order. */
export const scenariosOf = ({ kills }: ScenarioOptions): readonly Scenario[] => [
  randomKills(Math.ceil(kills * 0.6)),
  killsOfBoth(Math.ceil(kills * 0.1)),
  killsAtSteps({ atOnce: 1, rounds: Math.ceil(kills / 100) }),
  zombies(Math.ceil(kills / 20)),
  rebalanceStorms(Math.ceil(kills / 50)),
  naive(Math.ceil(kills * 0.6)),
]
