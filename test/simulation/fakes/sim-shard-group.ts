/**
 * Who owns which shards, as a consumer group would say it: members come, go and are given up for dead, and at each change
 * shards are dealt anew.
 *
 *     deal ─► revoked to all that lose, and waited for ─► assigned to all that gain
 *                      └── no answer in time: given up for dead, its shards go to others all the same
 */
import type { OwnershipListener, ShardOwnership } from '../../../core/ports/shard-ownership.ts'
import type { Scheduler } from '../scheduler.ts'
import type { SimProcess } from './process.ts'

interface Member {
  readonly process: SimProcess
  readonly listener: OwnershipListener
  shards: readonly number[]
}

/** A member that does not give back within this time is dead to the group. */
const revokeMsMax = 900
/** A dead one is noticed after this. */
const sessionMs = 250

export class SimShardGroup {
  readonly #scheduler: Scheduler
  readonly #shards: number
  readonly #members = new Map<string, Member>()
  #dealing = false
  #again = false

  constructor(scheduler: Scheduler, shards: number) {
    this.#scheduler = scheduler
    this.#shards = shards
  }

  ownership(process: SimProcess): ShardOwnership {
    return {
      shared: true,
      join: async (listener) => {
        this.#members.set(process.name, { process, listener, shards: [] })
        this.deal()
        return {
          [Symbol.asyncDispose]: async () => {
            this.#members.delete(process.name)
            this.deal()
          },
        }
      },
    }
  }

  /** Nobody hears of it any more. */
  giveUp(name: string): void {
    this.#scheduler.after(sessionMs * (1 + this.#scheduler.random.unit()), () => {
      const isMember = this.#members.delete(name)
      if (isMember) this.deal()
      return isMember
    })
  }

  /** Deals all shards anew among those that are there. */
  deal(): void {
    this.#again = true
    if (this.#dealing) return
    this.#dealing = true
    this.#dealAll().catch((error: unknown) => this.#scheduler.fail(error))
  }

  async #dealAll(): Promise<void> {
    while (this.#again) {
      this.#again = false
      await this.#pause(5 + this.#scheduler.random.unit() * 60)
      await this.#dealOnce()
    }
    this.#dealing = false
  }

  async #dealOnce(): Promise<void> {
    const { random } = this.#scheduler
    const members = [...this.#members.values()]
    if (members.length === 0) return
    const owners = Array.from({ length: this.#shards }, () => random.pick(members))
    const given = (member: Member): number[] => [...owners.keys()].filter((shard) => owners[shard] === member)
    this.#scheduler.note(
      'group',
      `deals ${members.map((own) => `${own.process.name}: ${given(own).join(' ')}`).join(', ')}`,
    )
    await Promise.all(
      members.map(async (member) => {
        const shards = given(member)
        const lost = member.shards.filter((shard) => !shards.includes(shard))
        if (lost.length === 0 || (await this.#tell(member, (listener) => listener.revoked(lost)))) return
        this.#members.delete(member.process.name)
        this.#again = true
      }),
    )
    for (const member of members) {
      if (this.#members.get(member.process.name) !== member) continue
      const shards = given(member)
      const gained = shards.filter((shard) => !member.shards.includes(shard))
      member.shards = shards
      if (gained.length > 0) void this.#tell(member, (listener) => listener.assigned(gained))
    }
  }

  /** False: no answer in time. */
  #tell(member: Member, what: (listener: OwnershipListener) => Promise<void>): Promise<boolean> {
    const scheduler = this.#scheduler
    const delayMs = (): number => 1 + 12 * scheduler.random.unit()
    return new Promise((resolve) => {
      scheduler.after(revokeMsMax, () => (resolve(false), true))
      scheduler.after(delayMs(), () =>
        member.process.receive(() => {
          what(member.listener).then(
            () => scheduler.after(delayMs(), () => (resolve(true), true)),
            (error: unknown) => scheduler.fail(error),
          )
        }),
      )
    })
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.#scheduler.after(ms, () => (resolve(), true)))
  }
}
