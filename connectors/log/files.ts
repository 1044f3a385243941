import { closeSync, fsyncSync, mkdirSync, openSync, read, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { promisify } from 'node:util'
import { FeatureStoreError } from '../../core/errors.ts'

const readInto = promisify(read)

/** The parsed content, or undefined when there is no such file. Errors: FS_FILE_INVALID when it is no JSON. */
export function readJson(path: string): unknown {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw cause
  }
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new FeatureStoreError('FS_FILE_INVALID', `${path} is no JSON`, { cause })
  }
}

/** All of the new content or all of the old, after a crash too: written beside, synced, renamed, the folder synced. */
export function replaceFile(path: string, text: string): void {
  const draft = `${path}.new`
  writeFileSync(draft, text, { flush: true })
  renameSync(draft, path)
  syncFolder(dirname(path))
}

export function makeFolder(path: string): void {
  mkdirSync(path, { recursive: true })
  syncFolder(dirname(path))
}

/** A new name is only safe once its folder is synced. Windows has no such call and needs none. */
export function syncFolder(path: string): void {
  if (process.platform === 'win32') return
  const descriptor = openSync(path, 'r')
  try {
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}

/** Up to `length` bytes from `position`; fewer where the file ends. */
export async function readAt(path: string, position: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length)
  const descriptor = openSync(path, 'r')
  try {
    let filled = 0
    while (filled < length) {
      const { bytesRead } = await readInto(descriptor, bytes, filled, length - filled, position + filled)
      if (bytesRead === 0) break
      filled += bytesRead
    }
    return bytes.subarray(0, filled)
  } finally {
    closeSync(descriptor)
  }
}
