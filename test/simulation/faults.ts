/** What goes wrong, and when: drawn from the seed before the run, so that a run can be read before it is run. */
import type { Prng } from '../support/prng.ts'

export type Fault =
  /** The current worker dies where it is; a new one starts a little later. */
  | { readonly kind: 'crash' }
  /** It dies, and so do the next ones, shortly after they started. */
  | { readonly kind: 'burst'; readonly times: number; readonly everyMs: number }
  /** It is told to stop, flushes and ends. */
  | { readonly kind: 'stop' }
  /** It stands still for a while, nobody notices. */
  | { readonly kind: 'pause'; readonly forMs: number }
  /** It stands still, is given up, another one takes over; then it is woken. */
  | { readonly kind: 'zombie'; readonly forMs: number }
  /** A replica of a node takes over that lacks the last writes. */
  | { readonly kind: 'failover'; readonly node: number; readonly lost: number }
  /** A node loses everything. */
  | { readonly kind: 'flushall'; readonly node: number }
  /** Readers see a node as it was some writes ago. */
  | { readonly kind: 'stale'; readonly node: number; readonly writes: number; readonly forMs: number }
  /** Nobody reaches a server; answers on their way are lost. */
  | { readonly kind: 'cut'; readonly server: number; readonly forMs: number }
  | { readonly kind: 'slow'; readonly server: number; readonly forMs: number }
  /** Many commands are doubled, lost, answered too late. */
  | { readonly kind: 'noise'; readonly server: number; readonly forMs: number }
  /** Shards are dealt anew, so often. */
  | { readonly kind: 'rebalance'; readonly times: number; readonly everyMs: number }

export type FaultKind = Fault['kind']

export interface TimedFault {
  readonly atMs: number
  readonly fault: Fault
}

/** How often each kind comes, in parts. */
const shares: Readonly<Record<FaultKind, number>> = {
  crash: 5,
  burst: 2,
  stop: 1,
  pause: 2,
  zombie: 4,
  failover: 5,
  flushall: 0.4,
  stale: 3,
  cut: 3,
  slow: 2,
  noise: 4,
  rebalance: 4,
}
const kinds = Object.keys(shares) as readonly FaultKind[]
const sharesTotal = Object.values(shares).reduce((total, share) => total + share, 0)

export function faultPlan(random: Prng, { untilMs, nodes, servers }: FaultScope): TimedFault[] {
  const count = random.integer(faultsMin, faultsMin + 8)
  return Array.from({ length: count }, (): TimedFault => {
    const atMs = random.unit() * untilMs
    return { atMs, fault: faultOf(random, nodes, servers) }
  }).sort((a, b) => a.atMs - b.atMs)
}

export const faultsMin = 20

export interface FaultScope {
  readonly untilMs: number
  /** Of the online store. */
  readonly nodes: number
  /** Those and the log and the offline store. */
  readonly servers: number
}

function faultOf(random: Prng, nodes: number, servers: number): Fault {
  let at = random.unit() * sharesTotal
  const kind = kinds.find((candidate) => (at -= shares[candidate]) < 0) ?? 'crash'
  const node = random.integer(0, nodes - 1)
  const server = random.integer(0, servers - 1)
  const forMs = 50 + random.unit() ** 2 * 2_500
  switch (kind) {
    case 'crash':
    case 'stop':
      return { kind }
    case 'burst':
    case 'rebalance':
      return { kind, times: random.integer(2, 4), everyMs: 20 + random.unit() * 300 }
    case 'pause':
    case 'zombie':
      return { kind, forMs }
    case 'failover':
      return { kind, node, lost: Math.ceil(random.unit() ** 2 * 24) }
    case 'flushall':
      return { kind, node }
    case 'stale':
      return { kind, node, writes: random.integer(1, 16), forMs }
    case 'cut':
    case 'slow':
    case 'noise':
      return { kind, server, forMs }
  }
}

/** A fault in a few words. */
export function faultText(fault: Fault): string {
  const { kind, ...rest } = fault
  return `${kind} ${Object.entries(rest)
    .map(([name, value]) => `${name} ${typeof value === 'number' ? Math.round(value) : String(value)}`)
    .join(', ')}`.trim()
}
