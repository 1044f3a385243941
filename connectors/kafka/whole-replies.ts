/**
 * Sockets for kafkajs that hand it whole replies only. kafkajs 2.2.4 keeps the bytes of a reply that was cut in the middle
 * and puts them before those of its next connection (network/connection.js, `chunks`): what it then reads is nonsense, and
 * throws out of the handler of a socket, which ends the process.
 */
import { connect as connectPlain, isIP, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { ISocketFactory } from 'kafkajs'

const keepAliveMs = 60_000
const lengthBytes = 4

export const wholeReplies: ISocketFactory = ({ host, port, ssl, onConnect }) => {
  const name = isIP(host) === 0 ? { servername: host } : {}
  const socket = ssl ? connectTls({ host, port, ...name, ...ssl }, onConnect) : connectPlain({ host, port }, onConnect)
  socket.setKeepAlive(true, keepAliveMs)
  return inWholes(socket)
}

/** `data` of the socket comes a reply at a time: an int32 with its length, and so many bytes. What is left is never told. */
export function inWholes<T extends Pick<Socket, 'emit'>>(socket: T): T {
  const emit = socket.emit.bind(socket)
  let waiting: Buffer[] = []
  let bytes = 0
  /** Of the reply that is waited for, as far as known. */
  let needed = lengthBytes
  socket.emit = (event: string | symbol, ...args: unknown[]): boolean => {
    const [chunk] = args
    if (event !== 'data' || !Buffer.isBuffer(chunk)) return emit(event, ...args)
    waiting.push(chunk)
    bytes += chunk.length
    while (bytes >= needed) {
      const all = waiting.length === 1 ? (waiting[0] as Buffer) : Buffer.concat(waiting)
      waiting = [all]
      const end = lengthBytes + all.readInt32BE(0)
      needed = bytes < end ? end : lengthBytes
      if (bytes < end) break
      waiting = [all.subarray(end)]
      bytes -= end
      emit('data', all.subarray(0, end))
    }
    return true
  }
  return socket
}
