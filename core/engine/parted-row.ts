import type { ViewPlan } from './plan.ts'
import { decodeHead, decodePart, type Directory, type Head, type Part } from './row-parts.ts'
import { ViewState, type EntityEvents } from './state/view-state.ts'

/** Events of one part, as an entity of its own. */
interface HeldPart {
  readonly entity: number
  readonly check: number
  readonly bytes: number
}

/** Parts [from, to) of a directory. */
export interface Stretch {
  readonly from: number
  readonly to: number
}

/** The parts that can hold events in [asOf - reach, asOf). */
export function stretchOf({ parts }: Directory, asOfMs: number, reachMs: number): Stretch {
  const firstOf = (test: (part: Part) => boolean): number => {
    let low = 0
    let high = parts.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (test(parts[middle] as Part)) high = middle
      else low = middle + 1
    }
    return low
  }
  const from = firstOf(({ lastMs }) => lastMs >= asOfMs - reachMs)
  return {
    from,
    to: Math.max(
      from,
      firstOf(({ firstMs }) => firstMs >= asOfMs),
    ),
  }
}

/**
 * The decoded parts of one entity's row, to be read as the events of any stretch of it. Parts are kept by name with the
 * summaries that finishing made of their runs, so that what a new head leaves as it was is not decoded again.
 *
 *     entities of the state    | assembled: runs of … | tail | part 3 | part 12 | …
 *
 * Nothing depends on what is held: a part counts only for a directory that means its very bytes.
 */
export class PartedRow {
  readonly #plan: ViewPlan
  #state: ViewState
  #assembled = 0
  #tail = 0
  #free: number[] = []
  #parts = new Map<number, HeldPart>()
  #head: Uint8Array | null = null
  #known: Head | null = null
  #decodedBytes = 0
  /** Stored bytes of what is held. */
  bytes = 0

  constructor(plan: ViewPlan) {
    this.#plan = plan
    this.#state = this.#begin()
  }

  #begin(): ViewState {
    this.#state = new ViewState(this.#plan)
    this.#assembled = this.#state.events.addEntity()
    this.#tail = this.#state.events.addEntity()
    this.#parts = new Map()
    this.#free = []
    this.#head = null
    this.bytes = 0
    this.#decodedBytes = 0
    return this.#state
  }

  /** Newest event time of what was pruned, by the head. */
  get prunedNewestMs(): number {
    return this.#known?.prunedNewestMs ?? Number.NEGATIVE_INFINITY
  }

  /** Takes the head that the next calls mean. Errors: FS_STATE_FORMAT, FS_ROW_CORRUPT. */
  setHead(row: Uint8Array): Directory {
    if (this.#head !== null && this.#known !== null && Buffer.compare(this.#head, row) === 0)
      return this.#known.directory
    // Strings that no part has any more stay in the tables: begin anew before they pile up.
    if (this.#decodedBytes > 8 * this.bytes + (1 << 20)) this.#begin()
    const { events } = this.#state
    events.compose(this.#assembled, [])
    events.clear(this.#tail)
    this.bytes -= this.#head?.length ?? 0
    this.#head = null
    this.#known = decodeHead(this.#state, this.#tail, row)
    this.#head = row
    this.bytes += row.length
    this.#decodedBytes += row.length
    const { directory } = this.#known
    const checks = new Map(directory.parts.map(({ name, check }) => [name, check]))
    for (const [name, { check }] of this.#parts) if (checks.get(name) !== check) this.#drop(name)
    return directory
  }

  #drop(name: number): void {
    const { entity, bytes } = this.#parts.get(name) as HeldPart
    this.#state.events.clear(entity)
    this.#free.push(entity)
    this.#parts.delete(name)
    this.bytes -= bytes
  }

  /** Names of the stretch's parts that are not held. */
  missing({ parts }: Directory, { from, to }: Stretch): number[] {
    return parts.slice(from, to).flatMap(({ name, check }) => (this.#parts.get(name)?.check === check ? [] : [name]))
  }

  /** Takes a part; false when its bytes are not those that the directory means. Errors: FS_STATE_FORMAT, FS_ROW_CORRUPT. */
  add(part: Part, bytes: Uint8Array): boolean {
    if (this.#parts.get(part.name)?.check === part.check) return true
    if (this.#parts.has(part.name)) this.#drop(part.name)
    const { events } = this.#state
    const entity = this.#free.pop() ?? events.addEntity()
    this.#decodedBytes += bytes.length
    try {
      if (!decodePart(this.#state, entity, part, bytes)) {
        this.#free.push(entity)
        return false
      }
    } catch (error) {
      this.#free.push(entity)
      throw error
    }
    this.#parts.set(part.name, { entity, check: part.check, bytes: bytes.length })
    this.bytes += bytes.length
    return true
  }

  /**
   * The events of the stretch and of the tail, until the next call. Null when a part is not held. What lies before the
   * stretch is as if it was pruned: `finish` says false where it would need it.
   */
  assemble({ from, to }: Stretch): EntityEvents | null {
    if (this.#known === null) return null
    const { directory, prunedNewestMs, prunedKnownMs } = this.#known
    const { events } = this.#state
    const entities: number[] = []
    for (let index = from; index < to; index++) {
      const { name, check } = directory.parts[index] as Part
      const held = this.#parts.get(name)
      if (held?.check !== check) return null
      entities.push(held.entity)
    }
    events.compose(this.#assembled, [...entities, this.#tail])
    let newestMs = prunedNewestMs
    let knownMs = prunedKnownMs
    for (let index = 0; index < from; index++) {
      newestMs = Math.max(newestMs, directory.parts[index]?.lastMs as number)
      knownMs = Math.max(knownMs, directory.parts[index]?.knownMs as number)
    }
    events.setPruned(this.#assembled, newestMs, knownMs)
    return { state: this.#state, entity: this.#assembled }
  }
}
