import type { ScalarType, StringTable } from '../event/types.ts'

/** Of a string, beside its characters: its header, its entry in the map, its place in the list; about. */
const stringBytes = 80

/** Strings to codes and back; a code keeps its meaning while the interner lives. */
export class Interner implements StringTable {
  readonly strings: string[] = []
  /** About what the strings take, for bounds. */
  memoryBytes = 0
  readonly #codes = new Map<string, number>()
  /** Codes of other tables, translated once per string. */
  readonly #translations = new WeakMap<StringTable, Int32Array<ArrayBuffer>>()

  code(text: string): number {
    let code = this.#codes.get(text)
    if (code === undefined) {
      code = this.strings.push(text) - 1
      this.#codes.set(text, code)
      this.memoryBytes += stringBytes + text.length
    }
    return code
  }

  /** For every code of `table`, the code here. Grows with the table: ask again for each batch. */
  translation(table: StringTable): Int32Array {
    let known = this.#translations.get(table)
    const size = table.strings.length
    if (known !== undefined && known.length === size) return known
    const translated = new Int32Array(size)
    if (known !== undefined) translated.set(known)
    for (let code = known?.length ?? 0; code < size; code++) translated[code] = this.code(table.strings[code] as string)
    known = translated
    this.#translations.set(table, known)
    return known
  }
}

/** Tables for the inputs that are strings, else null. */
export const newTables = (inputs: readonly { readonly type: ScalarType }[]): (Interner | null)[] =>
  inputs.map(({ type }) => (type === 'string' ? new Interner() : null))
