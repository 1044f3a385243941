/** Histories in columns: thousands of events of an entity, so that prefix sums, trees and stragglers matter. */
import type { InputColumn, ViewColumns } from '../../../../core/engine/columnar/columns.ts'
import { newTables } from '../../../../core/engine/interner.ts'
import type { InputPlan, ViewPlan } from '../../../../core/engine/plan.ts'
import type { Interner } from '../../../../core/engine/interner.ts'
import type { Prng } from '../../../support/prng.ts'

/** `tame`: values as they mostly are; `wide`: some outside of the lanes of their neighbours; `wild`: anything. */
export const profiles = ['tame', 'wide', 'wild'] as const
export type Profile = (typeof profiles)[number]

const wildFloats = [1e300, -1e300, 1e-300, 5e-324, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
const strings = ['x', 'y', 'zürich', '', 'a', 'b', 'c', 'd', 'e', 'f']

function floatOf(random: Prng, profile: Profile): number {
  if (profile !== 'tame' && random.chance(0.002)) return random.pick([2 ** 60, 2 ** -62, 0.1])
  if (profile === 'wild' && random.chance(0.01)) return random.pick(wildFloats)
  return random.integer(-100_000, 100_000) / 100 + 0
}

const intOf = (random: Prng, profile: Profile): number =>
  profile === 'tame' || random.chance(0.5) ? random.integer(-500, 500) : random.integer(-(2 ** 31), 2 ** 31 - 1)

const longOf = (random: Prng, profile: Profile): bigint =>
  profile === 'tame' || random.chance(0.9)
    ? BigInt(random.integer(-1_000, 1_000))
    : random.pick([2n ** 63n - 1n, -(2n ** 63n), 2n ** 53n + 1n])

function inputOf(
  { type, precision = 18, scale = 2, nullable }: InputPlan,
  count: number,
  table: Interner | null,
  random: Prng,
  profile: Profile,
): InputColumn {
  const nulls =
    nullable && random.chance(0.7) ? Uint8Array.from({ length: count }, () => (random.chance(0.15) ? 1 : 0)) : null
  const each = { length: count }
  switch (type) {
    case 'int32':
      return { type, values: Int32Array.from(each, () => intOf(random, profile)), nulls }
    case 'bool':
      return { type, values: Uint8Array.from(each, () => random.integer(0, 1)), nulls }
    case 'string':
      return {
        type,
        values: Int32Array.from(each, () => (table as Interner).code(random.pick(strings))),
        table: table as Interner,
        nulls,
      }
    case 'int64':
      return { type, values: BigInt64Array.from(each, () => longOf(random, profile)), nulls }
    case 'decimal':
      return {
        type,
        precision,
        scale,
        values: BigInt64Array.from(each, () => longOf(random, profile) % 10n ** 18n),
        nulls,
      }
    case 'timestamp':
      return { type, values: Float64Array.from(each, () => random.integer(0, 2 ** 41)), nulls }
    case 'float64':
      return { type, values: Float64Array.from(each, () => floatOf(random, profile)), nulls }
  }
}

/** Some entities, one without events; times tie, are known later by a little, some by far; `corrected`: some are ended. */
export function columnsOf(plan: ViewPlan, random: Prng, profile: Profile, corrected: boolean): ViewColumns {
  const sizes = [random.integer(1, 20), 0, random.integer(60, 90), random.integer(300, 1_200), random.integer(64, 400)]
  const starts = new Int32Array(sizes.length + 1)
  sizes.forEach((size, index) => (starts[index + 1] = (starts[index] as number) + size))
  const count = starts.at(-1) as number
  const times = new Float64Array(count)
  const knowns = new Float64Array(count)
  const untils = corrected ? new Float64Array(count).fill(Number.POSITIVE_INFINITY) : null
  const late = random.pick([0, 0.02, 0.3])
  sizes.forEach((size, index) => {
    const step = random.pick([1, 8, 40])
    const rows = Array.from({ length: size }, () => {
      const time = 1_000_000 + random.integer(0, size) * step
      const lag = random.chance(late) ? random.integer(0, 60_000) : random.integer(-40, 300)
      return { time, known: time + lag }
    }).sort((a, b) => a.time - b.time || a.known - b.known)
    rows.forEach(({ time, known }, row) => {
      const place = (starts[index] as number) + row
      times[place] = time
      knowns[place] = known
      if (untils !== null && random.chance(0.2)) untils[place] = known + random.integer(1, 2_000)
    })
  })
  const tables = newTables(plan.inputs)
  const inputs = plan.inputs.map((input, index) => inputOf(input, count, tables[index] ?? null, random, profile))
  return { plan, starts, times, knowns, untils, inputs }
}
