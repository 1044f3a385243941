import { existsSync, readFileSync } from 'node:fs'
import { request, type IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { FeatureStoreError, errorCodes, type ErrorCode } from '../core/errors.ts'
import type { RegistryEvent } from '../core/registry/events.ts'
import type { AppendReport } from '../worker/ingest/append.ts'
import type { ImportReport } from '../worker/ingest/import.ts'
import type { ImportRequest, Ingest } from './ingest.ts'
import { linesOf } from './lines.ts'

/** How to reach a running `up`: a file that only its owner can read. */
export interface ControlFile {
  readonly port: number
  readonly token: string
  readonly pid: number
  readonly grpc: string
}

/** One line of an answer: progress, then the result or an error. */
export type ControlLine =
  | { readonly progress: { readonly done: number; readonly total: number } }
  | { readonly result: unknown }
  | { readonly error: { readonly code: string; readonly message: string; readonly remedy: string } }

export function readControlFile(path: string): ControlFile | null {
  if (!existsSync(path)) return null
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as ControlFile
  } catch {
    return null
  }
}

/** The running `up` of a project, or null when there is none that answers. */
export async function connectControl(path: string): Promise<Ingest | null> {
  const file = readControlFile(path)
  if (file === null) return null
  const remote = new RemoteIngest(file)
  return (await remote.answers()) ? remote : null
}

class RemoteIngest implements Ingest {
  readonly through: number
  readonly #file: ControlFile

  constructor(file: ControlFile) {
    this.#file = file
    this.through = file.pid
  }

  async answers(): Promise<boolean> {
    try {
      await this.#call('/ping', Readable.from([]))
      return true
    } catch {
      return false
    }
  }

  append(stream: string, lines: AsyncIterable<string> | Iterable<string>): Promise<AppendReport> {
    const body = Readable.from(
      (async function* () {
        for await (const line of lines) yield `${line}\n`
      })(),
    )
    return this.#call(`/append?stream=${encodeURIComponent(stream)}`, body) as Promise<AppendReport>
  }

  import(input: ImportRequest, onProgress?: (done: number, total: number) => void): Promise<ImportReport> {
    return this.#call('/import', Readable.from([JSON.stringify(input)]), onProgress) as Promise<ImportReport>
  }

  async register(events: readonly RegistryEvent[]): Promise<void> {
    await this.#call('/register', Readable.from([JSON.stringify(events)]))
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve()
  }

  async #call(path: string, body: Readable, onProgress?: (done: number, total: number) => void): Promise<unknown> {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const call = request(
        {
          host: '127.0.0.1',
          port: this.#file.port,
          path,
          method: 'POST',
          headers: { authorization: `Bearer ${this.#file.token}` },
        },
        resolve,
      )
      call.on('error', (cause) =>
        reject(
          new FeatureStoreError('FS_SERVER_UNAVAILABLE', `the running up (process ${this.through}) does not answer`, {
            cause,
          }),
        ),
      )
      body.on('error', (error) => call.destroy(error))
      body.pipe(call)
    })
    try {
      for await (const text of linesOf(response)) {
        const line = JSON.parse(text) as ControlLine
        if ('progress' in line) onProgress?.(line.progress.done, line.progress.total)
        else if ('error' in line) throw toError(line.error)
        else return line.result
      }
    } catch (error) {
      if (error instanceof FeatureStoreError) throw error
      // The connection broke; said below.
    } finally {
      body.destroy()
    }
    throw new FeatureStoreError(
      'FS_SERVER_UNAVAILABLE',
      `the running up (process ${this.through}) ended before it answered`,
    )
  }
}

const toError = ({
  code,
  message,
  remedy,
}: {
  readonly code: string
  readonly message: string
  readonly remedy: string
}): FeatureStoreError =>
  new FeatureStoreError(code in errorCodes ? (code as ErrorCode) : 'FS_INTERNAL', message, { remedy })
