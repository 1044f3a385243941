import type { Catalog } from '../core/definition/catalog.ts'
import type { Logger } from '../core/ports/environment.ts'
import { keptForEver, type EventLog, type StreamKeeping } from '../core/ports/event-log.ts'
import {
  checkKeeping,
  isError,
  makesValuesWrong,
  needOf,
  refuseFindings,
  type LogFinding,
  type StreamNeed,
} from '../core/registry/log-check.ts'

export interface LogInspection {
  /** Errors first. */
  readonly findings: readonly LogFinding[]
  /** By the order asked. */
  readonly keepings: readonly StreamKeeping[]
}

/** What the log says of streams, and whether that will do. Errors: those of the log. */
export async function inspectLog(log: EventLog, needs: readonly StreamNeed[]): Promise<LogInspection> {
  const asked = needs.map(({ stream, partitions, knownAt }) => ({
    stream,
    partitions,
    ...(knownAt === null ? {} : { knownAt }),
  }))
  const keepings =
    log.inspect === undefined ? needs.map((need) => keptForEver(true, need.partitions)) : await log.inspect(asked)
  const findings = needs.flatMap((need, index) => checkKeeping(need, keepings[index] as StreamKeeping))
  return { findings: [...findings.filter(isError), ...findings.filter((finding) => !isError(finding))], keepings }
}

/**
 * For a worker that is about to begin: what would make it compute wrong values ends it, all else is told.
 *
 * Errors: FS_LOG_KNOWN_AT, FS_LOG_COMPACTED; those of the log.
 */
export async function checkBeforeWork(log: EventLog, catalog: Catalog, logger: Logger): Promise<void> {
  const { findings } = await inspectLog(
    log,
    [...catalog.streams.values()].map((stream) => needOf(catalog, stream)),
  )
  refuseFindings(findings.filter(makesValuesWrong))
  for (const { code, stream, message } of findings.filter((finding) => isError(finding)))
    logger.warn('log.keeping', { code, stream, reason: message })
}
