import { setTimeout as sleep } from 'node:timers/promises'
import { onPath, runCommand } from '../../../scripts/services/command.ts'
import { eventually } from '../../cli/support.ts'
import type { Prng } from '../../support/prng.ts'
import type { Arena } from '../arena.ts'
import type { Scenario } from '../scenario.ts'

/** How long the broker is away, milliseconds: shorter and longer than a session of the group's. */
const awayMs = (random: Prng): number => random.integer(500, 9_000)

export const brokerOutages = (rounds: number): Scenario => ({
  name: 'broker stop and kill -9',
  what: 'the only broker is stopped in order, or killed, and comes back after some seconds',
  async run(arena, random) {
    const { kafka } = arena.servers
    for (let round = 0; round < rounds; round++) {
      const isKill = round % 2 === 1
      await sleep(random.integer(0, 1_000))
      await arena.fault(isKill ? 'broker kill -9' : 'broker stop', async (mark) => {
        await (isKill ? kafka.kill() : kafka.stop())
        await sleep(awayMs(random))
        await kafka.restart()
        mark()
      })
    }
  },
})

/** So long may no file of the broker get while its disk is full, bytes. */
const fullAtBytes = 32 * 1_024
const diskMsMax = 60_000

/**
 * A broker whose disk is full cannot write, and ends: all of its log folders have failed. A limit on the size of its
 * files is met in the same place, as an error of a write, and needs neither rights nor a disk of its own.
 */
export const brokerDiskFull = (rounds: number): Scenario => ({
  name: 'broker disk full',
  what: 'the broker can write no more and ends; later there is room, and it is started again',
  async run(arena, random) {
    if (!canFillDisk()) return console.error('broker disk full: skipped: there is no prlimit (util-linux)')
    for (let round = 0; round < rounds; round++) {
      await sleep(random.integer(0, 1_000))
      await arena.fault('broker disk full', async (mark) => {
        await fillDisk(arena)
        await sleep(awayMs(random))
        await arena.servers.kafka.restart()
        mark()
      })
    }
  },
})

export const canFillDisk = (): boolean => onPath('prlimit') !== null

/** Until the broker has ended of it. */
export async function fillDisk({ servers }: Arena): Promise<void> {
  const [broker] = servers.kafka.nodes
  if (broker === undefined) throw new Error('no broker')
  const limit = `--fsize=${fullAtBytes}:unlimited`
  const { code, output } = await runCommand('prlimit', ['--pid', String(broker.pid), limit])
  if (code !== 0) throw new Error(`prlimit: ${output}`)
  await eventually('the broker ends', diskMsMax, () => !broker.isRunning)
}
