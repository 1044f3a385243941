import { randomBytes, timingSafeEqual } from 'node:crypto'
import { rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { text } from 'node:stream/consumers'
import type { AddressInfo } from 'node:net'
import { FeatureStoreError } from '../core/errors.ts'
import type { RegistryEvent } from '../core/registry/events.ts'
import type { ControlFile, ControlLine } from './control-client.ts'
import type { ImportRequest, LocalIngest } from './ingest.ts'
import { linesOf } from './lines.ts'

/** How long callers have to finish when this process ends. */
const graceMs = 1_000

/**
 * Takes `append`, `import` and `apply` of other processes while this one holds the log: HTTP on loopback, a random port
 * and a token, both in a file that only the owner can read.
 */
export async function startControl(path: string, ingest: LocalIngest, grpc: string): Promise<AsyncDisposable> {
  const token = randomBytes(24).toString('hex')
  let queue: Promise<unknown> = Promise.resolve()
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const turn = queue.then(work)
    queue = turn.catch(() => {})
    return turn
  }
  const server = createServer((request, response) => {
    if (!isAuthorized(request, token)) {
      response.writeHead(403).end()
      return
    }
    void answer(request, response, ingest, inTurn)
  })
  // Lines may come for hours.
  server.requestTimeout = 0
  await new Promise<void>((resolve, reject) => {
    server.on('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  const file: ControlFile = { port: (server.address() as AddressInfo).port, token, pid: process.pid, grpc }
  writeFileSync(path, JSON.stringify(file), { mode: 0o600 })
  return {
    async [Symbol.asyncDispose]() {
      rmSync(path, { force: true })
      server.closeIdleConnections()
      const timer = setTimeout(() => server.closeAllConnections(), graceMs)
      await new Promise((resolve) => server.close(resolve))
      clearTimeout(timer)
      await queue
    },
  }
}

function isAuthorized(request: IncomingMessage, token: string): boolean {
  const given = Buffer.from(request.headers.authorization ?? '')
  const wanted = Buffer.from(`Bearer ${token}`)
  return given.length === wanted.length && timingSafeEqual(given, wanted)
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  ingest: LocalIngest,
  inTurn: <T>(work: () => Promise<T>) => Promise<T>,
): Promise<void> {
  const say = (line: ControlLine): void => void response.write(`${JSON.stringify(line)}\n`)
  try {
    const url = new URL(request.url ?? '/', 'http://127.0.0.1')
    switch (url.pathname) {
      case '/ping':
        say({ result: 'pong' })
        break
      case '/append':
        // Not in turn: its lines may come for hours, and each append of them is whole by itself.
        say({ result: await ingest.append(url.searchParams.get('stream') ?? '', linesOf(request)) })
        break
      case '/import': {
        const wanted = JSON.parse(await text(request)) as ImportRequest
        say({ result: await inTurn(() => ingest.import(wanted, (done, total) => say({ progress: { done, total } }))) })
        break
      }
      case '/register': {
        const events = JSON.parse(await text(request)) as RegistryEvent[]
        await inTurn(() => ingest.register(events))
        say({ result: null })
        break
      }
      default:
        throw new FeatureStoreError('FS_REQUEST_INVALID', `there is no ${url.pathname} here`)
    }
  } catch (error) {
    const known =
      error instanceof FeatureStoreError
        ? error
        : new FeatureStoreError('FS_INTERNAL', error instanceof Error ? error.message : String(error))
    say({ error: { code: known.code, message: known.message, remedy: known.remedy } })
  }
  response.end()
  // What the caller still sends is of no use, but it must get rid of it to read the answer.
  request.resume()
}
