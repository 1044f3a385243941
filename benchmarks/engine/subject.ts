/**
 * The engine as the suite sees it. Whatever core/engine turns into, only this file has to follow: it makes an engine for
 * a catalog, feeds it record batches, and finishes features.
 */
import type { AsOf } from '../../core/asof/visible.ts'
import { fieldsApplied, keyTypesOf, viewOf, type Catalog } from '../../core/definition/catalog.ts'
import { valueAt, type FeatureColumn, type FeatureValue } from '../../core/engine/feature-column.ts'
import { ViewFinisher } from '../../core/engine/finish.ts'
import { Gather as KeptGather } from '../../core/engine/gather.ts'
import { type MatrixInput, type MatrixSpec } from '../../core/engine/matrix.ts'
import { planView, type ViewPlan } from '../../core/engine/plan.ts'
import { decodeRow } from '../../core/engine/row.ts'
import type { EntityEvents } from '../../core/engine/state/view-state.ts'
import { ViewEngine } from '../../core/engine/view-engine.ts'
import type { EventBatch } from '../../core/event/batch.ts'
import { encodeKey, shardOf } from '../../core/event/key.ts'
import type { LogChunk } from '../../core/ports/event-log.ts'
import type { OnlineStore } from '../../core/ports/online-store.ts'
import { createStreamDecoder, fingerprintHex, type StreamDecoder } from '../../schemas/avro/index.ts'
import type { WriterSchemas } from '../../schemas/stream-reader.ts'
import { canonicalRowOf } from '../../worker/audit/digest.ts'
import { WrongResult } from '../harness.ts'
import { cards, cardsSchema, cardText, hourMs, viewName } from './cards.ts'

/** As a project has them that says nothing. */
export const settings = { shards: 64, historyMs: hourMs, memoryBytesMax: 8 * 2 ** 30 } as const

const schemaName = fingerprintHex(cardsSchema)
export const schemas: WriterSchemas = (_stream, fingerprint) => (fingerprint === schemaName ? cardsSchema : undefined)

/** As the worker makes one: fields that the views of the catalog read become columns, the others are checked. Without one, all. */
export const newDecoder = (catalog?: Catalog): StreamDecoder =>
  createStreamDecoder({
    stream: cards.name,
    fields: cards.fields,
    eventTime: cards.eventTime,
    ...(catalog === undefined ? {} : { projection: fieldsApplied(catalog, cards), reuse: true }),
    schemas: (fingerprint) => schemas(cards.name, fingerprint),
  })

/** A value with how it came to be, by feature. */
export interface Finished {
  readonly name: string
  readonly status: number
  readonly value: FeatureValue
}

const nothingSeen = (): number => 0
const refuseDead = (): never => {
  throw new WrongResult('an event of the benchmark is a dead letter')
}
const prunedAway = 'the answer needs pruned events'

/** One engine with its decoder, as one worker holds them. */
export class Subject {
  readonly plan: ViewPlan
  readonly #engine: ViewEngine
  readonly #decoder: StreamDecoder

  constructor(catalog: Catalog, decoder = newDecoder(catalog)) {
    this.plan = planView(catalog, viewName, settings.historyMs)
    const owned = new Set(Array.from({ length: settings.shards }, (_, shard) => shard))
    this.#engine = new ViewEngine(this.plan, settings.shards, owned)
    this.#decoder = decoder
  }

