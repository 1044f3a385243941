import { Redis } from 'ioredis'

/** A plain connection to a server of this machine, for what is done to it from outside. It outlives the server's restarts. */
export function adminOf(port: number): Redis {
  const client = new Redis({ host: '127.0.0.1', port, retryStrategy: () => 25, maxRetriesPerRequest: 400 })
  client.on('error', () => {})
  return client
}
