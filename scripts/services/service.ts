/** What all servers have in common: they are found or installed, launched, and asked whether they are well. */
import type { Say } from './debian.ts'
import type { Problem } from './problem.ts'
import type { ServiceName, Settings } from './settings.ts'

/** Everything that starting one process takes. */
export interface Launch {
  readonly command: string
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly cwd: string
}

export interface Service {
  readonly name: ServiceName
  /** Time from start to the first good answer that is not a failure yet, on a busy machine. */
  readonly readyMs: number
  /** Time to end in order; after it the process is killed. */
  readonly stopMs: number
  /** The version that would start, or what is missing. Installs nothing. */
  find(folder: string): Promise<string | Problem>
  /** Does only what has not been done. */
  install(folder: string, say: Say): Promise<void>
  /** The port that clients use, then others that it listens on. */
  ports(settings: Settings): readonly [number, ...number[]]
  /** As clients write it. */
  address(port: number): string
  /** Makes the data folder ready and says how to start on it. */
  prepare(settings: Settings, dataFolder: string): Promise<Launch>
  /** Rejects with the reason unless the server answers as it should. */
  check(port: number): Promise<void>
}
