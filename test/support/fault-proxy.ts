/**
 * A wire between clients and a server of this machine, with faults that a test switches on and off:
 *
 *     await using proxy = await FaultProxy.start(redis.port, 'redis')
 *     const lost = proxy.breakReply({ of: 'EVALSHA' })     // the next flush is applied, and its writer does not know
 *     proxy.inflict({ kind: 'delay', toServerMs: 50, toClientMs: 0 })
 *     proxy.inflict(drawFault(random, { kinds: ['cut', 'hold'], delayMsMax: 100 }))
 *     proxy.heal()
 *
 *     client ── requests ──► toServer ──► server        a Wire each way: delays, holds, swallows
 *            ◄── toClient ◄─ replies ──                  replies are told apart only where the proxy knows the language
 */
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import type { Fault, ReplyFault, Way } from './fault-proxy/fault.ts'
import { endsFrames, framesOf, type Frames, type Speaks } from './fault-proxy/frames.ts'
import { fair, Wire, type Weather } from './fault-proxy/wire.ts'

export { drawFault, type DrawOptions, type Fault, type FaultKind, type ReplyFault } from './fault-proxy/fault.ts'
export type { Speaks } from './fault-proxy/frames.ts'

export interface BrokenReply {
  readonly of: string
  readonly bytes: number
  readonly arrived: number
}

interface Armed {
  readonly of: string | null
  /** So many such requests pass before the one that is meant. */
  toPass: number
  readonly keep: number
  settle(broken: BrokenReply | null): void
}

export class FaultProxy implements AsyncDisposable {
  /** Where new connections go, on this machine. */
  target: number
  readonly port: number
  readonly address: string
  /** How many were made through it. */
  connections = 0
  readonly #speaks: Speaks | null
  readonly #server: Server
  readonly #links = new Set<Link>()
  readonly #requests = new Map<string, number>()
  #armed: Armed[] = []
  #toServer = fair
  #toClient = fair
  #isDown = false

  private constructor(server: Server, port: number, target: number, speaks: Speaks | null) {
    this.#server = server
    this.port = port
    this.address = `127.0.0.1:${port}`
    this.target = target
    this.#speaks = speaks
  }

