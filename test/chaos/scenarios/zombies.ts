import { setTimeout as sleep } from 'node:timers/promises'
import type { Scenario } from '../scenario.ts'
import type { WorkerProcess } from '../worker-process.ts'

/** SIGSTOP for longer than the session lasts: the other takes over, and then the zombie wakes with all that it believed. */
export const zombies = (rounds: number): Scenario => ({
  name: 'SIGSTOP zombies',
  what: 'a worker is stopped until another has taken over, and then wakes; now and then all of them are stopped',
  async run(arena, random) {
    for (let round = 0; round < rounds; round++) {
      const zombie = random.pick(arena.workers)
      // Not between two flushes only: what it has in memory is unwritten more often than not.
      await sleep(random.integer(0, 300))
      await arena.fault('one is stopped', () => zombie.pause())
      await sleep(random.integer(0, 2_000))
      await wake(zombie, () => arena.fault('a zombie wakes', () => zombie.wake()))
      if (round % 3 === 2)
        await arena.fault('all are stopped, and wake', async (mark) => {
          for (const worker of arena.workers) worker.pause()
          await sleep(random.integer(2_000, 9_000))
          for (const worker of arena.workers) worker.wake()
          mark()
        })
    }
  },
})

/** And is given shards again. */
async function wake(zombie: WorkerProcess, waking: () => Promise<unknown>): Promise<void> {
  const { length } = zombie.shares
  await waking()
  await zombie.sharing(length)
}
