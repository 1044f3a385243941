/**
 * Bytes that become more. While they are few, and where nothing else is to be had, by copying them into a larger buffer.
 * With `inPlace`, once they are many, as the memory of WebAssembly, which reserves addresses for 4 GiB and takes pages of
 * them as it grows: nothing is copied, no page is touched twice, and little more is held than is asked for. Copying costs
 * eight times the bytes in the end where a buffer grows by an eighth, and each of them is a fresh page of the system.
 *
 * It is a shared memory although one thread has it, because growing one detaches no array: an older view still shows the
 * bytes that it showed. The collector does not know how much it holds, so only what lives long should be `inPlace`, and
 * hand it on rather than drop it (`EventMemory`, `from`).
 */
export class GrowingBuffer {
  #buffer: ArrayBufferLike
  #memory: SharedMemory | null = null
  #inPlace: boolean

  constructor(bytes: number, inPlace: boolean) {
    this.#buffer = new ArrayBuffer(bytes)
    this.#inPlace = inPlace
  }

  /** A view of it shows all of them until it grows. */
  get buffer(): ArrayBufferLike {
    return this.#buffer
  }

  /** Bytes that the collector does not know of. */
  get unseenBytes(): number {
    return this.#memory === null ? 0 : this.#buffer.byteLength
  }

  /** At least `bytes`; what was there stays, what is new is 0. */
  grow(bytes: number): ArrayBufferLike {
    const held = this.#buffer.byteLength
    if (this.#inPlace && bytes > inPlaceMin) {
      const wanted = Math.max(bytes, held + Math.ceil(held / 128))
      if (this.#memory === null) this.#move(wanted)
      else this.#extend(this.#memory, wanted)
      if (this.#buffer.byteLength >= bytes) return this.#buffer
    }
    return this.#copyInto(new ArrayBuffer(Math.max(bytes, idle(held))))
  }

  #move(bytes: number): void {
    const memory = newSharedMemory(Math.ceil(bytes / pageBytes))
    // No addresses are left, or the process runs without WebAssembly.
    if (memory === null) this.#inPlace = false
    else {
      this.#copyInto(memory.buffer)
      this.#memory = memory
    }
  }

  #extend(memory: SharedMemory, bytes: number): void {
    try {
      memory.grow(Math.ceil((bytes - this.#buffer.byteLength) / pageBytes))
      this.#buffer = memory.buffer
    } catch {
      // 4 GiB are full: from now on by copying.
      this.#inPlace = false
    }
  }

  #copyInto(larger: ArrayBufferLike): ArrayBufferLike {
    new Uint8Array(larger).set(new Uint8Array(this.#buffer))
    this.#memory = null
    return (this.#buffer = larger)
  }
}

const pageBytes = 65_536
const pagesMax = 65_536
/** Fewer bytes are copied: two buffers of them are soon forgotten, a memory is a handful of system calls. */
const inPlaceMin = 1 << 20

/** By half while small, by a quarter, by an eighth when what lies idle counts. */
const idle = (bytes: number): number =>
  Math.ceil((bytes * (bytes < 1 << 18 ? 1.5 : bytes < 1 << 24 ? 1.25 : 1.125)) / 64) * 64

/** As far as it is used here: the standard library of the compiler has it with the browser's alone. */
interface SharedMemory {
  readonly buffer: ArrayBufferLike
  grow(pages: number): number
}
interface SharedMemoryConstructor {
  new (size: { readonly initial: number; readonly maximum: number; readonly shared: true }): SharedMemory
}

function newSharedMemory(pages: number): SharedMemory | null {
  const { Memory } = (globalThis as { WebAssembly?: { Memory?: SharedMemoryConstructor } }).WebAssembly ?? {}
  if (Memory === undefined || pages > pagesMax) return null
  try {
    return new Memory({ initial: pages, maximum: pagesMax, shared: true })
  } catch {
    return null
  }
}
