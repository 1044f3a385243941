/** Members of a shard group, and who has what: for tests of ownership. */
import { spawn, type ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Logger } from '../../../core/ports/environment.ts'
import type { OwnershipListener } from '../../../core/ports/shard-ownership.ts'
import { groupOf, type MemberOptions, type Told } from './shard-member.ts'

/** What one member was told. */
export class Recorder implements OwnershipListener {
  readonly events: Told[] = []
  readonly owned = new Set<number>()
  /** What must not be: shards of two members, two calls at a time, calls after leaving. */
  readonly wrong: string[] = []
  hasLeft = false
  /** Called before a call of the listener resolves. */
  during: (told: Told) => Promise<void> = async () => {}
  readonly #others: readonly Recorder[]
  #isBusy = false

  /** `others`: members that have nothing in common with this one. */
  constructor(others: readonly Recorder[] = []) {
    this.#others = others
  }

  get sorted(): readonly number[] {
    return [...this.owned].sort((a, b) => a - b)
  }

  async assigned(shards: readonly number[]): Promise<void> {
    for (const shard of shards) {
      if (this.owned.has(shard)) this.wrong.push(`assigned ${shard} twice`)
      if (this.#others.some((other) => other.owned.has(shard))) this.wrong.push(`${shard} is another's`)
      this.owned.add(shard)
    }
    await this.#take({ told: 'assigned', shards })
  }

  async revoked(shards: readonly number[]): Promise<void> {
    try {
      await this.#take({ told: 'revoked', shards })
    } finally {
      for (const shard of shards) if (!this.owned.delete(shard)) this.wrong.push(`revoked ${shard}, which it had not`)
    }
  }

  async #take(told: Told): Promise<void> {
    if (this.#isBusy) this.wrong.push('told two things at a time')
    if (this.hasLeft) this.wrong.push('told something after it left')
    this.#isBusy = true
    this.events.push(told)
    try {
      await this.during(told)
    } finally {
      this.#isBusy = false
    }
  }
}

export class Members implements AsyncDisposable {
  readonly #options: MemberOptions
  readonly #all: Recorder[] = []
  readonly #leaving: (() => Promise<void>)[] = []

  constructor(options: MemberOptions) {
    this.#options = options
  }

  get groupId(): string {
    return this.#options.groupId
  }

  get recorders(): readonly Recorder[] {
    return this.#all
  }

  /** One in this process. */
  async join(logger?: Logger, prepare: (recorder: Recorder) => void = () => {}) {
    const recorder = new Recorder(this.#all)
    prepare(recorder)
    this.#all.push(recorder)
    const membership = await groupOf(this.#options, logger).join(recorder)
    const leave = async (): Promise<void> => {
      await membership[Symbol.asyncDispose]()
      recorder.hasLeft = true
      recorder.owned.clear()
    }
    this.#leaving.push(leave)
    return { recorder, leave }
  }

  /** One in a process of its own. What it has is not compared with what others have: it may be killed. */
  spawn(): { readonly recorder: Recorder; readonly child: ChildProcess } {
    const recorder = new Recorder()
    const script = join(import.meta.dirname, 'shard-member.ts')
    const child = spawn(process.execPath, ['--no-warnings', script, JSON.stringify(this.#options)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    createInterface({ input: child.stdout }).on('line', (line) => {
      const { told, shards } = JSON.parse(line) as Told
      void recorder[told](shards)
    })
    this.#leaving.push(async () => void child.kill('SIGKILL'))
    return { recorder, child }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#leaving.map((leave) => leave()))
  }
}
