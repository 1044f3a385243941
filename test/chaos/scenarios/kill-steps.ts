import type { Prng } from '../../support/prng.ts'
import type { Arena } from '../arena.ts'
import { killSteps, type KillStep } from '../kill-steps.ts'
import type { Scenario } from '../scenario.ts'
import type { WorkerProcess } from '../worker-process.ts'

export interface StepOptions {
  /** Victims at a time, each at a step of its own: one, to measure each step; more, to be done sooner. */
  readonly atOnce: number
  /** How often each step. Default: 1. */
  readonly rounds?: number
}

/** kill -9 at each step of the table: one worker stays, the others come to die. */
export const killsAtSteps = ({ atOnce, rounds = 1 }: StepOptions): Scenario => ({
  name: 'kill -9 at named steps',
  what: `${killSteps.length} steps, ${atOnce} at a time: a worker dies exactly there`,
  workers: 1,
  async run(arena, random) {
    for (let round = 0; round < rounds; round++)
      for (const steps of groupsOf(atOnce))
        await arena.fault(steps.map(({ name }) => name).join(', '), async (mark) => {
          await dieAt(arena, random, steps)
          mark()
        })
  },
})

/** Steps that need the same thing, so many at a time. */
const groupsOf = (size: number): readonly (readonly KillStep[])[] =>
  (['shards', 'revocation', 'offline'] as const).flatMap((needs) => {
    const steps = killSteps.filter((step) => step.needs === needs)
    const groups: KillStep[][] = []
    for (let from = 0; from < steps.length; from += size) groups.push(steps.slice(from, from + size))
    return groups
  })

async function dieAt(arena: Arena, random: Prng, steps: readonly KillStep[]): Promise<void> {
  const others = [...arena.workers]
  const victims = steps.map(({ name, timesMax }) =>
    arena.spawn({ killAt: { step: name, times: random.integer(1, timesMax) } }),
  )
  const needs = steps[0]?.needs ?? 'shards'
  if (needs !== 'shards') await Promise.all(victims.map((victim) => victim.sharing()))
  // A newcomer takes shards from everybody; where nobody else fills the offline tables, a victim does.
  if (needs === 'revocation') arena.spawn()
  if (needs === 'offline') await Promise.all(others.map((worker) => worker.leave()))
  await Promise.all(victims.map((victim) => hasDied(victim, steps)))
  if (needs === 'offline') arena.spawn()
  if (needs === 'revocation') await others[0]?.leave()
}

const dieMsMax = 120_000

async function hasDied(victim: WorkerProcess, steps: readonly KillStep[]): Promise<void> {
  const late = Promise.withResolvers<never>()
  const text = (): string =>
    `worker ${victim.number} never came to its step of: ${steps.map(({ name }) => name).join(', ')}`
  const timer = setTimeout(() => late.reject(new Error(`${text()}\n${victim.stderr.slice(-2_000)}`)), dieMsMax)
  try {
    const { code } = await Promise.race([victim.ended, late.promise])
    // The launcher's code, whose child was ended by a signal.
    if (code !== 143) throw new Error(`${text()}: it ended with code ${code}\n${victim.stderr.slice(-2_000)}`)
  } finally {
    clearTimeout(timer)
  }
}
