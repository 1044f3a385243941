import { FeatureStoreError, type ErrorCode } from '../../core/errors.ts'

interface Mapping {
  readonly when: RegExp
  readonly code: ErrorCode
  readonly message: string
  readonly remedy?: string
}

/*
 * What Redis and ioredis say, by the first words of the message. Everything `unavailable` may be sent again as it is: a
 * flush that was applied all the same answers already-applied then. First match counts.
 */
const mappings: readonly Mapping[] = [
  {
    when: /\bOOM\b/,
    code: 'FS_ONLINE_FULL',
    message: 'Redis has reached its maxmemory and takes no rows',
  },
  {
    when: /\bREADONLY\b/,
    code: 'FS_ONLINE_UNAVAILABLE',
    message: 'this Redis is a read-only replica now',
    remedy: 'A failover ends by itself where Sentinel or a cluster names the new master; otherwise give its address.',
  },
  {
    when: /\b(NOREPLICAS|MISCONF)\b/,
    code: 'FS_ONLINE_UNAVAILABLE',
    message: 'Redis refuses writes by its own settings (too few replicas, or a snapshot that failed)',
    remedy: 'Mend the replicas (min-replicas-to-write) or the disk of the snapshot; call again.',
  },
  {
    when: /\b(LOADING|MASTERDOWN|BUSY|TRYAGAIN|CLUSTERDOWN|MOVED|ASK)\b|[Rr]edirection|ClusterAllFailed|slots cache/,
    code: 'FS_ONLINE_UNAVAILABLE',
    message: 'Redis is starting, busy, or its cluster is not whole',
  },
  {
    when: /\b(WRONGPASS|NOAUTH|NOPERM|invalid password)\b|without any password configured/,
    code: 'FS_ONLINE_DENIED',
    message: 'Redis refuses this user, or the user has no right to a command or key',
  },
  {
    when: /\bWRONGTYPE\b/,
    code: 'FS_ONLINE_SERVER',
    message: 'a key of the online store holds something of another kind',
    remedy: 'Give the online store a prefix that nothing else in this Redis uses.',
  },
  {
    when: /user_script|\bERR\b|\bCROSSSLOT\b/,
    code: 'FS_INTERNAL',
    message: 'Redis refused a command of the online store',
  },
]

/** The coded error for whatever ioredis rejected with: what is not known is a connection that was lost. */
export function onlineError(cause: unknown): FeatureStoreError {
  if (cause instanceof FeatureStoreError) return cause
  const text = cause instanceof Error ? `${cause.name} ${cause.message}` : String(cause)
  const found = mappings.find(({ when }) => when.test(text))
  if (found === undefined)
    return new FeatureStoreError('FS_ONLINE_UNAVAILABLE', 'Redis does not answer', { cause: withoutArguments(cause) })
  const { code, message, remedy } = found
  return new FeatureStoreError(code, message, {
    cause: withoutArguments(cause),
    ...(remedy === undefined ? {} : { remedy }),
  })
}

/** ioredis hangs the command with its arguments on the error: entity keys and passwords must not reach a log with it. */
function withoutArguments(cause: unknown): unknown {
  return cause instanceof Error ? new Error(cause.message.slice(0, 500)) : cause
}

export const isNoScript = (error: unknown): boolean => error instanceof Error && /\bNOSCRIPT\b/.test(error.message)

/** What one command, sent alone, can be led through by ioredis, and a pipeline cannot: a slot that moves or moved. */
export const isRedirection = (error: unknown): boolean =>
  error instanceof Error &&
  /^(MOVED|ASK|TRYAGAIN|CLUSTERDOWN)\b|Connection is closed|same slots allocation group/.test(error.message)
