/**
 * `npm run simulate -- --seeds N [--seed S]`: N seeds from S on (default 1), two at a time; fails when one finds something.
 * `npm run simulate -- --seed S`: that one, with its trace. `npm run simulate -- --bugs [TEXT]`: the planted bugs (those
 * whose name has the text), and how many seeds each takes to be caught.
 */
import { parseArgs } from 'node:util'
import { bugs } from './bugs.ts'
import { runBugs, runSeeds, type Caught } from './children.ts'
import type { SeedResult } from './simulation.ts'

/** A bug that so many seeds do not find is not caught. */
const bugSeedsMax = 1_000

const { values, positionals } = parseArgs({
  options: { seeds: { type: 'string' }, seed: { type: 'string' }, bugs: { type: 'boolean', default: false } },
  allowPositionals: true,
})

async function simulate(seeds: string | undefined, seed: string | undefined): Promise<number> {
  const from = Number(seed ?? 1)
  const count = Number(seeds ?? (seed === undefined ? 100 : 1))
  if (!Number.isSafeInteger(from) || !Number.isSafeInteger(count) || count < 1) {
    console.error('usage: npm run simulate -- --seeds N [--seed S] | --bugs [TEXT]')
    return 2
  }
  const begunMs = performance.now()
  const totals = { events: 0, steps: 0, reads: 0, answered: 0, faults: 0 }
  const faults: Record<string, number> = {}
  const endings: Record<string, number> = {}
  const failed: SeedResult[] = []
  const all = Array.from({ length: count }, (_, index) => from + index)
  await runSeeds(all, (result) => {
    totals.events += result.events
    totals.steps += result.steps
    totals.reads += result.checks.reads
    totals.answered += result.checks.answered
    totals.faults += add(faults, result.faults)
    add(endings, result.endings)
    if (result.finding === null) return
    failed.push(result)
    report(result)
  })
  const minutes = (performance.now() - begunMs) / 60_000
  console.log(`faults   ${textOf(faults)}`)
  console.log(`endings  ${textOf(endings)}`)
  console.log(
    `${count} seeds, ${failed.length} failed, ${Math.round(count / minutes)} a minute; a seed: ${mean(totals.events, count)} events, ` +
      `${mean(totals.faults, count)} faults, ${mean(totals.steps, count)} steps, ${mean(totals.reads, count)} reads checked`,
  )
  if (failed.length > 0) console.log(`failed: ${failed.map((result) => result.seed).join(' ')}`)
  return failed.length > 0 ? 1 : 0
}

function report({ seed, finding, faults, endings, digest, trace }: SeedResult): void {
  console.log(trace.join('\n'))
  console.log(`seed ${seed}: ${finding}`)
  console.log(`  faults   ${textOf(faults)}`)
  console.log(`  endings  ${textOf(endings)}`)
  console.log(`  trace    ${digest}; once more: npm run simulate -- --seed ${seed}\n`)
}

async function tableOfBugs(text: string): Promise<number> {
  const names = bugs.map(({ name }) => name).filter((name) => name.includes(text))
  const caught: Caught[] = []
  await runBugs(names, bugSeedsMax, (one) => {
    caught.push(one)
    const { bug, seeds, finding } = one
    console.log(`${(seeds === null ? 'never' : String(seeds)).padStart(6)}  ${bug.padEnd(68)}  ${firstLine(finding)}`)
  })
  const missed = caught.filter(({ seeds }) => seeds === null)
  console.log(`${caught.length} bugs, ${missed.length} not caught within ${bugSeedsMax} seeds`)
  return missed.length > 0 ? 1 : 0
}

function add(to: Record<string, number>, counts: Readonly<Record<string, number>>): number {
  let total = 0
  for (const [name, times] of Object.entries(counts)) {
    to[name] = (to[name] ?? 0) + times
    total += times
  }
  return total
}

const mean = (total: number, count: number): number => Math.round(total / count)
const firstLine = (text: string): string => (text.split('\n')[0] ?? '').slice(0, 100)
const textOf = (counts: Readonly<Record<string, number>>): string =>
  Object.entries(counts)
    .sort(([, a], [, b]) => b - a)
    .map(([name, times]) => `${name} ${times}`)
    .join(', ')

process.exitCode = values.bugs ? await tableOfBugs(positionals[0] ?? '') : await simulate(values.seeds, values.seed)
