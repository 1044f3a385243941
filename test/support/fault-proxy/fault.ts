/** What can go wrong on a wire, as plain values, and how to draw one. */
import type { Prng } from '../prng.ts'

export type Way = 'to-server' | 'to-client' | 'both'

/** Which reply, and what becomes of it. */
export interface ReplyFault {
  /** The request that it answers, as in `Produce` or `EVALSHA`; any where it is left out. */
  readonly of?: string
  /** Of those that are sent from now on; the first is 1, the default. */
  readonly nth?: number
  /**
   * The share of its bytes that arrives before both sides are told that the connection broke, in [0, 1). Default 0:
   * nothing of it. The server has sent it whole: what was asked is done, and who asked does not know.
   */
  readonly keep?: number
}

export type Fault =
  /** Each byte comes later, in order. One that stays on the way when its sender gives up arrives all the same. */
  | { readonly kind: 'delay'; readonly toServerMs: number; readonly toClientMs: number }
  /** Nothing moves until the fault is over; then everything arrives. */
  | { readonly kind: 'hold'; readonly way: Way }
  /** Half open: connections stand, bytes are taken and thrown away. What has lost bytes stays so when the fault is over. */
  | { readonly kind: 'swallow'; readonly way: Way }
  /** Every connection is reset now; others can be made. */
  | { readonly kind: 'cut' }
  /** Every connection is reset, new ones too, until the fault is over. */
  | { readonly kind: 'down' }
  | ({ readonly kind: 'reply' } & ReplyFault)

export type FaultKind = Fault['kind']

export interface DrawOptions {
  readonly kinds: readonly FaultKind[]
  readonly delayMsMax: number
  /** Requests of which replies are broken; any where there are none. */
  readonly requests?: readonly string[]
  /** Among so many of them. */
  readonly nthMax?: number
}

const ways: readonly Way[] = ['to-server', 'to-client', 'both']

/** The same faults for the same seed. */
export function drawFault(random: Prng, { kinds, delayMsMax, requests = [], nthMax = 5 }: DrawOptions): Fault {
  const kind = random.pick(kinds)
  switch (kind) {
    case 'delay':
      return { kind, toServerMs: random.integer(0, delayMsMax), toClientMs: random.integer(0, delayMsMax) }
    case 'hold':
    case 'swallow':
      return { kind, way: random.pick(ways) }
    case 'reply': {
      const nth = random.integer(1, nthMax)
      const keep = random.chance(0.5) ? 0 : random.unit()
      return { kind, nth, keep, ...(requests.length > 0 && { of: random.pick(requests) }) }
    }
    default:
      return { kind }
  }
}
