import { type Socket } from 'node:net'
import { FeatureStoreError } from '../../core/errors.ts'
import { freshBuffers, type ResponseBuffers } from './buffers.ts'
import { socketError, unavailable } from './errors.ts'
import { type Settings } from './options.ts'
import { type Api, decodeResponse, encodeRequest } from './protocol/api.ts'
import { ProtocolReader } from './protocol/reader.ts'
import { openSocket } from './socket.ts'

interface InFlight {
  readonly name: string
  readonly correlationId: number
  readonly buffers: ResponseBuffers
  readonly timer: NodeJS.Timeout
  resolve(body: Uint8Array): void
  reject(error: Error): void
}

export interface RequestOptions {
  /** Where the response goes; default: new memory. */
  readonly buffers?: ResponseBuffers
  /** Default: requestTimeoutMs. */
  readonly timeoutMs?: number
}

/** Lengths, correlation ids and most small responses fit; the rest of a longer one goes straight to where it stays. */
const scratchBytes = 64 * 1024

/**
 * One connection to one broker. Requests may be sent before earlier ones are answered; a broker answers them in order.
 * Bytes are read into a scratch buffer only until the length of a response is known, then into the response's own:
 *
 *     scratch   | length | correlation id | first bytes … |            the socket's first read of a response
 *     body               | correlation id | first bytes … | the rest, read in place … |
 *
 * Whatever goes wrong ends the connection and every request in flight: FS_KAFKA_UNAVAILABLE (closed, no answer in time),
 * FS_KAFKA_TLS, FS_KAFKA_PROTOCOL (bytes that are no response), FS_LIMIT_EXCEEDED (a response beyond responseBytesMax).
 */
export class Connection implements Disposable {
  readonly address: string
  /** performance.now() after which the broker wants to be told again who we are; the opener sets it. */
  expiresAt = Number.POSITIVE_INFINITY
  private readonly settings: Settings
  private socket: Socket | null = null
  private readonly inFlight: InFlight[] = []
  private nextCorrelationId = 0
  private failure: Error | null = null

  private readonly scratch = Buffer.allocUnsafeSlow(scratchBytes)
  private scratchFilled = 0
  private body: Uint8Array | null = null
  private bodyFilled = 0

  private constructor(address: string, settings: Settings) {
    this.address = address
    this.settings = settings
  }

  static async open(host: string, port: number, settings: Settings): Promise<Connection> {
    const connection = new Connection(`${host}:${port}`, settings)
    const socket = await openSocket(host, port, settings, {
      buffer: () => connection.room(),
      callback: (count) => connection.received(count),
    })
    connection.socket = socket
    socket.on('error', (error) => connection.fail(socketError(connection.address, error)))
    socket.on('close', () => connection.fail(unavailable(`broker ${connection.address} closed the connection`)))
    return connection
  }

  get open(): boolean {
    return this.failure === null && performance.now() < this.expiresAt
  }

  request<Request, Response>(
    api: Api<Request, Response>,
    request: Request,
    options: RequestOptions = {},
  ): Promise<Response> {
    if (this.failure !== null) return Promise.reject(this.failure)
    const correlationId = this.nextCorrelationId
    this.nextCorrelationId = (correlationId + 1) | 0
    const encoded = encodeRequest(api, request, correlationId, this.settings.clientId)
    const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>()
    const timeoutMs = options.timeoutMs ?? this.settings.requestTimeoutMs
    const late = (): void =>
      this.fail(unavailable(`broker ${this.address} does not answer ${api.name} within ${timeoutMs} ms`))
    const timer = setTimeout(late, timeoutMs)
    const buffers = options.buffers ?? freshBuffers
    this.inFlight.push({ name: api.name, correlationId, buffers, timer, resolve, reject })
    this.socket?.write(encoded)
    return promise.then((body) => decodeResponse(api, new ProtocolReader(body, 4)))
  }

  /** Ends the connection; requests in flight fail. Twice is safe. */
  [Symbol.dispose](): void {
    this.fail(unavailable(`the connection to ${this.address} was closed here`))
  }

  private fail(error: Error): void {
    if (this.failure !== null) return
    this.failure = error
    this.socket?.destroy()
    this.body = null
    for (const { reject, timer } of this.inFlight.splice(0)) {
      clearTimeout(timer)
      reject(error)
    }
  }

  /** Where the next bytes of the socket go. */
  private room(): Uint8Array {
    return this.body === null ? this.scratch.subarray(this.scratchFilled) : this.body.subarray(this.bodyFilled)
  }

  private received(count: number): boolean {
    if (this.failure !== null) return false
    try {
      if (this.body === null) {
        this.scratchFilled += count
        this.cut()
      } else {
        this.bodyFilled += count
        if (this.bodyFilled === this.body.length) this.complete(this.body)
      }
    } catch (error) {
      this.fail(error instanceof Error ? error : new Error(String(error)))
    }
    return true
  }

  /** Takes the responses out of the scratch buffer; the last one may go on in the socket. */
  private cut(): void {
    const { scratch } = this
    let at = 0
    while (this.scratchFilled - at >= 4) {
      const length = this.checkLength(scratch.readInt32BE(at), scratch, at)
      at += 4
      const there = Math.min(length, this.scratchFilled - at)
      const body = (this.inFlight[0] as InFlight).buffers.take(length)
      body.set(scratch.subarray(at, at + there))
      at += there
      if (there < length) {
        this.body = body
        this.bodyFilled = there
      } else this.complete(body)
    }
    scratch.copyWithin(0, at, this.scratchFilled)
    this.scratchFilled -= at
  }

  private checkLength(length: number, bytes: Uint8Array, at: number): number {
    const first = this.inFlight[0]
    // 0x15 0x03: an alert of TLS, which a client without TLS gets from a port that has it.
    if (bytes[at] === 0x15 && bytes[at + 1] === 0x03)
      throw new FeatureStoreError('FS_KAFKA_TLS', `broker ${this.address} speaks TLS on this port`)
    if (length < 4 || length > 2 ** 30 || first === undefined)
      throw new FeatureStoreError('FS_KAFKA_PROTOCOL', `${this.address} answers what is no response of Kafka`)
    if (length > this.settings.responseBytesMax)
      throw new FeatureStoreError(
        'FS_LIMIT_EXCEEDED',
        `broker ${this.address} answers ${first.name} with ${length} bytes; at most ${this.settings.responseBytesMax} are taken`,
        { remedy: 'Raise responseBytesMax above the largest record, or make the records smaller.' },
      )
    return length
  }

  private complete(body: Uint8Array): void {
    this.body = null
    const first = this.inFlight[0] as InFlight
    const correlationId = new DataView(body.buffer, body.byteOffset, 4).getInt32(0)
    if (correlationId !== first.correlationId)
      throw new FeatureStoreError('FS_KAFKA_PROTOCOL', `${this.address} answers out of order`)
    this.inFlight.shift()
    clearTimeout(first.timer)
    first.resolve(body)
  }
}
