/**
 * Rounds of a contender and its limit, taken in turns so that what the machine does beside hits both; medians, the
 * spread, processor time, and one JSON object per line.
 */
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { table } from '../cli/terminal.ts'

/** The results that were timed are wrong, so the figures are worth nothing: the run ends with exit code 1. */
export class WrongResult extends Error {
  override readonly name = 'WrongResult'
}

export function ensure(condition: boolean, what: string): asserts condition {
  if (!condition) throw new WrongResult(what)
}

/** What one round says under one name. */
export interface Reading {
  readonly bench: string
  readonly unit: string
  readonly value: number
  /** Processor seconds, of every process that took part, per million of what is counted; null where none is counted. */
  readonly cpuSecondsPerMillion: number | null
}

/** A line of the output, as the design's section 8 has it. */
export interface Line {
  readonly bench: string
  readonly value: number
  readonly unit: string
  readonly limit: number
  /** How near the limit: 1 is the limit, whatever the unit. */
  readonly ratio: number
  readonly cpuSecondsPerMillion: number | null
  /** Least and greatest value of the rounds. */
  readonly spread: readonly [number, number]
  readonly rounds: number
  /** Another program that does the same, and its value. */
  readonly peer?: string
  readonly peerValue?: number
}

export interface BenchOptions {
  /** All sizes and 5 rounds, instead of small sizes and 3. */
  readonly full: boolean
  readonly rounds: number
  /** Whether lines of this name, or of names that it begins, are asked for: what is not may be left out. */
  readonly wants: (bench: string) => boolean
  /** Gives out a line as soon as it is there. */
  readonly emit: (line: Line) => void
  /** What a reader should know beside the lines; never on stdout. */
  readonly note: (text: string) => void
}

/** Prints its lines and returns, or throws WrongResult. */
export type Suite = (options: BenchOptions) => Promise<void>

type Round = () => Promise<readonly Reading[]>

const nothing = (): Promise<void> => Promise.resolve()

/**
 * Contender, then limit, `rounds` times; a line for each name that the contender reads. The limit reads the same names
 * in the same units. A limit may rest on what the contender has just done: it always comes second. `verify` has the last
 * word before any line is given out.
 */
export async function interleaved(
  options: BenchOptions,
  contender: Round,
  limit: Round,
  verify: () => Promise<void> = nothing,
): Promise<void> {
  const ours: Reading[] = []
  const bounds: Reading[] = []
  for (let round = 0; round < options.rounds; round++) {
    collect()
    ours.push(...(await contender()))
    collect()
    bounds.push(...(await limit()))
  }
  await verify()
  for (const bench of new Set(ours.map((reading) => reading.bench))) {
    const own = ours.filter((reading) => reading.bench === bench)
    const values = own.map(({ value }) => value)
    const { unit } = own[0] as Reading
    const value = median(values)
    const bound = median(bounds.filter((reading) => reading.bench === bench).map((reading) => reading.value))
    ensure(Number.isFinite(value) && value > 0 && bound > 0, `${bench} has no value or no limit`)
    const cpu = own.map(({ cpuSecondsPerMillion }) => cpuSecondsPerMillion).filter((seconds) => seconds !== null)
    options.emit({
      bench,
      value: rounded(value),
      unit,
      limit: rounded(bound),
      ratio: rounded(isTime(unit) ? bound / value : value / bound),
      cpuSecondsPerMillion: cpu.length === 0 ? null : rounded(median(cpu)),
      spread: [rounded(Math.min(...values)), rounded(Math.max(...values))],
      rounds: options.rounds,
    })
  }
}

/** One reading against a bound that is given, not measured. */
export function againstBound(bench: string, unit: string, value: number, bound: number): Line {
  const shown = rounded(value)
  return {
    bench,
    value: shown,
    unit,
    limit: bound,
    ratio: rounded(value / bound),
    cpuSecondsPerMillion: null,
    spread: [shown, shown],
    rounds: 1,
  }
}

/** Less is better: the limit is the shorter time. */
const isTime = (unit: string): boolean => unit === 'µs' || unit === 'ms' || unit === 's'

