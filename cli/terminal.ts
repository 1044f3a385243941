import { FeatureStoreError } from '../core/errors.ts'

/** What commands print. Results go to stdout, progress and errors to stderr. */
export const print = (line = ''): void => void process.stdout.write(`${line}\n`)

/** JSON of a result: int64 as strings, and what is not finite by name. */
export const toJson = (value: unknown): string =>
  JSON.stringify(value, (_key, part: unknown) =>
    typeof part === 'bigint'
      ? part.toString()
      : typeof part === 'number' && !Number.isFinite(part)
        ? String(part)
        : part,
  )

/** A value as text: as JSON, but a text by itself and numbers without quotes, which JSON gives to some. */
export function valueText(value: unknown): string {
  if (typeof value === 'string') return value
  if (!Array.isArray(value)) return String(value)
  return `[${value.map((item) => (typeof item === 'string' ? JSON.stringify(item) : String(item))).join(',')}]`
}

export const printJson = (value: unknown): void => print(toJson(value))

/** Prints an error and says with which code to exit: 2 for what the caller can mend, 3 for try again, 1 for the rest. */
export function reportError(error: unknown, json: boolean): number {
  const known =
    error instanceof FeatureStoreError
      ? error
      : new FeatureStoreError('FS_INTERNAL', error instanceof Error ? (error.stack ?? error.message) : String(error))
  if (json)
    process.stderr.write(
      `${toJson({ error: { code: known.code, kind: known.kind, message: known.message, remedy: known.remedy } })}\n`,
    )
  else {
    process.stderr.write(`${known.code}: ${known.message}\nRemedy: ${known.remedy}\n`)
    if (known.code === 'FS_INTERNAL' && known.cause instanceof Error)
      process.stderr.write(`${known.cause.stack ?? known.cause.message}\n`)
  }
  return exitCodeOf(known)
}

const exitCodeOf = (error: FeatureStoreError): number =>
  error.kind === 'invalid' || error.kind === 'data' ? 2 : error.kind === 'internal' ? 1 : 3

/** 1,234,567 */
export const grouped = (value: number): string => value.toLocaleString('en-US', { maximumFractionDigits: 0 })
export const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`

/** Lines with aligned columns; numbers (and what ends in a unit) to the right where `right` says so. */
export function table(rows: readonly (readonly string[])[], right: readonly number[] = []): string[] {
  const widths: number[] = []
  for (const row of rows) row.forEach((cell, column) => (widths[column] = Math.max(widths[column] ?? 0, cell.length)))
  return rows.map((row) =>
    row
      .map((cell, column) =>
        right.includes(column) ? cell.padStart(widths[column] as number) : cell.padEnd(widths[column] as number),
      )
      .join('  ')
      .trimEnd(),
  )
}

const barWidth = 24
const redrawMs = 100

/** A progress bar on stderr, redrawn in place on a terminal and silent elsewhere. */
export class Progress {
  readonly #label: string
  readonly #unit: string
  readonly #started = Date.now()
  #drawn = 0

  constructor(label: string, unit: string) {
    this.#label = label
    this.#unit = unit
  }

  update(done: number, total: number): void {
    if (!process.stderr.isTTY || Date.now() - this.#drawn < redrawMs) return
    this.#drawn = Date.now()
    const share = total === 0 ? 1 : done / total
    const filled = Math.round(share * barWidth)
    const elapsedMs = Math.max(1, Date.now() - this.#started)
    const rate = grouped((done / elapsedMs) * 1000)
    process.stderr.write(
      `\r\x1b[2K  ${this.#label.padEnd(10)} [${'█'.repeat(filled)}${'░'.repeat(barWidth - filled)}] ${(share * 100).toFixed(0).padStart(3)} %  ${rate} ${this.#unit}/s  ${seconds(elapsedMs)}`,
    )
  }

  /** Clears the bar; returns the elapsed milliseconds. */
  end(): number {
    if (process.stderr.isTTY) process.stderr.write('\r\x1b[2K')
    return Date.now() - this.#started
  }
}
