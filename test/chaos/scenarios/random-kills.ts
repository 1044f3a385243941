import { setTimeout as sleep } from 'node:timers/promises'
import type { Prng } from '../../support/prng.ts'
import type { Arena } from '../arena.ts'
import type { Scenario } from '../scenario.ts'
import type { WorkerProcess } from '../worker-process.ts'

/** Of so many kills in quick succession the last one's recovery is measured. */
const burst = 5

/** About 450 records a second. */
const paymentsPerTick = 20
/** About 4,500: whoever consumes them is seldom killed while it has nothing to do. */
export const manyPerTick = 200

/** kill -9 of one of two workers, at any moment: also while they recover from the last one. */
export const randomKills = (kills: number): Scenario => ({
  name: 'kill -9 of one of two',
  what: `one of two workers is killed at any moment, ${burst} times in quick succession, then they are given time`,
  paymentsPerTick,
  run: (arena, random) => killing(arena, random, { kills, atOnce: 1 }),
})

/** What the naive consumers are compared with: as many kills, at the same rate. */
export const killsUnderLoad = (kills: number): Scenario => ({
  name: 'kill -9 under load',
  what: 'as the first, with ten times the events',
  paymentsPerTick: manyPerTick,
  run: (arena, random) => killing(arena, random, { kills, atOnce: 1 }),
})

export const killsOfBoth = (kills: number): Scenario => ({
  name: 'kill -9 of both',
  what: 'both workers are killed at once: nobody lives who knows anything',
  run: (arena, random) => killing(arena, random, { kills, atOnce: 2 }),
})

export interface Killing {
  readonly kills: number
  readonly atOnce: 1 | 2
  /** False: those that are killed do not say how far they are, and are given as much time as Tidemark may take. */
  readonly measured?: boolean
}

const recoveryMs = 10_000

export async function killing(arena: Arena, random: Prng, { kills, atOnce, measured = true }: Killing): Promise<void> {
  let strikes = 0
  for (let killed = 0; killed < kills; killed += atOnce) {
    await sleep(random.integer(300, 1_800))
    const kill = async (): Promise<void> => {
      const victims = chosen(arena, random, atOnce)
      await Promise.all(victims.map((victim) => victim.kill()))
      for (const _victim of victims) arena.spawn()
    }
    const isLast = ++strikes % burst === 0 || killed + atOnce >= kills
    if (isLast && measured) {
      await arena.fault(atOnce === 1 ? 'kill -9' : 'kill -9 of both', kill)
      continue
    }
    await arena.strike(kill)
    if (isLast) await sleep(recoveryMs)
  }
}

function chosen(arena: Arena, random: Prng, count: number): WorkerProcess[] {
  const workers = [...arena.workers]
  while (workers.length > count) workers.splice(random.integer(0, workers.length - 1), 1)
  return workers
}
