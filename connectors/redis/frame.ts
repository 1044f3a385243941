import { crc32 } from 'node:zlib'
import { Command } from 'ioredis'

/*
 * A command as it goes over the wire (RESP, the same in versions 2 and 3):
 *
 *     *<arguments>\r\n  $<bytes>\r\n <argument> \r\n  …
 *
 * ioredis builds an object, a header and a buffer for every argument, and joins them twice. A lookup has a hundred keys
 * and a flush thousands of rows, so they are written here, once, into one buffer.
 */
const keptBytesMax = 1 << 20
const carriageReturn = 13
const lineFeed = 10
const zero = 48

let scratch = Buffer.allocUnsafeSlow(64 * 1024)
let length = 0

function reserve(bytes: number): void {
  if (length + bytes <= scratch.length) return
  const larger = Buffer.allocUnsafeSlow(Math.max(2 * scratch.length, length + bytes))
  scratch.copy(larger, 0, 0, length)
  scratch = larger
}

function count(mark: number, value: number): void {
  reserve(24)
  scratch[length++] = mark
  let digits = 1
  for (let rest = value; rest >= 10; rest = Math.floor(rest / 10)) digits++
  let rest = value
  for (let at = length + digits - 1; at >= length; at--) {
    scratch[at] = zero + (rest % 10)
    rest = Math.floor(rest / 10)
  }
  length += digits
  endLine()
}

function endLine(): void {
  scratch[length++] = carriageReturn
  scratch[length++] = lineFeed
}

function raw(bytes: Uint8Array): void {
  scratch.set(bytes, length)
  length += bytes.length
}

/** Writes the arguments of one command. One frame at a time: `framed` makes it, and takes it when `body` returns. */
export const frame = {
  text(value: string): void {
    const bytes = Buffer.byteLength(value)
    count(0x24, bytes)
    reserve(bytes + 2)
    length += scratch.write(value, length)
    endLine()
  },
  bytes(value: Uint8Array): void {
    count(0x24, value.length)
    reserve(value.length + 2)
    raw(value)
    endLine()
  },
  /** One argument from two pieces. */
  joined(head: Uint8Array, tail: Uint8Array): void {
    count(0x24, head.length + tail.length)
    reserve(head.length + tail.length + 2)
    raw(head)
    raw(tail)
    endLine()
  },
  /** One argument: the CRC-32 of the bytes, then the bytes (layout.ts). */
  sealed(value: Uint8Array): void {
    count(0x24, value.length + 4)
    reserve(value.length + 6)
    scratch.writeUInt32BE(crc32(value), length)
    length += 4
    raw(value)
    endLine()
  },
}

/** `key`: where a cluster sends it. `arguments`: how many `body` writes, the name among them. */
export function framed(name: 'hmget' | 'evalsha' | 'eval', key: string, size: number, body: () => void): FramedCommand {
  length = 0
  count(0x2a, size)
  body()
  const bytes = Buffer.from(scratch.subarray(0, length))
  // A flush of many MiB must not stay in memory for good.
  if (scratch.length > keptBytesMax) scratch = Buffer.allocUnsafeSlow(64 * 1024)
  return new FramedCommand(name, key, bytes)
}

/**
 * A command that ioredis sends, redirects and sends again as any other, and whose bytes are ready. Its arguments are there
 * only for the cluster's slot: that is computed from them.
 */
export class FramedCommand extends Command {
  readonly bytes: Buffer
  readonly #name: 'hmget' | 'evalsha' | 'eval'
  readonly #key: string

  constructor(name: 'hmget' | 'evalsha' | 'eval', key: string, bytes: Buffer) {
    super(name, name === 'hmget' ? [key] : ['', '1', key], { replyEncoding: null })
    this.bytes = bytes
    this.#name = name
    this.#key = key
  }

  override toWritable(): Buffer {
    return this.bytes
  }

  /** The same command to be sent once more: one object has one answer. */
  again(): FramedCommand {
    return new FramedCommand(this.#name, this.#key, this.bytes)
  }
}
