import type { ColumnBuilder } from '../../core/engine/column-builder.ts'
import type { FeatureColumn } from '../../core/engine/feature-column.ts'
import type { ViewFinisher } from '../../core/engine/finish.ts'
import type { ErrorCode } from '../../core/errors.ts'
import type { OnlineStore, RowRead } from '../../core/ports/online-store.ts'
import { copyVector, type Arena } from './arena.ts'
import type { AskedKeys } from './check-request.ts'

const nothingRead: RowRead = { rows: [], positions: [] }

/** What a lookup finds out about one view: a row of the builders per distinct key. */
export class ViewAnswer {
  readonly finisher: ViewFinisher
  readonly asked: AskedKeys
  readonly builders: readonly ColumnBuilder[]
  /** Indices of the keys that the arena did not answer. */
  readonly open: number[] = []

  constructor(finisher: ViewFinisher, asked: AskedKeys) {
    this.finisher = finisher
    this.asked = asked
    this.builders = finisher.builders(asked.keys.length)
  }

  /** Answers what the arena holds at T, with shards at these versions; without an arena, nothing. */
  recall(arena: Arena | null, asOfMs: number, versions?: ReadonlyMap<number, number>): void {
    const { ids, shards } = this.asked
    const vectors = arena?.of(this.finisher)
    for (let index = 0; index < ids.length; index++) {
      const version = versions?.get(shards[index] as number) ?? -1
      const place = vectors?.find(ids[index] as string, asOfMs, version)
      if (place === undefined) this.open.push(index)
      else copyVector(place, this.builders, index)
    }
    if (arena !== null) arena.counts.hits += ids.length - this.open.length
  }

  /** Rows of the keys that are open, in that order. */
  async read(online: OnlineStore): Promise<RowRead> {
    if (this.open.length === 0) return nothingRead
    const { keys, shards } = this.asked
    return online.read(
      this.finisher.plan.view.name,
      this.open.map((index) => shards[index] as number),
      this.open.map((index) => keys[index] as Uint8Array),
    )
  }

  readonly setError = (index: number, code: ErrorCode): void => {
    for (const builder of this.builders) builder.setError(index, code)
  }

  /** The features by row of the request. */
  columns(rows: number): FeatureColumn[] {
    const { of, keys, keyErrors } = this.asked
    if (keys.length === rows) return this.builders.map((builder) => builder.build())
    const byRow = this.finisher.builders(rows)
    byRow.forEach((builder, feature) => {
      for (let row = 0; row < rows; row++) {
        const index = of[row] as number
        if (index < 0) builder.setError(row, keyErrors.get(row) ?? 'FS_ENTITY_INVALID')
        else builder.copy(row, this.builders[feature] as ColumnBuilder, index)
      }
    })
    return byRow.map((builder) => builder.build())
  }
}
