/**
 * What runs between the runtime and the process of one model, over one pipe: a request frame each way, answered in order.
 *
 *     u32 length of the body | u32 call | u32 kind | body            in the machine's byte order: both ends are here
 *
 * The header is 12 bytes, so a float32 body that is read behind it stays aligned.
 */
export const headerBytes = 12

export const FrameKind = {
  /** Body: u32 features, then the ONNX file. */
  LOAD: 1,
  /** Body: float32 matrix, row-major. */
  PREDICT: 2,
  /** Body: none. */
  LOADED: 3,
  /** Body: one float32 per row. */
  SCORES: 4,
  /** Body: the reason, UTF-8: the model does not fit. */
  REFUSED: 5,
} as const
export type FrameKind = (typeof FrameKind)[keyof typeof FrameKind]

export interface Header {
  readonly length: number
  readonly call: number
  readonly kind: number
}

/** Aligned, and of its own: a chunk of a pipe starts at any byte of a pool. */
const copy = (bytes: Uint8Array): ArrayBuffer => new Uint8Array(bytes).buffer

export function readHeader(bytes: Uint8Array): Header {
  const words = new Uint32Array(copy(bytes.subarray(0, headerBytes)))
  return { length: words[0] as number, call: words[1] as number, kind: words[2] as number }
}

/** A whole frame: one buffer, one write. Copies the parts, so the caller may reuse them. */
export function frame(kind: FrameKind, call: number, ...parts: readonly ArrayBufferView[]): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.byteLength, 0)
  const bytes = new Uint8Array(headerBytes + length)
  new Uint32Array(bytes.buffer, 0, 3).set([length, call, kind])
  let at = headerBytes
  for (const part of parts) {
    bytes.set(new Uint8Array(part.buffer, part.byteOffset, part.byteLength), at)
    at += part.byteLength
  }
  return bytes
}

/** The float32 values of a body, copied. */
export const float32s = (body: Uint8Array): Float32Array => new Float32Array(copy(body))

export interface Frame extends Header {
  readonly body: Uint8Array
}

/** Cuts a stream of chunks into frames. */
export class FrameReader {
  #rest: Uint8Array = new Uint8Array(0)
  readonly #chunks: Uint8Array[] = []
  #bytes = 0
  #wanted = headerBytes

  /** The frames that are whole with this chunk. Bodies are views of the chunks. */
  push(chunk: Uint8Array): Frame[] {
    this.#chunks.push(chunk)
    this.#bytes += chunk.length
    // A large body comes in many chunks: they are joined once, when the last one is there.
    if (this.#bytes + this.#rest.length < this.#wanted) return []
    const frames: Frame[] = []
    let rest = Buffer.concat([this.#rest, ...this.#chunks.splice(0)])
    this.#bytes = 0
    this.#wanted = headerBytes
    while (rest.length >= headerBytes) {
      const header = readHeader(rest)
      const end = headerBytes + header.length
      if (rest.length < end) {
        this.#wanted = end
        break
      }
      const body = rest.subarray(headerBytes, end)
      rest = rest.subarray(end)
      frames.push({ ...header, body })
    }
    this.#rest = rest
    return frames
  }
}
