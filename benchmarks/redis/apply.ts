/** redis/apply, redis/apply-bytes: flushes of all shards through the port, against bare pipelined HSETs of the same rows. */
import type { RowWrite } from '../../core/ports/online-store.ts'
import { ensure, interleaved, median, rate, timed, type BenchOptions, type Cost, type Reading } from '../harness.ts'
import { flushRows, keyOf, rowBytes, rowOf, shardOf, shards, view, type Bench, type Loader } from './context.ts'

const bench = 'redis/apply'

export async function benchApply(
  options: BenchOptions,
  { serverPid, client, store }: Bench,
  loader: Loader,
  { entities, flushes }: { readonly entities: number; readonly flushes: number },
): Promise<void> {
  const byShard: number[][] = Array.from({ length: shards }, () => [])
  for (let entity = 0; entity < entities; entity++) byShard[shardOf(entity)]?.push(entity)
  let version = 0
  /** Rows are made beforehand: an engine has them. */
  const prepare = (): readonly (readonly (readonly RowWrite[])[])[] => {
    version++
    return Array.from({ length: flushes }, (_, flush) =>
      byShard.map((held) =>
        Array.from({ length: flushRows }, (_, index) => {
          const entity = held[(flush * flushRows + index) % held.length] as number
          return { view, key: keyOf(entity), row: rowOf(entity, version) }
        }),
      ),
    )
  }
  const rows = flushes * shards * flushRows
  const own: number[] = []
  const others: number[] = []
  const readings = (cost: Cost): readonly Reading[] => [
    rate(bench, 'rows/s', rows, cost),
    { ...rate(`${bench}-bytes`, 'bytes/s', rows * (rowBytes + 16), cost), cpuSecondsPerMillion: null },
  ]
  let last: readonly (readonly (readonly RowWrite[])[])[] = []
  await interleaved(
    options,
    async () => {
      last = prepare()
      const before = process.cpuUsage()
      const cost = await timed(async () => {
        for (const flush of last) await loader.flush(flush)
      }, [serverPid])
      const { user, system } = process.cpuUsage(before)
      own.push((user + system) / rows)
      others.push((cost.cpuSeconds * 1e6 - user - system) / rows)
      return readings(cost)
    },
    async () => {
      const prepared = prepare()
      return readings(
        await timed(async () => {
          for (const flush of prepared) {
            const pipeline = client.pipeline()
            flush.forEach((rows, shard) => {
              pipeline.hset(`bare:${shard}`, ...rows.flatMap(({ key, row }) => [Buffer.from(key), Buffer.from(row)]))
            })
            for (const [error] of (await pipeline.exec()) ?? []) ensure(error === null, 'the limit could not write')
          }
        }, [serverPid]),
      )
    },
    async () => {
      for (const rows of last.at(-1) ?? []) {
        const { key, row } = rows.at(-1) as RowWrite
        const entity = Number(Buffer.from(key).toString().slice(4))
        const read = await store.read(view, [shardOf(entity)], [key])
        ensure(read.rows[0] !== null && Buffer.compare(read.rows[0] as Uint8Array, row) === 0, 'a row was not written')
      }
    },
  )
  options.note(
    `${bench}: CPU-seconds per million rows: client ${median(own).toFixed(2)}, server ${median(others).toFixed(2)}`,
  )
}
