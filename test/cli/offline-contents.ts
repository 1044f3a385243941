import { openEmbeddedClickHouse } from '../../connectors/chdb/index.ts'
import { openClickHouseClient } from '../../connectors/clickhouse/index.ts'
import type { CodedStrings } from '../../schemas/sql/native.ts'
import { dataFile } from './support.ts'

const logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }

/** One text that a query of the project's offline tables answers. */
export async function offlineText(folder: string, sql: string): Promise<string> {
  const engine = await openEmbeddedClickHouse(dataFile(folder, 'offline'), { logger })
  const client = openClickHouseClient({ endpoint: () => engine.endpoint() })
  try {
    const { columns } = await client.query(sql)
    const { strings, codes } = columns[0]?.data as CodedStrings
    return strings[codes[0] as number] ?? ''
  } finally {
    await client.close()
    await engine.close()
  }
}
