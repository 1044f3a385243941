/** What the private servers of a test have in common. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ServerNode } from './node.ts'

export interface RestartOptions {
  /** False: everything that it stored is gone, as after the loss of a disk. Default: true. */
  readonly keepData?: boolean
}

/** One or more processes of one kind. What is done to it is done to all of them; `nodes` has them one by one. */
export interface Server extends AsyncDisposable {
  /** Where clients connect first. */
  readonly address: string
  readonly nodes: readonly ServerNode[]
  /** Data, logs and keys; gone after the end. */
  readonly folder: string
  /** In order. The data stays until the server is disposed of. */
  stop(): Promise<void>
  /** SIGKILL. */
  kill(): Promise<void>
  /** SIGSTOP and SIGCONT. */
  pause(): void
  resume(): void
  /** On the same ports, whether it runs or not: what runs is stopped in order first. */
  restart(options?: RestartOptions): Promise<void>
}

export interface ServerParts {
  readonly folder: string
  readonly address: string
  readonly nodes: readonly ServerNode[]
  /** All nodes, until the whole is ready. */
  start(): Promise<void>
  /** Called while nothing runs: leaves what the first start found. */
  wipe(): Promise<void>
}

export function serverOf({ folder, address, nodes, start, wipe }: ServerParts): Server {
  const stop = async (): Promise<void> => {
    await Promise.all(nodes.map((node) => node.stop()))
  }
  return {
    address,
    nodes,
    folder,
    stop,
    async kill() {
      await Promise.all(nodes.map((node) => node.kill()))
    },
    pause() {
      for (const node of nodes) node.pause()
    },
    resume() {
      for (const node of nodes) node.resume()
    },
    async restart({ keepData = true } = {}) {
      await stop()
      if (!keepData) await wipe()
      await start()
    },
    // Nobody will read its data again: there is nothing to stop in order.
    async [Symbol.asyncDispose]() {
      await Promise.all(nodes.map((node) => node.kill()))
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

export const temporaryFolder = (name: string): string => mkdtempSync(join(tmpdir(), `tidemark-${name}-`))

const tries = 3

/** A port found free may be taken a moment later, by a test beside us: then all of it again. */
export async function withRetry<T extends Server>(
  open: () => Promise<{ server: T; start(): Promise<void> }>,
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    const { server, start } = await open()
    try {
      await start()
      return server
    } catch (error) {
      await server[Symbol.asyncDispose]()
      if (attempt === tries || !/in use|BindException/i.test(error instanceof Error ? error.message : '')) throw error
    }
  }
}
