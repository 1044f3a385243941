import type { Scenario } from '../scenario.ts'
import { killsOfBoth, randomKills } from './random-kills.ts'

export interface ScenarioOptions {
  /** kill -9 of workers over all scenarios, about. */
  readonly kills: number
}

/** All that `npm run chaos` runs, in this order. */
export const scenariosOf = ({ kills }: ScenarioOptions): readonly Scenario[] => [
  randomKills(Math.ceil(kills * 0.7)),
  killsOfBoth(Math.ceil(kills * 0.1)),
]
