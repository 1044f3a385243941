/**
 * Where requests and replies end in a stream of bytes, however the bytes come in pieces. Nothing is kept but what tells
 * where one ends: a reply of 100 MB costs no memory.
 */

export interface Frame {
  /** Index behind its last byte, in the bytes that were pushed. */
  readonly end: number
  /** Of a request: what is asked, as in `Produce` or `EVALSHA`. Of an answer: 'reply', or 'push' where nobody asked. */
  readonly name: string
}

export interface Frames {
  /** The frames that end in these bytes. */
  push(bytes: Uint8Array): readonly Frame[]
}

export type Speaks = 'kafka' | 'redis'

export const framesOf = (speaks: Speaks, side: 'requests' | 'replies'): Frames =>
  speaks === 'kafka' ? new KafkaFrames(side) : new RedisFrames(side)

/** Requests after which answers are no longer one for each: what follows is passed on as bytes. */
export const endsFrames = (name: string): boolean =>
  ['SUBSCRIBE', 'PSUBSCRIBE', 'SSUBSCRIBE', 'MONITOR', 'SYNC', 'PSYNC'].includes(name)

const kafkaApis: Readonly<Record<number, string>> = {
  0: 'Produce',
  1: 'Fetch',
  2: 'ListOffsets',
  3: 'Metadata',
  8: 'OffsetCommit',
  9: 'OffsetFetch',
  10: 'FindCoordinator',
  11: 'JoinGroup',
  12: 'Heartbeat',
  13: 'LeaveGroup',
  14: 'SyncGroup',
  15: 'DescribeGroups',
  17: 'SaslHandshake',
  18: 'ApiVersions',
  19: 'CreateTopics',
  20: 'DeleteTopics',
  22: 'InitProducerId',
  32: 'DescribeConfigs',
  36: 'SaslAuthenticate',
  61: 'DescribeProducers',
}

/**
 *     request   size i32 | api key i16 | version i16 | correlation id i32 | …
 *     reply     size i32 | correlation id i32 | …
 *
 * One reply for each request, in their order: of Produce with acks = 0, which has none, this knows nothing.
 */
class KafkaFrames implements Frames {
  readonly #side: 'requests' | 'replies'
  /** The first six bytes, as far as they came. */
  readonly #head = Buffer.alloc(6)
  #headFilled = 0
  /** Bytes of the frame that are still to come, once its size is known. */
  #left = 0

  constructor(side: 'requests' | 'replies') {
    this.#side = side
  }

  push(bytes: Uint8Array): readonly Frame[] {
    const frames: Frame[] = []
    for (let at = 0; at < bytes.length;) {
      if (this.#headFilled < 6) {
        this.#head[this.#headFilled++] = bytes[at++] as number
        if (this.#headFilled < 6) continue
        this.#left = this.#head.readInt32BE(0) - 2
      }
      const taken = Math.min(this.#left, bytes.length - at)
      at += taken
      this.#left -= taken
      if (this.#left > 0) continue
      frames.push({ end: at, name: this.#name() })
      this.#headFilled = 0
    }
    return frames
  }

  #name(): string {
    if (this.#side === 'replies') return 'reply'
    const key = this.#head.readInt16BE(4)
    return kafkaApis[key] ?? `api ${key}`
  }
}

const [carriageReturn, lineFeed] = [13, 10]
const nameBytesMax = 64

/**
 * RESP 2 and 3. A frame is one item; an item that has others counts them into those that are still to come:
 *
 *     + - : _ # , (     a line                                  $ ! =   a line with a size, then as many bytes and CRLF
 *     * ~ >             a line with a count, then the items     %       twice as many         |  the same, before an item
 */
class RedisFrames implements Frames {
  readonly #side: 'requests' | 'replies'
  /** Items of this frame that are still to come. */
  #items = 1
  #line: number[] = []
  /** Bytes of a string that are still to come, its CRLF included. */
  #stringLeft = 0
  /** The first string of a request, as far as it came; null once it is whole. */
  #nameBytes: number[] | null = []
  #name = ''

  constructor(side: 'requests' | 'replies') {
    this.#side = side
  }

  push(bytes: Uint8Array): readonly Frame[] {
    const frames: Frame[] = []
    for (let at = 0; at < bytes.length;) {
      at = this.#stringLeft > 0 ? this.#string(bytes, at) : this.#header(bytes, at)
      if (this.#items > 0 || this.#stringLeft > 0 || this.#line.length > 0) continue
      frames.push({ end: at, name: this.#name === '' ? 'reply' : this.#name })
      this.#items = 1
      this.#nameBytes = []
      this.#name = ''
    }
    return frames
  }

  #string(bytes: Uint8Array, from: number): number {
    const end = Math.min(bytes.length, from + this.#stringLeft)
    this.#stringLeft -= end - from
    if (this.#side === 'requests' && this.#nameBytes !== null) {
      this.#nameBytes.push(...bytes.subarray(from, Math.min(end, from + nameBytesMax)))
      if (this.#stringLeft === 0) this.#endName(Buffer.from(this.#nameBytes).toString('latin1'))
    }
    return end
  }

  #endName(text: string): void {
    this.#name = text.trim().toUpperCase()
    this.#nameBytes = null
  }

  /** A byte of a line at a time; lines are short. */
  #header(bytes: Uint8Array, at: number): number {
    const byte = bytes[at] as number
    if (byte !== lineFeed) this.#line.push(byte)
    else this.#endLine()
    return at + 1
  }

  #endLine(): void {
    if (this.#line.at(-1) === carriageReturn) this.#line.pop()
    const text = Buffer.from(this.#line).toString('latin1')
    this.#line = []
    const count = Number(text.slice(1))
    switch (text[0]) {
      case '$':
      case '!':
      case '=':
        this.#items--
        if (count >= 0) this.#stringLeft = count + 2
        return
      case '>':
        if (this.#side === 'replies') this.#name = 'push'
        this.#items += count - 1
        return
      case '*':
      case '~':
        this.#items += Math.max(0, count) - 1
        return
      case '%':
        this.#items += 2 * count - 1
        return
      case '|':
        this.#items += 2 * count
        return
      default:
        this.#items--
        // A command that is typed by hand, as one line of words.
        if (this.#side === 'requests' && this.#nameBytes !== null) this.#endName(text.split(' ')[0] ?? '')
    }
  }
}
