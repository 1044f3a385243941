/** Small histories: made from a seed, checked against the naive twin, made smaller when they fail, and said as JSON. */
import { decodeRow, encodeRow } from '../../../core/engine/row.ts'
import { statusName, valueAt, type FeatureValue } from '../../../core/engine/feature-column.ts'
import {
  acceptedEvents,
  correctionsAt,
  countingEvents,
  naiveValue,
  type Corrections,
  type NaiveEvent,
} from '../../../core/engine/naive.ts'
import type { EntityEvents } from '../../../core/engine/state/view-state.ts'
import { refusal, type AsOf } from '../../../core/asof/visible.ts'
import { encodeKey, shardOf } from '../../../core/event/key.ts'
import { Op, type OpCode } from '../../../core/event/operation.ts'
import type { Scalar } from '../../../core/event/types.ts'
import { formatDecimal, unscaledMax } from '../../../core/number/decimal.ts'
import { Prng } from '../../support/prng.ts'
import { sameBits, type StreamKind } from './harness.ts'
import { aheadUnits, edges, specOf, subjectOf, type PlanSpec, type Subject } from './history-plans.ts'
import { partitions, shards, System, type Drive, type Step } from './history-system.ts'

/** A record as the log has it; its offset is its place among those of its partition. */
export interface CaseRecord {
  readonly partition: number
  readonly eventTimeMs: number
  readonly knownAtMs: number
  readonly op?: OpCode
  readonly fields: Readonly<Record<string, Scalar>>
}

export interface HistoryCase {
  readonly spec: PlanSpec
  readonly records: readonly CaseRecord[]
  readonly drive: Drive
  readonly asOfs: readonly AsOf[]
  /** Rows are compared with those of one batch a partition, too. */
  readonly canonical: boolean
}

const tooLong = 'x'.repeat(1_100)
const extremeInts = [2 ** 31 - 1, -(2 ** 31), 65_535, 65_536, -65_537]
const extremeLongs = [2n ** 63n - 1n, -(2n ** 63n), 2n ** 53n + 1n, -(2n ** 53n) - 1n, 2n ** 62n]
const wildFloats = [
  1e300,
  -1e300,
  1e-300,
  5e-324,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
  -0,
  0.1,
]
const wideFloats = [2 ** 53 + 2, -(2 ** 53) - 2, 2 ** 60, -(2 ** 60), 1, -1, 0.1, 2 ** -62, -0, 1e300, -1e300]

type Profile = 'tame' | 'wide' | 'wild'

function floatOf(random: Prng, profile: Profile): number {
  if (profile === 'tame') return random.chance(0.1) ? -0 : random.integer(-100_000, 100_000) / 100
  if (profile === 'wide') return random.pick(wideFloats)
  return random.chance(0.4) ? random.pick(wildFloats) : (random.unit() - 0.5) * 2 ** random.integer(-1_070, 1_020)
}

/** The same digits, two of them behind the point. */
function decimalOf(value: Scalar): Scalar {
  if (typeof value !== 'bigint') return null
  const unscaled = value > unscaledMax ? unscaledMax : value < -unscaledMax ? -unscaledMax : value
  return formatDecimal(unscaled, 2)
}

function valuesOf(random: Prng, profile: Profile): Record<string, Scalar> {
  const orNull = (value: Scalar): Scalar => (random.chance(0.14) ? null : value)
  const values = {
    i: orNull(random.chance(profile === 'tame' ? 0.02 : 0.3) ? random.pick(extremeInts) : random.integer(-20, 20)),
    b: orNull(
      random.chance(profile === 'tame' ? 0.02 : 0.3) ? random.pick(extremeLongs) : BigInt(random.integer(-20, 20)),
    ),
    f: orNull(floatOf(random, profile)),
    s: orNull(random.pick(['x', 'y', 'zürich', '', '\0'])),
    ok: orNull(random.chance(0.6)),
  }
  return { ...values, d: decimalOf(values.b) }
}

