import { execFileSync, spawn } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { rootCertificates } from 'node:tls'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { argumentsOf } from '../../scripts/services/arguments.ts'
import { onPath, runCommand } from '../../scripts/services/command.ts'
import { findProgram, keepLinksInside, plannedPackages } from '../../scripts/services/debian.ts'
import { majorOf, versionOf } from '../../scripts/services/java.ts'
import { formatArguments, propertiesOf, propertiesText, randomId } from '../../scripts/services/kafka-config.ts'
import { standalone } from '../../scripts/services/kafka.ts'
import { brokerCount, checkApiVersions, request } from '../../scripts/services/kafka-wire.ts'
import { withLock } from '../../scripts/services/lock.ts'
import { errorsOf, pomOf } from '../../scripts/services/maven.ts'
import { down, stateOf, up } from '../../scripts/services/operate.ts'
import { freePorts, isPortFree } from '../../scripts/services/ports.ts'
import { identityOf, isAlive, stopProcess } from '../../scripts/services/process.ts'
import { readRecords, writeRecord } from '../../scripts/services/records.ts'
import { redisLaunch } from '../../scripts/services/redis.ts'
import { encodeCommand, infoOf, parseReply, redisCommand, RespError } from '../../scripts/services/resp.ts'
import type { Service } from '../../scripts/services/service.ts'
import { heapOf, settingsOf, type Settings } from '../../scripts/services/settings.ts'
import { trustStore } from '../../scripts/services/trust-store.ts'
import { until } from '../../scripts/services/wait.ts'
import { reasonToSkip } from '../support/services.ts'
import { slotRanges } from '../support/services/redis-cluster.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tidemark-services-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

describe('settings and command line', () => {
  it('the folder is the variable, else the cache of the user', () => {
    expect(settingsOf({ TIDEMARK_SERVICES: '/a/b', XDG_CACHE_HOME: '/x' }).folder).toBe('/a/b')
    expect(settingsOf({ XDG_CACHE_HOME: '/x', HOME: '/h' }).folder).toBe('/x/tidemark/services')
    expect(settingsOf({ XDG_CACHE_HOME: 'relative', HOME: '/h' }).folder).toBe('/h/.cache/tidemark/services')
  })

  it('ports are fixed, each by its variable, and no two alike', () => {
    const ports = { kafka: 19092, kafkaController: 19093, redis: 16379, registry: 28081 }
    expect(settingsOf({}).ports).toEqual(ports)
    expect(settingsOf({ TIDEMARK_REDIS_PORT: '7000' }).ports).toEqual({ ...ports, redis: 7000 })
    for (const text of ['0', '65536', '12a', '-1', '1.5']) {
      expect(() => settingsOf({ TIDEMARK_KAFKA_PORT: text })).toThrow('TIDEMARK_KAFKA_PORT')
    }
    expect(() => settingsOf({ TIDEMARK_REDIS_PORT: '19092' })).toThrow('the same port')
  })

  it('heap sizes are MiB and GiB, and none that a broker cannot start with', () => {
    expect(['128m', '256m', '1g', '2G', '64g'].map(heapOf)).toEqual([128, 256, 1024, 2048, 65_536])
    for (const text of ['127m', '65g', '1', 'm', '1.5g', '', '1k']) expect(() => heapOf(text)).toThrow('--heap')
  })

  it('no names mean all servers, in the order in which they start', () => {
    expect(argumentsOf(['up'])).toEqual({
      command: 'up',
      names: ['kafka', 'redis', 'registry'],
      heapMb: null,
      json: false,
    })
    expect(argumentsOf(['down', 'redis', 'kafka', '--json'])).toMatchObject({ names: ['kafka', 'redis'], json: true })
    expect(argumentsOf(['up', 'kafka', '--heap', '1g'])).toMatchObject({ heapMb: 1024 })
    for (const argv of [[], ['--help'], ['up', '-h']]) expect(argumentsOf(argv).command).toBe('help')
  })

  it.each([
    [['start'], 'no command "start"'],
    [['up', 'postgres'], 'no server "postgres"'],
    [['up', '--force'], '--force'],
    [['status', '--heap', '1g'], 'not for status'],
    [['up', 'redis', '--heap', '1g'], '--heap is for kafka'],
  ])('refuses %j', (argv, message) => {
    expect(() => argumentsOf(argv)).toThrow(message)
  })

  it('the command ends with 0, 1 or 2, and says what to do', async () => {
    const main = join(import.meta.dirname, '../../scripts/services/main.ts')
    const run = (...args: string[]) =>
      runCommand(process.execPath, ['--no-warnings', main, ...args], { env: { TIDEMARK_SERVICES: folder } })
    expect(await run('--help')).toMatchObject({
      code: 0,
      output: expect.stringContaining('TIDEMARK_KAFKA_PORT  default: 19092'),
    })
    expect(await run()).toMatchObject({ code: 2 })
    expect(await run('start')).toMatchObject({ code: 2, output: expect.stringContaining('what to do') })
    expect(await run('status', 'registry')).toMatchObject({
      code: 1,
      output: expect.stringContaining('install registry'),
    })
    expect(await run('down')).toMatchObject({ code: 0, output: expect.stringContaining('kafka     down: was not up') })
  })
})

