/** Workers as processes on a real Kafka and a real Redis that fail, over wires that break: `npm run chaos` in brief. */
import { expect, it } from 'vitest'
import { runScenario } from '../chaos/run-scenario.ts'
import { outagesInBrief } from '../chaos/scenarios/outages-in-brief.ts'
import { requireService } from '../support/services.ts'

await requireService('kafka', 'redis')

it('after outages of broker and Redis, and of the wires to both, every event was applied once', async () => {
  const { mismatches, events, applied, recoveries } = await runScenario(outagesInBrief(), 11)
  expect(mismatches).toEqual([])
  expect(applied).toBe(events)
  // All of them, down to the last: nothing ended early.
  expect(recoveries.at(-1)?.fault).toBe('Redis failover, tail lost')
  expect(recoveries.length).toBeGreaterThanOrEqual(16)
}, 600_000)
