/** Seeds of the simulation: those that found something once, then a fixed number; and that a seed is one run. */
import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { runChild, runSeeds } from './children.ts'
import { faultsMin } from './faults.ts'
import { eventsMin, type SeedResult } from './simulation.ts'

const seedsTotal = Number(process.env['TIDEMARK_SIMULATION_SEEDS'] ?? 150)
const timeout = 120_000 + seedsTotal * 4_000

interface Regression {
  /** What was wrong. */
  readonly about: string
  readonly seed: number
}

const folder = new URL('../regressions/simulation/', import.meta.url)
const regressions = readdirSync(folder)
  .filter((name) => name.endsWith('.json'))
  .sort()
  .map((name) => JSON.parse(readFileSync(new URL(name, folder), 'utf8')) as Regression)

const resultsOf = async (seeds: readonly number[]): Promise<SeedResult[]> => {
  const results: SeedResult[] = []
  await runSeeds(seeds, (result) => results.push(result))
  return results.sort((a, b) => a.seed - b.seed)
}

const findingsOf = (results: readonly SeedResult[]): string[] =>
  results.flatMap(({ seed, finding, trace }) =>
    finding === null
      ? []
      : [`${trace.slice(-40).join('\n')}\nseed ${seed}: ${finding}\nnpm run simulate -- --seed ${seed}`],
  )

describe('the whole worker on fake log, stores, clock and network', () => {
  it('finds nothing any more with the seeds that found something', { timeout }, async () => {
    const seeds = regressions.map(({ seed }) => seed)
    expect(seeds.length).toBeGreaterThan(0)
    const results = await resultsOf(seeds)
    expect(findingsOf(results)).toEqual([])
    expect(results.map(({ seed }) => seed)).toEqual([...seeds].sort((a, b) => a - b))
  })

  it(`finds nothing in ${seedsTotal} seeds, each with enough of everything`, { timeout }, async () => {
    const results = await resultsOf(Array.from({ length: seedsTotal }, (_, index) => index + 1))
    expect(findingsOf(results)).toEqual([])
    expect(results.length).toBe(seedsTotal)
    const faultsOf = ({ faults }: SeedResult): number => Object.values(faults).reduce((sum, times) => sum + times, 0)
    expect(Math.min(...results.map(({ events }) => events))).toBeGreaterThanOrEqual(eventsMin)
    expect(Math.min(...results.map(faultsOf))).toBeGreaterThanOrEqual(faultsMin)
    // Most of what is read can be answered from rows, and is compared.
    const answered = results.reduce((sum, { checks }) => sum + checks.answered, 0)
    expect(answered).toBeGreaterThan(0.7 * results.reduce((sum, { checks }) => sum + checks.reads, 0))
    // Every kind of fault came, and every way in which a worker may end.
    const kinds = new Set(results.flatMap(({ faults }) => Object.keys(faults)))
    for (const kind of ['crash', 'burst', 'zombie', 'failover', 'flushall', 'stale', 'rebalance', 'late', 'doubled'])
      expect(kinds).toContain(kind)
  })

  it('gives the same trace for the same seed, in another process too', { timeout }, async () => {
    const seeds = [1, 2, 3, 4]
    const digests: string[][] = [[], []]
    await Promise.all(
      digests.map((own) =>
        runChild({ bug: null, seeds, untilFound: false }, ({ seed, digest, steps }) =>
          own.push(`${seed} ${steps} ${digest}`),
        ),
      ),
    )
    expect(digests[0]).toHaveLength(seeds.length)
    expect(digests[1]).toEqual(digests[0])
    expect(new Set(digests[0]).size).toBe(seeds.length)
  })
})