/** Each moment is at times the same as another, or beside it. */
function momentsOf(random: Prng, unit: number, count: number, span: number): () => number {
  const base = random.pick([1_000_000, -4_500 * unit, 1_700_000_000_000])
  const pool = Array.from({ length: Math.max(3, count >> 1) }, () => base + random.integer(0, span * unit))
  return () => {
    const kind = random.unit()
    if (kind < 0.4) return random.pick(pool)
    if (kind < 0.7) return random.pick(pool) + random.integer(-70, 70) * (random.chance(0.5) ? 1 : unit)
    return base + random.integer(0, span * unit)
  }
}

function recordsOf(random: Prng, { kind, unit, bounded }: PlanSpec, count: number): CaseRecord[] {
  // Nearly in order and close together, so that what comes is mostly newer than all before and windows take it whole.
  const orderly = random.chance(0.3)
  const onePartition = orderly && random.chance(0.6)
  const moment = momentsOf(random, unit, count, orderly && random.chance(0.5) ? 900 : 9_000)
  const profile = random.pick(['tame', 'tame', 'wide', 'wild'] as const)
  const hot = random.chance(0.5)
  const ids = Math.max(3, count >> (kind === 'id' ? 2 : 3))
  const ownTimes = Array.from({ length: ids }, moment)
  const knownStep = random.chance(0.5) ? 100 * unit : 1
  const delayMax = bounded ? 2_000 * unit : 5_000 * unit
  const aheadMax = Math.min((aheadUnits + 10) * unit, 86_400_000)
  const record = (): CaseRecord => {
    const id = random.integer(0, ids - 1)
    const odd = random.integer(0, 39)
    // By id: an event time and an entity of its own, so that records find each other; sometimes another one.
    const eventTimeMs = kind === 'id' && odd > 1 ? (ownTimes[id] as number) + Number(odd === 5) : moment()
    const delay = orderly || random.chance(0.2) ? 0 : random.integer(random.chance(0.2) ? -aheadMax : 0, delayMax)
    const who = hot ? 'a' : kind === 'id' ? (['a', 'b', 'ü\0'][id % 3] as string) : random.pick(['a', 'b', 'ü\0', ''])
    const values: Record<string, Scalar> = {
      who: odd === 2 ? tooLong : odd === 3 ? 'b' : who,
      region: hot || kind === 'id' ? 0 : random.integer(0, 1),
      ...valuesOf(random, profile),
    }
    const knownAtMs = Math.round((eventTimeMs + delay) / knownStep) * knownStep
    const partition = onePartition ? 0 : random.integer(0, partitions - 1)
    if (kind === 'plain') return { partition, eventTimeMs, knownAtMs, fields: values }
    const takesBack = random.chance(kind === 'id' ? 0.4 : 0.3)
    values['id'] = `id ${id}`
    values['line'] = kind === 'changelog' ? random.integer(0, 1) : 0
    if (takesBack && random.chance(0.5)) {
      const kept = kind === 'changelog' || odd === 4 ? ['id', 'line'] : ['id', 'line', 'who', 'region']
      for (const name of Object.keys(values)) if (!kept.includes(name)) values[name] = null
    }
    const op = kind === 'id' ? (takesBack ? Op.retract : Op.insert) : takesBack ? Op.delete : Op.upsert
    return { partition, eventTimeMs, knownAtMs, op, fields: values }
  }
  // A partition's knownAt never decreases.
  return Array.from({ length: count }, record).sort((a, b) => a.knownAtMs - b.knownAtMs)
}

