/** Workers as processes on a real Kafka and a real Redis, killed again and again: `npm run chaos -- --short`. */
import { spawn, type ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterAll, expect, it } from 'vitest'
import { killSteps } from '../chaos/kill-steps.ts'
import type { ScenarioResult } from '../chaos/run-scenario.ts'
import { outagesInBriefMin } from '../chaos/scenarios/outages-in-brief.ts'
import { requireService } from '../support/services.ts'

await requireService('kafka', 'redis')

const timeout = 400_000
const kills = Number(process.env['TIDEMARK_KILLS'] ?? 20)
const main = join(import.meta.dirname, '..', 'chaos', 'main.ts')

const running: ChildProcess[] = []
// Workers and servers end with it.
afterAll(() => {
  for (const child of running) if (child.exitCode === null) child.kill('SIGKILL')
})

/** In a process of its own: it loads a project, which a test's own module loader does in another way. */
async function passed(only: string): Promise<ScenarioResult> {
  const args = [main, '--short', '--json', '--seed', '5', '--kills', String(kills), '--only', only]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  running.push(child)
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)])
  const line = stdout.split('\n').find((each) => each.startsWith('{'))
  if (line === undefined) throw new Error(`nothing was run: ${stderr}`)
  const result = JSON.parse(line) as ScenarioResult
  expect(result.mismatches).toEqual([])
  expect([result.applied > 0, result.applied]).toEqual([true, result.events])
  return result
}

it('a worker that is killed at any of the named steps leaves every event applied once', { timeout }, async () => {
  const result = await passed('named steps')
  expect(result.kills).toBe(killSteps.length)
})

it(`after ${kills} kills at random, state and values are those of the log`, { timeout }, async () => {
  const result = await passed('one of two')
  expect(result.kills).toBe(kills)
})

it(
  'after outages of broker and Redis, and of the wires to both, every event was applied once',
  { timeout },
  async () => {
    const { faults } = await passed('outages in brief')
    // All of them, down to the last; a disk is filled only where that can be done.
    expect(faults).toBeGreaterThanOrEqual(outagesInBriefMin)
  },
)
