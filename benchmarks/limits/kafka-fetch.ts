/**
 * Limit of kafka/fetch: Fetch over a bare socket into buffers that are used again, batches walked in place with their
 * checksums. One broker, one topic, nothing compressed, nothing aborted, and no error that is not the end of it.
 */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { crc32c } from '../../schemas/recordbatch/crc32c.ts'
import type { Cost } from '../harness.ts'

/** Fetch v11: the last one without tagged fields. */
const apiVersion = 11
/** As the worker reads, of each partition. */
const partitionBytes = 256 * 1024
const responseBytesMax = 4 * 1024 * 1024
const deadlineMs = 30_000
const batchHeaderBytes = 61

/**
 * All partitions in one request; the next one goes out when the batch headers of a response were looked at, and is answered
 * while its records are walked.
 *
 *     request    length | 1 i16 | 11 i16 | correlation i32 | client "" | -1 i32 | max wait i32 | min bytes i32 | max bytes i32
 *                | 0 i8 | session 0, -1 i32 | [topic, [partition i32, -1 i32, offset i64, -1 i64, max bytes i32]] | [] | ""
 *     response   length | correlation i32 | throttle i32 | error i16 | session i32 | [topic, [partition]]
 *     partition  index i32 | error i16 | three offsets i64 | aborted [] | replica i32 | records: length i32, bytes
 */
export class RawFetch {
  #socket: Socket | null = null
  readonly #topic: string
  /** The next offset of each partition. */
  readonly #next: Float64Array
  readonly #buffers = [Buffer.allocUnsafeSlow(responseBytesMax), Buffer.allocUnsafeSlow(responseBytesMax)] as const
  #which = 0
  #filled = 0
  #whole: PromiseWithResolvers<Buffer> | null = null

  private constructor(topic: string, partitions: number) {
    this.#topic = topic
    this.#next = new Float64Array(partitions)
  }

  static async open(brokers: readonly string[], topic: string, partitions: number): Promise<RawFetch> {
    const [host, port] = (brokers[0] as string).split(':') as [string, string]
    const raw: RawFetch = new RawFetch(topic, partitions)
    const socket: Socket = connect({
      host,
      port: Number(port),
      onread: { buffer: () => raw.#room(), callback: (count) => raw.#received(count) },
    })
    raw.#socket = socket
    await once(socket, 'connect')
    socket.setNoDelay(true)
    return raw
  }

  close(): void {
    this.#socket?.destroy()
  }

  /** Reads the topic from its beginning until `walk`, which is given whole batches, has counted so many records. */
  async timed(records: number, walk: (batches: Buffer) => number): Promise<Cost> {
    const cpu = process.cpuUsage()
    const started = performance.now()
    this.#next.fill(0)
    let read = 0
    let asked = this.#ask()
    while (read < records) {
      const body = await asked
      const parts = this.#parts(body)
      const isLast = parts.reduce((sum, { count }) => sum + count, read) >= records
      if (!isLast) asked = this.#ask()
      for (const { from, to } of parts) read += walk(body.subarray(from, to))
      if (performance.now() - started > deadlineMs) throw new Error(`the limit read ${read} of ${records} records`)
    }
    const { user, system } = process.cpuUsage(cpu)
    return { seconds: (performance.now() - started) / 1000, cpuSeconds: (user + system) / 1e6 }
  }

  /** Where the whole batches of each partition lie in a response; moves the offsets behind them. */
  #parts(body: Buffer): { readonly from: number; readonly to: number; readonly count: number }[] {
    if (body.readInt16BE(8) !== 0) throw new Error(`the limit is answered with error ${body.readInt16BE(8)}`)
    let at = 18 + 2 + body.readInt16BE(18)
    const partitions = body.readInt32BE(at)
    at += 4
    return Array.from({ length: partitions }, () => {
      const index = body.readInt32BE(at)
      if (body.readInt16BE(at + 4) !== 0)
        throw new Error(`the limit is answered with error ${body.readInt16BE(at + 4)}`)
      at += 30
      at += 4 + 16 * Math.max(0, body.readInt32BE(at)) + 4
      const from = at + 4
      const end = from + Math.max(0, body.readInt32BE(at))
      let to = from
      let count = 0
      while (end - to >= batchHeaderBytes && to + 12 + body.readInt32BE(to + 8) <= end) {
        this.#next[index] = Number(body.readBigInt64BE(to)) + body.readInt32BE(to + 23) + 1
        count += body.readInt32BE(to + 57)
        to += 12 + body.readInt32BE(to + 8)
      }
      at = end
      return { from, to, count }
    })
  }

