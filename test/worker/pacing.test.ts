import { expect, it } from 'vitest'
import { FlushPacer } from '../../worker/pacing.ts'

/** A clock that stands still until it is told. */
function paced(boundMs: number): {
  readonly pacer: FlushPacer
  readonly flush: (ms: number) => Promise<void>
  readonly dueAfter: () => number
} {
  let nowMs = 5_000
  const pacer = new FlushPacer({ nowMs: () => nowMs }, boundMs)
  return {
    pacer,
    flush: (ms) => pacer.run(() => Promise.resolve(void (nowMs += ms))),
    /** Milliseconds from now until the next one may begin. */
    dueAfter: () => {
      const fromMs = nowMs
      while (!pacer.due) nowMs++
      return nowMs - fromMs
    },
  }
}

it('the first flush is due at once, and the next one when seven times what it took has passed', async () => {
  const { flush, dueAfter } = paced(1_000)
  expect(dueAfter()).toBe(0)
  await flush(20)
  expect(dueAfter()).toBe(140)
  await flush(3)
  expect(dueAfter()).toBe(21)
})

it('rows get no older than the bound, however slow the sink', async () => {
  const { flush, dueAfter } = paced(1_000)
  await flush(200)
  expect(dueAfter()).toBe(800)
  await flush(1_500)
  expect(dueAfter()).toBe(0)
})

it('none begins while one is in flight, and one that failed took its time as well', async () => {
  const { pacer, dueAfter } = paced(100)
  const { promise, reject } = Promise.withResolvers<void>()
  const flushing = pacer.run(() => promise)
  expect(pacer.due).toBe(false)
  reject(new Error('no answer'))
  await expect(flushing).rejects.toThrow('no answer')
  expect(dueAfter()).toBe(0)
})
