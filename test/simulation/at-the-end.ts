/** What must be true once the faults are over and the workers have caught up. */
import { MemoryOnlineStore } from '../../connectors/memory/online-store.ts'
import { streamOf } from '../../core/definition/catalog.ts'
import { directoryOf, isHead } from '../../core/engine/row-parts.ts'
import type { ViewPlan } from '../../core/engine/plan.ts'
import { offset } from '../../core/event/position.ts'
import type { OnlineStore } from '../../core/ports/online-store.ts'
import { StreamReader } from '../../schemas/stream-reader.ts'
import { stateDigest } from '../../worker/audit/digest.ts'
import { OnlineProjection } from '../../worker/online-projection.ts'
import type { SimOfflineServer } from './fakes/sim-offline-store.ts'
import type { SimLogServer } from './fakes/sim-log.ts'
import { hexOf, placeOf, type SimStoreNode } from './fakes/sim-store-node.ts'
import { Finding } from './finding.ts'
import { readEntity, type Checker } from './reader.ts'
import type { World } from './sim-worker.ts'
import { letterText, type Twin } from './twin.ts'
import { writerSchemas } from './workload.ts'

/** Errors: Finding. */
export async function checkEnd(world: World, plans: readonly ViewPlan[], twin: Twin, checker: Checker): Promise<void> {
  const { log, nodes } = world
  checkPositions(world, twin)
  const store = storeOf(nodes)
  for (const view of twin.views)
    for (const entity of view.entities)
      for (let times = 0; times < 2; times++) {
        const read = await readEntity(store, entity)
        if (read === null) throw new Finding(`a row of ${entity.plan.view.name} has lost a part`)
        checker.check(entity, read, checker.asOf(world.scheduler.random, entity))
      }
  checkParts(nodes, plans)
  checkDeadLetters(nodes, twin)
  checkOffline(world)
  const fresh = await freshStore(world, log)
  if ((await stateDigest(store, plans)) !== (await stateDigest(fresh, plans)))
    throw new Finding('the state differs from that of a single projection over the log')
}

/** Every shard at the end of the log, with the newest event time of what was accepted. */
function checkPositions({ log, nodes, catalog, settings }: World, twin: Twin): void {
  for (let shard = 0; shard < settings.shards; shard++) {
    const position = (nodes[shard % nodes.length] as SimStoreNode).position(shard)
    for (const [stream, partitions] of log.streams) {
      const ends = partitions.map(({ end }) => end)
      const reached = (position?.position.streams[stream] ?? []).map(({ next }) => next)
      if (ends.join() !== reached.join())
        throw new Finding(`shard ${shard} stands at ${placeOf(position)}, the log ends at ${stream} ${ends.join(' ')}`)
      const newest = position?.newestEventTimeMs[stream] ?? Number.NEGATIVE_INFINITY
      const wanted = twin.newestOf(streamOf(catalog, stream).name)
      if (newest !== wanted)
        throw new Finding(`shard ${shard}: newest event of ${stream} ${newest}, the twin: ${wanted}`)
    }
  }
}

/** No part is left that no head names. */
function checkParts(nodes: readonly SimStoreNode[], plans: readonly ViewPlan[]): void {
  const byView = new Map(plans.map((plan) => [plan.view.name, plan]))
  for (const node of nodes)
    for (const { shard, view, key, row } of node.rows()) {
      const plan = byView.get(view)
      if (plan === undefined) continue
      const { gone, parts } = isHead(row) ? directoryOf(plan, row) : { gone: [], parts: [] }
      const named = new Set([...gone, ...parts.map(({ name }) => name)])
      for (const name of node.partNames(shard, view, key))
        if (!named.has(name)) throw new Finding(`part ${name} of a row of ${view} in shard ${shard} is left behind`)
    }
}

function checkDeadLetters(nodes: readonly SimStoreNode[], twin: Twin): void {
  const found = nodes.flatMap((node) => [...node.letters()].map(letterText)).sort()
  const wanted = twin.deadLetters()
  const missing = wanted.filter((letter) => !found.includes(letter))
  const beyond = found.filter((letter, index) => !wanted.includes(letter) || letter === found[index - 1])
  if (missing.length + beyond.length > 0 || found.length !== wanted.length)
    throw new Finding(`dead letters: ${missing.length} missing (${missing[0]}), ${beyond.length} beyond (${beyond[0]})`)
}

/** Each record of the log is there once. */
function checkOffline({ offline, log }: World): void {
  for (const { inserted } of offline) checkTables(inserted, log)
}

function checkTables(inserted: SimOfflineServer['inserted'], log: SimLogServer): void {
  for (const [stream, partitions] of log.streams)
    partitions.forEach(({ end }, partition) => {
      const ranges = inserted
        .filter(([of, at]) => of === stream && at === partition)
        .map(([, , first, next]) => [first, next] as const)
        .sort(([a], [b]) => a - b)
      let at = 0
      for (const [first, next] of ranges) {
        if (first !== at) throw new Finding(`offline ${stream}/${partition}: records from ${first} follow ${at}`)
        at = next
      }
      if (at !== end) throw new Finding(`offline ${stream}/${partition} ends at ${at}, the log at ${end}`)
    })
}

/** What one projection makes of the log that reads it once, with nothing in its way. */
async function freshStore({ catalog, settings }: World, log: SimLogServer): Promise<OnlineStore> {
  const store = new MemoryOnlineStore({ bytes: (length) => new Uint8Array(length) })
  const { shards, historyMs } = settings
  const projection = await OnlineProjection.start(catalog, store, log.logId, {
    shards,
    historyMs,
    memoryBytesMax: 1e12,
  })
  const port = {
    logId: log.logId,
    create: () => Promise.reject(new Error('not here')),
    append: () => Promise.reject(new Error('not here')),
    nextSequence: () => Promise.reject(new Error('not here')),
    describe: (stream: string) => Promise.resolve(log.describe(stream)),
    fetch: (stream: string, partition: number, from: ReturnType<typeof offset>) =>
      Promise.resolve(log.fetch(stream, partition, from, Number.POSITIVE_INFINITY)),
  }
  for (const name of projection.streams) {
    const reader = new StreamReader({ log: port, schemas: writerSchemas, stream: streamOf(catalog, name) })
    const partitions = await reader.refresh()
    for (const partition of partitions.keys()) {
      projection.begin(name, partition, 0)
      const batch = await reader.read(partition, offset(0), 1)
      if (batch !== null) await projection.apply(batch)
    }
  }
  await projection.flush()
  return store
}

/** The store as it is, without a network. */
function storeOf(nodes: readonly SimStoreNode[]): Pick<OnlineStore, 'read' | 'readParts' | 'scan'> {
  const nodeOf = (shard: number): SimStoreNode => nodes[shard % nodes.length] as SimStoreNode
  return {
    read: (view, shards, keys) => {
      const found = keys.map((key, index) => nodeOf(shards[index] as number).read(shards[index] as number, view, key))
      return Promise.resolve({ rows: found.map(({ row }) => row), positions: found.map(({ position }) => position) })
    },
    readParts: (view, shard, key, names) =>
      Promise.resolve(names.map((name) => nodeOf(shard).readPart(shard, view, key, name))),
    async *scan(view) {
      const rows = nodes.flatMap((node) => [...node.rows()].filter((row) => row.view === view))
      rows.sort((a, b) => a.shard - b.shard || (hexOf(a.key) < hexOf(b.key) ? -1 : 1))
      yield* rows
    },
  }
}
