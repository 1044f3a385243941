import type { OnlineStore } from '../../core/ports/online-store.ts'

/**
 * What an online store of this project offers to the composition root beyond the port: whose rows it holds, and how those
 * of other definitions go. `connectors/lmdb` and `connectors/redis` both do.
 */
export interface GenerationStore extends OnlineStore, AsyncDisposable {
  /** Fingerprint of the projection whose rows this store reads and writes. */
  readonly generation: string
  /** True when state of another format was found and cleared: everything is to be built again. */
  readonly wasReset: boolean
  /** Every generation that has state here, sorted. */
  generations(): Promise<readonly string[]>
  /** The generation that serving reads, null until one was marked. */
  current(): Promise<string | null>
  /** Makes a generation the one that serving reads. Errors: FS_INTERNAL if it has no state here. */
  markCurrent(generation: string): Promise<void>
  /** Forgets a generation, its owners included: they are fenced. */
  dropGeneration(generation: string): Promise<void>
  /** Forgets everything: all generations, owners included. */
  clear(): Promise<void>
}
