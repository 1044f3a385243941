/** One command to a Redis server and its answer (RESP2), for readiness and for setting servers up. */
import { connect } from 'node:net'

export type Reply = string | number | null | RespError | readonly Reply[]

export class RespError extends Error {}

/** Rejects when nobody answers in time, when the answer is no RESP, and with a RespError when it is an error. */
export function redisCommand(port: number, command: readonly string[], timeoutMs = 2_000): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1' })
    const received: Buffer[] = []
    const end = (settle: () => void): void => {
      clearTimeout(timer)
      socket.destroy()
      settle()
    }
    const timer = setTimeout(() => end(() => reject(new Error(`no answer in ${timeoutMs} ms`))), timeoutMs)
    socket.once('error', (error) => end(() => reject(error)))
    socket.once('end', () => end(() => reject(new Error('the connection was closed'))))
    socket.write(encodeCommand(command))
    socket.on('data', (chunk) => {
      received.push(chunk)
      try {
        const parsed = parseReply(Buffer.concat(received), 0)
        if (parsed === null) return
        const [reply] = parsed
        end(() => (reply instanceof RespError ? reject(reply) : resolve(reply)))
      } catch (error) {
        end(() => reject(error))
      }
    })
  })
}

export const encodeCommand = (command: readonly string[]): string =>
  `*${command.length}\r\n${command.map((part) => `$${Buffer.byteLength(part)}\r\n${part}\r\n`).join('')}`

/** The reply that begins at `from` and where the next one begins; null when there is more to come. */
export function parseReply(bytes: Buffer, from: number): readonly [reply: Reply, next: number] | null {
  const lineEnd = bytes.indexOf('\r\n', from)
  if (lineEnd < 0) return null
  const kind = String.fromCharCode(bytes[from] ?? 0)
  const text = bytes.toString('utf8', from + 1, lineEnd)
  const next = lineEnd + 2
  switch (kind) {
    case '+':
      return [text, next]
    case '-':
      return [new RespError(text), next]
    case ':':
      return [Number(text), next]
    case '$': {
      const size = Number(text)
      if (size < 0) return [null, next]
      return bytes.length < next + size + 2 ? null : [bytes.toString('utf8', next, next + size), next + size + 2]
    }
    case '*':
      return Number(text) < 0 ? [null, next] : parseItems(bytes, next, Number(text))
    default:
      throw new Error(`no Redis server: the answer begins with ${JSON.stringify(text.slice(0, 40))}`)
  }
}

function parseItems(bytes: Buffer, from: number, count: number): readonly [Reply, number] | null {
  const items: Reply[] = []
  let next = from
  for (let index = 0; index < count; index++) {
    const item = parseReply(bytes, next)
    if (item === null) return null
    items.push(item[0])
    next = item[1]
  }
  return [items, next]
}

/** `INFO` and its like: `name:value` lines. */
export function infoOf(reply: Reply): ReadonlyMap<string, string> {
  const lines = typeof reply === 'string' ? reply.split('\r\n') : []
  return new Map(
    lines
      .filter((line) => line.includes(':'))
      .map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)]),
  )
}
