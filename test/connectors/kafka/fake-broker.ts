/**
 * Brokers in this process that speak enough of Kafka's protocol to be fetched from and produced to, and that misbehave as
 * they are told: responses cut at any byte, throttles, errors, leaders that move.
 */
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { ProtocolReader } from '../../../connectors/kafka/protocol/reader.ts'
import { ProtocolWriter } from '../../../connectors/kafka/protocol/writer.ts'
import { readInt64 } from '../../../schemas/recordbatch/layout.ts'
import { FakePartition } from './fake-log.ts'

export interface FakeTopic {
  topicId: string
  readonly partitions: FakePartition[]
  /** Node by partition. */
  readonly leaders: number[]
}

export interface SeenFetch {
  readonly node: number
  readonly partitions: readonly { readonly partition: number; readonly offset: number; readonly maxBytes: number }[]
  /** How long it may be held back while there is nothing. */
  readonly waitMs: number
  readonly atMs: number
}

type Body = (this: FakeCluster, reader: ProtocolReader, writer: ProtocolWriter, node: number) => void | Promise<void>

export class FakeCluster implements AsyncDisposable {
  readonly topics = new Map<string, FakeTopic>()
  readonly fetches: SeenFetch[] = []
  /** Requests by API key. */
  readonly counts = new Map<number, number>()
  /** Pieces in which a response is written; default: whole. */
  pieces: (response: Uint8Array) => readonly Uint8Array[] = (response) => [response]
  /** Throttle time of the next Fetch responses, and whether their partitions are left out. */
  readonly throttles: { readonly ms: number; readonly empty: boolean }[] = []
  /** Error code of a fetched partition. */
  fetchCode: (node: number, topic: string, partition: number) => number = () => 0
  /** The nodes that hang up on every request. */
  readonly dead = new Set<number>()
  /** Hang up after the next Produce was applied, before it is answered. */
  dropProduceReplies = 0
  produceCode = 0
  private readonly servers: Server[] = []
  private readonly sockets = new Set<Socket>()

  static async start(nodes = 1): Promise<FakeCluster> {
    const cluster = new FakeCluster()
    for (let node = 0; node < nodes; node++) {
      const server = createServer((socket) => cluster.serve(node, socket))
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      cluster.servers.push(server)
    }
    return cluster
  }

  get addresses(): string[] {
    return this.servers.map((server) => `127.0.0.1:${(server.address() as AddressInfo).port}`)
  }