describe('what Kafka is told', () => {
  const config = standalone(1001, 1002, '/data')

  it('one broker listens on loopback, for itself and its controller', () => {
    expect(propertiesOf(config)).toMatchObject({
      listeners: 'CLIENT://127.0.0.1:1001,CONTROLLER://127.0.0.1:1002',
      'advertised.listeners': 'CLIENT://127.0.0.1:1001,CONTROLLER://127.0.0.1:1002',
      'inter.broker.listener.name': 'CLIENT',
      'controller.quorum.bootstrap.servers': '127.0.0.1:1002',
      'offsets.topic.replication.factor': 1,
      'transaction.state.log.min.isr': 1,
      'log.dirs': '/data',
    })
    const args = ['kafka.tools.StorageTool', 'format', '--standalone', '-t', 'id', '-c', 'file']
    expect(formatArguments(config, 'id', 'file')).toEqual(args)
  })

  it('three brokers replicate what is internal, and know each other from the format on', () => {
    const controllers = [1, 2, 3].map((nodeId) => ({ nodeId, port: 2000 + nodeId, directoryId: `d${nodeId}` }))
    const third = { ...config, nodeId: 3, controllers }
    expect(propertiesOf(third)).toMatchObject({
      'node.id': 3,
      listeners: 'CLIENT://127.0.0.1:1001,CONTROLLER://127.0.0.1:2003',
      'controller.quorum.bootstrap.servers': '127.0.0.1:2001,127.0.0.1:2002,127.0.0.1:2003',
      'offsets.topic.replication.factor': 3,
      'transaction.state.log.min.isr': 2,
    })
    expect(formatArguments(third, 'id', 'file').slice(2, 4)).toEqual([
      '--initial-controllers',
      '1@127.0.0.1:2001:d1,2@127.0.0.1:2002:d2,3@127.0.0.1:2003:d3',
    ])
  })

  it('clients are sent to another port, and brokers among themselves are not', () => {
    expect(propertiesOf({ ...config, internalPort: 1003, advertisedPort: 1004 })).toMatchObject({
      listeners: 'CLIENT://127.0.0.1:1001,INTERNAL://127.0.0.1:1003,CONTROLLER://127.0.0.1:1002',
      'advertised.listeners': 'CLIENT://127.0.0.1:1004,INTERNAL://127.0.0.1:1003,CONTROLLER://127.0.0.1:1002',
      'inter.broker.listener.name': 'INTERNAL',
    })
  })

  it('users are known to PLAIN and SCRAM, brokers talk among themselves in plain text, given properties win', () => {
    const users = [{ name: 'alice', password: 's3-cret' }]
    const secure = {
      ...config,
      internalPort: 1003,
      protocol: 'SASL_SSL',
      keyFile: '/key',
      users,
      properties: { 'num.io.threads': 9 },
    } as const
    const properties = propertiesOf(secure)
    expect(properties).toMatchObject({
      'inter.broker.listener.name': 'INTERNAL',
      'listener.security.protocol.map': 'CLIENT:SASL_SSL,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT',
      'ssl.keystore.location': '/key',
      'num.io.threads': 9,
    })
    expect(properties['listener.name.client.plain.sasl.jaas.config']).toContain('user_alice="s3-cret";')
    expect(formatArguments(secure, 'id', 'file')).toContain('SCRAM-SHA-512=[name=alice,password=s3-cret]')
    for (const password of ['a"b', 'a b', 'a,b', 'a]', '']) {
      expect(() => formatArguments({ ...secure, users: [{ name: 'a', password }] }, 'id', 'file')).toThrow(
        'can be used',
      )
    }
  })

  it('properties are written so that Java reads them back', () => {
    expect(propertiesText({ a: 1, b: 'C:\\x y', c: ' z' })).toBe('a=1\nb=C:\\\\x y\nc=\\ z\n')
  })

  it('a random id is 16 bytes in 22 characters and never looks like an option', () => {
    const ids = Array.from({ length: 2_000 }, randomId)
    expect(new Set(ids).size).toBe(2_000)
    for (const id of ids) expect(id).toMatch(/^[A-Za-z0-9_][A-Za-z0-9_-]{21}$/)
  })

  it('the pom names each artifact', () => {
    const pom = pomOf([{ group: 'g', name: 'n', version: '1.2' }])
    expect(pom).toContain(
      '<dependency><groupId>g</groupId><artifactId>n</artifactId><version>1.2</version></dependency>',
    )
  })
})

