/** The parts of the config that name servers: where they are, and how to be let in. */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { z } from 'zod'
import { FeatureStoreError } from '../core/errors.ts'

/** A secret: itself, or where it is. What is in the config file gets into version control. */
const secret = z.union([
  z.string().min(1),
  z.strictObject({ env: z.string().min(1) }),
  z.strictObject({ file: z.string().min(1) }),
])

const hostAndPort = /^(?:\[[0-9a-fA-F:]+\]|[^\s:[\]]+):(\d{1,5})$/

const address = z.string().superRefine((text, context) => {
  const port = Number(hostAndPort.exec(text)?.[1] ?? 0)
  if (port < 1 || port > 65_535)
    context.addIssue({ code: 'custom', message: `is ${JSON.stringify(text)}: write HOST:PORT` })
})

/** `true`: with the authorities that Node trusts. Files are PEM, relative to the project folder. */
const tls = z.union([
  z.boolean(),
  z.strictObject({
    caFile: z.string().min(1).optional(),
    certFile: z.string().min(1).optional(),
    keyFile: z.string().min(1).optional(),
    /** The name that the certificate has to bear, where it is not the host's. */
    serverName: z.string().min(1).optional(),
  }),
])

const httpUrl = z.string().superRefine((text, context) => {
  if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol))
    context.addIssue({ code: 'custom', message: `is ${JSON.stringify(text)}: write http://HOST:PORT` })
})

const whole = (least: number, most: number) => z.number().int().min(least).max(most)

export const kafkaConfig = z.strictObject({
  kind: z.literal('kafka'),
  /** Some brokers of the cluster: they name the others. */
  brokers: z.array(address).min(1),
  /** Topic of a stream = prefix + its name. */
  topicPrefix: z
    .string()
    .regex(/^[A-Za-z0-9._-]{0,100}$/)
    .default(''),
  tls: tls.default(false),
  sasl: z
    .strictObject({
      mechanism: z.enum(['plain', 'scram-sha-256', 'scram-sha-512']),
      username: z.string().min(1),
      password: secret,
    })
    .optional(),
  /** Copies of new topics; default: what the brokers say. */
  replicationFactor: whole(1, 32).optional(),
  /** Writer schemas of payloads in the wire format of a schema registry. */
  registry: z
    .strictObject({ url: httpUrl, username: z.string().min(1).optional(), password: secret.optional() })
    .optional(),
})

export const redisConfig = {
  kind: z.literal('redis'),
  /** One server. */
  address: address.optional(),
  /** A master that Sentinels watch. */
  sentinel: z
    .strictObject({
      name: z.string().min(1),
      addresses: z.array(address).min(1),
      username: z.string().min(1).optional(),
      password: secret.optional(),
    })
    .optional(),
  /** Some nodes of a cluster: they name the others. */
  cluster: z.array(address).min(1).optional(),
  database: whole(0, 1_000_000).optional(),
  username: z.string().min(1).optional(),
  password: secret.optional(),
  tls: tls.default(false),
  /** What all keys begin with. */
  prefix: z
    .string()
    .regex(/^[A-Za-z0-9._-]{1,64}$/)
    .default('tidemark'),
  /** How long one command may take, milliseconds. */
  timeoutMs: whole(100, 600_000).default(5_000),
}

export type Secret = z.output<typeof secret>
export type TlsConfig = z.output<typeof tls>
export type KafkaConfig = z.output<typeof kafkaConfig>

/** Errors: FS_CONFIG_INVALID, naming the option and never the secret. */
export function readSecret(option: string, given: Secret, folder: string): string {
  if (typeof given === 'string') return given
  if ('env' in given) {
    const value = process.env[given.env]
    if (value !== undefined && value !== '') return value
    throw new FeatureStoreError('FS_CONFIG_INVALID', `${option}: the environment has no ${given.env}`)
  }
  return readText(option, given.file, folder).trimEnd()
}

/** PEM texts, null without TLS. Errors: FS_CONFIG_INVALID for a file that cannot be read. */
export function readTls(option: string, given: TlsConfig, folder: string): TlsTexts | null {
  if (given === false) return null
  if (given === true) return {}
  const { caFile, certFile, keyFile, serverName } = given
  if ((certFile === undefined) !== (keyFile === undefined))
    throw new FeatureStoreError('FS_CONFIG_INVALID', `${option}: certFile and keyFile go together`)
  return {
    ...(caFile === undefined ? {} : { ca: readText(`${option}.caFile`, caFile, folder) }),
    ...(certFile === undefined ? {} : { cert: readText(`${option}.certFile`, certFile, folder) }),
    ...(keyFile === undefined ? {} : { key: readText(`${option}.keyFile`, keyFile, folder) }),
    ...(serverName === undefined ? {} : { servername: serverName }),
  }
}

export interface TlsTexts {
  readonly ca?: string
  readonly cert?: string
  readonly key?: string
  readonly servername?: string
}

/** HOST:PORT, IPv6 in brackets. */
export function addressOf(text: string): { readonly host: string; readonly port: number } {
  const at = text.lastIndexOf(':')
  return { host: text.slice(0, at).replace(/^\[|\]$/g, ''), port: Number(text.slice(at + 1)) }
}

function readText(option: string, file: string, folder: string): string {
  try {
    return readFileSync(resolve(folder, file), 'utf8')
  } catch (cause) {
    throw new FeatureStoreError('FS_CONFIG_INVALID', `${option}: ${file} cannot be read`, { cause })
  }
}
