import type { ScalarValues } from '../../core/engine/feature-column.ts'
import type { Column } from '../../core/event/types.ts'
import { formatDecimal } from '../../core/number/decimal.ts'
import { fileColumn, listStart, rowCountOf, type ListColumn, type NamedColumn } from '../arrow/columns.ts'

const chunkRows = 4096

/**
 * RFC 4180 CSV, but for line ends, which are LF as every other tool here writes them.
 *
 * Cells: doubles in the shortest digits that read back to the same bits; int64 in digits; decimals with
 *        all of theirs behind the point; timestamps in epoch
 *        milliseconds; true and false; lists as JSON arrays, int64, decimal and non-finite items as strings, null items as null;
 *        null as nothing, the empty string as "".
 */
export const writeCsv = (columns: readonly NamedColumn[]): string => [...csvChunks(columns)].join('')

/** The same in pieces, for files that are longer than a string can be. */
export function* csvChunks(columns: readonly NamedColumn[]): Generator<string> {
  yield line(columns.map(({ name }) => quoted(name)))
  const plain = columns.map(({ column }) => fileColumn(column))
  const rows = plain[0] === undefined ? 0 : rowCountOf(plain[0])
  const cells = plain.map((column) => {
    const text = column.type === 'list' ? listCell(column) : scalarCell(column)
    const { nulls } = column
    return nulls === null ? text : (row: number): string => (nulls[row] === 1 ? '' : text(row))
  })
  for (let from = 0; from < rows; from += chunkRows) {
    let chunk = ''
    for (let row = from; row < Math.min(from + chunkRows, rows); row++) chunk += line(cells.map((cell) => cell(row)))
    yield chunk
  }
}

const line = (cells: readonly string[]): string => `${cells.join(',')}\n`

const quoted = (text: string): string =>
  text === '' || /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text

type Cell = (row: number) => string

function scalarCell(column: Column): Cell {
  switch (column.type) {
    case 'bool':
      return (row) => (column.values[row] === 1 ? 'true' : 'false')
    case 'string': {
      const cells = column.table.strings.map(quoted)
      return (row) => cells[column.values[row] as number] ?? '""'
    }
    case 'decimal':
      return (row) => formatDecimal(column.values[row] as bigint, column.scale)
    default:
      // The shortest digits are JavaScript's own; -0 reads "0".
      return (row) => String(column.values[row])
  }
}

function listCell(list: ListColumn): Cell {
  const item = jsonItem(list.items)
  return (row) => {
    const items: unknown[] = []
    for (let at = listStart(list, row); at < (list.ends[row] as number); at++)
      items.push(list.itemNulls?.[at] === 1 ? null : item(at))
    return quoted(JSON.stringify(items))
  }
}

function jsonItem(items: ScalarValues): (at: number) => unknown {
  switch (items.type) {
    case 'bool':
      return (at) => items.values[at] === 1
    case 'decimal':
      return (at) => formatDecimal(items.values[at] as bigint, items.scale)
    case 'int64':
      return (at) => String(items.values[at])
    case 'float64':
      return (at) => {
        const value = items.values[at] as number
        return Number.isFinite(value) ? value : String(value)
      }
    default:
      return (at) => items.values[at]
  }
}