it('Redis is told to listen on loopback, to drop no key and to keep nothing, unless asked', () => {
  const files = { program: '/redis-server', version: '7', env: {} }
  const { args } = redisLaunch(files, 1234, folder, ['--appendonly', 'yes'])
  expect(args.join(' ')).toMatch(/--port 1234 --bind 127.0.0.1 .*--maxmemory-policy noeviction --appendonly yes$/)
})

describe('Redis answers', () => {
  const parse = (text: string) => parseReply(Buffer.from(text), 0)

  it('are read in all their forms', () => {
    expect(encodeCommand(['SET', 'ä', ''])).toBe('*3\r\n$3\r\nSET\r\n$2\r\nä\r\n$0\r\n\r\n')
    expect(parse('+PONG\r\n')).toEqual(['PONG', 7])
    expect(parse('$-1\r\n')).toEqual([null, 5])
    expect(parse('*3\r\n:7\r\n$2\r\nä\r\n*1\r\n-ERR no\r\n')?.[0]).toEqual([7, 'ä', [new RespError('ERR no')]])
    expect(() => parse('HTTP/1.1 400\r\n')).toThrow('no Redis server')
  })

  it('that are cut anywhere are waited for', () => {
    const whole = '*3\r\n$3\r\na\r\n\r\n:12\r\n*2\r\n+x\r\n$-1\r\n'
    expect(parse(whole)).toEqual([['a\r\n', 12, ['x', null]], whole.length])
    for (const text of [whole, '$2\r\nab\r\n', '+OK\r\n']) {
      for (let length = 0; length < text.length; length++) expect(parse(text.slice(0, length))).toBeNull()
    }
  })

  it('INFO is taken apart at the first colon of a line', () => {
    const info = infoOf('# Replication\r\nrole:slave\r\nslave0:ip=::1,state=online\r\n')
    expect([...info]).toEqual([
      ['role', 'slave'],
      ['slave0', 'ip=::1,state=online'],
    ])
  })

  it('the slots are shared without gap or overlap', () => {
    for (const primaries of [1, 3, 7]) {
      const ranges = slotRanges(primaries)
      expect(ranges[0]?.[0]).toBe(0)
      expect(ranges.at(-1)?.[1]).toBe(16_383)
      for (const [index, [first]] of ranges.slice(1).entries()) expect(first).toBe((ranges[index]?.[1] ?? 0) + 1)
    }
  })
})

