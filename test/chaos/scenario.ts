import type { Prng } from '../support/prng.ts'
import type { Arena } from './arena.ts'
import type { Servers } from './servers.ts'
import type { Verdict } from './verify.ts'

export interface Scenario {
  readonly name: string
  /** In one line: what goes wrong. */
  readonly what: string
  /** Default: one broker and one Redis. */
  readonly open?: () => Promise<Servers>
  /** Workers that run before it begins. Default: 2. */
  readonly workers?: number
  /** True: workers may end by themselves, and are started again as a supervisor does. Default: that is a finding. */
  readonly workersMayEnd?: boolean
  /** Payments appended 20 times a second. Default: 10. */
  readonly paymentsPerTick?: number
  /** Instead of `tidemark worker`: see WorkerStart. Its progress is not read, so nothing can be measured. */
  readonly program?: string
  /** What goes wrong. Afterwards the producer is stopped, and all that the log has must have been applied once. */
  run(arena: Arena, random: Prng): Promise<void>
  /** In place of what is asked of Tidemark; what it finds is shown and fails nothing. */
  readonly compare?: (arena: Arena) => Promise<Verdict>
}
