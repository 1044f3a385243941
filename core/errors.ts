/**
 * The one error class and its table of codes. Kinds say what the caller does next: `invalid` fix the call, `conflict`
 * reread and retry, `unavailable` back off and retry, `data` repair or skip, `closed` open again, `internal` report it.
 * Texts may change, codes do not.
 */
export type ErrorKind = 'invalid' | 'conflict' | 'unavailable' | 'data' | 'closed' | 'internal'

interface CodeEntry {
  readonly kind: ErrorKind
  readonly meaning: string
  readonly remedy: string
}

const entry = (kind: ErrorKind, meaning: string, remedy: string): CodeEntry => ({ kind, meaning, remedy })

export const errorCodes = {
  // definitions and projects
  FS_NOT_YET: entry(
    'invalid',
    'The design has it, this version does not build it.',
    'Leave it out, or use a version that has it.',
  ),
  FS_DEFINITION_INVALID: entry(
    'invalid',
    'A definition contradicts itself or another one.',
    'Change the definition that the message names.',
  ),
  FS_PROJECT_NOT_FOUND: entry(
    'invalid',
    'There is no tidemark.config.ts here.',
    'Go to a project folder, name one with --project, or make one with `tidemark init`.',
  ),
  FS_CONFIG_INVALID: entry(
    'invalid',
    'An option has a wrong name, type or value.',
    'Change the option that the message names.',
  ),
  FS_NOT_APPLIED: entry(
    'conflict',
    'The definitions in the project differ from those applied.',
    'Look at `tidemark plan`, then run `tidemark apply`.',
  ),
  FS_USAGE: entry('invalid', 'The command line does not say what to do.', 'See `tidemark COMMAND --help`.'),
  FS_NODE_TOO_OLD: entry(
    'invalid',
    'This Node is too old and no bundled one fits the platform.',
    'Run `npm ci` with optional dependencies, or install Node 24.',
  ),
  // calls
  FS_TIME_INVALID: entry(
    'invalid',
    'A time is neither epoch milliseconds nor ISO 8601 with a zone.',
    'Write 1577836800000 or 2020-01-01T00:00:00Z.',
  ),
  FS_STREAM_UNKNOWN: entry('invalid', 'No stream of that name is defined.', '`tidemark status` lists the streams.'),
  FS_VIEW_UNKNOWN: entry('invalid', 'No feature view of that name is defined.', '`tidemark status` lists the views.'),
  FS_FEATURE_UNKNOWN: entry(
    'invalid',
    'The view has no feature of that name.',
    '`tidemark status` lists the features.',
  ),
  FS_SERVICE_UNKNOWN: entry(
    'invalid',
    'No feature service of that name is defined.',
    '`tidemark status` lists the services.',
  ),
  FS_MODEL_UNKNOWN: entry(
    'invalid',
    'No model is registered under that name.',
    'Train one, then call again; `tidemark status` lists the models.',
  ),
  FS_ENTITY_INVALID: entry(
    'invalid',
    'An entity key is missing, of a wrong type or longer than 1,024 bytes.',
    'Give every key field of the entity, in its type.',
  ),
  FS_REQUEST_INVALID: entry('invalid', 'A request is malformed.', 'Change the field that the message names.'),
  FS_LIMIT_EXCEEDED: entry('invalid', 'A request is larger than the service allows.', 'Ask for less at a time.'),
  FS_LABELS_INVALID: entry(
    'invalid',
    'A label file lacks a column or holds a value of a wrong type.',
    'Give the entity keys, `as_of` and the request fields; the message names row and column.',
  ),
  FS_FILE_INVALID: entry('data', 'A file cannot be read as what it should be.', 'Check the path and the format.'),
  FS_EVENT_INVALID: entry(
    'data',
    'An event does not fit its stream.',
    'Correct the field that the message names and send it again.',
  ),
  // state
  FS_LOCKED: entry(
    'conflict',
    'Another process writes here.',
    'Stop that process, or let it do the work (`tidemark up` takes `append` and `import`).',
  ),
  FS_FENCED: entry('conflict', 'A newer owner has taken these shards.', 'Stop this worker: its successor goes on.'),
  FS_POSITION_GAP: entry(
    'conflict',
    'A flush does not continue where the store stands.',
    'Reread the position and go on from there.',
  ),
  FS_LOG_FORMAT: entry(
    'data',
    'The log has another format version, and is left untouched.',
    'Use the version that wrote it.',
  ),
  FS_LOG_CORRUPT: entry(
    'data',
    'A record batch in the log fails its checksum or its structure.',
    'Restore the segment from a copy; what lies behind it is not read.',
  ),
  FS_STATE_FORMAT: entry(
    'internal',
    'Derived state has another format version.',
    'It is rebuilt from the log; run `tidemark rebuild` if that was interrupted.',
  ),
  FS_LOG_UNAVAILABLE: entry(
    'unavailable',
    'The log cannot be written: the disk is full or fails.',
    'Make room or mend the disk; what was acknowledged is safe. Call again.',
  ),
  FS_KAFKA_UNAVAILABLE: entry(
    'unavailable',
    'No Kafka broker, or no leader of a partition, answers within the time for it.',
    'Check that the brokers run and that their advertised addresses can be reached; call again.',
  ),
  FS_KAFKA_AUTH: entry(
    'invalid',
    'Kafka does not accept who we are, or gives no right to what was asked.',
    'Check mechanism, user and password, and the rights on the topic that the message names.',
  ),
  FS_KAFKA_TLS: entry(
    'invalid',
    'No TLS connection to a Kafka broker comes about.',
    "Check that the port speaks TLS (or that it does not), the broker's certificate and the authority that signed it.",
  ),
  FS_KAFKA_PROTOCOL: entry(
    'data',
    'What answers is no Kafka broker, an older one than 3.1, or refuses the request.',
    'Check host and port; the message names what was asked and answered.',
  ),
  FS_KAFKA_TOPIC_CHANGED: entry(
    'conflict',
    'A topic was deleted, or deleted and made again, while it was read.',
    'Look at the stream again: its epoch says that it is another one, and what was built from it is built anew.',
  ),
  FS_KNOWN_AT_REFUSED: entry(
    'invalid',
    'Events come with the time at which they became known, but topics bear the time of their append.',
    "Declare knownAt: 'createTime' on the stream before its topic is made, or copy the history with `tidemark log copy`.",
  ),
  FS_LOG_KNOWN_AT: entry(
    'invalid',
    "Records of a topic bear another time than their stream declares: the broker's or their producers'.",
    'Declare the `knownAt` of the topic on the stream, or change message.timestamp.type of the topic.',
  ),
  FS_LOG_COMPACTED: entry(
    'invalid',
    'A topic is compacted: it forgets what was known before, and values of then with it.',
    'Set cleanup.policy=delete, and write again what is lost; or use another topic.',
  ),
  FS_LOG_RETENTION: entry(
    'invalid',
    'A topic drops records that windows or ttls of its views still reach (error), or will once they are older (warning).',
    'Set retention.ms=-1 and retention.bytes=-1 of the topic, or make the windows shorter.',
  ),
  FS_LOG_PARTITIONS: entry(
    'invalid',
    'A topic has fewer partitions than its stream declares.',
    'Add partitions to the topic, or declare as many as it has.',
  ),
  FS_LOG_BATCH_BYTES: entry(
    'invalid',
    'A topic refuses batches as large as `import` and `append` write (a warning).',
    'Raise max.message.bytes of the topic; leave it where only others write to it.',
  ),
  FS_COPY_DIFFERS: entry(
    'conflict',
    'The log that is copied to holds other records than the one that is copied.',
    'Copy into topics that are empty (another `topicPrefix`), and let nobody append to them meanwhile.',
  ),
  FS_ROW_CORRUPT: entry(
    'data',
    'A stored row fails its checksum.',
    'Run `tidemark rebuild`: rows are derived from the log.',
  ),
  FS_HISTORY_TRIMMED: entry(
    'data',
    'Neither the log nor the offline store still holds what the value needs.',
    'Ask for a later time, or keep more history.',
  ),
  FS_NOT_READY: entry(
    'unavailable',
    'The projection that answers this is still being built.',
    'Start `tidemark worker` (or `up`) and call again.',
  ),
  FS_POSITION_NOT_REACHED: entry(
    'unavailable',
    'The asked position was not applied within the deadline.',
    'Call again, or with a longer deadline.',
  ),
  FS_ONLINE_UNAVAILABLE: entry('unavailable', 'The online store does not answer.', 'Check that it runs; call again.'),
  FS_REGISTRY_UNAVAILABLE: entry(
    'unavailable',
    'The schema registry does not answer; schemas that were read before go on.',
    'Check that it runs and that its address is right; readers try again by themselves.',
  ),
  FS_REGISTRY_REFUSED: entry(
    'invalid',
    'The schema registry refuses the user.',
    'Correct username and password of the registry in the config, or the rights of the user.',
  ),
  FS_ONLINE_FULL: entry(
    'unavailable',
    'The online store has no memory left for rows; what it holds can be read.',
    'Raise its `maxmemory` or add nodes; the worker goes on by itself then.',
  ),
  FS_ONLINE_SERVER: entry(
    'invalid',
    'The server of the online store may lose or hide rows as it is set up: it evicts, is a replica, is too old, or is not the kind that is configured.',
    'Change what the message names, on the server or in the configuration.',
  ),
  FS_ONLINE_DENIED: entry(
    'invalid',
    'The online store refuses user, password or a right.',
    'Correct user and password, or give the user the commands and keys that connectors/redis/README.md lists.',
  ),
  FS_FLUSH_TOO_LARGE: entry(
    'invalid',
    'What one shard has to write at once is more than the online store takes; a flush is never split.',
    'Give the widest windows of the view a `resolution`: one entity is as large as that.',
  ),
  FS_OFFLINE_UNAVAILABLE: entry('unavailable', 'The offline store does not answer.', 'Check that it runs; call again.'),
  FS_OFFLINE_QUERY: entry(
    'invalid',
    'The offline store refused a query.',
    "Correct the SQL; the cause has the engine's words.",
  ),
  FS_INFERENCE_UNAVAILABLE: entry(
    'unavailable',
    'The inference process does not answer.',
    'It is started again; call again.',
  ),
  FS_MODEL_INVALID: entry(
    'data',
    'A model file does not fit its service.',
    'Train it again for this version of the service.',
  ),
  FS_SERVER_UNAVAILABLE: entry('unavailable', 'No server answers there.', 'Start `tidemark up` or `tidemark serve`.'),
  FS_DEADLINE: entry('unavailable', 'The deadline passed.', 'Call again, or with a longer deadline.'),
  FS_CLOSED: entry('closed', 'It was closed before the call.', 'Open it again.'),
  FS_INTERNAL: entry('internal', 'An invariant of Tidemark is broken.', 'Report it with the message and the log.'),
  // data, as dead-letter causes
  FS_DEAD_UNDECODABLE: entry('data', 'The payload does not decode with its writer schema.', 'Correct the producer.'),
  FS_DEAD_RANGE: entry('data', 'A value does not fit the declared type.', 'Widen the field, or correct the producer.'),
  FS_DEAD_NULL: entry(
    'data',
    'A field that is not nullable is null or missing.',
    'Declare it nullable, or correct the producer.',
  ),
  FS_DEAD_NON_FINITE: entry(
    'data',
    'A NaN or an infinity in a field that does not allow it.',
    'Declare allowNonFinite, or correct the producer.',
  ),
  FS_DEAD_EVENT_TIME: entry(
    'data',
    'The event time is missing, not an integer, or outside the years 1 to 9999.',
    'Correct the producer.',
  ),
  FS_DEAD_TOO_LATE: entry(
    'data',
    'knownAt - eventTime exceeds the lateness of the view.',
    'Raise `lateness`, or accept the loss.',
  ),
  FS_DEAD_TOO_EARLY: entry(
    'data',
    'eventTime - knownAt exceeds maxAhead of the view.',
    "Correct the producer's clock.",
  ),
  FS_DEAD_KNOWN_AT: entry(
    'data',
    'knownAt lies more than maxKnownAtJump of the stream beyond all before it in its partition.',
    "Correct the producer's clock; or raise `maxKnownAtJump`, where the partition was silent for so long.",
  ),
  FS_NO_RECORD: entry(
    'data',
    'The log has no record at this offset: the mark of a transaction, or what one aborted. In offline tables only.',
    'Nothing has to be done: it is no dead letter.',
  ),
  FS_DEAD_KEY: entry('data', 'The entity key is null or longer than 1,024 bytes.', 'Correct the producer.'),
  FS_DEAD_OP: entry(
    'data',
    'The operation is unknown, or one that the stream does not take.',
    'Correct the producer, or declare `id` (insert, retract) or `changelog` (upsert, delete) on the stream.',
  ),
  FS_DEAD_DUPLICATE_DIFFERS: entry(
    'data',
    'A duplicate, by id, entity key and event time, has other content than the first one; the first one counts.',
    'Retract the event and insert it under another id (its own stays taken for dedupeSpan), or correct the producer.',
  ),
} as const satisfies Record<string, CodeEntry>

export type ErrorCode = keyof typeof errorCodes

export class FeatureStoreError extends Error {
  readonly code: ErrorCode
  readonly kind: ErrorKind
  readonly remedy: string

  constructor(code: ErrorCode, message: string, options: { readonly remedy?: string; readonly cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'FeatureStoreError'
    this.code = code
    this.kind = errorCodes[code].kind
    this.remedy = options.remedy ?? errorCodes[code].remedy
  }
}

export const notYet = (what: string): FeatureStoreError =>
  new FeatureStoreError('FS_NOT_YET', `${what} is not built yet`)
