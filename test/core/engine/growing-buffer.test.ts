import { afterEach, describe, expect, it, vi } from 'vitest'
import { GrowingBuffer } from '../../../core/engine/state/growing-buffer.ts'

const mebibyte = 1 << 20

interface Held {
  readonly buffer: SharedArrayBuffer
}

/** Grows step by step to `bytes`, writes a mark at the end of each step, and reads all of them back at the end. */
function grown(buffer: GrowingBuffer, bytes: number): void {
  const marks: number[] = []
  for (let wanted = 64; wanted <= bytes; wanted = Math.ceil(wanted * 1.4)) {
    const before = buffer.buffer.byteLength
    const held = wanted > before ? buffer.grow(wanted) : buffer.buffer
    expect(held.byteLength).toBeGreaterThanOrEqual(wanted)
    const view = new Uint8Array(held)
    if (held.byteLength > before) expect(view.subarray(before).every((byte) => byte === 0)).toBe(true)
    view[wanted - 1] = marks.push(wanted)
  }
  const view = new Uint8Array(buffer.buffer)
  expect(marks.map((at) => view[at - 1])).toEqual(marks.map((_, index) => index + 1))
}

describe('a buffer that grows', () => {
  afterEach(() => void vi.unstubAllGlobals())

  it('keeps what was in it, and what is new is 0, by copying', () => {
    const buffer = new GrowingBuffer(8, false)
    grown(buffer, 4 * mebibyte)
    expect(buffer.unseenBytes).toBe(0)
  })

  it('keeps what was in it in place, where an older view still shows the same bytes', () => {
    const buffer = new GrowingBuffer(8, true)
    grown(buffer, 3 * mebibyte)
    expect(buffer.unseenBytes).toBe(buffer.buffer.byteLength)
    const older = new Int32Array(buffer.buffer)
    const newer = new Int32Array(buffer.grow(8 * mebibyte))
    newer[17] = 42
    expect(older[17]).toBe(42)
    // Hardly more than is asked for: the rest of a page.
    expect(buffer.buffer.byteLength).toBeLessThan(8 * mebibyte * +65_536)
  })

  it('copies where there is no memory to be had', () => {
    vi.stubGlobal('WebAssembly', {
      Memory: class {
        constructor() {
          throw new RangeError('could not allocate memory')
        }
      },
    })
    const buffer = new GrowingBuffer(8, true)
    grown(buffer, 3 * mebibyte)
    expect(buffer.unseenBytes).toBe(0)
    vi.stubGlobal('WebAssembly', undefined)
    grown(new GrowingBuffer(8, true), 3 * mebibyte)
  })

  it('copies once its memory does not grow any more', () => {
    const { Memory } = (globalThis as unknown as { WebAssembly: { Memory: new (size: object) => Held } }).WebAssembly
    vi.stubGlobal('WebAssembly', {
      Memory: class {
        readonly #memory = new Memory({ initial: 40, maximum: 40, shared: true })
        readonly buffer = this.#memory.buffer
        grow(): never {
          throw new RangeError('maximum memory size exceeded')
        }
      },
    })
    const buffer = new GrowingBuffer(8, true)
    grown(buffer, 6 * mebibyte)
    expect(buffer.unseenBytes).toBe(0)
  })
})
