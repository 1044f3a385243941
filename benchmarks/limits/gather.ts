/** Limit of engine/gather: rows of a float32 table, copied by index. */
export function gatherRows(table: Float32Array, width: number, rows: Int32Array, out: Float32Array): void {
  let to = 0
  for (let index = 0; index < rows.length; index++) {
    const from = (rows[index] as number) * width
    for (let column = 0; column < width; column++) out[to++] = table[from + column] as number
  }
}