  #ask(): Promise<Buffer> {
    const name = Buffer.byteLength(this.#topic)
    const request = Buffer.alloc(4 + 10 + 25 + 4 + 2 + name + 4 + 28 * this.#next.length + 4 + 2)
    let at = request.writeInt32BE(request.length - 4)
    at = request.writeInt16BE(1, at)
    at = request.writeInt16BE(apiVersion, at)
    at = request.writeInt32BE(0, at)
    at = request.writeInt16BE(0, at)
    for (const value of [-1, 500, 1, responseBytesMax / 2]) at = request.writeInt32BE(value, at)
    at = request.writeInt8(0, at)
    for (const value of [0, -1, 1]) at = request.writeInt32BE(value, at)
    at = request.writeInt16BE(name, at)
    at += request.write(this.#topic, at)
    at = request.writeInt32BE(this.#next.length, at)
    for (const [partition, next] of this.#next.entries()) {
      at = request.writeInt32BE(partition, at)
      at = request.writeInt32BE(-1, at)
      at = request.writeBigInt64BE(BigInt(next), at)
      at = request.writeBigInt64BE(-1n, at)
      at = request.writeInt32BE(partitionBytes, at)
    }
    this.#whole = Promise.withResolvers()
    this.#socket?.write(request)
    return this.#whole.promise
  }

  #room(): Uint8Array {
    return (this.#buffers[this.#which] as Buffer).subarray(this.#filled)
  }

  #received(count: number): boolean {
    this.#filled += count
    const buffer = this.#buffers[this.#which] as Buffer
    const length = this.#filled >= 4 ? 4 + buffer.readInt32BE(0) : Number.POSITIVE_INFINITY
    if (this.#filled >= length) {
      // One request at a time is under way, so nothing of another one follows.
      this.#which = 1 - this.#which
      this.#filled = 0
      this.#whole?.resolve(buffer.subarray(4, length))
    }
    return true
  }
}

/** What is read of the records of a partition; equal for whoever reads the same topic. */
export class RecordSums {
  records = 0
  bytes = 0
  /** Of the first byte of each value. */
  heads = 0

  /** Checks and walks whole batches; returns the number of records. */
  readonly walk = (batches: Buffer): number => {
    const view = new DataView(batches.buffer, batches.byteOffset, batches.byteLength)
    let records = 0
    for (let at = 0; at < batches.length;) {
      const end = at + 12 + view.getInt32(at + 8)
      if (view.getInt8(at + 16) !== 2 || crc32c(batches, at + 21, end) !== view.getUint32(at + 17))
        throw new Error(`a batch at byte ${at} fails its checksum`)
      const count = view.getInt32(at + 57)
      this.#records(batches, at + batchHeaderBytes, count)
      records += count
      at = end
    }
    this.records += records
    return records
  }

  #records(bytes: Uint8Array, from: number, count: number): void {
    let at = from
    let sum = 0
    let heads = 0
    for (let index = 0; index < count; index++) {
      let byte = bytes[at++] as number
      let length = byte & 0x7f
      for (let shift = 7; byte > 0x7f; shift += 7) {
        byte = bytes[at++] as number
        length |= (byte & 0x7f) << shift
      }
      const end = at + (length >>> 1)
      at++ // attributes
      while ((bytes[at++] as number) > 0x7f); // timestamp
      while ((bytes[at++] as number) > 0x7f); // offset
      byte = bytes[at++] as number // key, shorter than 64 bytes or null
      at += (byte & 1) === 0 ? byte >>> 1 : 0
      byte = bytes[at++] as number
      length = byte & 0x7f
      for (let shift = 7; byte > 0x7f; shift += 7) {
        byte = bytes[at++] as number
        length |= (byte & 0x7f) << shift
      }
      sum += length >>> 1
      heads += bytes[at] as number
      at = end
    }
    this.bytes += sum
    this.heads += heads
  }
}
