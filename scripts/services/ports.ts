/** TCP ports of the loopback address. */
import { randomInt } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { Problem } from './problem.ts'

export function isPortFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)))
  })
}

/**
 * Free ports that stay free: below the range from which the kernel gives ports to outgoing connections, so that a server
 * which was killed finds its port again. Two processes that ask at once get different ones almost surely, not surely.
 */
export async function freePorts(count: number): Promise<number[]> {
  const from = 20_000
  const below = firstEphemeralPort() ?? 32_768
  const ports = new Set<number>()
  for (let tries = 0; ports.size < count; tries++) {
    if (tries > 1_000) throw new Problem(`no ${count} free ports from ${from} to ${below}`, 'end other servers')
    const port = randomInt(from, Math.max(below, from + 1_000))
    if (await isPortFree(port)) ports.add(port)
  }
  return [...ports]
}

function firstEphemeralPort(): number | null {
  try {
    return Number(readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').trim().split(/\s+/)[0])
  } catch {
    return null
  }
}
