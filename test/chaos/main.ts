/**
 * `npm run chaos -- [--short] [--kills N] [--seed S] [--only TEXT] [--json]`: workers as processes on a real Kafka and a
 * real Redis, harmed in every way of `scenarios/`; fails when anything is lost, doubled or wrong afterwards.
 */
import { parseArgs } from 'node:util'
import { runScenario, type ScenarioResult } from './run-scenario.ts'
import { scenariosOf, shortScenariosOf } from './scenarios/index.ts'
import { percentile, tableOf } from './table.ts'

const usage = 'usage: npm run chaos -- [--short] [--kills N] [--seed S] [--only TEXT] [--json]'

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      short: { type: 'boolean', default: false },
      kills: { type: 'string' },
      seed: { type: 'string', default: String(Date.now() % 1_000_000) },
      only: { type: 'string', default: '' },
      json: { type: 'boolean', default: false },
    },
  })
  const kills = Number(values.kills ?? (values.short ? 20 : 200))
  const seed = Number(values.seed)
  const scenarios = Number.isSafeInteger(kills)
    ? (values.short ? shortScenariosOf : scenariosOf)({ kills }).filter(({ name }) => name.includes(values.only))
    : []
  if (kills < 1 || !Number.isSafeInteger(seed) || scenarios.length === 0) {
    console.error(usage)
    return 2
  }
  const results: ScenarioResult[] = []
  for (const scenario of scenarios) {
    const result = await runScenario(scenario, seed)
    results.push(result)
    if (values.json) console.log(JSON.stringify(lineOf(result, seed)))
    else console.error(`${result.name}: ${result.what} (${result.seconds.toFixed(0)} s)`)
    for (const text of result.mismatches) console.error(`  ${text}`)
  }
  if (!values.json)
    console.log(
      `\n${tableOf(results)}\n\nseed ${seed}: npm run chaos -- ${values.short ? '--short ' : ''}--kills ${kills} --seed ${seed}`,
    )
  return results.some(({ counts, mismatches }) => counts && mismatches.length > 0) ? 1 : 0
}

function lineOf({ recoveries, ...result }: ScenarioResult, seed: number): Readonly<Record<string, unknown>> {
  const ms = recoveries.map((recovery) => recovery.ms)
  const recoveryMs = {
    p50: percentile(ms, 0.5),
    p99: percentile(ms, 0.99),
    max: Math.max(...ms),
    inOrder: ms.map(Math.round),
  }
  return { ...result, recoveryMs: ms.length === 0 ? null : recoveryMs, seed }
}

// Not left to Node: a request that is still under way on a wire that was held makes it turn in circles as it cleans up
// (Environment::CleanupHandles of 24.21). All servers and workers have ended by now.
process.exit(await main())
