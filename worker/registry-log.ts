import { FeatureStoreError } from '../core/errors.ts'
import { offset } from '../core/event/position.ts'
import type { EventLog } from '../core/ports/event-log.ts'
import { readRegistryEvent, registryKey, type RegistryEvent } from '../core/registry/events.ts'
import { evolve, initialState, type RegistryState } from '../core/registry/state.ts'
import { RecordCursor } from '../schemas/recordbatch/index.ts'

/** Internal streams begin with `_`, which no declared stream can. One partition: registry events have one order. */
export const registryStream = '_registry'
const partition = 0
const fetchBytes = 1024 * 1024

const utf8 = new TextEncoder()
const text = new TextDecoder('utf-8', { ignoreBOM: true })

/**
 * The registry as the log has it, read from its beginning; the initial state where nothing was ever applied.
 *
 * Errors: those of the log. A value that is no registry event is kept in `unknown`, never an error.
 */
export async function loadRegistry(log: EventLog): Promise<RegistryState> {
  const [info] = (await log.describe(registryStream)) ?? []
  let state = initialState
  if (info === undefined) return state
  const cursor = new RecordCursor()
  for (let next = info.start; next < info.end;) {
    const chunk = await log.fetch(registryStream, partition, next, fetchBytes)
    if (chunk.nextOffset <= next)
      throw new FeatureStoreError('FS_LOG_CORRUPT', `${registryStream} ends at ${next}, before ${info.end}`)
    cursor.reset(chunk.bytes)
    // Batches are not cut: the first may begin below what was asked for, the last reach beyond.
    while (cursor.next()) if (cursor.offset >= next) state = evolve(state, readRegistryEvent(valueAt(cursor)))
    next = offset(chunk.nextOffset)
  }
  return state
}

/** JSON where it is some, else the text. */
function valueAt({ bytes, valueStart, valueEnd }: RecordCursor): unknown {
  if (valueStart < 0) return null
  const value = text.decode(bytes.subarray(valueStart, valueEnd))
  try {
    return JSON.parse(value) as unknown
  } catch {
    return value
  }
}

/**
 * Writes the events of one decision, all or none, known at `nowMs` (epoch milliseconds). Makes the stream when it is
 * missing; writes nothing for no events.
 *
 * Errors: FS_LOCKED when another process holds the log; FS_LIMIT_EXCEEDED beyond what one append takes.
 */
export async function appendRegistry(log: EventLog, events: readonly RegistryEvent[], nowMs: number): Promise<void> {
  if (events.length === 0) return
  await log.create(registryStream, { partitions: 1 })
  await log.append(
    registryStream,
    partition,
    events.map((event) => ({
      key: utf8.encode(registryKey(event)),
      value: utf8.encode(JSON.stringify(event)),
      timestampMs: nowMs,
    })),
  )
}