  /** Bytes of record batches to state in memory. */
  feed(chunk: LogChunk): void {
    this.apply(this.#decoder.decode(chunk, 0, 0, chunk.baseOffset))
  }

  apply(batch: EventBatch): void {
    const engine = this.#engine
    if (batch.dead.length > 0) refuseDead()
    const entities = engine.resolve(batch)
    engine.load(engine.unloaded(), [])
    engine.apply(batch, entities, nothingSeen, refuseDead)
  }

  /** What is left to do before a flush may begin, the summaries of full runs among it; the number of entities that it would write. */
  ready(): number {
    this.#engine.summarise()
    return this.#engine.changedCount
  }

  get entityCount(): number {
    return this.#engine.entityCount
  }

  /** What the engine itself says that it holds. */
  get memoryBytes(): number {
    return this.#engine.memoryBytes()
  }

  /** What it holds beside the heap and the array buffers that the process knows of. */
  get unseenBytes(): number {
    return this.#engine.unseenBytes
  }

  /** Index of a card's entity, -1 when it was never seen. */
  entityOf(card: number): number {
    return this.#engine.find(Buffer.from(cardText(card))) ?? -1
  }

  /** Features of one entity at each T, with everything known; by default all features of the view. */
  finisher(names?: readonly string[]): (entity: number, asOfMs: Float64Array) => readonly FeatureColumn[] {
    const finisher = new ViewFinisher(this.plan, names)
    return (entity, asOfMs) => {
      const events = this.#events(entity)
      const builders = finisher.builders(asOfMs.length)
      for (let row = 0; row < asOfMs.length; row++) {
        const asOf = { asOfMs: asOfMs[row] as number, knownAsOfMs: Number.POSITIVE_INFINITY }
        if (!finisher.finish(events, asOf, builders, row)) throw new WrongResult(prunedAway)
      }
      return builders.map((builder) => builder.build())
    }
  }

  /** Features of many entities at one T. */
  finishMany(entities: Int32Array, asOf: AsOf, names?: readonly string[]): readonly FeatureColumn[] {
    const finisher = new ViewFinisher(this.plan, names)
    const builders = finisher.builders(entities.length)
    for (let row = 0; row < entities.length; row++) {
      if (!finisher.finish(this.#events(entities[row] as number), asOf, builders, row))
        throw new WrongResult(prunedAway)
    }
    return builders.map((builder) => builder.build())
  }

  finish(entity: number, asOf: AsOf): readonly Finished[] {
    return finishedOf(this.plan, this.#events(entity), asOf)
  }

  /** See `Gather`. */
  gather(features: readonly string[]): Gather {
    const kept = new KeptGather(this.#engine, gatherSpec(this.plan, features))
    return (entities, asOfMs, out) => {
      if (kept.rows(entities, asOfMs, out).length > 0) throw new WrongResult(prunedAway)
    }
  }

  #events(entity: number): EntityEvents | null {
    return entity < 0 ? null : { state: this.#engine.state, entity }
  }
}

function finishedOf(plan: ViewPlan, events: EntityEvents | null, asOf: AsOf): readonly Finished[] {
  const finisher = new ViewFinisher(plan)
  const builders = finisher.builders(1)
  if (!finisher.finish(events, asOf, builders, 0)) throw new WrongResult(prunedAway)
  return builders.map((builder, index) => {
    const column = builder.build()
    const name = finisher.features[index]?.definition.name ?? ''
    return { name, status: column.statuses[0] as number, value: valueAt(column, 0) }
  })
}

/** Rows of `entities`, float32 by feature, row-major, at T with everything known: what a model is given. */
export type Gather = (entities: Int32Array, asOfMs: number, out: Float32Array) => void

function gatherSpec(plan: ViewPlan, features: readonly string[]): MatrixSpec {
  const inputs = features.map((name): MatrixInput => {
    const feature = plan.features.find(({ definition }) => definition.name === name)
    if (feature === undefined) throw new Error(`the view has no feature ${name}`)
    return { kind: 'feature', name, feature: feature.reference, fingerprint: feature.fingerprint, fromEnd: null }
  })
  return { service: 'gather', inputs, omitted: [] }
}

/** Where the store keeps a card. */
export function rowKeyOf(catalog: Catalog, card: number): { readonly key: Uint8Array; readonly shard: number } {
  const key = encodeKey([cardText(card)], keyTypesOf(catalog, viewOf(catalog, viewName)))
  return { key, shard: shardOf(key, settings.shards) }
}

/** A row of a store with its parts, if it has any, as one. */
export const wholeRow = (
  store: OnlineStore,
  catalog: Catalog,
  shard: number,
  key: Uint8Array,
  row: Uint8Array,
): Promise<Uint8Array> => canonicalRowOf(store, planView(catalog, viewName, settings.historyMs), shard, key, row)

/** One numeric feature of whole rows, row after row. */
export function rowFinisher(catalog: Catalog, name: string): (row: Uint8Array, asOf: AsOf) => FeatureValue {
  const plan = planView(catalog, viewName, settings.historyMs)
  const finisher = new ViewFinisher(plan, [name])
  return (row, asOf) => {
    const builders = finisher.builders(1)
    if (!finisher.finish(decodeRow(plan, row), asOf, builders, 0)) throw new WrongResult(prunedAway)
    return valueAt((builders[0] as (typeof builders)[number]).build(), 0)
  }
}

/** All features of an entity from its whole row. */
export function finishRow(catalog: Catalog, row: Uint8Array | null, asOf: AsOf): readonly Finished[] {
  const plan = planView(catalog, viewName, settings.historyMs)
  return finishedOf(plan, row === null ? null : decodeRow(plan, row), asOf)
}
