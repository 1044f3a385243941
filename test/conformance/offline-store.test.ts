import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll } from 'vitest'
import { type EmbeddedClickHouse, openEmbeddedClickHouse } from '../../connectors/chdb/index.ts'
import { openClickHouseClient, openOfflineStore } from '../../connectors/clickhouse/index.ts'
import { offlineStoreSuite } from '../../connectors/kit/offline-store-suite.ts'
import { openMemoryOfflineStore } from '../../connectors/memory/offline-store.ts'
import { discardEmbedded } from '../connectors/chdb/embedded.ts'

offlineStoreSuite('memory', () => Promise.resolve({ store: openMemoryOfflineStore(), close: () => Promise.resolve() }))

const folder = mkdtempSync(join(tmpdir(), 'tidemark-offline-suite-'))
let embedded: EmbeddedClickHouse
beforeAll(async () => {
  embedded = await openEmbeddedClickHouse(folder, { idleMs: 200 })
})
afterAll(() => discardEmbedded(embedded, folder))

offlineStoreSuite('ClickHouse, embedded', () => {
  const client = openClickHouseClient({ endpoint: () => embedded.endpoint() })
  const store = openOfflineStore(client, { journalFolder: join(folder, 'journal'), logId: 'log' })
  return Promise.resolve({ store, close: () => client.close() })
})