function stepsOf(random: Prng, kind: StreamKind, records: number): Step[] {
  const steps: Step[] = []
  const workers = kind === 'changelog' ? 1 : random.integer(1, 2)
  const owners = (): Step => ['owners', Array.from({ length: shards }, () => random.integer(0, 2))]
  if (workers > 1) steps.push(owners())
  const batches = random.integer(4, 9)
  const size = Math.ceil((records / batches) * 2)
  for (let batch = 0; batch < batches; batch++) {
    const worker = random.integer(0, workers - 1)
    steps.push(['apply', worker, random.integer(0, partitions - 1), random.integer(1, size)])
    const what = random.unit()
    if (what < 0.3) steps.push(['flush', worker])
    else if (what < 0.36) steps.push(['crash', worker])
    else if (what < 0.42) steps.push(['torn', worker, kind === 'changelog' ? -1 : random.integer(0, 15)])
    else if (what < 0.47) steps.push(['flush', 0], ['flush', 1], owners())
    else if (what < 0.5) steps.push(owners())
    else if (what < 0.55) steps.push(['summarise', worker])
    if (random.chance(0.3)) steps.push(['evict', random.integer(0, workers - 1)])
  }
  // Where summaries were made before, they must have been forgotten since.
  const asks = random.integer(0, random.chance(0.3) ? 6 : 2)
  for (let ask = 0; ask < asks; ask++) steps.splice(random.integer(2, steps.length), 0, ['ask'])
  return steps
}

function asOfOf(random: Prng, { window, unit, bounded }: PlanSpec, records: readonly CaseRecord[]): AsOf {
  const newest = records.reduce((most, { eventTimeMs }) => Math.max(most, eventTimeMs), Number.NEGATIVE_INFINITY)
  let { eventTimeMs } = random.pick(records)
  // What is pruned cannot be asked: late moments are asked more often.
  for (let tries = 0; tries < 2 && eventTimeMs < newest - 3_000 * unit; tries++)
    eventTimeMs = random.pick(records).eventTimeMs
  const own = edges[window] ?? [0]
  let asOfMs = eventTimeMs
  if (window.startsWith('tumbling') && random.chance(0.7)) {
    const spanMs = (own[0] as number) * unit
    asOfMs = Math.ceil(eventTimeMs / spanMs) * spanMs + random.integer(0, 2) * spanMs
  } else if (random.chance(0.6)) asOfMs += random.pick(own) * unit
  else if (bounded && random.chance(0.2)) asOfMs += 4_000 * unit
  asOfMs += random.integer(-1, 1)
  if (random.chance(records.some(({ partition }) => partition > 0) ? 0.25 : 0.6)) asOfMs = newest + random.integer(0, 2)
  const kind = random.unit()
  const knownAsOfMs =
    kind < 0.45
      ? Number.POSITIVE_INFINITY
      : kind < 0.6
        ? asOfMs
        : random.pick(records).knownAtMs + random.integer(-1, 1)
  return { asOfMs, knownAsOfMs }
}

/** History `index` of a kind: all of it is decided by the seed and these two. */
export function generatedCase(kind: StreamKind, index: number, seed: number): HistoryCase {
  const spec = specOf(kind, index)
  const random = new Prng(seed + index * 65_537 + { plain: 0, id: 1, changelog: 2 }[kind] * 2 ** 40)
  const count = random.chance(0.04) ? random.integer(80, 200) : random.integer(30, 40)
  let records = recordsOf(random, spec, count)
  // At least three corrections, whatever the dice say.
  while (kind !== 'plain' && correctionsOf(spec, records) < 3) records = recordsOf(random, spec, count + 10)
  const drive: Drive = {
    oneTable: random.chance(0.5),
    offsetStep: random.chance(0.1) ? 2 ** 33 + 1 : 1,
    steps: stepsOf(random, kind, records.length),
  }
  const asOfs = Array.from({ length: random.integer(1, 2) }, () => asOfOf(random, spec, records))
  return { spec, records, drive, asOfs, canonical: random.chance(0.4) }
}

/** Records that another one corrects. */
export const correctionsOf = (spec: PlanSpec, records: readonly CaseRecord[]): number => corrections(spec, records).size

const corrections = (spec: PlanSpec, records: readonly CaseRecord[]): Corrections => {
  const { plan, definition } = subjectOf(spec)
  const accepted = acceptedEvents(definition, numbered(records, 1), () => Number.POSITIVE_INFINITY)
  return correctionsAt(plan.stream, definition, accepted, Number.POSITIVE_INFINITY)
}

