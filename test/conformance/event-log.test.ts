import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, it } from 'vitest'
import { eventLogSuite } from '../../connectors/kit/event-log-suite.ts'
import { openLog } from '../../connectors/log/index.ts'
import { MemoryLog } from '../../connectors/memory/log.ts'
import { randomBytes } from 'node:crypto'

const folders: string[] = []
afterAll(() => Promise.all(folders.map((folder) => rm(folder, { recursive: true }))))

const openIn = (segmentBytesMax: number) => async () => {
  const folder = await mkdtemp(join(tmpdir(), 'tidemark-log-'))
  folders.push(folder)
  return openLog(folder, {
    mode: 'write',
    fsync: 'interval',
    random: { bytes: (length) => randomBytes(length) },
    segmentBytesMax,
  })
}

eventLogSuite('memory', async () => new MemoryLog(), { describe, it })
eventLogSuite('embedded', openIn(64 * 1024 * 1024), { describe, it })
eventLogSuite('embedded, with segments of a few batches', openIn(2000), { describe, it })
