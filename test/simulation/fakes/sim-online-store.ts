import type { DeadLetter } from '../../../core/event/batch.ts'
import type {
  FlushOutcome,
  OnlineStore,
  RowRead,
  RowWrite,
  ShardFlush,
  ShardLease,
  ShardPosition,
} from '../../../core/ports/online-store.ts'
import { FeatureStoreError } from '../../../core/errors.ts'
import type { SimNetwork } from './network.ts'
import type { SimProcess } from './process.ts'
import type { SimStoreNode } from './sim-store-node.ts'

/** Connections of one process to one node: commands of two of them overtake each other. */
const connections = 2

/**
 * The online store as one process sees it: shards lie on nodes, a command concerns shards of one node and is sent over one
 * of two connections. On a store in servers a flush is one command a shard, on an embedded one (one node) it is one for all
 * shards. Nothing is tried again here.
 */
export class SimOnlineStore implements OnlineStore {
  readonly #nodes: readonly SimStoreNode[]
  readonly #network: SimNetwork
  readonly #process: SimProcess
  /** Rows and positions come from replicas, which may lag. */
  readonly #asReader: boolean
  readonly appliesTogether: boolean
  readonly flushBytesMax?: number

  constructor(
    nodes: readonly SimStoreNode[],
    network: SimNetwork,
    process: SimProcess,
    asReader: boolean,
    flushBytesMax?: number,
  ) {
    this.#nodes = nodes
    this.#network = network
    this.#process = process
    this.#asReader = asReader
    this.appliesTogether = nodes.length === 1
    if (flushBytesMax !== undefined) this.flushBytesMax = flushBytesMax
  }

  acquire(
    shards: readonly number[],
  ): Promise<readonly { readonly lease: ShardLease; readonly position: ShardPosition | null }[]> {
    const [first] = shards
    if (first !== undefined && this.#nodes.length === 1)
      return this.#send(first, 'acquire all', (node) => node.acquire(shards))
    return all(
      shards.map((shard) =>
        this.#send(shard, 'acquire', (node) => node.acquire([shard])[0] as ReturnType<SimStoreNode['acquire']>[number]),
      ),
    )
  }

  /** Bytes are taken when they are sent: the writer reuses its buffers. */
  apply(flushes: readonly ShardFlush[]): Promise<readonly FlushOutcome[]> {
    const sent = flushes.map((flush) => ({
      ...flush,
      rows: flush.rows.map(copied),
      deadLetters: [...flush.deadLetters],
    }))
    const [first] = sent
    if (first === undefined) return Promise.resolve([])
    if (this.#nodes.length === 1)
      return this.#send(first.lease.shard, `flush of ${sent.length} shards`, (node) => node.apply(sent))
    return all(
      sent.map((flush) =>
        this.#send(
          flush.lease.shard,
          `flush of ${flush.rows.length}`,
          (node) => node.apply([flush])[0] as FlushOutcome,
        ),
      ),
    )
  }

  /** One command a node, which sees it at one moment. */
  async read(view: string, shards: readonly number[], keys: readonly Uint8Array[]): Promise<RowRead> {
    const indexes = [...shards.keys()]
    const rows = new Array<Uint8Array | null>(keys.length).fill(null)
    const positions = new Array<ShardPosition | null>(keys.length).fill(null)
    await all(
      this.#nodes.map(async (node, at) => {
        const own = indexes.filter((index) => (shards[index] as number) % this.#nodes.length === at)
        const [first] = own
        if (first === undefined) return
        const asked = own.map((index) => [index, shards[index] as number, (keys[index] as Uint8Array).slice()] as const)
        const found = await this.#send(shards[first] as number, `read of ${own.length}`, () => {
          const seen = this.#asReader ? node.visible : undefined
          return asked.map(([index, shard, key]) => [index, node.read(shard, view, key, seen)] as const)
        })
        for (const [index, { row, position }] of found) {
          rows[index] = row
          positions[index] = position
        }
      }),
    )
    return { rows, positions }
  }

  readParts(
    view: string,
    shard: number,
    key: Uint8Array,
    names: readonly number[],
  ): Promise<readonly (Uint8Array | null)[]> {
    const asked = key.slice()
    return this.#send(shard, `read of ${names.length} parts`, (node) => {
      const seen = this.#asReader ? node.visible : undefined
      return names.map((name) => node.readPart(shard, view, asked, name, seen))
    })
  }

  positions(shards: readonly number[]): Promise<readonly (ShardPosition | null)[]> {
    return all(
      shards.map((shard) =>
        this.#send(shard, 'position', (node) => node.position(shard, this.#asReader ? node.visible : undefined)),
      ),
    )
  }

  scan(): AsyncIterable<never> {
    throw new FeatureStoreError('FS_INTERNAL', 'nobody scans over the network')
  }

  deadLetters(): AsyncIterable<DeadLetter> {
    throw new FeatureStoreError('FS_INTERNAL', 'nobody scans over the network')
  }

  #send<T>(shard: number, label: string, run: (node: SimStoreNode) => T): Promise<T> {
    const node = this.#nodes[shard % this.#nodes.length] as SimStoreNode
    return this.#network.send({
      process: this.#process,
      route: node.route,
      connection: `${node.name}/${shard % connections}`,
      label: `${label}, shard ${shard}`,
      run: () => run(node),
      code: 'FS_ONLINE_UNAVAILABLE',
    })
  }
}

/** Waits for all, and fails with the first that failed: none is left without somebody who looks at it. */
async function all<T>(promises: readonly Promise<T>[]): Promise<T[]> {
  const results = await Promise.allSettled(promises)
  return results.map((result) => {
    if (result.status === 'rejected') throw result.reason
    return result.value
  })
}

const copied = ({ view, key, row, parts }: RowWrite): RowWrite => ({
  view,
  key: key.slice(),
  row: row.slice(),
  ...(parts === undefined
    ? {}
    : { parts: { put: parts.put.map(({ name, bytes }) => ({ name, bytes: bytes.slice() })), drop: [...parts.drop] } }),
})
