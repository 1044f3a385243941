import { fieldsReadBy } from '../core/definition/catalog.ts'
import type { ViewPlan } from '../core/engine/plan.ts'
import { FeatureStoreError } from '../core/errors.ts'
import type { FeatureHistoryStore } from '../core/ports/feature-history-store.ts'
import { readerOf, StreamReader } from '../schemas/stream-reader.ts'
import { FeatureProjection, prepareFeatures } from './feature-projection.ts'
import type { PartitionLag } from './lag.ts'
import { endsOf, totalOf } from './log-ends.ts'
import type { WorkerOptions } from './run.ts'

/** Records without rows: the position of a feature history follows at most so often, milliseconds. */
const historyPositionMs = 1_000
const tableBytesMax = 32 * 2 ** 20
/** How often a history that finds its table elsewhere begins again before it gives up. */
const restartsMax = 3

/** The history of one view. */
interface History {
  readonly plan: ViewPlan
  readonly reader: StreamReader
  projection: FeatureProjection
}

/**
 * Begins when the online rows have caught up with the log (`served`) for the first time: a history that is built computes
 * far more values than they hold, in the same thread, and nobody waits for it.
 *
 * A history holds all events of its view. One that outgrows `historyBytesMax` stops where its table stands, and says so:
 * the other projections are worth more than it.
 */
export async function runHistory(
  options: WorkerOptions,
  store: FeatureHistoryStore,
  served: Promise<void>,
): Promise<void> {
  const { catalog, schemas, settings, clock, logger, signal } = options
  const plans = await prepareFeatures(catalog, store)
  await served
  let histories: History[] = []
  for (const plan of plans) {
    const { view, stream } = plan
    const log = readerOf(options.log)
    const reader = new StreamReader({ log, schemas, stream, projection: fieldsReadBy(view, stream), tableBytesMax })
    histories.push({ plan, reader, projection: await FeatureProjection.start(plan, store, reader, signal) })
  }
  const pause = (): Promise<void> => options.sleep(0)
  let restarts = 0
  const flush = async (history: History): Promise<void> => {
    const { plan, reader, projection } = history
    try {
      await projection.flush(pause)
    } catch (error) {
      if (!(error instanceof FeatureStoreError && error.code === 'FS_POSITION_GAP') || restarts++ >= restartsMax)
        throw error
      // A worker that was killed had sent a write, which has arrived since.
      logger.warn('history.restarted', { view: plan.view.name, reason: error.message })
      history.projection = await FeatureProjection.start(plan, store, reader, signal)
    }
  }
  const flushChanged = async (): Promise<void> => {
    for (const history of histories) if (history.projection.changed) await flush(history)
  }
  const report = async (): Promise<void> => {
    if (options.onProgress === undefined) return
    let total = 0
    let lag: PartitionLag[] = []
    for (const { projection, reader } of histories) {
      const ends = await endsOf([reader])
      total += totalOf(ends)
      const own = projection.lag.measure(ends, { [reader.stream.name]: projection.stored }, clock.nowMs())
      lag = furthest([...lag, ...own])
    }
    const applied = histories.reduce((sum, { projection }) => sum + projection.applied, 0)
    options.onProgress({ projection: 'history', applied, total, lag })
  }
  let positionMs = clock.nowMs()
  while (!signal.aborted) {
    let read = 0
    for (const history of histories) {
      read += await history.projection.step()
      if (history.projection.isFull) await flush(history)
      await report()
      if (signal.aborted) break
    }
    for (const { plan, projection } of histories.filter(({ projection }) => isTooLarge(projection, settings))) {
      const { code, message, remedy } = tooLarge(plan, projection)
      logger.error('history.stopped', { view: plan.view.name, code, reason: message, remedy })
    }
    histories = histories.filter(({ projection }) => !isTooLarge(projection, settings))
    if (read > 0) continue
    if (options.until === 'caught-up' || clock.nowMs() - positionMs >= historyPositionMs) {
      positionMs = clock.nowMs()
      await flushChanged()
    }
    // One that began again has something to read.
    if (options.until === 'caught-up' && (await areRead(histories))) break
    await options.sleep(settings.pollMs)
  }
  await flushChanged()
}

/** Several views read one stream: of each partition the one that is furthest behind. */
function furthest(lags: readonly PartitionLag[]): PartitionLag[] {
  const byPartition = new Map<string, PartitionLag>()
  for (const own of lags) {
    const name = `${own.stream}/${own.partition}`
    const other = byPartition.get(name)
    if (other === undefined || own.applied < other.applied) byPartition.set(name, own)
  }
  return [...byPartition.values()]
}

const isTooLarge = ({ memoryBytes }: FeatureProjection, { historyBytesMax }: WorkerOptions['settings']): boolean =>
  memoryBytes > (historyBytesMax ?? Number.POSITIVE_INFINITY)

const tooLarge = ({ view }: ViewPlan, { memoryBytes }: FeatureProjection): FeatureStoreError =>
  new FeatureStoreError('FS_LIMIT_EXCEEDED', `the feature history of view ${view.name} takes ${memoryBytes} bytes`, {
    remedy: 'Raise worker.historyMemoryMb, or give the view `history: none`.',
  })

async function areRead(histories: readonly History[]): Promise<boolean> {
  for (const { projection, reader } of histories) if (projection.applied < totalOf(await endsOf([reader]))) return false
  return true
}
