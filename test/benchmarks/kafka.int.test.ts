/** The suite `kafka` at tiny sizes: its parts run, and what they time is checked. */
import { afterAll, beforeAll, expect, it } from 'vitest'
import { KafkaBench, ensureRows, fillWith } from '../../benchmarks/kafka/context.ts'
import { benchFetch } from '../../benchmarks/kafka/fetch.ts'
import { benchToRedis } from '../../benchmarks/kafka/to-redis.ts'
import { mainCatalog } from '../../benchmarks/engine/cards.ts'
import { makeDataset } from '../../benchmarks/engine/dataset.ts'
import { expectedOf, sampledCards } from '../../benchmarks/engine/expected.ts'
import { WrongResult, type BenchOptions, type Line } from '../../benchmarks/harness.ts'
import { requireService } from '../support/services.ts'

const limit = 300_000
const isThere = await requireService('kafka', 'redis')
let bench: KafkaBench | null = null
beforeAll(async () => {
  if (isThere) bench = await KafkaBench.open()
}, limit)
afterAll(async () => {
  await bench?.[Symbol.asyncDispose]()
}, limit)

function opened(): KafkaBench {
  if (bench === null) throw new Error('no servers')
  return bench
}

function collecting(): { readonly options: BenchOptions; readonly lines: Line[]; readonly notes: string[] } {
  const lines: Line[] = []
  const notes: string[] = []
  const options = {
    full: false,
    rounds: 1,
    wants: () => true,
    emit: (line: Line) => void lines.push(line),
    note: (text: string) => void notes.push(text),
  }
  return { options, lines, notes }
}

it('the fetch loop, the bare loop and kafkajs read the same records', { timeout: limit }, async () => {
  const { options, lines } = collecting()
  await benchFetch(options, opened(), 10_000)
  expect(lines.map(({ bench, unit, peer }) => [bench, unit, peer])).toEqual([
    ['kafka/fetch', 'records/s', 'kafkajs eachBatch'],
  ])
  for (const { value, limit, peerValue } of lines) expect(Math.min(value, limit, peerValue ?? 0)).toBeGreaterThan(0)
})

it('a worker brings a topic into Redis, and rows of other events are found out', { timeout: limit }, async () => {
  const { options, lines, notes } = collecting()
  const project = await opened().project({ name: 'tiny', knownAt: 'createTime' })
  // More than the first reads take, which are not timed.
  const dataset = makeDataset({ name: 'tiny', events: 40_000, entities: 300 })
  await fillWith(opened(), project, dataset)
  const cpu = await benchToRedis(options, opened(), project, dataset)
  expect(cpu).toBeGreaterThan(0)
  expect(lines.map(({ bench, unit, rounds }) => [bench, unit, rounds])).toEqual([['kafka/to-redis', 'events/s', 1]])
  expect(notes.join('\n')).toMatch(/worker .* broker .* Redis .*bytes an event/s)

  const others = makeDataset({ name: 'others', events: 40_000, entities: 301 })
  const check = (all: boolean) => {
    const expected = expectedOf(mainCatalog, all ? dataset : others, sampledCards(all ? dataset : others))
    return ensureRows('test', project, others, expected, all)
  }
  await expect(check(false)).rejects.toThrow(WrongResult)
  await expect(check(true)).rejects.toThrow(WrongResult)
})
