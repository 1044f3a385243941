/**
 * What lies between a process and a server. Commands of one connection arrive in the order in which they were sent; those
 * of two connections in any order. Each command meets one fate:
 *
 *     told        sent ──► done ──► answered
 *     doubled     sent ──► done ──► answered … done once more
 *     lost        sent ──► ✗              … the sender is told that nobody answers
 *     unanswered  sent ──► done ──► ✗     … the same
 *     late        sent … the sender is told … done
 */
import { FeatureStoreError, type ErrorCode } from '../../../core/errors.ts'
import type { Scheduler } from '../scheduler.ts'
import type { SimProcess } from './process.ts'

export const fates = ['doubled', 'lost', 'unanswered', 'late'] as const
export type Fate = (typeof fates)[number] | 'told'

/** How a server is reached, now. */
export class Route {
  /** Nothing gets through until then. */
  cutUntilMs = 0
  /** Everything takes so many times as long. */
  slowUntilMs = 0
  /** Commands meet a fate more often until then. */
  noisyUntilMs = 0
  /** Connections by process: when the last command arrived. */
  readonly arrivals = new Map<string, number>()
}

export interface Command<T> {
  readonly process: SimProcess
  readonly route: Route
  readonly connection: string
  readonly label: string
  readonly run: () => T
  /** Told where nobody answers. */
  readonly code: ErrorCode
}

const timeoutMs = 400
const slowness = 12

export class SimNetwork {
  readonly #scheduler: Scheduler
  readonly #onFate: (fate: string) => void
  /** Share of the commands that meet one, and while a route is noisy. */
  fateShare = 0
  readonly noisyShare = 0.15

  constructor(scheduler: Scheduler, onFate: (fate: string) => void) {
    this.#scheduler = scheduler
    this.#onFate = onFate
  }

  send<T>({ process, route, connection, label, run, code }: Command<T>): Promise<T> {
    const scheduler = this.#scheduler
    const fate = this.#fateOf(route)
    const arrivalMs = this.#arrival(`${process.name}/${connection}`, route)
    const answerMs = this.#delay(route)
    return new Promise((resolve, reject) => {
      const note = (what: string): void => scheduler.note(process.name, `${label} ${what}`)
      const execute = (): (() => void) => {
        try {
          const value = run()
          return () => resolve(value)
        } catch (error) {
          if (!(error instanceof FeatureStoreError)) scheduler.fail(error)
          return () => reject(error as Error)
        }
      }
      const giveUp = (): void =>
        scheduler.after(timeoutMs, () => {
          note('is not answered')
          return process.receive(() => reject(new FeatureStoreError(code, `${label}: no answer`)))
        })
      if (fate !== 'told') this.#onFate(fate)
      switch (fate) {
        case 'lost':
          note('is lost')
          return giveUp()
        case 'unanswered':
          scheduler.after(arrivalMs, () => {
            note('is done, its answer lost')
            execute()
          })
          return giveUp()
        case 'late':
          scheduler.after(timeoutMs + arrivalMs + scheduler.random.unit() * 4_000, () => {
            note('is done late')
            execute()
          })
          return giveUp()
        case 'doubled':
        case 'told':
          scheduler.after(arrivalMs, () => {
            note('is done')
            const answer = execute()
            scheduler.after(answerMs, () => process.receive(answer))
          })
          if (fate === 'doubled')
            scheduler.after(arrivalMs + scheduler.random.unit() ** 3 * 3_000, () => {
              note('is done once more')
              execute()
            })
      }
    })
  }

  #fateOf(route: Route): Fate {
    const { nowMs, random } = this.#scheduler
    if (nowMs < route.cutUntilMs) return random.chance(0.5) ? 'lost' : 'unanswered'
    return random.chance(nowMs < route.noisyUntilMs ? this.noisyShare : this.fateShare) ? random.pick(fates) : 'told'
  }

  #delay({ slowUntilMs }: Route): number {
    const { nowMs, random } = this.#scheduler
    // Mostly short, now and then long.
    const ms = 0.5 + 5 * random.unit() + 60 * random.unit() ** 12
    return nowMs < slowUntilMs ? ms * slowness : ms
  }

  #arrival(connection: string, route: Route): number {
    const { nowMs } = this.#scheduler
    const atMs = Math.max(nowMs + this.#delay(route), (route.arrivals.get(connection) ?? 0) + 1 / 1_024)
    route.arrivals.set(connection, atMs)
    return atMs - nowMs
  }
}
