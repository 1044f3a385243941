/** Many readings, the same ones every time: for imports that a test cuts short. */
import { writeFileSync } from 'node:fs'

const dayStartMs = Date.parse('2026-01-01T00:00:00Z')

/** Rows are in no order of time; delays are up to an hour, so that known-at and event time disagree. */
export function writeReadings(file: string, rows: number): void {
  let state = 12_345
  const below = (bound: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    return Math.floor((state / 2 ** 32) * bound)
  }
  const lines = ['at,sensor,site,level,total,temperature,note,delay']
  for (let row = 0; row < rows; row++) {
    const level = below(10) === 0 ? '' : String(below(2000) - 1000)
    const temperature = below(10) === 0 ? '' : String(below(4000) / 100)
    lines.push(
      `${dayStartMs + below(4 * 86_400_000)},s${below(300)},${below(20)},${level},${below(1_000_000)},${temperature},${'xyz'[below(3)]},${below(3600)}`,
    )
  }
  writeFileSync(file, `${lines.join('\n')}\n`)
}
