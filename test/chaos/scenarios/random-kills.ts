import { setTimeout as sleep } from 'node:timers/promises'
import type { Prng } from '../../support/prng.ts'
import type { Arena } from '../arena.ts'
import type { Scenario } from '../scenario.ts'
import type { WorkerProcess } from '../worker-process.ts'

/** Of so many kills in quick succession the last one's recovery is measured. */
const burst = 5

/** kill -9 of one of two workers, at any moment: also while they recover from the last one. */
export const randomKills = (kills: number): Scenario => ({
  name: 'kill -9 of one of two',
  what: `one of two workers is killed at any moment, ${burst} times in quick succession, then they are given time`,
  run: (arena, random) => killing(arena, random, kills, 1),
})

export const killsOfBoth = (kills: number): Scenario => ({
  name: 'kill -9 of both',
  what: 'both workers are killed at once: nobody lives who knows anything',
  run: (arena, random) => killing(arena, random, kills, 2),
})

async function killing(arena: Arena, random: Prng, kills: number, atOnce: number): Promise<void> {
  for (let killed = 0; killed < kills;) {
    await sleep(random.integer(300, 1_800))
    const kill = async (): Promise<void> => {
      for (const worker of chosen(arena, random, atOnce)) {
        await worker.kill()
        arena.spawn()
        killed++
      }
    }
    const isLast = killed % burst === burst - 1 || killed + atOnce >= kills
    if (isLast || atOnce > 1) await arena.fault('kill -9', kill)
    else await arena.strike(kill)
  }
}

function chosen(arena: Arena, random: Prng, count: number): WorkerProcess[] {
  const workers = [...arena.workers]
  while (workers.length > count) workers.splice(random.integer(0, workers.length - 1), 1)
  return workers
}
