/** `tidemark worker` as a process of its own, to be killed, stopped and woken. */
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { join } from 'node:path'
import { start, type Finished, type Running } from '../cli/support.ts'
import type { Places } from './servers.ts'

export interface WorkerStart {
  /** Null: where the config says. */
  readonly places: Places | null
  /** Dies by SIGKILL when it comes to this step (kill-steps.ts) for the n-th time. */
  readonly killAt?: { readonly step: string; readonly times: number }
}

/** What a supervisor allows a process to end in order; a slow, shared machine is no reason to fail. */
const leaveMsMax = 60_000
const preload = pathToFileURL(join(import.meta.dirname, 'preload.ts')).href

export class WorkerProcess {
  readonly number: number
  /** When it has ended, however that happened. */
  readonly ended: Promise<Finished>
  /** False: that it ends is a finding. */
  mayEnd: boolean
  readonly #running: Running
  #hasEnded = false

  constructor(number: number, folder: string, { places, killAt }: WorkerStart) {
    this.number = number
    this.mayEnd = killAt !== undefined
    this.#running = start(folder, ['worker'], undefined, {
      NODE_OPTIONS: `${process.env['NODE_OPTIONS'] ?? ''} --import ${preload}`.trim(),
      ...(places === null ? {} : { TIDEMARK_CHAOS_PLACES: JSON.stringify(places) }),
      ...(killAt === undefined ? {} : { TIDEMARK_CHAOS_KILL: `${killAt.step}:${killAt.times}` }),
    })
    this.ended = this.#running.finished.finally(() => {
      this.#hasEnded = true
    })
  }

  get hasEnded(): boolean {
    return this.#hasEnded
  }

  /** Of the process group: the launcher and the worker itself. */
  get pid(): number {
    return this.#running.pid
  }

  /** What it wrote to stderr: one line a problem. */
  get stderr(): string {
    return this.#running.stderr
  }

  /** SIGKILL, stopped or not. */
  async kill(): Promise<void> {
    this.mayEnd = true
    this.#signal('SIGKILL')
    await this.ended
  }

  /** SIGSTOP: its connections stay open, and nothing is answered. */
  pause(): void {
    this.#signal('SIGSTOP')
  }

  wake(): void {
    this.#signal('SIGCONT')
  }

  /** SIGTERM, as a supervisor sends it. Errors: it does not end, or not with code 0. */
  async leave(): Promise<void> {
    this.mayEnd = true
    if (!this.#hasEnded) process.kill(this.pid, 'SIGTERM')
    const end = await Promise.race([this.ended, sleep(leaveMsMax, null, { ref: false })])
    if (end === null) throw new Error(`worker ${this.number} does not end in order\n${this.stderr}`)
    if (end.code !== 0) throw new Error(`worker ${this.number} ended with code ${end.code}\n${end.stderr}`)
  }

  #signal(name: NodeJS.Signals): void {
    if (this.#hasEnded) return
    try {
      process.kill(-this.pid, name)
    } catch (error) {
      // It has ended; we shall be told in a moment.
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
    }
  }
}
