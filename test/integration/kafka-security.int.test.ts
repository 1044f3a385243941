import { execFileSync } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type KafkaOptions, openKafkajsLog, openKafkaLog } from '../../connectors/kafka/index.ts'
import { recordsFrom } from '../../connectors/kit/event-log-suite.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import { type KafkaBroker, kafkaMissing, random, startKafka } from './support/kafka.ts'
import { readRecords } from './support/read-records.ts'

const failure = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'none',
    (error: unknown) => (error instanceof FeatureStoreError ? `${error.code}: ${error.message}` : String(error)),
  )

const jaas = (module: string, rest = ''): string => `org.apache.kafka.common.security.${module} required${rest};`
const mechanisms = ['plain', 'scram-sha-256', 'scram-sha-512'] as const
const scramUser = (mechanism: string): string[] => ['--add-scram', `${mechanism}=[name=alice,password=alice-secret]`]

describe.skipIf(kafkaMissing !== null)('a Kafka log with TLS and SASL', () => {
  let broker: KafkaBroker
  let folder: string
  let ca: string
  let otherCa: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tidemark-tls-'))
    ca = await certificate(folder, 'broker')
    otherCa = await certificate(folder, 'other')
    broker = await startKafka({
      protocol: 'SASL_SSL',
      formatArguments: [...scramUser('SCRAM-SHA-256'), ...scramUser('SCRAM-SHA-512')],
      properties: {
        'ssl.keystore.type': 'PEM',
        'ssl.keystore.location': join(folder, 'broker.pem'),
        'ssl.truststore.type': 'PEM',
        'ssl.truststore.location': join(folder, 'broker.crt'),
        'sasl.enabled.mechanisms': 'PLAIN,SCRAM-SHA-256,SCRAM-SHA-512',
        'sasl.mechanism.inter.broker.protocol': 'PLAIN',
        'listener.name.client.plain.sasl.jaas.config': jaas(
          'plain.PlainLoginModule',
          ' username="admin" password="admin-secret" user_admin="admin-secret" user_alice="alice-secret" user_bob="bob-secret"',
        ),
        'listener.name.client.scram-sha-256.sasl.jaas.config': jaas('scram.ScramLoginModule'),
        'listener.name.client.scram-sha-512.sasl.jaas.config': jaas('scram.ScramLoginModule'),
        'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
        'super.users': 'User:admin;User:alice;User:ANONYMOUS',
      },
    })
    // Its port is open before it serves: wait until it knows us.
    await using log = await openKafkaLog({ ...options(), retryMs: 40_000 })
    await log.create('clicks', { partitions: 1 })
    await log.append('clicks', 0, recordsFrom(0, 50))
  }, 90_000)
  afterAll(async () => {
    await broker[Symbol.asyncDispose]()
    await rm(folder, { recursive: true })
  })

  const options = (more: Partial<KafkaOptions> = {}): KafkaOptions => ({
    brokers: broker.brokers,
    random,
    retryMs: 1_000,
    tls: { ca },
    sasl: { mechanism: 'plain', username: 'alice', password: 'alice-secret' },
    ...more,
  })

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

  it('says that TLS does not fit: another authority, another name, no TLS on one side', async () => {
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

/** A key and its self-signed certificate for 127.0.0.1; the certificate as PEM. */
async function certificate(folder: string, name: string): Promise<string> {
  const [key, crt] = [join(folder, `${name}.key`), join(folder, `${name}.crt`)]
  const subject = ['-subj', `/CN=${name}`, '-addext', 'subjectAltName=IP:127.0.0.1']
  const args = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-keyout', key, '-out', crt, ...subject]
  execFileSync('openssl', args, { stdio: 'pipe' })
  await writeFile(join(folder, `${name}.pem`), (await readFile(key, 'utf8')) + (await readFile(crt, 'utf8')))
  return readFile(crt, 'utf8')
}
