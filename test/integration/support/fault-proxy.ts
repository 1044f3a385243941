import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'

/**
 * pass        bytes go both ways
 * drop-reply  the next bytes of the server are thrown away and their connection cut: the request was carried out, and who
 *             sent it does not know; then as `pass`
 * silent      nothing comes back, and nothing is cut: half open
 */
export type ProxyMode = 'pass' | 'drop-reply' | 'silent'

export interface FaultProxy {
  readonly port: number
  mode: ProxyMode
  /** Where new connections go. */
  target: number
  /** How many connections were made through it. */
  readonly connections: number
  /** Cuts every connection. */
  cut(): void
  stop(): Promise<void>
}

/** A wire between a client and a server on this machine, with faults that a test switches on. */
export async function startProxy(target: number): Promise<FaultProxy> {
  const pairs = new Set<readonly [Socket, Socket]>()
  const server = createServer((client) => {
    proxy.connections++
    const upstream = connect(proxy.target, '127.0.0.1')
    const pair = [client, upstream] as const
    pairs.add(pair)
    const end = (): void => {
      pairs.delete(pair)
      client.destroy()
      upstream.destroy()
    }
    for (const socket of pair) socket.on('error', end).on('close', end)
    client.on('data', (bytes) => upstream.write(bytes))
    upstream.on('data', (bytes) => {
      if (proxy.mode === 'pass') client.write(bytes)
      if (proxy.mode !== 'drop-reply') return
      proxy.mode = 'pass'
      end()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const proxy = {
    port: (server.address() as AddressInfo).port,
    mode: 'pass' as ProxyMode,
    target,
    connections: 0,
    cut(): void {
      for (const sockets of pairs) for (const socket of sockets) socket.destroy()
    },
    async stop(): Promise<void> {
      proxy.cut()
      server.close()
      await once(server, 'close')
    },
  }
  return proxy
}