/** How often a history has what is hard. */
export function traitsOf({ spec, records }: HistoryCase): Record<string, number> {
  const { definition } = subjectOf(spec)
  const traits: Record<string, number> = { records: records.length }
  const count = (trait: string, times: boolean | number = 1): void => {
    traits[trait] = (traits[trait] ?? 0) + Number(times)
  }
  for (const [event, by] of corrections(spec, records)) {
    count('corrections')
    if (spec.kind === 'changelog') count(by.op === Op.delete ? 'deleted' : 'replaced')
    else if (by.op !== Op.retract || event.op === Op.retract) count('duplicates')
    else count(by.knownAtMs < event.knownAtMs ? 'retracted before arrival' : 'retracted after arrival')
  }
  const moments = new Set<string>()
  let first = Number.POSITIVE_INFINITY
  let last = Number.NEGATIVE_INFINITY
  for (const { eventTimeMs, knownAtMs, fields } of records) {
    const refused = refusal(eventTimeMs, knownAtMs, definition)
    if (refused !== null) count(refused)
    const moment = `${fields['who'] as string} ${eventTimeMs}`
    count('ties', moments.has(moment))
    moments.add(moment)
    first = Math.min(first, eventTimeMs)
    last = Math.max(last, eventTimeMs)
    count('late', knownAtMs > eventTimeMs)
    count('knownAt 31 bits later', knownAtMs - eventTimeMs >= 2 ** 31)
    count('nulls', fields['i'] === null || fields['f'] === null)
    count('-0', Object.is(fields['f'], -0))
    count('not finite', fields['f'] !== null && !Number.isFinite(fields['f']))
    count('2^53 and more', Math.abs(Number(fields['b'])) > 2 ** 53 || Math.abs(Number(fields['f'])) > 2 ** 53)
  }
  count('31 bits of time', last - first >= 2 ** 31)
  return traits
}

/** As the log has them. */
export function numbered(records: readonly CaseRecord[], offsetStep: number): NaiveEvent[] {
  const next = new Array<number>(partitions).fill(0)
  return records.map((record) => {
    const place = next[record.partition] as number
    next[record.partition] = place + 1
    return { ...record, offset: place * offsetStep, fields: { ...record.fields, at: record.eventTimeMs } }
  })
}

/** -0 is read as +0. */
const asRead = (event: NaiveEvent): NaiveEvent =>
  Object.is(event.fields['f'], -0) ? { ...event, fields: { ...event.fields, f: 0 } } : event

export interface Expected {
  readonly entity: readonly Scalar[]
  readonly asOf: AsOf
  readonly values: Readonly<Record<string, readonly [status: string, value: FeatureValue]>>
}

/** What was asked, in all. */
export interface Tally {
  answered: number
  refused: number
  /** By status. */
  statuses: Record<string, number>
}

/** Runs a history and compares; the first difference as text, null when there is none. */
export function difference(history: HistoryCase, tally?: Tally): string | null {
  try {
    run(history, tally)
    return null
  } catch (error) {
    return error instanceof Error
      ? error instanceof Difference
        ? error.message
        : (error.stack ?? error.message)
      : String(error)
  }
}

class Difference extends Error {}

function run({ spec, records, drive, asOfs, canonical }: HistoryCase, tally?: Tally): void {
  const subject = subjectOf(spec)
  const logged = numbered(records, drive.offsetStep)
  const system = new System(subject, logged, drive)
  const twin = new Twin(subject, logged.map(asRead), drive.offsetStep)
  const entities = entitiesOf(subject, logged)
  for (const step of drive.steps) {
    if (step[0] === 'ask') for (const asOf of asOfs) compare(system, twin, entities, asOf, 'memory', tally)
    else system.step(step)
  }
  system.drain()
  for (const asOf of asOfs.slice(0, 1)) compare(system, twin, entities, asOf, 'memory', tally)
  system.flushAll()
  for (const asOf of asOfs) compare(system, twin, entities, asOf, 'rows', tally)
  if (canonical) compareRows(system, logged, drive)
}

