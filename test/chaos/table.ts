import type { ScenarioResult } from './run-scenario.ts'

/** Nearest rank; NaN of nothing. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN
}

const header = ['scenario', 'faults', 'kills', 'events', 'applied', 'mismatches', 'measured', 'p50 s', 'p99 s', 'max s']

const timesOf = (ms: readonly number[]): string[] => [
  String(ms.length),
  ...[0.5, 0.99, 1].map((share) => (ms.length === 0 ? '-' : (percentile(ms, share) / 1_000).toFixed(1))),
]

const rowOf = (result: ScenarioResult): string[] => [
  result.name,
  String(result.faults),
  String(result.kills),
  String(result.events),
  String(result.applied),
  String(result.mismatches.length),
  ...timesOf(result.recoveries.map(({ ms }) => ms)),
]

/** One line a scenario; the last one has all that count. */
export function tableOf(results: readonly ScenarioResult[]): string {
  const counting = results.filter(({ counts }) => counts)
  const sum = (value: (result: ScenarioResult) => number): string =>
    String(counting.reduce((total, result) => total + value(result), 0))
  const all = [
    'all',
    sum(({ faults }) => faults),
    sum(({ kills }) => kills),
    sum(({ events }) => events),
    sum(({ applied }) => applied),
    sum(({ mismatches }) => mismatches.length),
    ...timesOf(counting.flatMap(({ recoveries }) => recoveries.map(({ ms }) => ms))),
  ]
  const rows = [header, ...counting.map(rowOf), all, ...results.filter(({ counts }) => !counts).map(rowOf)]
  const widths = header.map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)))
  return rows
    .map((row) =>
      row
        .map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0)))
        .join('  '),
    )
    .join('\n')
}
