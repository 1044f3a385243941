/**
 * Feature history on ClickHouse. A write is one insert, one block, one part: its rows and, as one more of them, the
 * position. Its token is its revision, so of two writes of one revision the engine takes the first, also when that one
 * arrives after its writer was killed; whoever was not the writer before reads back whose it was.
 */
import { FeatureStoreError } from '../../core/errors.ts'
import type {
  FeatureHistoryStore,
  FeaturePosition,
  FeatureTable,
  FeatureWrite,
} from '../../core/ports/feature-history-store.ts'
import type { NativeBlock } from '../../schemas/sql/native.ts'
import { quoteName, type ClickHouseClient } from './client.ts'
import {
  createFeatureTableSql,
  createFeatureViewSql,
  encodePosition,
  encodeRows,
  featureColumns,
  featureComment,
  featuresView,
  positionSql,
  readPosition,
  versionsTable,
} from './feature-table.ts'

/** One block of the engine and one body in memory. */
const writeBytesMax = 1_000_000_000

export function openFeatureHistoryStore(client: ClickHouseClient, logId: string): FeatureHistoryStore {
  return new ClickHouseFeatureHistory(client, logId)
}

class ClickHouseFeatureHistory implements FeatureHistoryStore {
  readonly #client: ClickHouseClient
  readonly #logId: string
  readonly #tables = new Map<string, FeatureTable>()
  /** Revision of the last write of ours, which nobody else can have taken. */
  readonly #written = new Map<string, number>()

  constructor(client: ClickHouseClient, logId: string) {
    this.#client = client
    this.#logId = logId
  }

  async prepare(tables: readonly FeatureTable[]): Promise<void> {
    const found = await this.#comments()
    const prefix = versionsTable('')
    for (const name of found.keys()) {
      const view = name.slice(prefix.length)
      if (!tables.some((table) => table.view === view)) await this.drop(view)
    }
    for (const table of tables) {
      const { view } = table
      const wanted = featureComment(table, this.#logId)
      const comment = found.get(versionsTable(view))
      if (comment !== wanted) {
        if (comment !== undefined) await this.drop(view)
        await this.#client.exec(createFeatureTableSql(table, wanted))
      }
      await this.#client.exec(createFeatureViewSql(view))
      this.#tables.set(view, table)
    }
  }

  async position(view: string): Promise<FeaturePosition | null> {
    if (!(await this.#comments()).has(versionsTable(view))) return null
    const block = await this.#client.query(positionSql(view))
    if (block.rows === 0) return null
    return readPosition(stringAt(block, 0), Number((block.columns[1]?.data as BigInt64Array)[0]))
  }

  async write({ view, to, rows }: FeatureWrite): Promise<'applied' | 'gap'> {
    const table = this.#tables.get(view)
    if (table === undefined) throw new FeatureStoreError('FS_INTERNAL', `the history of view ${view} is not prepared`)
    const isOurs = this.#written.get(view) === to.revision - 1
    if (!isOurs && to.revision !== ((await this.position(view))?.revision ?? 0) + 1) return 'gap'
    const blocks = [
      ...rows.filter(({ count }) => count > 0).map((part) => encodeRows(part, table, to)),
      encodePosition(table, to),
    ]
    const bytes = blocks.length === 1 ? (blocks[0] as Buffer) : Buffer.concat(blocks)
    if (bytes.length > writeBytesMax)
      throw new FeatureStoreError('FS_LIMIT_EXCEEDED', `view ${view}: ${bytes.length} bytes of history at once`, {
        remedy: 'Give the view a history with longer steps.',
      })
    // Until it is acknowledged, nobody knows whose the revision is.
    this.#written.delete(view)
    await this.#client.insert({
      table: versionsTable(view),
      columns: featureColumns(table).map(([name]) => name),
      bytes,
      token: `features:${view}:${to.revision}`,
    })
    if (!isOurs) {
      const held = await this.position(view)
      if (held?.revision !== to.revision || JSON.stringify(held.partitions) !== JSON.stringify(to.partitions))
        return 'gap'
    }
    this.#written.set(view, to.revision)
    return 'applied'
  }

  async drop(view: string): Promise<void> {
    await this.#client.exec(`DROP VIEW IF EXISTS ${quoteName(featuresView(view))} SYNC`)
    await this.#client.exec(`DROP TABLE IF EXISTS ${quoteName(versionsTable(view))} SYNC`)
    this.#tables.delete(view)
    this.#written.delete(view)
  }

  async #comments(): Promise<ReadonlyMap<string, string>> {
    const block = await this.#client.query(
      `SELECT name, comment FROM system.tables WHERE database = {database:String} AND startsWith(name, {prefix:String})
AND startsWith(comment, 'tidemark features ')`,
      { params: { database: this.#client.database, prefix: versionsTable('') } },
    )
    return new Map(Array.from({ length: block.rows }, (_, row) => [stringAt(block, 0, row), stringAt(block, 1, row)]))
  }
}

function stringAt(block: NativeBlock, index: number, row = 0): string {
  const data = block.columns[index]?.data
  return data !== undefined && 'codes' in data ? (data.strings[data.codes[row] as number] ?? '') : ''
}