  addTopic(name: string, partitions: number, topicId = name): FakeTopic {
    const topic: FakeTopic = {
      topicId: Buffer.from(topicId.padEnd(16, '-')).toString('hex').slice(0, 32),
      partitions: Array.from({ length: partitions }, () => new FakePartition()),
      leaders: Array.from({ length: partitions }, (_, index) => index % this.servers.length),
    }
    this.topics.set(name, topic)
    return topic
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.sockets) socket.destroy()
    await Promise.all(this.servers.map((server) => new Promise((resolve) => server.close(resolve))))
  }

  private serve(node: number, socket: Socket): void {
    this.sockets.add(socket)
    let bytes = Buffer.alloc(0)
    // One request at a time, as brokers do.
    let last: Promise<void> = Promise.resolve()
    socket.on('error', () => {}).on('close', () => this.sockets.delete(socket))
    socket.on('data', (data) => {
      bytes = Buffer.concat([bytes, data])
      while (bytes.length >= 4 && bytes.length >= 4 + bytes.readInt32BE(0)) {
        const request = Uint8Array.from(bytes.subarray(4, 4 + bytes.readInt32BE(0)))
        bytes = bytes.subarray(4 + request.length)
        last = last.then(() => this.answer(node, socket, request))
      }
    })
  }

  private async answer(node: number, socket: Socket, request: Uint8Array): Promise<void> {
    const reader = new ProtocolReader(request)
    const [key, version, correlationId] = [reader.int16(), reader.int16(), reader.int32()]
    reader.string()
    const flexible = key !== 18
    if (flexible) reader.tags()
    this.counts.set(key, (this.counts.get(key) ?? 0) + 1)
    if (this.dead.has(node)) return void socket.destroy()
    const writer = new ProtocolWriter().int32(0).int32(correlationId)
    if (flexible) writer.tags()
    const bodies: Readonly<Record<number, Body>> = {
      18: this.apiVersions,
      3: this.metadata,
      2: this.listOffsets,
      1: this.fetch,
      0: this.produce,
      61: this.describeProducers,
    }
    const body = bodies[key]
    if (body === undefined) throw new Error(`the fake broker does not know request ${key} v${version}`)
    await body.call(this, reader, writer, node)
    if (key === 0 && this.dropProduceReplies > 0) {
      this.dropProduceReplies--
      return void socket.destroy()
    }
    writer.patchInt32(0, writer.length - 4)
    for (const piece of this.pieces(writer.written())) {
      if (socket.destroyed) return
      socket.write(piece)
      await new Promise((resolve) => setImmediate(resolve))
    }
  }

  private apiVersions(_: ProtocolReader, writer: ProtocolWriter): void {
    const apis = [0, 1, 2, 3, 18, 61]
    writer.int16(0).int32(apis.length)
    for (const key of apis) writer.int16(key).int16(0).int16(15)
  }

  private metadata(reader: ProtocolReader, writer: ProtocolWriter): void {
    const asked = reader.compactArray((each) => {
      each.uuid()
      const name = each.compactName()
      each.tags()
      return name
    })
    writer.int32(0)
    writer.compactArray(this.addresses, (address) => {
      const node = this.addresses.indexOf(address)
      writer
        .int32(node)
        .compactString('127.0.0.1')
        .int32(Number(address.split(':')[1]))
        .compactString(null)
        .tags()
    })
    writer.compactString('fake-cluster').int32(0)
    writer.compactArray(asked, (name) => {
      const topic = this.topics.get(name)
      writer.int16(topic === undefined ? 3 : 0).compactString(name)
      writer.uuid(topic?.topicId ?? '00'.repeat(16)).boolean(false)
      writer.compactArray(topic?.leaders ?? [], () => {})
      topic?.leaders.forEach((leader, index) => {
        writer.int16(0).int32(index).int32(leader).int32(1)
        for (let list = 0; list < 3; list++) writer.compactArray([], () => {})
        writer.tags()
      })
      writer.int32(0).tags()
    })
    writer.tags()
  }

  private listOffsets(reader: ProtocolReader, writer: ProtocolWriter): void {
    reader.int32()
    reader.int8()
    const [asked] = reader.compactArray((topic) => {
      const name = topic.compactName()
      const partitions = topic.compactArray((each) => {
        const partition = each.int32()
        each.int32()
        const time = each.int64()
        each.tags()
        return { partition, time }
      })
      topic.tags()
      return { name, partitions }
    })
    const topic = this.topics.get(asked?.name ?? '')
    writer.int32(0).compactArray([asked?.name ?? ''], (name) => {
      writer.compactString(name).compactArray(asked?.partitions ?? [], ({ partition, time }) => {
        const there = topic?.partitions[partition]
        const offset = time === -2 ? there?.start : there?.stable
        writer
          .int32(partition)
          .int16(there === undefined ? 3 : 0)
          .int64(-1)
          .int64(offset ?? -1)
          .int32(0)
          .tags()
      })
      writer.tags()
    })
    writer.tags()
  }

  private async fetch(reader: ProtocolReader, writer: ProtocolWriter, node: number): Promise<void> {
    reader.int32()
    const waitMs = reader.int32()
    const minBytes = reader.int32()
    let left = reader.int32()
    reader.int8()
    reader.int32()
    reader.int32()
    const asked = reader.compactArray((topic) => {
      const topicId = topic.uuid()
      const partitions = topic.compactArray((each) => {
        const partition = each.int32()
        each.int32()
        const offset = each.int64()
        each.int32()
        each.int64()
        const maxBytes = each.int32()
        each.tags()
        return { partition, offset, maxBytes }
      })
      topic.tags()
      return { topicId, partitions }
    })
    const partitions = asked.flatMap(({ partitions }) => partitions)
    this.fetches.push({ node, partitions, waitMs, atMs: performance.now() })
    const isThere = (): boolean =>
      asked.some(({ topicId, partitions }) => {
        const [name, topic] = [...this.topics].find(([, each]) => each.topicId === topicId) ?? ['', undefined]
        return partitions.some(
          ({ partition, offset }) =>
            (topic?.partitions[partition]?.stable ?? 0) > offset || this.fetchCode(node, name, partition) !== 0,
        )
      })
    const until = performance.now() + (minBytes > 0 ? waitMs : 0)
    while (performance.now() < until && !isThere()) await new Promise((resolve) => setTimeout(resolve, 1))
    const throttle = this.throttles.shift()
    writer
      .int32(throttle?.ms ?? 0)
      .int16(0)
      .int32(0)
    let firstWhole = true
    writer.compactArray(throttle?.empty === true ? [] : asked, ({ topicId, partitions }) => {
      const [name, topic] = [...this.topics].find(([, each]) => each.topicId === topicId) ?? ['', undefined]
      writer.uuid(topicId).compactArray(partitions, ({ partition, offset, maxBytes }) => {
        const there = topic?.partitions[partition]
        const moved = topic !== undefined && topic.leaders[partition] !== node
        const code =
          topic === undefined
            ? 100
            : there === undefined
              ? 3
              : moved
                ? 6
                : offset < there.start || offset > there.end
                  ? 1
                  : this.fetchCode(node, name, partition)
        const answer =
          there === undefined || code !== 0
            ? { bytes: new Uint8Array(0), aborted: [] }
            : there.fetch(offset, Math.min(maxBytes, left), firstWhole)
        left = Math.max(left - answer.bytes.length, 0)
        if (answer.bytes.length > 0) firstWhole = false
        writer
          .int32(partition)
          .int16(code)
          .int64(there?.end ?? -1)
          .int64(there?.stable ?? -1)
          .int64(there?.start ?? -1)
        writer.compactArray(answer.aborted, ({ producer, first }) => {
          writer.int32(Number(BigInt.asIntN(32, producer >> 32n))).int32(Number(BigInt.asIntN(32, producer)))
          writer.int64(first).tags()
        })
        writer.int32(-1).compactBytes(answer.bytes).tags()
      })
      writer.tags()
    })
    writer.tags()
  }

  /** Takes a batch as a broker does: by the next sequence of its producer, or again by the last one. */
  private produce(reader: ProtocolReader, writer: ProtocolWriter, node: number): void {
    reader.compactString()
    reader.int16()
    reader.int32()
    const [asked] = reader.compactArray((topic) => {
      const name = topic.compactName()
      const [each] = topic.compactArray((partition) => {
        const index = partition.int32()
        const batch = (partition.compactBytes() ?? new Uint8Array(0)).slice()
        partition.tags()
        return { index, batch }
      })
      topic.tags()
      return { name, index: each?.index ?? 0, batch: each?.batch ?? new Uint8Array(0) }
    })
    const topic = this.topics.get(asked?.name ?? '')
    const there = topic?.partitions[asked?.index ?? 0]
    let [code, baseOffset] = [0, -1]
    if (this.produceCode !== 0) code = this.produceCode
    else if (asked === undefined || topic === undefined || there === undefined) code = 3
    else if (topic.leaders[asked.index] !== node) code = 6
    else [code, baseOffset] = takeBatch(there, asked.batch)
    writer.compactArray([asked?.name ?? ''], (name) => {
      writer.compactString(name).compactArray([asked?.index ?? 0], (index) => {
        writer.int32(index).int16(code).int64(baseOffset).int64(-1).int64(0)
        writer
          .compactArray([], () => {})
          .compactString(null)
          .tags()
      })
      writer.tags()
    })
    writer.int32(0).tags()
  }

  private describeProducers(reader: ProtocolReader, writer: ProtocolWriter): void {
    const [asked] = reader.compactArray((topic) => {
      const name = topic.compactName()
      const [index] = topic.compactArray((each) => each.int32())
      topic.tags()
      return { name, index: index ?? 0 }
    })
    const there = this.topics.get(asked?.name ?? '')?.partitions[asked?.index ?? 0]
    writer.int32(0).compactArray([asked?.name ?? ''], (name) => {
      writer.compactString(name).compactArray([asked?.index ?? 0], (index) => {
        writer
          .int32(index)
          .int16(there === undefined ? 3 : 0)
          .compactString(null)
        writer.compactArray([...(there?.sequences ?? [])], ([producer, next]) => {
          writer.int32(Number(BigInt.asIntN(32, producer >> 32n))).int32(Number(BigInt.asIntN(32, producer)))
          writer
            .int32(0)
            .int32(next - 1)
            .int64(0)
            .int32(0)
            .int64(-1)
            .tags()
        })
        writer.tags()
      })
      writer.tags()
    })
    writer.tags()
  }
}

function takeBatch(there: FakePartition, batch: Uint8Array): [code: number, baseOffset: number] {
  const view = new DataView(batch.buffer)
  const producer = view.getBigInt64(43)
  const [sequence, count] = [view.getInt32(53), view.getInt32(57)]
  const next = there.sequences.get(producer)
  if (next !== undefined && sequence + count === next) {
    const again = there.batches.findLast(({ bytes }) => {
      const each = new DataView(bytes.buffer, bytes.byteOffset)
      return each.getBigInt64(43) === producer && each.getInt32(53) === sequence
    })
    return [0, again === undefined ? -1 : again.base]
  }
  if (next !== undefined && sequence !== next) return [45, -1]
  there.sequences.set(producer, sequence + count)
  view.setBigInt64(0, BigInt(there.end))
  const base = there.add(batch, count)
  if (readInt64(view, 0) !== base) throw new Error('the fake broker lost count')
  return [0, base]
}
