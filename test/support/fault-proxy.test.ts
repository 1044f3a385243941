import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { afterEach, describe, expect, it } from 'vitest'
import { encodeCommand, parseReply } from '../../scripts/services/resp.ts'
import { drawFault, FaultProxy, type Fault, type Speaks } from './fault-proxy.ts'
import { framesOf, type Frame } from './fault-proxy/frames.ts'
import { Prng } from './prng.ts'

const open: AsyncDisposable[] = []
afterEach(async () => {
  for (const each of open.splice(0).reverse()) await each[Symbol.asyncDispose]()
})

/** Words of four letters, as a Redis command each or with a Kafka header: both of one size. */
const asked = (speaks: Speaks, word: string): Buffer => {
  if (speaks === 'redis') return Buffer.from(encodeCommand([word]))
  const request = Buffer.alloc(14)
  request.writeInt32BE(10, 0)
  request.writeInt16BE(word === 'send' ? 0 : 1, 4)
  request.write(word, 8)
  return request
}
/** The answer to a word is itself and its number, ten bytes. */
const answered = (speaks: Speaks, word: string, number: number): string => {
  const text = `${word}${String(number).padStart(2, '0')}`
  return speaks === 'redis' ? `$6\r\n${text}\r\n` : `\0\0\0\u0006${text}`
}
const requestBytes: Readonly<Record<Speaks, number>> = { redis: 14, kafka: 14 }
const wordAt: Readonly<Record<Speaks, number>> = { redis: 8, kafka: 8 }

interface Counting extends AsyncDisposable {
  readonly port: number
  /** What was asked, in its order. */
  readonly words: string[]
  /** How each connection ended. */
  readonly ends: string[]
}

