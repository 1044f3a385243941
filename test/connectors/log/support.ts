import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { recordsFrom } from '../../../connectors/kit/event-log-suite.ts'
import { type EmbeddedLog, openLog, type WriteOptions } from '../../../connectors/log/index.ts'

export const stream = 'clicks'
export const random = { bytes: (length: number): Uint8Array => randomBytes(length) }

/** A folder that goes away with the test. */
export function testFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-log-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

export const write = (root: string, options: Partial<WriteOptions> = {}): Promise<EmbeddedLog> =>
  openLog(root, { mode: 'write', fsync: 'never', random, ...options })

export const read = (root: string): Promise<EmbeddedLog> => openLog(root, { mode: 'read' })

/** A log with batches of these many records, closed cleanly; answers the byte where each batch begins, and the end. */
export async function logOf(root: string, counts: readonly number[]): Promise<number[]> {
  await using log = await write(root)
  await log.create(stream, { partitions: 1 })
  const edges = [0]
  let next = 0
  for (const count of counts) {
    const { firstOffset } = await log.append(stream, 0, recordsFrom(next, count))
    const { bytes } = await log.fetch(stream, 0, firstOffset, 0)
    edges.push((edges.at(-1) as number) + bytes.length)
    next += count
  }
  return edges
}

export const segmentPath = (root: string, base = 0): string =>
  join(root, stream, '0', `${String(base).padStart(20, '0')}.log`)