describe('a server that is not what it should be', () => {
  const open: Server[] = []
  afterEach(() => {
    for (const server of open.splice(0)) server.close()
  })

  /** Answers each request with these bytes, in two writes. */
  async function answering(bytes: Buffer): Promise<number> {
    const server = createServer((socket) => {
      socket.on('error', () => {})
      socket.once('data', () => {
        socket.write(bytes.subarray(0, 5))
        setTimeout(() => socket.write(bytes.subarray(5)), 20)
      })
    })
    open.push(server)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const address = server.address()
    return typeof address === 'object' && address !== null ? address.port : 0
  }
  const answer = (...int32s: number[]): Buffer => {
    const bytes = Buffer.alloc(4 + 4 * int32s.length)
    bytes.writeInt32BE(4 * int32s.length)
    for (const [index, value] of int32s.entries()) bytes.writeInt32BE(value, 4 + 4 * index)
    return bytes
  }

  it('requests are laid out as the protocol says', () => {
    expect(request(18, 0, Buffer.alloc(0)).toString('hex')).toBe('0000000a0012000000000007ffff')
  })

  it('a broker counts once it answers this very request, without an error', async () => {
    await expect(checkApiVersions({ port: await answering(answer(7, 0, 0)) })).resolves.toBeUndefined()
    await expect(checkApiVersions({ port: await answering(answer(7, 35 << 16, 0)) })).rejects.toThrow('error 35')
    await expect(checkApiVersions({ port: await answering(answer(8, 0, 0)) })).rejects.toThrow('another answer')
    await expect(checkApiVersions({ port: await answering(Buffer.from('HTTP/1.1 400 Bad')) })).rejects.toThrow(
      'no Kafka broker',
    )
    expect(await brokerCount({ port: await answering(answer(7, 0, 3, 0)) })).toBe(3)
  })

  it('one that says nothing, and one that is not there, are told from each other', async () => {
    const port = await answering(Buffer.alloc(0))
    await expect(checkApiVersions({ port }, 100)).rejects.toThrow('no answer in 100 ms')
    await expect(redisCommand(port, ['PING'], 100)).rejects.toThrow('no answer in 100 ms')
    for (const server of open.splice(0)) server.close()
    const [free = 0] = await freePorts(1)
    await expect(redisCommand(free, ['PING'])).rejects.toMatchObject({ code: 'ECONNREFUSED' })
  })

  it('ports that are handed out are free and different', async () => {
    const ports = await freePorts(20)
    expect(new Set(ports).size).toBe(20)
    expect(await Promise.all(ports.map(isPortFree))).not.toContain(false)
    expect(await isPortFree(await answering(Buffer.alloc(0)))).toBe(false)
  })

  it('waiting ends with the last reason, or at once when there is nothing to wait for', async () => {
    let calls = 0
    const third = async (): Promise<number> => (++calls < 3 ? Promise.reject(new Error('not yet')) : calls)
    expect(await until('it', third, { deadlineMs: 10_000, everyMs: 1 })).toBe(3)
    const never = (): Promise<void> => Promise.reject(new Error('still loading'))
    await expect(until('it', never, { deadlineMs: 20, everyMs: 1 })).rejects.toThrow(
      'it: not within 0.02 s; last: still loading',
    )
    const gone = (): void => {
      throw new Error('it ended')
    }
    await expect(until('it', never, { deadlineMs: 60_000, stillWorth: gone })).rejects.toThrow('it ended')
  })
})

