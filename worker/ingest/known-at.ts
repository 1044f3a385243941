import { FeatureStoreError } from '../../core/errors.ts'
import { lawfulTraits, type EventLog } from '../../core/ports/event-log.ts'

/** Errors: FS_KNOWN_AT_REFUSED for a log that sets the time at which a record became known itself. */
export function checkKeepsKnownAt(log: EventLog, why: string): void {
  if ((log.traits ?? lawfulTraits).timestamps === 'appended')
    throw new FeatureStoreError('FS_KNOWN_AT_REFUSED', `${why}, and the log sets its own`)
}
