import { expect, test } from 'vitest'
import { continues } from '../../../core/event/continuity.ts'
import { offset, offsetZero } from '../../../core/event/position.ts'

const partition = (end: number, ...epochs: readonly (readonly [epoch: number, firstOffset: number])[]) => ({
  epochs: epochs.map(([epoch, firstOffset]) => ({ epoch, firstOffset: offset(firstOffset) })),
  start: offsetZero,
  end: offset(end),
})

test.each([
  ['at the end', 0, 10, partition(10, [0, 0]), true],
  ['beyond the end', 0, 11, partition(10, [0, 0]), false],
  ['where a later epoch began', 0, 10, partition(20, [0, 0], [1, 10]), true],
  ['beyond where a later epoch began', 0, 11, partition(20, [0, 0], [1, 10]), false],
  ['in a later epoch', 1, 15, partition(20, [0, 0], [1, 10]), true],
  ['beyond where an epoch after the next one began', 0, 5, partition(20, [0, 0], [1, 10], [2, 4]), false],
  ['in a stream that was made anew, under a lower number', 900, 5, partition(20, [17, 0]), false],
  ['in a stream that was made anew, under a higher number', 17, 5, partition(20, [900, 0]), false],
  ['nowhere yet, whatever the epoch', 3, 0, partition(20, [17, 0]), true],
])('a projection %s', (_, epoch, next, info, goesOn) => {
  expect(continues({ epoch, next: offset(next) }, info)).toBe(goesOn)
})
