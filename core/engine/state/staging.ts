import { FeatureStoreError } from '../../errors.ts'
import type { Column } from '../../event/types.ts'
import type { Interner } from '../interner.ts'
import type { InputPlan } from '../plan.ts'
import { isWide, type RecordLayout } from './record-layout.ts'

/**
 * The events of one batch as records (record-layout.ts), side by side, without times and order: columns are copied one
 * after the other, each by a loop that sees one kind of array, and an event then moves to its place as a handful of words
 * of which nobody needs to know the types.
 */
export class Staging {
  readonly layout: RecordLayout
  words = new Int32Array(0)
  floats = new Float64Array(0)
  longs = new BigInt64Array(0)

  constructor(layout: RecordLayout) {
    this.layout = layout
  }

  /** Room for `rows` records, all words 0. */
  begin(rows: number): void {
    const words = rows * this.layout.stride
    if (words > this.words.length) {
      this.words = new Int32Array(Math.ceil(words * 1.25) & ~1)
      this.floats = new Float64Array(this.words.buffer)
      this.longs = new BigInt64Array(this.words.buffer)
    } else if (this.layout.nullWords > 0 || this.layout.stride > 2) this.words.fill(0, 0, words)
  }

  /** Sets one input of `rows` records from record `start` on. Strings become codes of `table`. */
  setInput(index: number, input: InputPlan, column: Column, rows: number, table: Interner | null, start = 0): void {
    const { stride, inputs, nulls } = this.layout
    const half = stride >> 1
    const at = inputs[index] as number
    const slot = start * (isWide(column.type) ? half : stride) + at
    switch (column.type) {
      case 'float64':
      case 'timestamp':
        copyFloats(column.values, this.floats, slot, half, rows)
        break
      case 'int64':
      case 'decimal':
        copyLongs(column.values, this.longs, slot, half, rows)
        break
      case 'int32':
        copyInts(column.values, this.words, slot, stride, rows)
        break
      case 'bool':
        copyBytes(column.values, this.words, slot, stride, rows)
        break
      case 'string':
        copyCodes(column.values, (table as Interner).translation(column.table), this.words, slot, stride, rows)
    }
    if (column.nulls === null) return
    if (nulls < 0)
      throw new FeatureStoreError('FS_INTERNAL', `an input of type ${input.type} that cannot be null is null`)
    const word = nulls + (index >> 5)
    const bit = 1 << (index & 31)
    for (let row = 0; row < rows; row++) {
      if (column.nulls[row] === 0) continue
      const record = start + row
      this.words[record * stride + word] = (this.words[record * stride + word] as number) | bit
      // What stands at a null is unspecified; equal events must have equal records.
      if (isWide(column.type)) this.floats[record * half + at] = 0
      else this.words[record * stride + at] = 0
    }
  }

  /** Until when each record counts (core/asof/corrections.ts). */
  setUntils(untils: Float64Array): void {
    copyFloats(untils, this.floats, this.layout.until, this.layout.stride >> 1, untils.length)
  }

  /** Ids, content hashes and operations (identity.ts). */
  setIdentities(ids: Float64Array, hashes: Int32Array, ops: Uint8Array | null): void {
    const { stride, id, hash } = this.layout
    copyFloats(ids, this.floats, id, stride >> 1, ids.length)
    copyInts(hashes, this.words, hash, stride, hashes.length)
    if (ops !== null) copyBytes(ops, this.words, hash + 1, stride, hashes.length)
  }

  /** Copies what `insert` of an event store does not set: all words of record `row` behind its times and its order. */
  copyTo(words: Int32Array, record: number, row: number): void {
    const { stride, order } = this.layout
    const from = row * stride
    const to = record * stride
    const source = this.words
    for (let word = order < 0 ? 2 : 4; word < stride; word++) words[to + word] = source[from + word] as number
  }
}

function copyFloats(from: Float64Array, to: Float64Array, at: number, stride: number, rows: number): void {
  // -0 counts as +0.
  for (let row = 0, slot = at; row < rows; row++, slot += stride) to[slot] = (from[row] as number) + 0
}
function copyLongs(from: BigInt64Array, to: BigInt64Array, at: number, stride: number, rows: number): void {
  for (let row = 0, slot = at; row < rows; row++, slot += stride) to[slot] = from[row] as bigint
}
function copyInts(from: Int32Array, to: Int32Array, at: number, stride: number, rows: number): void {
  for (let row = 0, slot = at; row < rows; row++, slot += stride) to[slot] = from[row] as number
}
function copyBytes(from: Uint8Array, to: Int32Array, at: number, stride: number, rows: number): void {
  for (let row = 0, slot = at; row < rows; row++, slot += stride) to[slot] = from[row] as number
}
function copyCodes(
  from: Int32Array,
  codes: Int32Array,
  to: Int32Array,
  at: number,
  stride: number,
  rows: number,
): void {
  // At a null any code may stand, none of the table's too.
  for (let row = 0, slot = at; row < rows; row++, slot += stride) to[slot] = codes[from[row] as number] ?? 0
}
