import { streamOf, type Catalog } from '../core/definition/catalog.ts'
import type { ServiceDefinition } from '../core/definition/types.ts'
import type { EventBatch } from '../core/event/batch.ts'
import type { Position } from '../core/event/position.ts'
import { StreamReader } from '../schemas/stream-reader.ts'
import { scannedStreams } from '../training/dataset.ts'
import type { OpenLog } from './stores.ts'

export const streamReader = (
  catalog: Catalog,
  open: OpenLog,
  stream: string,
  projection?: readonly string[],
): StreamReader =>
  new StreamReader({
    log: open.log,
    stream: streamOf(catalog, stream),
    schemas: open.writerSchemas,
    ...(projection === undefined ? {} : { projection }),
  })

/** Every record behind a service up to a position, with the fields that its features read. */
export async function* serviceScan(
  catalog: Catalog,
  open: OpenLog,
  service: ServiceDefinition,
  position: Position,
  onBatch?: (batch: EventBatch) => void,
): AsyncGenerator<EventBatch> {
  for (const [stream, fields] of scannedStreams(catalog, service)) {
    for await (const batch of streamReader(catalog, open, stream, fields).scan(position.streams[stream] ?? [])) {
      yield batch
      onBatch?.(batch)
    }
  }
}