/** Sleeps until told to end; its port is where it would listen. */
const sleeper = (over: Partial<Service> = {}): Service => ({
  name: 'redis',
  readyMs: 5_000,
  stopMs: 5_000,
  find: async () => '1.0',
  install: async () => {},
  ports: ({ ports }) => [ports.redis],
  address: (port) => `127.0.0.1:${port}`,
  prepare: async (_settings, cwd) => ({ command: 'sleep', args: ['600'], env: {}, cwd }),
  check: async () => {},
  ...over,
})

const say = (): void => {}

describe('up, down and status', () => {
  let settings: Settings
  beforeEach(async () => {
    const [kafka = 0, kafkaController = 0, redis = 0, registry = 0] = await freePorts(4)
    settings = { folder, ports: { kafka, kafkaController, redis, registry }, heapMb: null }
  })
  afterEach(async () => {
    await down(sleeper(), folder).catch(() => {})
  })

  it('up starts once, and down ends it', async () => {
    expect(await stateOf(sleeper(), folder)).toEqual({ kind: 'down', version: '1.0' })
    const first = await up(sleeper(), settings, say)
    expect(first.started).toBe(true)
    expect(await stateOf(sleeper(), folder)).toMatchObject({ kind: 'up', record: { pid: first.pid, version: '1.0' } })
    expect(await up(sleeper(), settings, say)).toEqual({ ...first, started: false })
    expect(await down(sleeper(), folder)).toBe('ended')
    expect(identityOf(first.pid)).toBeNull()
    expect(await down(sleeper(), folder)).toBe('was not up')
  })

  it('one that ended by itself is told, and started anew', async () => {
    const { pid } = await up(sleeper(), settings, say)
    process.kill(pid, 'SIGKILL')
    await expect.poll(() => identityOf(pid)).toBeNull()
    expect(await stateOf(sleeper(), folder)).toMatchObject({ kind: 'ended' })
    expect((await up(sleeper(), settings, say)).started).toBe(true)
  })

  it('one that runs and does not answer is refused, with the way out', async () => {
    await up(sleeper(), settings, say)
    const sick = sleeper({ check: () => Promise.reject(new Error('LOADING')) })
    expect(await stateOf(sick, folder)).toMatchObject({ kind: 'sick', reason: 'LOADING' })
    await expect(up(sick, settings, say)).rejects.toMatchObject({
      message: expect.stringContaining('LOADING'),
      remedy: expect.stringContaining('down redis, then up'),
    })
  })

  it('one that never gets ready is ended and forgotten; the end of its log is shown', async () => {
    const launch = {
      command: 'sh',
      args: ['-c', 'echo $$ > pid; echo no room left; exec sleep 600'],
      env: {},
      cwd: folder,
    }
    const check = (): Promise<void> => Promise.reject(new Error('not yet'))
    const never = sleeper({ readyMs: 300, check, prepare: async () => launch })
    await expect(up(never, settings, say)).rejects.toMatchObject({
      message: expect.stringContaining('not within 0.3 s; last: not yet'),
      remedy: expect.stringContaining('no room left'),
    })
    expect(identityOf(Number(readFileSync(join(folder, 'pid'), 'utf8')))).toBeNull()
    expect(readRecords(folder)).toEqual({})
  })

  it('one that ends while it starts is not waited for', async () => {
    const launch = { command: 'sh', args: ['-c', 'echo bad option; exit 1'], env: {}, cwd: folder }
    const check = (): Promise<void> => Promise.reject(new Error('not yet'))
    const ends = sleeper({ readyMs: 600_000, check, prepare: async () => launch })
    await expect(up(ends, settings, say)).rejects.toMatchObject({
      message: expect.stringContaining('the process ended'),
    })
  })

  it('a taken port is refused by name, and so are other settings than those it runs with', async () => {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(settings.ports.redis, '127.0.0.1', resolve))
    await expect(up(sleeper(), settings, say)).rejects.toMatchObject({
      message: expect.stringContaining(`port ${settings.ports.redis}`),
      remedy: expect.stringContaining('TIDEMARK_REDIS_PORT'),
    })
    await new Promise((resolve) => server.close(resolve))
    await up(sleeper(), settings, say)
    const other = { ...settings, ports: { ...settings.ports, redis: settings.ports.registry } }
    await expect(up(sleeper(), other, say)).rejects.toThrow(`on port ${settings.ports.redis}, not ${other.ports.redis}`)
  })

  it('what is missing is installed first; what runs is not', async () => {
    let installs = 0
    const service = sleeper({
      install: async () => {
        installs++
      },
    })
    await up(service, settings, say)
    await up(service, settings, say)
    expect(installs).toBe(1)
  })

  it('a process that took the pid of ours is left alone', async () => {
    const stranger = spawn('sleep', ['600'])
    try {
      const pid = stranger.pid ?? 0
      const ours = { pid, identity: `${identityOf(pid)}0` }
      expect(isAlive(ours)).toBe(false)
      expect(await stopProcess(ours, 100)).toBe('was gone')
      const { redis: port } = settings.ports
      writeRecord(folder, 'redis', { ...ours, address: 'a', port, version: '1', folder, heapMb: null })
      expect(await down(sleeper(), folder)).toBe('was gone')
      expect(identityOf(pid)).not.toBeNull()
      expect(readRecords(folder)).toEqual({})
    } finally {
      stranger.kill('SIGKILL')
    }
  })

  it('one that has ended and waits for its parent to notice counts as gone', async () => {
    // The shell becomes a program that never asks how its child ended.
    const parent = spawn('sh', ['-c', 'sleep 0 & echo $!; exec sleep 600'], { stdio: ['ignore', 'pipe', 'ignore'] })
    try {
      const [line] = (await once(parent.stdout, 'data')) as [Buffer]
      await expect.poll(() => identityOf(Number(line.toString()))).toBeNull()
      expect(() => process.kill(Number(line.toString()), 0)).not.toThrow()
    } finally {
      parent.kill('SIGKILL')
    }
  })

  it('one that does not end in time is killed', async () => {
    const launch = { command: 'sh', args: ['-c', 'trap "" TERM; while :; do sleep 0.05; done'], env: {}, cwd: folder }
    const stubborn = sleeper({ stopMs: 200, prepare: async () => launch })
    const { pid } = await up(stubborn, settings, say)
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(await down(stubborn, folder)).toBe('killed')
    expect(identityOf(pid)).toBeNull()
  })

  it('a damaged list of servers is said, not overwritten', () => {
    for (const text of ['{', '[]', '{"redis":{"pid":1}}']) {
      writeFileSync(join(folder, 'services.json'), text)
      expect(() => readRecords(folder)).toThrow('is damaged')
      expect(() => writeRecord(folder, 'redis', null)).toThrow('is damaged')
      expect(readFileSync(join(folder, 'services.json'), 'utf8')).toBe(text)
    }
  })

  it('two commands do not change a folder at once; the lock of a dead one does not count', async () => {
    const order: string[] = []
    const work = (name: string) => async (): Promise<void> => {
      order.push(`${name} begins`)
      await new Promise((resolve) => setTimeout(resolve, 50))
      order.push(`${name} ends`)
    }
    writeFileSync(join(folder, 'lock'), JSON.stringify({ pid: process.pid, identity: 'of another boot' }))
    await Promise.all([withLock(folder, say, work('a')), withLock(folder, say, work('b'))])
    expect(order).toEqual(['a begins', 'a ends', 'b begins', 'b ends'])
    await withLock(folder, say, async () => {
      await expect(withLock(folder, say, work('c'), 10)).rejects.toThrow(`process ${process.pid} has been changing`)
    })
  })
})

