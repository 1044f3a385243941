import { FeatureStoreError } from '../../core/errors.ts'

/** Cells of a CSV file as they stand there: null where nothing stood, '' where "" did. */
export interface CsvTable {
  readonly header: readonly string[]
  /** Every row has as many cells as the header. */
  readonly rows: readonly (readonly (string | null)[])[]
}

const quote = 34
const comma = 44
const lineFeed = 10
const carriageReturn = 13

/**
 * Reads RFC 4180 CSV: UTF-8 with or without a byte order mark, lines ended by LF or CRLF, the last one perhaps by
 * nothing. Blank lines are skipped, but in a file of one column, where they are a null.
 *
 * Errors: FS_FILE_INVALID, naming the row (the header is row 0) and the column, for a quote that does not close or stands
 *         in the open, a row of another length, a header that is empty or has a name twice, or bytes that are not UTF-8.
 */
export function readCsv(input: string | Uint8Array): CsvTable {
  const text = typeof input === 'string' ? input.replace(/^\uFEFF/, '') : decode(input)
  const records = new CsvScanner(text)
  const header = records.next()?.map((name) => name ?? '')
  if (header === undefined || header.some((name) => name === ''))
    throw new FeatureStoreError('FS_FILE_INVALID', 'the CSV file has no header, or one without a name for each column')
  const repeated = header.find((name, index) => header.indexOf(name) !== index)
  if (repeated !== undefined)
    throw new FeatureStoreError('FS_FILE_INVALID', `the CSV file has column ${repeated} twice`)
  const rows: (readonly (string | null)[])[] = []
  for (let row = records.next(); row !== undefined; row = records.next()) {
    if (row.length === 1 && row[0] === null && header.length > 1) continue
    if (row.length !== header.length)
      throw invalid(rows.length + 1, `it has ${row.length} cells, the header ${header.length}`)
    rows.push(row)
  }
  return { header, rows }
}

function decode(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw new FeatureStoreError('FS_FILE_INVALID', 'the CSV file is not UTF-8', { cause })
  }
}

const invalid = (row: number, what: string): FeatureStoreError =>
  new FeatureStoreError('FS_FILE_INVALID', `CSV row ${row}: ${what}`)

/** Walks the text a record at a time. */
class CsvScanner {
  readonly #text: string
  #at = 0
  #row = 0

  constructor(text: string) {
    this.#text = text
  }

  /** The cells of the next record; undefined at the end. */
  next(): (string | null)[] | undefined {
    if (this.#at >= this.#text.length) return undefined
    const cells: (string | null)[] = []
    for (;;) {
      cells.push(this.#text.charCodeAt(this.#at) === quote ? this.#quoted(cells.length) : this.#plain(cells.length))
      const ended = this.#text.charCodeAt(this.#at) !== comma
      if (ended) this.#at += this.#lineEnd()
      else this.#at++
      if (ended) break
    }
    this.#row++
    return cells
  }

  #plain(column: number): string | null {
    const from = this.#at
    for (; this.#at < this.#text.length; this.#at++) {
      const code = this.#text.charCodeAt(this.#at)
      if (code === comma || this.#lineEnd() > 0) break
      if (code === quote) throw invalid(this.#row, `a quote inside the open cell ${column + 1}`)
    }
    return this.#at === from ? null : this.#text.slice(from, this.#at)
  }

  #quoted(column: number): string {
    const parts: string[] = []
    let from = this.#at + 1
    for (;;) {
      const end = this.#text.indexOf('"', from)
      if (end < 0) throw invalid(this.#row, `the quote of cell ${column + 1} does not close`)
      parts.push(this.#text.slice(from, end))
      if (this.#text.charCodeAt(end + 1) !== quote) {
        this.#at = end + 1
        break
      }
      parts.push('"')
      from = end + 2
    }
    if (this.#at < this.#text.length && this.#text.charCodeAt(this.#at) !== comma && this.#lineEnd() === 0)
      throw invalid(this.#row, `text behind the quotes of cell ${column + 1}`)
    return parts.join('')
  }

  /** Length of the line end that begins here; 0 where none does. */
  #lineEnd(): number {
    const code = this.#text.charCodeAt(this.#at)
    if (code === lineFeed) return 1
    return code === carriageReturn && this.#text.charCodeAt(this.#at + 1) === lineFeed ? 2 : 0
  }
}