  /** Without a language, or under TLS, everything but replies can be broken. */
  static async start(target: number, speaks: Speaks | null = null): Promise<FaultProxy> {
    const server = createServer({ allowHalfOpen: true, noDelay: true })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    if (address === null || typeof address === 'string') throw new Error('a proxy has no port')
    const proxy = new FaultProxy(server, address.port, target, speaks)
    server.on('connection', (client: Socket) => proxy.#connect(client))
    return proxy
  }

  /** How many of these were asked through it. */
  requests(name: string): number {
    return this.#requests.get(name) ?? 0
  }

  /** What lasts goes on until `heal`; of two, the later one counts. */
  inflict(fault: Fault): void {
    switch (fault.kind) {
      case 'delay':
        return this.#change({ ...fair, delayMs: fault.toServerMs }, { ...fair, delayMs: fault.toClientMs })
      case 'hold':
        return this.#changeWay(fault.way, { ...fair, holds: true })
      case 'swallow':
        return this.#changeWay(fault.way, { ...fair, swallows: true })
      case 'cut':
        return this.cut()
      case 'down':
        this.#isDown = true
        return this.cut()
      case 'reply':
        void this.breakReply(fault)
    }
  }

  /** Everything passes; replies that were to be broken and were not are left alone. */
  heal(): void {
    this.#isDown = false
    this.#change(fair, fair)
    for (const { settle } of this.#armed.splice(0)) settle(null)
  }

  /** Resets every connection. */
  cut(): void {
    for (const link of this.#links) link.reset()
  }

  /** Resolves when it has happened; with null when the proxy was healed or closed before. */
  breakReply({ of, nth = 1, keep = 0 }: ReplyFault = {}): Promise<BrokenReply | null> {
    if (this.#speaks === null) throw new Error('this proxy does not know where a reply ends')
    const { promise, resolve } = Promise.withResolvers<BrokenReply | null>()
    this.#armed.push({ of: of ?? null, toPass: nth - 1, keep, settle: resolve })
    return promise
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.heal()
    this.cut()
    if (!this.#server.listening) return
    this.#server.close()
    await once(this.#server, 'close')
  }

  #connect(client: Socket): void {
    this.connections++
    client.on('error', () => {})
    if (this.#isDown) return void client.resetAndDestroy()
    const link = new Link({
      client,
      upstream: connect({ port: this.target, host: '127.0.0.1', allowHalfOpen: true, noDelay: true }),
      speaks: this.#speaks,
      toServer: () => this.#toServer,
      toClient: () => this.#toClient,
      asked: (name) => this.#asked(name),
      closed: () => this.#links.delete(link),
    })
    this.#links.add(link)
  }

  /** Counts a request; the fault that its reply is meant to suffer, if any. */
  #asked(name: string): Armed | null {
    this.#requests.set(name, this.requests(name) + 1)
    const meant = this.#armed.filter(({ of }) => of === null || of === name)
    const due = meant.find(({ toPass }) => toPass === 0) ?? null
    for (const armed of meant) if (armed !== due && armed.toPass > 0) armed.toPass--
    if (due !== null) this.#armed = this.#armed.filter((armed) => armed !== due)
    return due
  }

  #changeWay(way: Way, weather: Weather): void {
    this.#change(way === 'to-client' ? fair : weather, way === 'to-server' ? fair : weather)
  }

  #change(toServer: Weather, toClient: Weather): void {
    this.#toServer = toServer
    this.#toClient = toClient
    for (const link of this.#links) link.pump()
  }
}

interface LinkOptions {
  readonly client: Socket
  readonly upstream: Socket
  readonly speaks: Speaks | null
  readonly toServer: () => Weather
  readonly toClient: () => Weather
  asked(name: string): Armed | null
  closed(): void
}

/** One connection of a client and the one to the server that stands for it. */
class Link {
  readonly #options: LinkOptions
  readonly #toServer: Wire
  readonly #toClient: Wire
  #requests: Frames | null
  #replies: Frames | null
  /** What was asked and not answered, in its order, and what its reply is to suffer. */
  readonly #waiting: { readonly name: string; readonly fault: Armed | null }[] = []
  /** Of a reply that is broken: it is passed on, in part, when it is whole. */
  #collected: Buffer[] = []

  constructor(options: LinkOptions) {
    const { client, upstream, speaks } = options
    this.#options = options
    this.#requests = speaks === null ? null : framesOf(speaks, 'requests')
    this.#replies = speaks === null ? null : framesOf(speaks, 'replies')
    const reset = (): void => this.reset()
    this.#toServer = new Wire(client, upstream, options.toServer, reset)
    this.#toClient = new Wire(upstream, client, options.toClient, reset)
    client.on('data', (bytes: Buffer) => this.#ask(bytes))
    upstream.on('data', (bytes: Buffer) => this.#answer(bytes))
    for (const [socket, wire] of [
      [client, this.#toServer],
      [upstream, this.#toClient],
    ] as const) {
      socket.on('error', () => {})
      socket.on('end', () => wire.push('end'))
      socket.on('close', (hadError) => {
        wire.push(hadError ? 'reset' : 'end')
        if (client.destroyed && upstream.destroyed) this.#close()
      })
    }
  }

  pump(): void {
    this.#toServer.pump()
    this.#toClient.pump()
  }

  reset(): void {
    this.#options.client.resetAndDestroy()
    this.#options.upstream.resetAndDestroy()
    this.#close()
  }

  #close(): void {
    this.#toServer.stop()
    this.#toClient.stop()
    for (const { fault } of this.#waiting.splice(0)) fault?.settle(null)
    this.#options.closed()
  }

  #ask(bytes: Buffer): void {
    for (const { name } of this.#requests?.push(bytes) ?? []) {
      this.#waiting.push({ name, fault: this.#options.asked(name) })
      if (endsFrames(name)) this.#requests = this.#replies = null
    }
    this.#toServer.push(bytes)
  }

  #answer(bytes: Buffer): void {
    let from = 0
    for (const { end, name } of this.#replies?.push(bytes) ?? []) {
      const waiting = name === 'push' ? undefined : this.#waiting.shift()
      const fault = waiting?.fault ?? null
      // The beginning of what nobody asked for was taken for that of the next reply.
      if (name === 'push') for (const piece of this.#collected.splice(0)) this.#toClient.push(piece)
      this.#pass(bytes.subarray(from, end), fault)
      if (fault !== null) return this.#break(waiting?.name ?? '', fault)
      from = end
    }
    // The beginning of a reply, or all of it where replies are not told apart.
    if (from < bytes.length) this.#pass(bytes.subarray(from), this.#waiting[0]?.fault ?? null)
  }

  #pass(bytes: Buffer, fault: Armed | null): void {
    if (fault === null) this.#toClient.push(bytes)
    else this.#collected.push(bytes)
  }

  /** What the server says after it is lost with the connection. */
  #break(of: string, { keep, settle }: Armed): void {
    const whole = Buffer.concat(this.#collected.splice(0))
    const arrived = Math.floor(keep * whole.length)
    if (arrived > 0) this.#toClient.push(whole.subarray(0, arrived))
    this.#toClient.push('reset')
    settle({ of, bytes: whole.length, arrived })
  }
}
