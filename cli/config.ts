import { z } from 'zod'
import { FeatureStoreError, notYet } from '../core/errors.ts'
import { kafkaConfig, redisConfig } from './server-config.ts'

const notBuilt = (what: string, kinds: readonly string[]) =>
  z
    .string()
    .default('embedded')
    .superRefine((kind, context) => {
      if (kinds.includes(kind)) context.addIssue({ code: 'custom', message: `FS_NOT_YET ${what} ${kind}` })
      else if (kind !== 'embedded')
        context.addIssue({ code: 'custom', message: `is ${JSON.stringify(kind)}: 'embedded'` })
    })

/** A union by `kind`, which may be left out for `embedded`. */
const byKind = <T extends z.ZodType>(kinds: T) =>
  z.preprocess(
    (given) =>
      typeof given === 'object' && given !== null && !('kind' in given) ? { kind: 'embedded', ...given } : given,
    kinds,
  )

const kindsAre = (...kinds: readonly string[]) => ({
  error: ({ code, input }: { readonly code?: string; readonly input?: unknown }): string | undefined =>
    code === 'invalid_union'
      ? `is ${JSON.stringify((input as { readonly kind?: unknown } | null)?.kind)}: ${kinds.join(' or ')}`
      : undefined,
})

const whole = (least: number, most: number) => z.number().int().min(least).max(most)

const embeddedLog = z.strictObject({
  kind: z.literal('embedded'),
  /** When an append is acknowledged: once on disk, within 50 ms of it, or when the system likes. */
  fsync: z.enum(['always', 'interval', 'never']).default('always'),
})

const anyOnline = {
  shards: whole(1, 4096).default(64),
  /** How far behind its newest event a row answers an as-of by itself, milliseconds. */
  historyMs: whole(0, 31 * 86_400_000).default(3_600_000),
}
const embeddedOnline = z.strictObject({ kind: z.literal('embedded'), ...anyOnline })
const redisOnline = z.strictObject({ ...redisConfig, ...anyOnline }).superRefine((redis, context) => {
  const places = [redis.address, redis.sentinel, redis.cluster].filter((place) => place !== undefined)
  if (places.length !== 1) context.addIssue({ code: 'custom', message: 'needs one of address, sentinel and cluster' })
  if (redis.cluster !== undefined && redis.database !== undefined)
    context.addIssue({ code: 'custom', path: ['database'], message: 'a cluster has only database 0' })
})

/** Every option with its type, unit, default and range. Unknown keys are errors. */
const schema = z.strictObject({
  definitions: z.array(z.string().min(1)).min(1).default(['features.ts']),
  dataFolder: z.string().min(1).default('.tidemark'),
  log: byKind(z.discriminatedUnion('kind', [embeddedLog, kafkaConfig], kindsAre('embedded', 'kafka'))).prefault({}),
  online: byKind(z.discriminatedUnion('kind', [embeddedOnline, redisOnline], kindsAre('embedded', 'redis'))).prefault(
    {},
  ),
  offline: z.strictObject({ kind: notBuilt('offline store', ['clickhouse']) }).prefault({}),
  worker: z
    .strictObject({
      /** Bound of the rows that a worker holds, MiB. */
      memoryMb: whole(16, 65_536).default(512),
      /** Bound of what the feature history of one view holds, MiB; beyond it the history stops where it stands. */
      historyMemoryMb: whole(16, 1_048_576).default(2_048),
      /** Longest wait of applied events for a flush while more arrive, milliseconds. */
      flushMs: whole(1, 60_000).default(1_000),
      pollMs: whole(1, 10_000).default(20),
      /** How often a worker with nothing to write asks the online store where its rows stand, milliseconds. */
      checkMs: whole(100, 600_000).default(2_000),
    })
    .prefault({}),
  serving: z
    .strictObject({
      host: z.string().default('127.0.0.1'),
      port: whole(0, 65_535).default(7411),
      rowsMax: whole(1, 1_000_000).default(10_000),
      /** Bound of rows kept decoded, MiB as stored. */
      cacheMb: whole(0, 65_536).default(8),
      /** Bound of feature vectors kept finished, MiB; 0 finishes each one anew. */
      arenaMb: whole(0, 65_536).default(16),
    })
    .prefault({}),
  demo: z.strictObject({ stream: z.string(), file: z.string(), model: z.string() }).optional(),
})

export type Config = z.output<typeof schema>

/** Errors: FS_CONFIG_INVALID, FS_NOT_YET; each names the option. */
export function parseConfig(input: unknown, where: string): Config {
  const result = schema.safeParse(input)
  if (result.success) return result.data
  const messages = result.error.issues.map(({ path, message }) => ({ option: path.join('.') || 'the config', message }))
  const later = messages.find(({ message }) => message.startsWith('FS_NOT_YET '))
  if (later !== undefined) throw notYet(`${where}: ${later.option}: ${later.message.slice('FS_NOT_YET '.length)}`)
  throw new FeatureStoreError(
    'FS_CONFIG_INVALID',
    `${where}: ${messages.map(({ option, message }) => `${option}: ${message}`).join('; ')}`,
  )
}
