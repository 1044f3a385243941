import { FeatureStoreError } from '../../core/errors.ts'
import { Connection } from './connection.ts'
import { answerError } from './errors.ts'
import { type SaslOptions, type Settings } from './options.ts'
import { apiVersions } from './protocol/api-versions.ts'
import { codeName } from './protocol/codes.ts'
import { fetch } from './protocol/fetch.ts'
import { listOffsets } from './protocol/list-offsets.ts'
import { metadata } from './protocol/metadata.ts'
import { produce } from './protocol/produce.ts'
import { saslAuthenticate, saslHandshake } from './protocol/sasl.ts'
import { scramClient } from './scram.ts'

const needed = [metadata, listOffsets, fetch, produce]

/**
 * A connection that may be used: TLS agreed, the broker new enough, and we known to it.
 *
 * Errors: FS_KAFKA_UNAVAILABLE, FS_KAFKA_TLS, FS_KAFKA_AUTH, FS_KAFKA_PROTOCOL.
 */
export async function openConnection(host: string, port: number, settings: Settings): Promise<Connection> {
  const connection = await Connection.open(host, port, settings)
  try {
    await checkVersions(connection, settings)
    if (settings.sasl !== undefined) await authenticate(connection, settings.sasl, settings)
    return connection
  } catch (error) {
    connection[Symbol.dispose]()
    throw error
  }
}

async function checkVersions(connection: Connection, settings: Settings): Promise<void> {
  const { code, apis } = await connection.request(apiVersions, null, { timeoutMs: settings.connectTimeoutMs })
  if (code !== 0) throw answerError(code, `ApiVersions of broker ${connection.address}`)
  for (const { name, key, version } of needed) {
    const range = apis.find((each) => each.key === key)
    if (range === undefined || range.min > version || range.max < version)
      throw new FeatureStoreError(
        'FS_KAFKA_PROTOCOL',
        `broker ${connection.address} speaks ${name} ${range === undefined ? 'not at all' : `v${range.min} to v${range.max}`}, not v${version}: Kafka 3.1 or newer is needed`,
      )
  }
}

async function authenticate(connection: Connection, sasl: SaslOptions, settings: Settings): Promise<void> {
  const timeoutMs = settings.connectTimeoutMs
  const mechanism = sasl.mechanism.toUpperCase()
  const handshake = await connection.request(saslHandshake, mechanism, { timeoutMs })
  if (handshake.code !== 0)
    throw refused(connection, `${mechanism}: it offers ${handshake.mechanisms.join(', ') || 'no mechanism'}`)
  const step = async (text: string): Promise<string> => {
    const answer = await connection.request(saslAuthenticate, Buffer.from(text), { timeoutMs })
    if (answer.code !== 0)
      throw refused(connection, `user ${sasl.username}: ${answer.message ?? codeName(answer.code)}`)
    // Told again at four fifths of the time, by a new connection (KIP-368).
    if (answer.lifetimeMs > 0) connection.expiresAt = performance.now() + answer.lifetimeMs * 0.8
    return Buffer.from(answer.bytes).toString()
  }
  if (sasl.mechanism === 'plain') await step(`\0${sasl.username}\0${sasl.password}`)
  else await scram(connection, sasl, settings, step)
}

async function scram(
  connection: Connection,
  { mechanism, username, password }: SaslOptions,
  { random }: Settings,
  step: (text: string) => Promise<string>,
): Promise<void> {
  const client = scramClient(mechanism === 'scram-sha-256' ? 'sha256' : 'sha512', username, password, random)
  const serverFirst = await step(client.first)
  try {
    client.check(await step(await client.final(serverFirst)))
  } catch (cause) {
    if (cause instanceof FeatureStoreError) throw cause
    throw new FeatureStoreError('FS_KAFKA_AUTH', `broker ${connection.address}: ${(cause as Error).message}`, { cause })
  }
}

const refused = (connection: Connection, why: string): FeatureStoreError =>
  new FeatureStoreError('FS_KAFKA_AUTH', `broker ${connection.address} refuses ${why}`)