interface EntityName {
  readonly values: readonly Scalar[]
  readonly key: Uint8Array
  readonly row: string
  readonly shard: number
}

const nameOf = (values: readonly Scalar[]): string => values.join('/')

/** Every entity that a record names. */
function entitiesOf({ plan, definition }: Subject, history: readonly NaiveEvent[]): EntityName[] {
  const entities = new Map<string, EntityName>()
  for (const { fields } of history) {
    const values = definition.keyFields.map((field) => fields[field] ?? null)
    if (values.includes(null) || values[0] === tooLong || entities.has(nameOf(values))) continue
    const key = encodeKey(values, plan.keyTypes)
    const row = `small/${Buffer.from(key).toString('hex')}`
    entities.set(nameOf(values), { values, key, row, shard: shardOf(key, shards) })
  }
  return [...entities.values()]
}

/** What counts, by entity, for what was asked of one history. */
class Twin {
  readonly #subject: Subject
  readonly #history: readonly NaiveEvent[]
  readonly #offsetStep: number
  readonly #known = new Map<string, ReadonlyMap<string, NaiveEvent[]>>()

  constructor(subject: Subject, history: readonly NaiveEvent[], offsetStep: number) {
    this.#subject = subject
    this.#history = history
    this.#offsetStep = offsetStep
  }

  valuesOf(entity: EntityName, covered: readonly number[], asOf: AsOf): Expected['values'] {
    const { definition, plan } = this.#subject
    const own = this.#counting(covered, asOf.knownAsOfMs).get(nameOf(entity.values)) ?? []
    return Object.fromEntries(
      definition.features.map((feature) => {
        const { status, value } = naiveValue(definition, plan.fields, feature, own, asOf)
        return [feature.name, [statusName(status), value]]
      }),
    )
  }

  #counting(covered: readonly number[], knownAsOfMs: number): ReadonlyMap<string, NaiveEvent[]> {
    const asked = `${covered.join(' ')} ${knownAsOfMs}`
    let counting = this.#known.get(asked)
    if (counting === undefined) {
      const { definition, plan } = this.#subject
      const accepted = acceptedEvents(
        definition,
        this.#history,
        (partition) => (covered[partition] as number) * this.#offsetStep,
      )
      const seen = plan.corrected ? countingEvents(plan.stream, definition, accepted, knownAsOfMs) : accepted
      counting = Map.groupBy(seen, ({ fields }) => nameOf(definition.keyFields.map((field) => fields[field] ?? null)))
      this.#known.set(asked, counting)
    }
    return counting
  }
}

function compare(
  system: System,
  twin: Twin,
  entities: readonly EntityName[],
  asOf: AsOf,
  where: 'memory' | 'rows',
  tally?: Tally,
): void {
  const { plan, finisher } = system.subject
  for (const entity of entities) {
    const { engine, covered: inMemory } = system.ownerOf(entity.shard)
    let covered = inMemory
    let events: EntityEvents | null = null
    const held = where === 'memory' ? engine.find(entity.key) : null
    if (held !== null && engine.isLoaded(held)) events = { state: engine.state, entity: held }
    else {
      covered = system.positions[entity.shard] as readonly number[]
      const row = system.rows.get(entity.row)?.row
      if (row !== undefined) events = decodeRow(plan, row)
    }
    const builders = finisher.builders(1)
    if (!finisher.finish(events, asOf, builders, 0)) {
      if (tally !== undefined) tally.refused++
      continue
    }
    const wanted = twin.valuesOf(entity, covered, asOf)
    builders.forEach((builder, index) => {
      const column = builder.build()
      const name = finisher.features[index]?.definition.name as string
      const [status, value] = wanted[name] as Expected['values'][string]
      const got = [statusName(column.statuses[0] as number), valueAt(column, 0)]
      if (tally !== undefined) {
        tally.answered++
        tally.statuses[status] = (tally.statuses[status] ?? 0) + 1
      }
      if (!sameBits(got, [status, value]))
        throw new Difference(
          `${name} of ${inspect(entity.values)} from ${where} at T ${asOf.asOfMs}, K ${asOf.knownAsOfMs}, below ${covered.join(', ')}: ` +
            `${inspect(got)}, the naive twin says ${inspect([status, value])}`,
        )
    })
  }
}

