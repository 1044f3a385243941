/**
 * Insert bodies as files in memory (/dev/shm) or in the temporary folder: the engine reads them by INFILE, so no byte
 * of data is ever part of a statement, and a body that is cut short never reaches the engine.
 */
import { existsSync, mkdirSync, readdirSync, rmSync, statfsSync } from 'node:fs'
import { type FileHandle, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const prefix = 'tidemark-spool-'
const sharedMemory = '/dev/shm'

export interface SpoolFile {
  readonly path: string
  write(bytes: Uint8Array): Promise<void>
  /** Closes it for reading. */
  finish(): Promise<void>
  remove(): Promise<void>
}

export class SpoolFull extends Error {}

export class Spool {
  readonly #folder: string
  readonly #bytesMax: number
  #bytes = 0
  #made = 0

  /** `bytesMax` counts all bodies together; what exceeds it throws SpoolFull. */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
    const parent = hasRoom(sharedMemory, 2 * bytesMax) ? sharedMemory : tmpdir()
    removeAbandoned(parent)
    this.#folder = join(parent, `${prefix}${process.pid}`)
    rmSync(this.#folder, { recursive: true, force: true })
    mkdirSync(this.#folder, { mode: 0o700 })
  }

  async create(): Promise<SpoolFile> {
    const path = join(this.#folder, String(++this.#made))
    const handle = await open(path, 'wx', 0o600)
    let size = 0
    let openHandle: FileHandle | null = handle
    const finish = async (): Promise<void> => {
      const closing = openHandle
      openHandle = null
      await closing?.close()
    }
    return {
      path,
      write: async (bytes) => {
        if (this.#bytes + bytes.length > this.#bytesMax)
          throw new SpoolFull(`insert bodies under way exceed ${this.#bytesMax} bytes`)
        this.#bytes += bytes.length
        size += bytes.length
        for (let at = 0; at < bytes.length;) at += (await handle.write(bytes, at)).bytesWritten
      },
      finish,
      remove: async () => {
        await finish()
        this.#bytes -= size
        size = 0
        await rm(path, { force: true })
      },
    }
  }

  close(): void {
    rmSync(this.#folder, { recursive: true, force: true })
  }
}

function hasRoom(folder: string, bytes: number): boolean {
  if (!existsSync(folder)) return false
  const { bavail, bsize } = statfsSync(folder)
  return bavail * bsize >= bytes
}

/** Folders of processes that were killed. */
function removeAbandoned(parent: string): void {
  for (const name of readdirSync(parent)) {
    const pid = Number(name.slice(prefix.length))
    if (!name.startsWith(prefix) || !Number.isSafeInteger(pid) || isRunning(pid)) continue
    try {
      rmSync(join(parent, name), { recursive: true, force: true })
    } catch {
      // Another user's: theirs to remove.
    }
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