/** `--expose-gc` is not asked of anyone; where it is on, a round does not pay for the garbage of the one before. */
export const collect = (): void => (globalThis as { gc?: () => void }).gc?.()

/** Turns `collect` on in this process, as `--expose-gc` would have. */
export function exposeCollector(): void {
  setFlagsFromString('--expose-gc')
  ;(globalThis as { gc?: () => void }).gc ??= runInNewContext('gc') as () => void
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  if (sorted.length === 0) return Number.NaN
  const upper = sorted[middle] as number
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] as number) + upper) / 2
}

/** The value below which a share of the sorted values lies. */
export const quantile = (sorted: Float64Array, share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN

/** Four significant digits: more would be noise. */
export const rounded = (value: number): number => (Number.isFinite(value) ? Number(value.toPrecision(4)) : value)

/** Wall and processor time of a piece of work, here and in other processes. */
export interface Cost {
  readonly seconds: number
  readonly cpuSeconds: number
}

/** Times `work`. Processes in `pids` do part of it; their threads count, as do those of this process. */
export async function timed<T>(
  work: () => Promise<T> | T,
  pids: readonly number[] = [],
): Promise<Cost & { readonly result: T }> {
  const others = (): number => pids.reduce((sum, pid) => sum + cpuSecondsOf(pid), 0)
  const othersBefore = others()
  const cpu = process.cpuUsage()
  const started = performance.now()
  const result = await work()
  const seconds = (performance.now() - started) / 1000
  const { user, system } = process.cpuUsage(cpu)
  return { result, seconds, cpuSeconds: (user + system) / 1e6 + others() - othersBefore }
}

/** `count` things in that time. */
export const rate = (bench: string, unit: string, count: number, cost: Cost): Reading => ({
  bench,
  unit,
  value: count / cost.seconds,
  cpuSecondsPerMillion: (cost.cpuSeconds / count) * 1e6,
})

/** How long one of `count` took, microseconds. */
export const microseconds = (bench: string, count: number, cost: Cost): Reading => ({
  bench,
  unit: 'µs',
  value: (cost.seconds / count) * 1e6,
  cpuSecondsPerMillion: (cost.cpuSeconds / count) * 1e6,
})

export const sumOf = (...costs: readonly Cost[]): Cost => ({
  seconds: costs.reduce((sum, { seconds }) => sum + seconds, 0),
  cpuSeconds: costs.reduce((sum, { cpuSeconds }) => sum + cpuSeconds, 0),
})

/** USER_HZ of every Linux that Node runs on. */
const ticksPerSecond = 100

/** Processor seconds that a process has taken, 0 where the system does not tell (proc_pid_stat(5), fields 14 and 15). */
export function cpuSecondsOf(pid: number): number {
  const stat = readText(`/proc/${pid}/stat`)
  // The name may hold spaces and brackets: fields are counted from its end.
  const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ') ?? []
  return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) / ticksPerSecond
}

/**
 * Peak resident MiB of a process (VmHWM), null where the system does not tell. Not getrusage's ru_maxrss: a child
 * begins that one with what its parent held when it forked.
 */
export function peakMiBOf(pid: number): number | null {
  const match = /VmHWM:\s+(\d+) kB/.exec(readText(`/proc/${pid}/status`) ?? '')
  return match === null ? null : Number(match[1]) / 1024
}

function readText(path: string): string | null {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return null
  }
}

/** Lines for people. */
export function textOf(lines: readonly Line[]): string[] {
  const heading = ['bench', 'value', 'unit', 'limit', 'ratio', 'CPU-s/M', 'spread']
  const number = (value: number): string => value.toLocaleString('en-US', { maximumSignificantDigits: 4 })
  const rows = lines.map((line) => [
    line.bench,
    number(line.value),
    line.unit,
    number(line.limit),
    line.ratio.toFixed(2),
    line.cpuSecondsPerMillion === null ? '' : number(line.cpuSecondsPerMillion),
    `${number(line.spread[0])} to ${number(line.spread[1])}`,
  ])
  return table([heading, ...rows], [1, 3, 4, 5])
}

export const machine = (): string =>
  `node ${process.version}, ${process.platform} ${process.arch}, ${availableParallelism()} cores`
