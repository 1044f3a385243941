import { describe, expect, it } from 'vitest'
import { continues } from '../../../core/event/continuity.ts'
import { offset } from '../../../core/event/position.ts'

const partition = (end: number, ...epochs: readonly (readonly [epoch: number, firstOffset: number])[]) => ({
  epochs: epochs.map(([epoch, first]) => ({ epoch, firstOffset: offset(first) })),
  start: offset(0),
  end: offset(end),
})
const at = (epoch: number, next: number) => ({ epoch, next: offset(next) })

describe('a position in a partition', () => {
  it('continues up to its end, and not beyond a cut', () => {
    expect(continues(at(0, 10), partition(10, [0, 0]))).toBe(true)
    expect(continues(at(0, 11), partition(10, [0, 0]))).toBe(false)
    expect(continues(at(0, 5), partition(10, [0, 0], [1, 5]))).toBe(true)
    expect(continues(at(0, 6), partition(10, [0, 0], [1, 5]))).toBe(false)
    expect(continues(at(1, 6), partition(10, [0, 0], [1, 5]))).toBe(true)
  })

  it('does not continue in a stream that was made again, whichever of the two epochs is higher', () => {
    for (const [old, now] of [
      [700, 900],
      [900, 700],
    ] as const) {
      expect(continues(at(old, 5), partition(10, [old, 0]))).toBe(true)
      expect(continues(at(old, 5), partition(10, [now, 0]))).toBe(false)
      // Nothing was read of the old one.
      expect(continues(at(old, 0), partition(10, [now, 0]))).toBe(true)
    }
    expect(continues(at(0, 0), partition(10, [700, 0]))).toBe(true)
  })
})