describe('programs', () => {
  it('are found on the path, else among the unpacked packages', () => {
    const bin = join(folder, 'debian', 'usr', 'bin')
    mkdirSync(bin, { recursive: true })
    writeFileSync(join(bin, 'no-such-program-elsewhere'), '', { mode: 0o755 })
    writeFileSync(join(bin, 'not-executable'), '', { mode: 0o644 })
    expect(onPath('sh')).toMatch(/\/sh$/)
    expect(onPath('no-such-program-elsewhere')).toBeNull()
    expect(findProgram(folder, 'no-such-program-elsewhere')).toBe(join(bin, 'no-such-program-elsewhere'))
    expect(findProgram(folder, 'not-executable')).toBeNull()
  })

  it('that fail, are missing or take too long say so', async () => {
    expect(await runCommand('sh', ['-c', 'echo a; echo b >&2; exit 3'])).toEqual({ code: 3, output: 'a\nb\n' })
    expect(await runCommand('no-such-program-elsewhere', [])).toMatchObject({
      code: null,
      output: expect.stringContaining('ENOENT'),
    })
    expect(await runCommand('sleep', ['60'], { timeoutMs: 50 })).toMatchObject({
      code: null,
      output: expect.stringContaining('0.05 s'),
    })
  })

  it('the version of Java is read in its old and its new form', () => {
    expect(versionOf('openjdk version "17.0.15" 2025-04-15\nOpenJDK Runtime')).toBe('17.0.15')
    expect(versionOf('Unable to locate a Java Runtime.')).toBeNull()
    expect(['17.0.15', '21', '1.8.0_402', '25-ea'].map(majorOf)).toEqual([17, 21, 8, 25])
  })

  it('the packages to download are those that an installation would bring', () => {
    const plan = 'Reading…\nInst liblzf1 (3.6-3 Debian:12 [amd64])\nInst redis-server (7) []\nConf liblzf1 (3.6-3)\n'
    expect(plannedPackages(plan)).toEqual(['liblzf1', 'redis-server'])
  })

  it('absolute links of unpacked packages lead into the unpacked tree; those that cannot are left', () => {
    mkdirSync(join(folder, 'usr/lib'), { recursive: true })
    mkdirSync(join(folder, 'etc'))
    writeFileSync(join(folder, 'etc/conf'), 'here')
    symlinkSync('/etc/conf', join(folder, 'usr/lib/conf'))
    symlinkSync('/no/such/file', join(folder, 'usr/lib/nowhere'))
    symlinkSync('etc/conf', join(folder, 'usr/lib/beside'))
    keepLinksInside(folder)
    expect(readlinkSync(join(folder, 'usr/lib/conf'))).toBe('../../etc/conf')
    expect(readFileSync(join(folder, 'usr/lib/conf'), 'utf8')).toBe('here')
    expect(readlinkSync(join(folder, 'usr/lib/beside'))).toBe('etc/conf')
    expect(lstatSync(join(folder, 'usr/lib/nowhere')).isSymbolicLink()).toBe(true)
  })

  it.skipIf(onPath('keytool') === null)('Java reads the trust store, and its digest is right', () => {
    const ders = rootCertificates.slice(0, 3).map((pem) => new X509Certificate(pem).raw)
    const file = join(folder, 'cacerts')
    writeFileSync(file, trustStore(ders))
    const list = (password: string): string =>
      execFileSync('keytool', ['-list', '-keystore', file, '-storepass', password], { encoding: 'utf8', stdio: 'pipe' })
    expect(list('changeit')).toContain('contains 3 entries')
    expect(() => list('another')).toThrow()
  })

  it('what Maven says is shown without its advice', () => {
    const advice = '[ERROR] \n[ERROR] To see the full stack trace …\n[ERROR] [Help 1] http://…\n'
    expect(errorsOf(`[ERROR] no space left -> [Help 1]\n${advice}`)).toBe('no space left')
    expect(errorsOf('mvn: not found\n')).toBe('mvn: not found')
  })

  it('a reason to skip is one line', () => {
    expect(reasonToSkip('not there\n  what to do: install it')).toBe('not there; what to do: install it')
  })
})
