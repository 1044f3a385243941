import type { Scenario } from '../scenario.ts'
import { brokerDiskFull, brokerOutages } from './broker-outages.ts'
import { killsAtSteps } from './kill-steps.ts'
import { naive } from './naive.ts'
import { killsOfBoth, killsUnderLoad, randomKills } from './random-kills.ts'
import { outagesInBrief } from './outages-in-brief.ts'
import { rebalanceStorms } from './rebalance-storms.ts'
import { failoverByHand, failoverBySentinel } from './redis-failover.ts'
import { redisRolledBack, redisWithData, redisWithoutData } from './redis-outages.ts'
import { bothWiresBreak, wireBreaks } from './wires.ts'
import { zombies } from './zombies.ts'

export interface ScenarioOptions {
  /** kill -9 of workers over all scenarios, about. */
  readonly kills: number
}

/** All that `npm run chaos` runs, in this order. */
export const scenariosOf = ({ kills }: ScenarioOptions): readonly Scenario[] => [
  randomKills(Math.ceil(kills * 0.55)),
  killsUnderLoad(Math.ceil(kills * 0.1)),
  killsOfBoth(Math.ceil(kills * 0.1)),
  killsAtSteps({ atOnce: 1, rounds: Math.ceil(kills / 100) }),
  zombies(Math.ceil(kills / 20)),
  rebalanceStorms(Math.ceil(kills / 50)),
  ...outagesOf(Math.ceil(kills / 50)),
  naive(Math.ceil(kills * 0.1)),
]

/** What every run of the tests has time for. */
export const shortScenariosOf = ({ kills }: ScenarioOptions): readonly Scenario[] => [
  randomKills(kills),
  killsAtSteps({ atOnce: 6 }),
  outagesInBrief(),
]

/** What happens to the servers and on the way to them. */
const outagesOf = (rounds: number): readonly Scenario[] => [
  brokerOutages(2 * rounds),
  brokerDiskFull(rounds),
  redisWithData(2 * rounds),
  redisRolledBack(rounds),
  redisWithoutData(2 * rounds),
  failoverByHand(2 * rounds),
  failoverBySentinel(2 * rounds),
  wireBreaks('kafka', 9 * Math.ceil(rounds / 2)),
  wireBreaks('redis', 9 * rounds),
  bothWiresBreak(2 * rounds),
]
