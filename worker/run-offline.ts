import { streamOf } from '../core/definition/catalog.ts'
import type { OfflineStore } from '../core/ports/offline-store.ts'
import { readerOf, StreamReader } from '../schemas/stream-reader.ts'
import { OfflineProjection } from './offline-projection.ts'
import { endsOf, totalOf } from './log-ends.ts'
import type { WorkerOptions } from './run.ts'

/** A read is one insert; and what the reads of all partitions take together. */
const readBytes = 4 * 1024 * 1024
const chunkBytesMax = 64 * 2 ** 20
const tableBytesMax = 32 * 2 ** 20

/**
 * Keeps the offline tables up to date. Errors of kind unavailable end it: where the tables stand is found out by starting
 * again.
 */
export async function runOffline(options: WorkerOptions, offline: OfflineStore): Promise<void> {
  const { catalog, schemas, clock, signal } = options
  const log = readerOf(options.log)
  const streams = [...catalog.streams.keys()].map(
    (stream) => new StreamReader({ log, schemas, stream: streamOf(catalog, stream), tableBytesMax }),
  )
  const projections = await Promise.all(
    streams.map((reader) => OfflineProjection.start(offline, reader, readBytes, chunkBytesMax)),
  )
  while (!signal.aborted) {
    let read = 0
    for (const [index, projection] of projections.entries()) {
      const partitions = await (streams[index] as StreamReader).refresh()
      for (let partition = 0; partition < partitions.length && !signal.aborted; partition++) {
        read += await projection.step(partition)
        if (options.onProgress === undefined) continue
        const ends = await endsOf(streams)
        options.onProgress({
          projection: 'offline',
          applied: projections.reduce((sum, { applied }) => sum + applied, 0),
          total: totalOf(ends),
          lag: projections.flatMap(({ stream, lag, positions }) =>
            lag.measure({ [stream.name]: ends[stream.name] ?? [] }, { [stream.name]: positions }, clock.nowMs()),
          ),
        })
      }
    }
    if (read > 0) continue
    if (options.until === 'caught-up') break
    await options.sleep(options.settings.pollMs)
  }
}
