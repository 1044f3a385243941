/**
 * The steps at which a worker is killed, each a place between two effects that are not one:
 *
 *     fetch ─► decode, apply ─► flush: sent ─► applied by Redis ─► answered ─► the next one begins there
 *     group ─► assigned ─► acquire ─► …          group ─► revoked ─► last flush ─► given up ─► the group is told
 *     offline: journal ─► insert ─► journal cleared
 *
 * `watch` is called in the worker, before its own code runs: it wraps a method of the product so that `come` is called
 * each time the step is reached.
 */
export interface KillStep {
  readonly name: string
  /** What it takes for a worker to come by: to own shards, to lose some, or to fill the offline tables. */
  readonly needs: 'shards' | 'revocation' | 'offline'
  /** At most so often it is let pass first. */
  readonly timesMax: number
  watch(come: () => void): Promise<void>
}

type Method = (...args: readonly unknown[]) => unknown

/** Calls `come` before or after a method, which is asynchronous where `after` is to mean its end. */
function wrap(prototype: object, method: string, when: 'before' | 'sent' | 'after', come: () => void): void {
  const original: unknown = Reflect.get(prototype, method)
  if (typeof original !== 'function') throw new Error(`there is no method ${method} to be killed at`)
  Reflect.set(prototype, method, function (this: unknown, ...args: readonly unknown[]): unknown {
    if (when === 'before') come()
    const result: unknown = Reflect.apply(original, this, args)
    // The request is out with the end of this turn; its answer takes another.
    if (when === 'sent') setImmediate(come)
    if (when !== 'after') return result
    if (!(result instanceof Promise)) {
      come()
      return result
    }
    return result.then((value: unknown) => {
      come()
      return value
    })
  } satisfies Method)
}

const log = async (): Promise<object> => (await import('../../connectors/kafka/log.ts')).KafkaEventLog.prototype
const store = async (): Promise<object> =>
  (await import('../../connectors/redis/online-store.ts')).RedisOnlineStore.prototype
const projection = async (): Promise<object> =>
  (await import('../../worker/online-projection.ts')).OnlineProjection.prototype
const keeper = async (): Promise<object> => (await import('../../worker/shard-keeper.ts')).ShardKeeper.prototype
const journal = async (): Promise<object> =>
  (await import('../../connectors/clickhouse/journal.ts')).InsertJournal.prototype

const step = (
  name: string,
  needs: KillStep['needs'],
  of: () => Promise<object>,
  method: string,
  when: 'before' | 'sent' | 'after',
  timesMax = 1,
): KillStep => ({ name, needs, timesMax, watch: async (come) => wrap(await of(), method, when, come) })

export const killSteps: readonly KillStep[] = [
  step('before a fetch', 'shards', log, 'fetch', 'before', 50),
  step('after a fetch', 'shards', log, 'fetch', 'after', 50),
  step('applied, not flushed', 'shards', projection, 'apply', 'after', 20),
  step('before a flush', 'shards', store, 'apply', 'before', 5),
  step('flush sent', 'shards', store, 'apply', 'sent', 5),
  step('flush answered', 'shards', store, 'apply', 'after', 5),
  step('rows asked for', 'shards', store, 'read', 'sent', 3),
  step('assigned, not acquired', 'shards', keeper, 'assigned', 'after'),
  step('before acquire', 'shards', store, 'acquire', 'before'),
  step('acquire sent', 'shards', store, 'acquire', 'sent'),
  step('acquired, nothing read', 'shards', store, 'acquire', 'after'),
  step('revoked, not flushed', 'revocation', keeper, 'revoked', 'before'),
  step('before the last flush', 'revocation', projection, 'release', 'before'),
  step('flushed, not given up', 'revocation', projection, 'release', 'after'),
  step('journalled, not inserted', 'offline', journal, 'begin', 'after', 3),
  step('inserted, journal not cleared', 'offline', journal, 'done', 'before', 3),
]

/** Errors: one that is not in the table. */
export function stepOf(name: string): KillStep {
  const found = killSteps.find((step) => step.name === name)
  if (found === undefined) throw new Error(`there is no step ${JSON.stringify(name)}`)
  return found
}
