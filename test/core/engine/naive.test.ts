import { expect, test } from 'vitest'
import type { WindowDefinition } from '../../../core/definition/types.ts'
import { eventsInWindow } from '../../../core/engine/naive.ts'

/** Visible events at 10, 20, 20, 35 and 40, named by their offsets. */
const visible = [10, 20, 20, 35, 40].map((eventTimeMs, offset) => ({ eventTimeMs, knownAtMs: 0, partition: 0, offset }))
const taken = (window: WindowDefinition, asOfMs: number) =>
  eventsInWindow(window, visible, asOfMs, null).map(({ offset }) => offset)

test.each<[string, WindowDefinition, number, number[]]>([
  ['all', { kind: 'lifetime' }, 41, [0, 1, 2, 3, 4]],
  ['a span holds its start and not its end', { kind: 'sliding', spanMs: 20, endsBeforeMs: 5 }, 45, [1, 2, 3]],
  ['a resolution lowers the start', { kind: 'sliding', spanMs: 15, resolutionMs: 10 }, 41, [1, 2, 3, 4]],
  ['not where it is on it', { kind: 'sliding', spanMs: 15, resolutionMs: 5 }, 45, [3, 4]],
  ['nor the end', { kind: 'sliding', spanMs: 15, endsBeforeMs: 6, resolutionMs: 15 }, 41, [1, 2]],
  ['a series takes what its parts take', { kind: 'series', spanMs: 20, stepMs: 5 }, 40, [1, 2, 3]],
  ['the last rows, in total order among equal times', { kind: 'rows', count: 3 }, 41, [2, 3, 4]],
  ['rows when there are fewer', { kind: 'rows', count: 9 }, 41, [0, 1, 2, 3, 4]],
  ['the interval that T lies in', { kind: 'tumbling', spanMs: 20, take: 'current' }, 41, [4]],
  ['the interval that ends at T', { kind: 'tumbling', spanMs: 20, take: 'last' }, 40, [1, 2, 3]],
  ['a gap as long as asked ends a session', { kind: 'session', gapMs: 15 }, 41, [3, 4]],
  ['a shorter gap does not', { kind: 'session', gapMs: 16 }, 41, [0, 1, 2, 3, 4]],
  ['a session is open until the gap has passed', { kind: 'session', gapMs: 6 }, 45, [3, 4]],
  ['and over when it has', { kind: 'session', gapMs: 6 }, 46, []],
])('%s', (_, window, asOfMs, offsets) => {
  expect(taken(window, asOfMs)).toEqual(offsets)
})
