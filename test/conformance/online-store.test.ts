import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onlineStoreSuite } from '../../connectors/kit/online-store-suite.ts'
import { openOnlineStore } from '../../connectors/lmdb/online-store.ts'
import { MemoryOnlineStore } from '../../connectors/memory/online-store.ts'
import { silentLogger } from '../../core/ports/environment.ts'

const random = { bytes: (length: number): Uint8Array => randomBytes(length) }

onlineStoreSuite('memory', async () => ({ store: new MemoryOnlineStore(random), close: async () => {} }))

onlineStoreSuite('lmdb', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'tidemark-online-'))
  const store = await openOnlineStore(folder, { mode: 'write', generation: 'g', logger: silentLogger, random })
  return {
    store,
    close: async () => {
      await store[Symbol.asyncDispose]()
      await rm(folder, { recursive: true, force: true })
    },
  }
})
