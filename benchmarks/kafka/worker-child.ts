/**
 * A worker that shares the shards of a project, composed as `tidemark worker` composes it, but for the offline tables, and
 * with a gate: until it is told to go it sees an empty log, so that the group has come to rest before the clock begins.
 */
import { sleeper, systemClock } from '../../cli/environment.ts'
import { shardGroup } from '../../cli/kafka.ts'
import { loadProject } from '../../cli/project.ts'
import { openLogToRead, openOnline } from '../../cli/stores.ts'
import type { EventLog } from '../../core/ports/event-log.ts'
import { silentLogger } from '../../core/ports/environment.ts'
import type { OwnershipListener, ShardOwnership } from '../../core/ports/shard-ownership.ts'
import { runWorker } from '../../worker/run.ts'

export type WorkerChildMessage =
  { readonly kind: 'held'; readonly shards: number } | { readonly kind: 'stopped'; readonly applied: number }

const [folder = '', events = ''] = process.argv.slice(2)
const say = (message: WorkerChildMessage): void => void process.send?.(message)
const stop = new AbortController()
process.on('disconnect', () => process.exit(1))

let isOpen = false
process.on('message', () => (isOpen = true))

/** Empty until the gate is open. */
function gated(log: EventLog): EventLog {
  const reader = log.reader?.() ?? log
  return {
    logId: log.logId,
    ...(log.traits === undefined ? {} : { traits: log.traits }),
    create: (...args) => log.create(...args),
    describe: (stream) => reader.describe(stream),
    append: (...args) => log.append(...args),
    nextSequence: (...args) => log.nextSequence(...args),
    fetch: async (stream, partition, from, maxBytes) =>
      isOpen
        ? reader.fetch(stream, partition, from, maxBytes)
        : { bytes: new Uint8Array(0), baseOffset: from, nextOffset: from },
  }
}

/** Tells how many shards are ours. */
function told(ownership: ShardOwnership): ShardOwnership {
  const held = new Set<number>()
  const tell = (): void => say({ kind: 'held', shards: held.size })
  return {
    shared: ownership.shared,
    join: (listener: OwnershipListener) =>
      ownership.join({
        async assigned(shards) {
          await listener.assigned(shards)
          for (const shard of shards) held.add(shard)
          tell()
        },
        async revoked(shards) {
          await listener.revoked(shards)
          for (const shard of shards) held.delete(shard)
          tell()
        },
      }),
  }
}

const project = await loadProject(folder)
const { config, generation, catalog } = project
if (config.log.kind !== 'kafka') throw new Error('the project is not on Kafka')
{
  await using open = await openLogToRead(project)
  const ownership = await shardGroup(config.log, open, { generation, shards: config.online.shards }, project.folder)
  await using online = await openOnline(project, 'write')
  await runWorker({
    catalog,
    log: gated(open.log),
    schemas: open.writerSchemas,
    online,
    ownership: told(ownership),
    settings: {
      shards: config.online.shards,
      historyMs: config.online.historyMs,
      memoryBytesMax: config.worker.memoryMb * 2 ** 20,
      flushMs: config.worker.flushMs,
      pollMs: config.worker.pollMs,
    },
    clock: systemClock,
    logger: silentLogger,
    sleep: sleeper(stop.signal),
    signal: stop.signal,
    until: 'aborted',
    stops: [Number(events)],
    onStop: (applied) => {
      say({ kind: 'stopped', applied })
      stop.abort()
      return Promise.resolve()
    },
  })
}
process.removeAllListeners('disconnect')
process.disconnect()
