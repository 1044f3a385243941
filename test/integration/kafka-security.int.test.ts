import { rmSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { kafkajsOf, type KafkaOptions, openKafkajsLog, openKafkaLog, settingsOf } from '../../connectors/kafka/index.ts'
import { recordsFrom } from '../../connectors/kit/event-log-suite.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import { type KafkaServer, selfSigned, serverOfFile, startKafka } from '../support/services.ts'
import { temporaryFolder } from '../support/services/server.ts'
import { random } from './support/random.ts'
import { readRecords } from './support/read-records.ts'

const failure = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'none',
    (error: unknown) => (error instanceof FeatureStoreError ? `${error.code}: ${error.message}` : String(error)),
  )

function temporaryFolderOfTest(): string {
  const folder = temporaryFolder('tls')
  onTestFinished(() => rmSync(folder, { recursive: true }))
  return folder
}

/** Of the protocol. */
const operations = { describe: 8 }
const allowed = 3

const mechanisms = ['plain', 'scram-sha-256', 'scram-sha-512'] as const

async function securedBroker() {
  const broker = await startKafka({
    tls: true,
    sasl: [
      { name: 'alice', password: 'alice-secret' },
      { name: 'bob', password: 'bob-secret' },
    ],
    properties: {
      'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
      // Brokers talk to each other without a name.
      'super.users': 'User:alice;User:ANONYMOUS',
    },
  })
  return { ...broker, ca: broker.ca ?? '' }
}

describe('a Kafka log with TLS and SASL', async () => {
  const broker = await serverOfFile('kafka', async () => {
    const secured = await securedBroker()
    // It takes users a moment after it is ready: until then they are refused.
    await using log = await openKafkaLog({ ...optionsOf(secured), retryMs: 40_000 })
    await log.create('clicks', { partitions: 1 })
    await log.append('clicks', 0, recordsFrom(0, 50))
    return secured
  })

  const options = (more: Partial<KafkaOptions> = {}): KafkaOptions => ({ ...optionsOf(broker()), ...more })

  it.each(mechanisms)('reads and writes as a user of %s', async (mechanism) => {
    const sasl = { mechanism, username: 'alice', password: 'alice-secret' }
    await using log = await openKafkaLog(options({ sasl }))
    expect(await readRecords(log.reader(), 'clicks', 0, 0, 100)).toHaveLength(50)
    await log.create(`made-by-${mechanism}`, { partitions: 1 })
    await log.append(`made-by-${mechanism}`, 0, recordsFrom(0, 3))
    expect(await readRecords(log, `made-by-${mechanism}`, 0, 0, 100)).toHaveLength(3)
    await using twin = await openKafkajsLog(options({ sasl }))
    expect(await readRecords(twin, `made-by-${mechanism}`, 0, 0, 100)).toHaveLength(3)
  })

  it.each(mechanisms)('says that a password of %s is wrong', async (mechanism) => {
    const sasl = { mechanism, username: 'alice', password: 'guessed' }
    expect(await failure(openKafkaLog(options({ sasl })))).toMatch(/^FS_KAFKA_AUTH: broker .* refuses user alice: /)
  })

  it('says that a user has no right', async () => {
    await using log = await openKafkaLog(
      options({ sasl: { mechanism: 'plain', username: 'bob', password: 'bob-secret' } }),
    )
    expect(await failure(log.describe('clicks'))).toMatch(/^FS_KAFKA_AUTH: .*clicks.*TOPIC_AUTHORIZATION_FAILED/)
    expect(await failure(log.create('mine', { partitions: 1 }))).toMatch(/^FS_KAFKA_AUTH: /)
  })

  it('says that a user may read a topic and not see how it is kept', async () => {
    await using owner = await openKafkaLog(options())
    await owner.create('seen', { partitions: 1 })
    const admin = kafkajsOf(settingsOf(options())).admin()
    await admin.connect()
    const topic = { resourceType: 2, resourceName: 'seen', resourcePatternType: 3 }
    await admin.createAcls({
      acl: [{ ...topic, principal: 'User:bob', host: '*', operation: operations.describe, permissionType: allowed }],
    })
    await admin.disconnect()
    await using log = await openKafkaLog(
      options({ sasl: { mechanism: 'plain', username: 'bob', password: 'bob-secret' } }),
    )
    await expect.poll(() => failure(log.describe('seen')), { timeout: 20_000 }).toBe('none')
    expect(await failure(log.inspect([{ stream: 'seen', partitions: 1 }]))).toMatch(
      /^FS_KAFKA_AUTH: settings of topic seen/,
    )
    expect(await owner.inspect([{ stream: 'seen', partitions: 1 }])).toMatchObject([{ isThere: true }])
  })

  it('says that TLS does not fit: another authority, another name, no TLS on one side', async () => {
    const { ca } = broker()
    const { certificate: otherCa } = await selfSigned(temporaryFolderOfTest())
    expect(await failure(openKafkaLog(options({ tls: { ca: otherCa } })))).toMatch(/^FS_KAFKA_TLS: /)
    expect(await failure(openKafkaLog(options({ tls: { ca, servername: 'elsewhere.example' } })))).toMatch(
      /^FS_KAFKA_TLS: /,
    )
    const { tls: _, ...plain } = options()
    expect(await failure(openKafkaLog({ ...plain, connectTimeoutMs: 2_000 }))).toMatch(/^FS_KAFKA_(TLS|UNAVAILABLE): /)
    // What a broker does on a port without TLS: it cannot read the greeting, and hangs up.
    const server = createServer((socket) => socket.once('data', () => socket.destroy()).on('error', () => {}))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const brokers = [`127.0.0.1:${(server.address() as AddressInfo).port}`]
    expect(await failure(openKafkaLog(options({ brokers, retryMs: 100 })))).toMatch(
      /^FS_KAFKA_TLS: .* hung up while TLS/,
    )
    await new Promise((resolve) => server.close(resolve))
  })
})

const optionsOf = ({ addresses, ca }: Pick<KafkaServer, 'addresses'> & { readonly ca: string }): KafkaOptions => ({
  brokers: addresses,
  random,
  retryMs: 1_000,
  tls: { ca },
  sasl: { mechanism: 'plain', username: 'alice', password: 'alice-secret' },
})