/** Answers each word, whether anybody listens or not. */
async function counting(speaks: Speaks): Promise<Counting> {
  const [words, ends, sockets]: [string[], string[], Set<Socket>] = [[], [], new Set()]
  const server = createServer((socket) => {
    sockets.add(socket)
    let bytes = Buffer.alloc(0)
    socket.on('data', (piece) => {
      bytes = Buffer.concat([bytes, piece])
      for (const size = requestBytes[speaks]; bytes.length >= size; bytes = bytes.subarray(size)) {
        const word = bytes.toString('latin1', wordAt[speaks], wordAt[speaks] + 4)
        words.push(word)
        socket.write(answered(speaks, word, words.length), 'latin1')
      }
    })
    socket.on('error', (error) => ends.push('code' in error ? String(error.code) : error.message))
    socket.on('end', () => ends.push('end'))
    socket.on('close', () => sockets.delete(socket))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const port = typeof address === 'object' ? (address?.port ?? 0) : 0
  const close = async (): Promise<void> => {
    for (const socket of sockets) socket.destroy()
    server.close()
    await once(server, 'close')
  }
  const result = { port, words, ends, [Symbol.asyncDispose]: close }
  open.push(result)
  return result
}

class Client implements AsyncDisposable {
  received = ''
  ended: string | null = null
  readonly socket: Socket
  readonly #speaks: Speaks

  constructor(port: number, speaks: Speaks = 'redis') {
    this.#speaks = speaks
    this.socket = connect({ port, host: '127.0.0.1', noDelay: true })
    this.socket.on('data', (bytes) => (this.received += bytes.toString('latin1')))
    this.socket.on('error', (error) => (this.ended = 'code' in error ? String(error.code) : error.message))
    this.socket.on('end', () => (this.ended ??= 'end'))
    open.push(this)
  }

  ask(...words: readonly string[]): void {
    this.socket.write(Buffer.concat(words.map((word) => asked(this.#speaks, word))))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.destroy()
  }
}

async function eventually(what: () => void): Promise<void> {
  const until = Date.now() + 20_000
  for (;;) {
    try {
      return what()
    } catch (error) {
      if (Date.now() > until) throw error
      await sleep(2)
    }
  }
}

async function proxyOf(speaks: Speaks): Promise<{ server: Counting; proxy: FaultProxy }> {
  const server = await counting(speaks)
  const proxy = await FaultProxy.start(server.port, speaks)
  open.push(proxy)
  return { server, proxy }
}

const text = (speaks: Speaks, ...words: readonly string[]): string =>
  words.map((word, index) => answered(speaks, word, index + 1)).join('')

describe.each<Speaks>(['redis', 'kafka'])('a fault proxy in front of %s', (speaks) => {
  const [send, read] = speaks === 'redis' ? ['SEND', 'READ'] : ['Produce', 'Fetch']

  it('passes bytes both ways, and counts what is asked', async () => {
    const { proxy } = await proxyOf(speaks)
    const client = new Client(proxy.port, speaks)
    client.ask('send', 'read', 'send')
    await eventually(() => expect(client.received).toBe(text(speaks, 'send', 'read', 'send')))
    expect([proxy.requests(send), proxy.requests(read), proxy.connections]).toEqual([2, 1, 1])
  })

  it('drops exactly the reply that is meant: what was asked is done, and nothing after it comes back', async () => {
    const { server, proxy } = await proxyOf(speaks)
    const [client, other] = [new Client(proxy.port, speaks), new Client(proxy.port, speaks)]
    other.ask('read')
    await eventually(() => expect(other.received).toHaveLength(text(speaks, 'read').length))
    const broken = proxy.breakReply({ of: send, nth: 2 })
    client.ask('send', 'read')
    await eventually(() => expect(server.words).toHaveLength(3))
    client.ask('read', 'send', 'read')
    expect(await broken).toEqual({ of: send, bytes: text(speaks, 'send').length, arrived: 0 })
    await eventually(() => expect([client.ended, server.words.length]).toEqual(['ECONNRESET', 6]))
    const [, ...before] = ['read', 'send', 'read', 'read'].map((word, index) => answered(speaks, word, index + 1))
    expect(client.received).toBe(before.join(''))
    // One reply, of one connection.
    other.ask('send')
    await eventually(() => expect(other.received).toContain('send07'))
    expect(other.ended).toBeNull()
  })

  it('cuts inside a reply: a part of it arrives, and both sides are told', async () => {
    const { server, proxy } = await proxyOf(speaks)
    const client = new Client(proxy.port, speaks)
    const broken = proxy.breakReply({ keep: 0.5 })
    client.ask('send')
    const whole = text(speaks, 'send')
    expect(await broken).toEqual({ of: send, bytes: whole.length, arrived: Math.floor(whole.length / 2) })
    await eventually(() => expect([client.ended, server.ends]).toEqual(['ECONNRESET', ['ECONNRESET']]))
    expect(client.received).toBe(whole.slice(0, Math.floor(whole.length / 2)))
  })

  it('a reply that was to be broken passes when the proxy is healed before', async () => {
    const { proxy } = await proxyOf(speaks)
    const broken = proxy.breakReply({ of: send })
    proxy.heal()
    expect(await broken).toBeNull()
    const client = new Client(proxy.port, speaks)
    client.ask('send')
    await eventually(() => expect(client.received).toBe(text(speaks, 'send')))
  })
})

describe('a fault proxy', () => {
  it('resets every connection, and takes new ones', async () => {
    const { server, proxy } = await proxyOf('redis')
    const clients = [new Client(proxy.port), new Client(proxy.port)]
    for (const client of clients) client.ask('send')
    await eventually(() => expect(server.words).toHaveLength(2))
    proxy.inflict({ kind: 'cut' })
    await eventually(() => expect(clients.map(({ ended }) => ended)).toEqual(['ECONNRESET', 'ECONNRESET']))
    await eventually(() => expect(server.ends).toEqual(['ECONNRESET', 'ECONNRESET']))
    const next = new Client(proxy.port)
    next.ask('read')
    await eventually(() => expect(next.received).toContain('read03'))
  })

  it('is down until it is healed, to new connections too', async () => {
    const { proxy } = await proxyOf('redis')
    const first = new Client(proxy.port)
    first.ask('send')
    await eventually(() => expect(first.received).toContain('send01'))
    proxy.inflict({ kind: 'down' })
    const second = new Client(proxy.port)
    await eventually(() => expect([first.ended, second.ended]).toEqual(['ECONNRESET', 'ECONNRESET']))
    proxy.heal()
    const third = new Client(proxy.port)
    third.ask('send')
    await eventually(() => expect(third.received).toContain('send02'))
  })

  it('holds bytes of one way and lets all of them out later, in their order', async () => {
    const { server, proxy } = await proxyOf('redis')
    const client = new Client(proxy.port)
    proxy.inflict({ kind: 'hold', way: 'to-client' })
    client.ask('send', 'read')
    await eventually(() => expect(server.words).toHaveLength(2))
    expect(client.received).toBe('')
    proxy.inflict({ kind: 'hold', way: 'to-server' })
    await eventually(() => expect(client.received).toBe(text('redis', 'send', 'read')))
    client.ask('send')
    // A way round the proxy: when this is answered, what came before it would be, too.
    const direct = new Client(server.port)
    direct.ask('read')
    await eventually(() => expect(server.words).toEqual(['send', 'read', 'read']))
    proxy.heal()
    await eventually(() => expect(server.words).toEqual(['send', 'read', 'read', 'send']))
  })

  it('what is held arrives even where its sender has given up', async () => {
    const { server, proxy } = await proxyOf('redis')
    const client = new Client(proxy.port)
    proxy.inflict({ kind: 'hold', way: 'both' })
    client.ask('send')
    await eventually(() => expect(proxy.requests('SEND')).toBe(1))
    client.socket.destroy()
    const next = new Client(server.port)
    next.ask('read')
    await eventually(() => expect(server.words).toEqual(['read']))
    proxy.heal()
    await eventually(() => expect([server.words, server.ends]).toEqual([['read', 'send'], ['end']]))
  })

  it('delays each way, in order, also when the delay gets shorter meanwhile', async () => {
    const { server, proxy } = await proxyOf('redis')
    const client = new Client(proxy.port)
    proxy.inflict({ kind: 'delay', toServerMs: 150, toClientMs: 0 })
    const sentAt = performance.now()
    client.ask('send')
    await eventually(() => expect(proxy.requests('SEND')).toBe(1))
    proxy.inflict({ kind: 'delay', toServerMs: 0, toClientMs: 150 })
    client.ask('read')
    await eventually(() => expect(server.words).toEqual(['send', 'read']))
    const arrivedAt = performance.now()
    await eventually(() => expect(client.received).toBe(text('redis', 'send', 'read')))
    // A lower bound: a busy machine makes it later only.
    expect(arrivedAt - sentAt).toBeGreaterThanOrEqual(149)
    expect(performance.now() - sentAt).toBeGreaterThanOrEqual(298)
  })

  it('half open: bytes are taken and lost, and the connection stays so when the fault is over', async () => {
    const { server, proxy } = await proxyOf('redis')
    const [client, idle] = [new Client(proxy.port), new Client(proxy.port)]
    for (const each of [client, idle]) each.ask('send')
    await eventually(() => expect(client.received.length + idle.received.length).toBe(2 * 12))
    proxy.inflict({ kind: 'swallow', way: 'to-client' })
    client.ask('read')
    await eventually(() => expect(server.words).toHaveLength(3))
    proxy.heal()
    const before = client.received
    client.ask('read')
    // One that lost nothing goes on.
    await eventually(() => expect(server.words).toHaveLength(4))
    idle.ask('read')
    await eventually(() => expect(idle.received).toContain('read05'))
    expect([client.received, client.ended]).toEqual([before, null])
    proxy.cut()
    await eventually(() => expect([client.ended, idle.ended]).toEqual(['ECONNRESET', 'ECONNRESET']))
  })

  it('half open towards the server: it is asked nothing, and is not told that the client left', async () => {
    const { server, proxy } = await proxyOf('redis')
    proxy.inflict({ kind: 'swallow', way: 'to-server' })
    const client = new Client(proxy.port)
    client.ask('send')
    await eventually(() => expect(proxy.requests('SEND')).toBe(1))
    client.socket.destroy()
    proxy.heal()
    const next = new Client(proxy.port)
    next.ask('read')
    await eventually(() => expect(next.received).toContain('read01'))
    expect([server.words, server.ends]).toEqual([['read'], []])
  })

  it('passes on that a side has ended, and that a server is not there', async () => {
    const { server, proxy } = await proxyOf('redis')
    const client = new Client(proxy.port)
    client.ask('send')
    client.socket.end()
    await eventually(() => expect([client.received, server.ends]).toEqual([text('redis', 'send'), ['end']]))
    await eventually(() => expect(client.ended).toBe('end'))
    await server[Symbol.asyncDispose]()
    open.splice(open.indexOf(server), 1)
    const refused = new Client(proxy.port)
    await eventually(() => expect(refused.ended).toBe('ECONNRESET'))
  })

  it('a writer that is not read waits, and nothing is lost', async () => {
    const sink: Buffer[] = []
    const server = createServer((socket) => socket.on('data', (bytes) => sink.push(bytes)).on('error', () => {}))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    const proxy = await FaultProxy.start(typeof address === 'object' ? (address?.port ?? 0) : 0)
    open.push({ [Symbol.asyncDispose]: async () => void server.close() }, proxy)
    const client = new Client(proxy.port)
    proxy.inflict({ kind: 'hold', way: 'to-server' })
    const bytes = Buffer.alloc(64 << 20, 'abcdefghijk')
    for (let at = 0; at < bytes.length; at += 1 << 20) client.socket.write(bytes.subarray(at, at + (1 << 20)))
    // Until the proxy has taken what it takes.
    for (let before = -1; before !== client.socket.writableLength; await sleep(300))
      before = client.socket.writableLength
    expect(client.socket.writableLength).toBeGreaterThan(32 << 20)
    proxy.heal()
    await eventually(() => expect(sink.reduce((sum, piece) => sum + piece.length, 0)).toBe(bytes.length))
    expect(Buffer.concat(sink).equals(bytes)).toBe(true)
  })

  it('without a language there are no replies to break', async () => {
    const proxy = await FaultProxy.start(1)
    open.push(proxy)
    expect(() => proxy.breakReply()).toThrow('where a reply ends')
  })

  it('draws the same faults for the same seed, and every kind of them', () => {
    const kinds = ['delay', 'hold', 'swallow', 'cut', 'down', 'reply'] as const
    const drawn = (seed: number): Fault[] => {
      const random = new Prng(seed)
      const options = { kinds, delayMsMax: 70, requests: ['EVALSHA', 'HMGET'], nthMax: 3 }
      return Array.from({ length: 200 }, () => drawFault(random, options))
    }
    expect(drawn(1)).toEqual(drawn(1))
    expect(drawn(1)).not.toEqual(drawn(2))
    expect(new Set(drawn(1).map(({ kind }) => kind))).toEqual(new Set(kinds))
    for (const fault of drawn(3)) {
      if (fault.kind === 'delay') expect(Math.max(fault.toServerMs, fault.toClientMs)).toBeLessThanOrEqual(70)
      if (fault.kind === 'reply')
        expect(['EVALSHA', 'HMGET', 1, 2, 3]).toEqual(expect.arrayContaining([fault.of, fault.nth]))
    }
  })
})

describe('frames', () => {
  /** All frames of `bytes` that come in pieces of these sizes, with their places in the whole. */
  function cutUp(speaks: Speaks, side: 'requests' | 'replies', bytes: Buffer, sizes: readonly number[]): Frame[] {
    const [frames, found]: [ReturnType<typeof framesOf>, Frame[]] = [framesOf(speaks, side), []]
    for (let at = 0, index = 0; at < bytes.length; index++) {
      const piece = bytes.subarray(at, at + (sizes[index % sizes.length] ?? 1))
      for (const { end, name } of frames.push(piece)) found.push({ end: at + end, name })
      at += piece.length
    }
    return found
  }
  const sizes = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 8 })
  const runs = { numRuns: Number(process.env['TIDEMARK_PROPERTY_RUNS'] ?? 300) }

  const line = fc.stringMatching(/^[ -~]{0,9}$/)
  const { reply } = fc.letrec<{ reply: string }>((tie) => ({
    reply: fc.oneof(
      { maxDepth: 3 },
      line.map((word) => `+${word}\r\n`),
      line.map((word) => `-${word}\r\n`),
      fc.integer().map((number) => `:${number}\r\n`),
      fc.constantFrom('$-1\r\n', '*-1\r\n', '*0\r\n', '$0\r\n\r\n'),
      fc.constantFrom('\r\n', '$3\r\n', '*2\r\n:1', 'plain').map((word) => `$${word.length}\r\n${word}\r\n`),
      fc.array(tie('reply'), { maxLength: 4 }).map((items) => `*${items.length}\r\n${items.join('')}`),
    ),
  }))

  it('of Redis end where a parser of whole replies says, however they come in pieces', () => {
    fc.assert(
      fc.property(fc.array(reply, { maxLength: 6 }), sizes, (replies, pieces) => {
        const bytes = Buffer.from(replies.join(''), 'latin1')
        const expected: number[] = []
        for (let at = 0; at < bytes.length;) {
          const parsed = parseReply(bytes, at)
          if (parsed === null) throw new Error('a reply is cut short')
          expected.push((at = parsed[1]))
        }
        expect(cutUp('redis', 'replies', bytes, pieces).map(({ end }) => end)).toEqual(expected)
      }),
      runs,
    )
  })

  it('of RESP 3 end behind their last item, and what nobody asked for is told apart', () => {
    const replies: readonly (readonly [string, string])[] = [
      ['%2\r\n+a\r\n:1\r\n$1\r\nb\r\n*1\r\n_\r\n', 'reply'],
      ['~2\r\n#t\r\n,1.5\r\n', 'reply'],
      ['>2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n', 'push'],
      ['|1\r\n+ttl\r\n:3\r\n*2\r\n(12345678901234567890\r\n=7\r\ntxt:a\r\n\r\n', 'reply'],
      ['!5\r\nERR a\r\n', 'reply'],
    ]
    const bytes = Buffer.from(replies.map(([each]) => each).join(''))
    let end = 0
    const expected = replies.map(([each, name]) => ({ end: (end += each.length), name }))
    for (const size of [1, 2, 3, 7, 1_000]) expect(cutUp('redis', 'replies', bytes, [size])).toEqual(expected)
  })

  it('of requests bear the name of what is asked', () => {
    fc.assert(
      fc.property(fc.array(fc.array(line, { maxLength: 3 }), { maxLength: 6 }), sizes, (commands, pieces) => {
        const whole = commands.map((rest) => encodeCommand(['evalSha', ...rest]))
        let end = 0
        const expected = whole.map((each) => ({ end: (end += each.length), name: 'EVALSHA' }))
        expect(cutUp('redis', 'requests', Buffer.from(whole.join('')), pieces)).toEqual(expected)
      }),
      runs,
    )
    expect(cutUp('redis', 'requests', Buffer.from('PING\r\nget a\r\n'), [4])).toEqual([
      { end: 6, name: 'PING' },
      { end: 13, name: 'GET' },
    ])
  })

  it('of Kafka end by their size, however they come in pieces', () => {
    const request = fc.tuple(fc.constantFrom(0, 1, 3, 61, 99), fc.nat({ max: 60 }))
    const names: Readonly<Record<number, string>> = { 0: 'Produce', 1: 'Fetch', 3: 'Metadata', 61: 'DescribeProducers' }
    fc.assert(
      fc.property(fc.array(request, { maxLength: 8 }), sizes, (requests, pieces) => {
        const whole = requests.map(([key, more]) => {
          const bytes = Buffer.alloc(8 + more, 0xee)
          bytes.writeInt32BE(4 + more, 0)
          bytes.writeInt16BE(key, 4)
          return bytes
        })
        let end = 0
        const expected = requests.map(([key, more]) => ({ end: (end += 8 + more), name: names[key] ?? `api ${key}` }))
        expect(cutUp('kafka', 'requests', Buffer.concat(whole), pieces)).toEqual(expected)
        const replies = expected.map((frame) => ({ end: frame.end, name: 'reply' }))
        expect(cutUp('kafka', 'replies', Buffer.concat(whole), pieces)).toEqual(replies)
      }),
      runs,
    )
  })
})
