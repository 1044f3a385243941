/**
 * Two requests of the Kafka protocol, to tell whether a broker is ready.
 *
 *     request   size int32 | key int16 | version int16 | correlation int32 | client id int16 = -1 (none) | body
 *     response  size int32 | correlation int32 | body
 *
 * ApiVersions v0 (key 18) has no body; its answer begins with an error code, int16. It is answered before a client has
 * proved who it is, so it works on SASL listeners too. Metadata v4 (key 3): topics int32 = 0 (none), auto create = 0; its
 * answer begins with throttle time int32 and the count of brokers int32.
 */
import { connect, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'

export interface Endpoint {
  readonly port: number
  readonly tls?: boolean
}

const correlation = 7

/** Rejects unless the broker answers ApiVersions. */
export async function checkApiVersions(endpoint: Endpoint, timeoutMs = 2_000): Promise<void> {
  const answer = await ask(endpoint, request(18, 0, Buffer.alloc(0)), timeoutMs)
  const errorCode = answer.readInt16BE(4)
  if (errorCode !== 0) throw new Error(`ApiVersions answered with error ${errorCode}`)
}

/** How many brokers this one knows and holds for alive. Not for SASL listeners. */
export async function brokerCount(endpoint: Endpoint, timeoutMs = 2_000): Promise<number> {
  const answer = await ask(endpoint, request(3, 4, Buffer.from([0, 0, 0, 0, 0])), timeoutMs)
  return answer.readInt32BE(8)
}

export function request(key: number, version: number, body: Buffer): Buffer {
  const header = Buffer.alloc(14)
  header.writeInt32BE(10 + body.length, 0)
  header.writeInt16BE(key, 4)
  header.writeInt16BE(version, 6)
  header.writeInt32BE(correlation, 8)
  header.writeInt16BE(-1, 12)
  return Buffer.concat([header, body])
}

/** The answer without its size. */
function ask({ port, tls = false }: Endpoint, message: Buffer, timeoutMs: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const to = { port, host: '127.0.0.1' }
    // Readiness only: whether the certificate is a good one is for the tests of clients.
    const socket: Socket = tls ? connectTls({ ...to, rejectUnauthorized: false }) : connect(to)
    const received: Buffer[] = []
    const end = (settle: () => void): void => {
      clearTimeout(timer)
      socket.destroy()
      settle()
    }
    const timer = setTimeout(() => end(() => reject(new Error(`no answer in ${timeoutMs} ms`))), timeoutMs)
    socket.once('error', (error) => end(() => reject(error)))
    socket.once('close', () => end(() => reject(new Error('the connection was closed'))))
    socket.write(message)
    socket.on('data', (chunk) => {
      received.push(chunk)
      const bytes = Buffer.concat(received)
      if (bytes.length < 4) return
      const size = bytes.readInt32BE(0)
      if (size < 12 || size > 1_048_576) end(() => reject(new Error('no Kafka broker: the answer is of no Kafka size')))
      else if (bytes.length < 4 + size) return
      else if (bytes.readInt32BE(4) !== correlation) end(() => reject(new Error('no Kafka broker: another answer')))
      else end(() => resolve(bytes.subarray(4, 4 + size)))
    })
  })
}
