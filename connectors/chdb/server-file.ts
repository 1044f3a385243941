/** What a child says about itself in `server.json` (mode 0600): whoever may read it may use the engine. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

export const serverFileName = 'server.json'
export const formatVersion = 1

export interface ServerFile {
  readonly format: typeof formatVersion
  readonly url: string
  readonly password: string
  readonly pid: number
}

/** Null when there is none, or none that this version understands. */
export function readServerFile(folder: string): ServerFile | null {
  try {
    const parsed = JSON.parse(readFileSync(join(folder, serverFileName), 'utf8')) as Partial<ServerFile>
    const { format, url, password, pid } = parsed
    if (format !== formatVersion || url === undefined || password === undefined || pid === undefined) return null
    return { format, url, password, pid }
  } catch {
    return null
  }
}
