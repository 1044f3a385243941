/**
 * Whether a log keeps what the definitions need of it: what `StreamKeeping` says of each stream against what its views read.
 *
 * How far back a view reaches, in times at which events became known:
 *
 *        ◄─ maxAhead ─►◄──────────── reach ───────────►
 *     ───┼─────────────┼───────────────────────────────┼── T
 *        known         event time: the oldest that counts
 *
 * A record that counts at T has its event time in [T - reach, T), and is known maxAhead before it at the earliest. What else
 * has a say in it (a duplicate within dedupeSpan, a retract, an event that is late) has the same event time, or is known
 * later: it lies in the same stretch, so dedupeSpan and lateness ask for no more.
 */
import { windowReachMs } from '../asof/visible.ts'
import type { Catalog } from '../definition/catalog.ts'
import { durationText, featureText } from '../definition/format.ts'
import type { StreamDefinition, ViewDefinition } from '../definition/types.ts'
import { FeatureStoreError, type ErrorCode } from '../errors.ts'
import type { KnownAtSource, NewStream, StreamKeeping } from '../ports/event-log.ts'

export interface LogFinding {
  /** `error`: apply refuses. */
  readonly severity: 'error' | 'warning'
  readonly code: ErrorCode
  readonly stream: string
  readonly message: string
  readonly remedy: string
}

/** How far back somebody reads a stream. */
export interface Reach {
  /** Infinity: to its first record. */
  readonly ms: number
  /** Who, and with what. */
  readonly of: string
}

/** What is needed of a stream. */
export interface StreamNeed extends Pick<NewStream, 'partitions'> {
  readonly stream: string
  /** Null: whoever says it. */
  readonly knownAt: KnownAtSource | null
  /** The furthest; null where nobody reads it to compute something. */
  readonly reach: Reach | null
}

/** Findings with which values would be wrong, not merely missing: a worker does not begin. */
const wrongValues: ReadonlySet<ErrorCode> = new Set(['FS_LOG_KNOWN_AT', 'FS_LOG_COMPACTED'])

export const newStream = ({ partitions, knownAt }: Pick<StreamDefinition, 'partitions' | 'knownAt'>): NewStream => ({
  partitions,
  ...(knownAt === undefined ? {} : { knownAt }),
})

/** What a stream's views need of it. */
export function needOf(catalog: Catalog, stream: StreamDefinition): StreamNeed {
  const reaches = [...catalog.views.values()].filter((view) => view.from === stream.name).flatMap(reachesOf)
  const furthest = reaches.reduce<Reach | null>((far, reach) => (far === null || reach.ms > far.ms ? reach : far), null)
  return {
    stream: stream.name,
    partitions: stream.partitions,
    knownAt: stream.knownAt ?? 'logAppendTime',
    reach: furthest,
  }
}

/** What Tidemark writes for itself and has to find again: definitions, schemas. */
export const needOfOwn = (stream: string, partitions: number): StreamNeed => ({
  stream,
  partitions,
  knownAt: null,
  reach: { ms: Number.POSITIVE_INFINITY, of: 'Tidemark reads it from its first record on' },
})

/** What is needed of a stream that nothing is written to. */
export const needOfEmpty = (stream: string, partitions: number): StreamNeed => ({
  stream,
  partitions,
  knownAt: null,
  reach: null,
})

function reachesOf(view: ViewDefinition): Reach[] {
  const ahead = view.maxAheadMs === 0 ? '' : ` (known up to ${durationText(view.maxAheadMs)} before: maxAhead)`
  const reach = (ms: number, what: string): Reach => ({
    ms: ms + view.maxAheadMs,
    of: Number.isFinite(ms)
      ? `view ${view.name} reaches ${durationText(ms)} back with ${what}${ahead}`
      : `view ${view.name} reaches back without bound with ${what}`,
  })
  return [
    ...view.features.map((feature) =>
      reach(windowReachMs(feature.window, view.ttlMs), `${feature.name}, ${featureText(feature)}`),
    ),
    ...(view.ttlMs === null ? [] : [reach(view.ttlMs, 'its ttl')]),
  ]
}

/** Errors first. Nothing where the log is as it has to be. */
export function checkKeeping(need: StreamNeed, keeping: StreamKeeping): LogFinding[] {
  const findings = [knownAtFinding, compactionFinding, partitionsFinding, ...retentionFindings, batchFinding].flatMap(
    (judge) => judge(need, keeping) ?? [],
  )
  return [...findings.filter(isError), ...findings.filter((finding) => !isError(finding))]
}

export const isError = ({ severity }: LogFinding): boolean => severity === 'error'

/** With this, a worker would compute something else than what the definitions say. */
export const makesValuesWrong = ({ code, severity }: LogFinding): boolean =>
  severity === 'error' && wrongValues.has(code)

/** Throws the first of these, with what the others say. Does nothing where there are none. */
export function refuseFindings(findings: readonly LogFinding[]): void {
  const [first, ...others] = findings
  if (first === undefined) return
  const more = others.map(({ code, message }) => `; ${code}: ${message}`).join('')
  throw new FeatureStoreError(first.code, `${first.message}${more}`, { remedy: first.remedy })
}

