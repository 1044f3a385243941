import { setTimeout as sleep } from 'node:timers/promises'
import type { Prng } from '../../support/prng.ts'
import type { Arena } from '../arena.ts'
import type { Scenario } from '../scenario.ts'

const workersMax = 4
const changesPerStorm = 25

/** Workers come and go faster than the group finds its peace. */
export const rebalanceStorms = (storms: number): Scenario => ({
  name: 'rebalance storms',
  what: `${changesPerStorm} workers come or go (SIGTERM, SIGKILL) every few hundred ms, up to ${workersMax} at a time`,
  async run(arena, random) {
    for (let storm = 0; storm < storms; storm++)
      await arena.fault('a storm', async (mark) => {
        const leaving: Promise<void>[] = []
        for (let change = 0; change < changesPerStorm; change++) {
          await sleep(random.integer(150, 700))
          if (change > 0) arena.faults++
          comeOrGo(arena, random, leaving)
        }
        if (arena.workers.length < 2) arena.spawn()
        await Promise.all(leaving)
        mark()
      })
  },
})

function comeOrGo(arena: Arena, random: Prng, leaving: Promise<void>[]): void {
  const staying = arena.workers.filter((worker) => !worker.mayEnd)
  const isFull = arena.workers.length >= workersMax
  if (!isFull && (staying.length < 2 || random.chance(0.5))) return void arena.spawn()
  if (staying.length === 0) return
  const worker = random.pick(staying)
  leaving.push(random.chance(0.5) ? worker.leave() : worker.kill())
}
