/** A plain parser of record batches, to compare the walker with: BigInt arithmetic, an object per record, no shortcuts. */
export interface NaiveRecord {
  readonly offset: number
  readonly timestampMs: number
  readonly key: readonly number[] | null
  readonly value: readonly number[] | null
}

export function naiveParse(bytes: Uint8Array): NaiveRecord[] {
  const records: NaiveRecord[] = []
  let at = 0
  const take = (count: number): number[] => {
    if (at + count > bytes.length) throw new Error('cut off')
    const taken = [...bytes.subarray(at, at + count)]
    at += count
    return taken
  }
  const int = (count: number): bigint =>
    BigInt.asIntN(
      count * 8,
      take(count).reduce((sum, byte) => sum * 256n + BigInt(byte), 0n),
    )
  const varint = (): bigint => {
    let value = 0n
    for (let shift = 0n; ; shift += 7n) {
      const byte = take(1)[0] as number
      value |= BigInt(byte & 127) << shift
      if (byte < 128) return value & 1n ? -(value + 1n) / 2n : value / 2n
    }
  }
  const piece = (): number[] | null => {
    const length = Number(varint())
    return length < 0 ? null : take(length)
  }
  while (at < bytes.length) {
    const baseOffset = int(8)
    const end = Number(int(4)) + at
    take(4 + 1 + 4)
    const attributes = Number(int(2))
    take(4)
    const baseTimestamp = int(8)
    const maxTimestamp = int(8)
    take(8 + 2 + 4)
    const count = Number(int(4))
    for (let index = 0; index < count; index++) {
      varint()
      take(1)
      const timestamp = baseTimestamp + varint()
      const offset = Number(baseOffset + varint())
      const key = piece()
      const value = piece()
      for (let headers = Number(varint()); headers > 0; headers--) {
        piece()
        piece()
      }
      records.push({ offset, timestampMs: Number(attributes & 8 ? maxTimestamp : timestamp), key, value })
    }
    if (at !== end) throw new Error('does not fill')
  }
  return records
}