type Judge = (need: StreamNeed, keeping: StreamKeeping) => LogFinding | null

const placeOf = ({ stream }: StreamNeed, { system }: StreamKeeping): string => system?.place ?? `stream ${stream}`

const knownAtFinding: Judge = (need, keeping) => {
  const { stream, knownAt: declared } = need
  const { knownAt, system } = keeping
  if (declared === null || knownAt === null || declared === knownAt) return null
  const place = placeOf(need, keeping)
  const set = system === null ? '' : `set ${system.names.knownAt[declared]} of ${place}`
  return {
    severity: 'error',
    code: 'FS_LOG_KNOWN_AT',
    stream,
    message: `records of ${place} bear ${words[knownAt]}, and stream ${stream} declares ${words[declared]}`,
    remedy:
      declared === 'createTime'
        ? `Leave out knownAt: 'createTime' of stream ${stream}, or ${set}.`
        : `Declare knownAt: 'createTime' on stream ${stream}, if its producers' clocks are to say when events became known; otherwise ${set}.`,
  }
}

const words: Readonly<Record<KnownAtSource, string>> = {
  createTime: "their producers' time (knownAt createTime)",
  logAppendTime: 'the time of their append (knownAt logAppendTime)',
}

const compactionFinding: Judge = (need, keeping) => {
  if (!keeping.isCompacted) return null
  const place = placeOf(need, keeping)
  return {
    severity: 'error',
    code: 'FS_LOG_COMPACTED',
    stream: need.stream,
    message: `${place} is compacted: of the records of one key only the newest stays, and what was known before is lost`,
    remedy: `Set ${keeping.system?.names.uncompacted ?? 'it not to compact'} of ${place}, and write again what is lost; or define another stream over a topic that is not compacted.`,
  }
}

const partitionsFinding: Judge = (need, keeping) => {
  // More are read like the others; appends of Tidemark go to the declared ones, so that keys stay where they are.
  if (keeping.partitions >= need.partitions) return null
  const place = placeOf(need, keeping)
  return {
    severity: 'error',
    code: 'FS_LOG_PARTITIONS',
    stream: need.stream,
    message: `${place} has ${keeping.partitions} partitions, and ${need.partitions} are needed: appends to the others would fail`,
    remedy: `Add partitions to ${place} until it has ${need.partitions}, or declare as many as it has.`,
  }
}

const retention = (need: StreamNeed, message: string, remedy: string, isShort: boolean): LogFinding => ({
  severity: isShort ? 'error' : 'warning',
  code: 'FS_LOG_RETENTION',
  stream: need.stream,
  message,
  remedy,
})

const afterwards = 'what is gone cannot be built again (FS_HISTORY_TRIMMED)'

const retentionFindings: readonly Judge[] = [
  (need, keeping) => {
    const { retentionMs, system } = keeping
    if (retentionMs === null || need.reach === null) return null
    const place = placeOf(need, keeping)
    const kept = `${place} keeps records for ${durationText(retentionMs)} (${system?.names.retentionMs ?? 'retention'})`
    const forever = `Set ${system?.names.keepForever ?? 'no retention'} of ${place}: it then keeps everything`
    if (retentionMs < need.reach.ms) {
      const enough = Number.isFinite(need.reach.ms) ? `, or ${need.reach.ms} at least` : ''
      const remedy = `${forever}${enough}. Or make the window shorter.`
      return retention(need, `${kept}, and ${need.reach.of}`, remedy, true)
    }
    const borne =
      keeping.knownAt === 'createTime' ? '; by the time that they bear, so imported history may go at once' : ''
    return retention(need, `${kept}${borne}: ${afterwards}`, `${forever}.`, false)
  },
  (need, keeping) => {
    const { retentionBytes, system } = keeping
    if (retentionBytes === null || need.reach === null) return null
    const place = placeOf(need, keeping)
    const kept = `${place} keeps ${retentionBytes} bytes of a partition (${system?.names.retentionBytes ?? 'retention'})`
    const remedy = `Set ${system?.names.keepAllBytes ?? 'no bound'} of ${place}, and bound it by time where it must be bounded.`
    if (need.reach.ms === Number.POSITIVE_INFINITY)
      return retention(need, `${kept}, and ${need.reach.of}`, remedy, true)
    const message = `${kept}, which is no length of time: whether it covers ${durationText(need.reach.ms)} depends on how much is written, and ${afterwards}`
    return retention(need, message, remedy, false)
  },
]

const batchFinding: Judge = (need, keeping) => {
  const { batchBytesMax, system } = keeping
  if (batchBytesMax === null || system === null || batchBytesMax >= system.appendBytes) return null
  const { appendBytes, names } = system
  const place = placeOf(need, keeping)
  return {
    severity: 'warning',
    code: 'FS_LOG_BATCH_BYTES',
    stream: need.stream,
    message: `${place} takes batches of ${batchBytesMax} bytes at most (${names.batchBytes}), and import and append write up to ${appendBytes}: larger ones are refused`,
    remedy: `Set ${names.batchBytes} of ${place} to ${appendBytes}; leave it where only others write to it.`,
  }
}