/** One batch a partition, flushed once, gives the same rows; and each row is what its own events give. */
function compareRows(system: System, logged: readonly NaiveEvent[], drive: Drive): void {
  const whole = new System(system.subject, logged, drive)
  whole.drain()
  whole.flushAll()
  for (const name of new Set([...whole.rows.keys(), ...system.rows.keys()])) {
    const row = system.rows.get(name)?.row
    const other = whole.rows.get(name)?.row
    if (row === undefined || other === undefined) throw new Difference(`row ${name} is there in one of two builds`)
    if (Buffer.compare(row, other) !== 0) throw new Difference(`row ${name} depends on how it was built`)
    if (!name.startsWith('small/')) continue
    const again = encodeRow(decodeRow(system.subject.plan, row))
    if (Buffer.compare(row, again) !== 0) throw new Difference(`row ${name} decodes to another row`)
  }
}

const inspect = (value: unknown): string =>
  JSON.stringify(value, (_, item: unknown) =>
    typeof item === 'bigint' ? `${item}n` : Object.is(item, -0) ? '-0' : item,
  )

/** Fewer records, steps and moments while it still fails; bounded, so not always the least. */
export function shrunk(failing: HistoryCase, runsMax = 3_000): HistoryCase {
  let best = failing
  let runs = 0
  const tryCase = (smaller: HistoryCase): boolean => {
    if (runs++ >= runsMax || difference(smaller) === null) return false
    best = smaller
    return true
  }
  for (const asOf of failing.asOfs) if (tryCase({ ...best, asOfs: [asOf] })) break
  tryCase({ ...best, canonical: false })
  tryCase({ ...best, drive: { ...best.drive, offsetStep: 1 } })
  for (let before = -1; before !== best.records.length + best.drive.steps.length && runs < runsMax;) {
    before = best.records.length + best.drive.steps.length
    for (let size = best.records.length >> 1; size >= 1; size >>= 1)
      for (let at = best.records.length - size; at >= 0; at -= size)
        tryCase({ ...best, records: best.records.toSpliced(at, size) })
    for (let at = best.drive.steps.length - 1; at >= 0; at--)
      tryCase({ ...best, drive: { ...best.drive, steps: best.drive.steps.toSpliced(at, 1) } })
  }
  return best
}

/** What the naive twin says of every entity at the end. */
export function expectedOf({ spec, records, asOfs }: HistoryCase): Expected[] {
  const subject = subjectOf(spec)
  const logged = numbered(records, 1)
  const twin = new Twin(subject, logged.map(asRead), 1)
  const all = new Array<number>(partitions).fill(records.length)
  return entitiesOf(subject, logged).flatMap((entity) =>
    asOfs.map((asOf) => ({ entity: entity.values, asOf, values: twin.valuesOf(entity, all, asOf) })),
  )
}

/** JSON with what JSON lacks: {"$": "12n"}, {"$": "NaN"}, {"$": "-0"}. */
export const toJson = (value: unknown): string =>
  JSON.stringify(value, (_, item: unknown) => {
    if (typeof item === 'bigint') return { $: `${item}n` }
    return typeof item === 'number' && (!Number.isFinite(item) || Object.is(item, -0))
      ? { $: Object.is(item, -0) ? '-0' : String(item) }
      : item
  })

export const fromJson = (text: string): unknown =>
  JSON.parse(text, (_, item: unknown) => {
    const said = (item as { readonly $?: string } | null)?.$
    if (said === undefined) return item
    return said.endsWith('n') ? BigInt(said.slice(0, -1)) : Number(said)
  })
