import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, describe, expect, it } from 'vitest'
import { parseConfig } from '../../cli/config.ts'
import { addressOf, readSecret, readTls } from '../../cli/server-config.ts'
import { removeFolders, testFolder } from './support.ts'

afterAll(removeFolders)
const variable = 'TIDEMARK_TEST_SECRET'
afterEach(() => {
  delete process.env[variable]
})

const parse = (config: unknown) => parseConfig(config, 'tidemark.config.ts')
const kafka = { kind: 'kafka', brokers: ['127.0.0.1:9092'] }
const redis = { kind: 'redis', address: '127.0.0.1:6379' }

describe('a config with servers', () => {
  it('is as small as can be', () => {
    expect(parse({ log: kafka, online: redis })).toMatchObject({
      log: { kind: 'kafka', brokers: ['127.0.0.1:9092'], topicPrefix: '', tls: false },
      online: { kind: 'redis', address: '127.0.0.1:6379', prefix: 'tidemark', shards: 64, historyMs: 3_600_000 },
    })
    expect(parse({ log: { fsync: 'never' }, online: { shards: 8 } })).toMatchObject({
      log: { kind: 'embedded', fsync: 'never' },
      online: { kind: 'embedded', shards: 8 },
    })
  })

  it.each([
    [{ log: { kind: 'pulsar' } }, 'log.kind'],
    [{ log: { ...kafka, brokers: [] } }, 'log.brokers'],
    [{ log: { ...kafka, brokers: ['localhost'] } }, 'HOST:PORT'],
    [{ log: { ...kafka, brokers: ['a:0'] } }, 'HOST:PORT'],
    [{ log: { ...kafka, brokers: ['a:65536'] } }, 'HOST:PORT'],
    [{ log: { ...kafka, fsync: 'always' } }, 'fsync'],
    [{ log: { ...kafka, sasl: { mechanism: 'gssapi', username: 'a', password: 'b' } } }, 'log.sasl.mechanism'],
    [{ log: { ...kafka, registry: { url: 'ftp://a' } } }, 'log.registry.url'],
    [{ log: { ...kafka, topicPrefix: 'no spaces' } }, 'log.topicPrefix'],
    [{ online: { kind: 'redis' } }, 'one of address, sentinel and cluster'],
    [{ online: { ...redis, cluster: ['a:1'] } }, 'one of address, sentinel and cluster'],
    [{ online: { kind: 'redis', cluster: ['a:1'], database: 1 } }, 'online.database'],
    [{ online: { ...redis, prefix: '{' } }, 'online.prefix'],
  ])('%j is refused', (config, says) => {
    expect(() => parse(config)).toThrow(expect.objectContaining({ code: 'FS_CONFIG_INVALID' }))
    expect(() => parse(config)).toThrow(says)
  })
})

describe('secrets and certificates', () => {
  it('come from the config, the environment or a file', () => {
    const folder = testFolder()
    writeFileSync(join(folder, 'password'), 'from a file\n')
    process.env[variable] = 'from the environment'
    expect(readSecret('o', 'plain', folder)).toBe('plain')
    expect(readSecret('o', { env: variable }, folder)).toBe('from the environment')
    expect(readSecret('o', { file: 'password' }, folder)).toBe('from a file')
    expect(readTls('o', false, folder)).toBeNull()
    expect(readTls('o', true, folder)).toEqual({})
    expect(readTls('o', { caFile: 'password', serverName: 'broker' }, folder)).toEqual({
      ca: 'from a file\n',
      servername: 'broker',
    })
  })

  it('that are not there are named', () => {
    const folder = testFolder()
    const refused = expect.objectContaining({ code: 'FS_CONFIG_INVALID' })
    expect(() => readSecret('log.sasl.password', { env: variable }, folder)).toThrow(refused)
    expect(() => readSecret('log.sasl.password', { env: variable }, folder)).toThrow(
      `log.sasl.password: the environment has no ${variable}`,
    )
    expect(() => readSecret('o', { file: 'none' }, folder)).toThrow(refused)
    expect(() => readTls('log.tls', { certFile: 'a' }, folder)).toThrow('certFile and keyFile')
  })

  it('addresses have IPv6 hosts in brackets', () => {
    expect(addressOf('broker-1.example:9092')).toEqual({ host: 'broker-1.example', port: 9092 })
    expect(addressOf('[::1]:6379')).toEqual({ host: '::1', port: 6379 })
  })
})
