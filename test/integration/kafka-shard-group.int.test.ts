import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { claimOf, type Claim } from '../../connectors/kafka/claim.ts'
import { kafkajsOf, KafkaShardGroup, settingsOf } from '../../connectors/kafka/index.ts'
import { silentLogger, type Logger } from '../../core/ports/environment.ts'
import { requireService, serverOfFile, startKafka, type KafkaOptions } from '../support/services.ts'
import { random } from './support/random.ts'
import type { MemberOptions } from './support/shard-member.ts'
import { Members, type Recorder } from './support/shard-members.ts'
import { makeTopic } from '../support/services/topics.ts'

const shards = 12
const all = Array.from({ length: shards }, (_, shard) => shard)
const topic = 'shards'
/** What brokers allow by default; a member that is not heard of is waited for so long. */
const sessionTimeoutMs = 6_000
const limit = 120_000
const wait = { timeout: 45_000, interval: 25 }

async function startBroker(properties: KafkaOptions['properties'] = {}) {
  const broker = await startKafka({ properties })
  const admin = kafkajsOf(settingsOf({ brokers: broker.addresses, random })).admin()
  await admin.connect()
  await makeTopic(admin, { topic, numPartitions: shards })
  await admin.disconnect()
  return broker
}

let groups = 0
const membersOf = (brokers: readonly string[], options: Partial<MemberOptions> = {}): Members =>
  new Members({ brokers, groupId: `group-${groups++}`, topic, shards, sessionTimeoutMs, ...options })

/** Each shard has one owner, and the shares differ by one at most. */
const untilShared = (recorders: readonly Recorder[]): Promise<void> =>
  expect
    .poll(() => {
      const sizes = recorders.map(({ owned }) => owned.size)
      const owned = recorders.flatMap(({ sorted }) => sorted).sort((a, b) => a - b)
      return { owned, isEven: Math.max(...sizes) - Math.min(...sizes) <= 1 }
    }, wait)
    .toEqual({ owned: all, isEven: true })

/** What the members said when the last round began. */
async function claimsOf(brokers: readonly string[], groupId: string): Promise<readonly Claim[]> {
  const admin = kafkajsOf(settingsOf({ brokers, random })).admin()
  await admin.connect()
  try {
    const { groups } = await admin.describeGroups([groupId])
    return groups.flatMap(({ members }) => members.map(({ memberMetadata }) => claimOf(memberMetadata)))
  } finally {
    await admin.disconnect()
  }
}

const lostBy = ({ events }: Recorder): number[] =>
  events.flatMap(({ told, shards }) => (told === 'revoked' ? shards : []))

const wrongs = ({ recorders }: Members): readonly string[] => recorders.flatMap(({ wrong }) => wrong)

describe('shards of a consumer group', async () => {
  const broker = await serverOfFile('kafka', () => startBroker())

  it(
    'are all of the first member; others get theirs after they were flushed, and what is kept is not revoked',
    async () => {
      await using members = membersOf(broker().addresses)
      // A flush takes its time: longer than a round of the group.
      const flush = (recorder: Recorder): void => {
        recorder.during = ({ told }) => (told === 'revoked' ? sleep(2_500) : Promise.resolve())
      }
      const first = await members.join(silentLogger, flush)
      await untilShared([first.recorder])
      expect(first.recorder.events).toEqual([{ told: 'assigned', shards: all }])
      const second = await members.join(silentLogger, flush)
      await untilShared([first.recorder, second.recorder])
      expect(first.recorder.events.map(({ told, shards }) => [told, shards.length])).toEqual([
        ['assigned', 12],
        ['revoked', 6],
      ])
      expect(lostBy(second.recorder)).toEqual([])
      const third = await members.join(silentLogger, flush)
      await untilShared([first.recorder, second.recorder, third.recorder])
      expect(lostBy(first.recorder)).toHaveLength(6 + 2)
      expect(lostBy(second.recorder)).toHaveLength(2)
      expect(lostBy(third.recorder)).toEqual([])
      expect(wrongs(members)).toEqual([])
    },
    limit,
  )

  it(
    'of a member that leaves go to the others at once, also when it led them, and it is told nothing more',
    async () => {
      // Nobody is given up for dead while this test runs.
      await using members = membersOf(broker().addresses, { sessionTimeoutMs: limit })
      const [first, second, third] = [await members.join(), await members.join(), await members.join()]
      await untilShared([first.recorder, second.recorder, third.recorder])
      const lost = [...lostBy(second.recorder), ...lostBy(third.recorder)]
      await first.leave()
      await first.leave()
      await untilShared([second.recorder, third.recorder])
      expect([...lostBy(second.recorder), ...lostBy(third.recorder)]).toEqual(lost)
      const fourth = await members.join()
      await untilShared([second.recorder, third.recorder, fourth.recorder])
      await Promise.all([second.leave(), third.leave(), fourth.leave()])
      expect(wrongs(members)).toEqual([])
    },
    limit,
  )

  it(
    'of a member that was killed go to the others when its session has ended',
    async () => {
      await using members = membersOf(broker().addresses)
      const first = await members.join()
      const { recorder, child } = members.spawn()
      await untilShared([first.recorder, recorder])
      const exited = once(child, 'exit')
      child.kill('SIGKILL')
      await exited
      const from = performance.now()
      await untilShared([first.recorder])
      const seconds = ((performance.now() - from) / 1_000).toFixed(1)
      console.log(
        `shards of a killed member: ${seconds} s until another has them, session ${sessionTimeoutMs / 1_000} s`,
      )
      // What it kept all the time it was not told again.
      expect(first.recorder.events.map(({ told, shards }) => [told, shards.length])).toEqual([
        ['assigned', 12],
        ['revoked', 6],
        ['assigned', 6],
      ])
      expect(wrongs(members)).toEqual([])
    },
    limit,
  )

  it(
    'of a member that slept are the others’, whatever it believes when it wakes',
    async () => {
      await using members = membersOf(broker().addresses)
      const first = await members.join()
      const { recorder, child } = members.spawn()
      await untilShared([first.recorder, recorder])
      const had = recorder.sorted
      const told = recorder.events.length
      child.kill('SIGSTOP')
      await untilShared([first.recorder])
      child.kill('SIGCONT')
      await expect.poll(() => recorder.events.length, wait).toBeGreaterThan(told)
      // It gives up what it had before it gets anything.
      expect(recorder.events[told]?.told).toBe('revoked')
      expect(recorder.events[told]?.shards.toSorted((a, b) => a - b)).toEqual(had)
      await untilShared([first.recorder, recorder])
      expect(lostBy(first.recorder)).toHaveLength(6 + 6)
      // What decided it: each says in which generation it had what it has.
      const said = await claimsOf(broker().addresses, members.groupId)
      expect(said).toHaveLength(2)
      for (const { generation } of said) expect(generation).toBeGreaterThanOrEqual(2)
      expect([...wrongs(members), ...recorder.wrong]).toEqual([])
    },
    limit,
  )

  it(
    'of a member that leaves in the middle of a round are the others’',
    async () => {
      await using members = membersOf(broker().addresses)
      const rounds: string[] = []
      const logger: Logger = { ...silentLogger, info: (event) => void rounds.push(event) }
      const first = await members.join(logger)
      const { recorder, child } = members.spawn()
      await untilShared([first.recorder, recorder])
      // The round waits for the one that sleeps.
      child.kill('SIGSTOP')
      rounds.length = 0
      const joining = members.join()
      await expect.poll(() => rounds, wait).toContain('shards.rebalancing')
      const told = first.recorder.events.length
      await first.leave()
      const second = await joining
      await untilShared([second.recorder])
      expect(first.recorder.events).toHaveLength(told)
      expect(wrongs(members)).toEqual([])
    },
    limit,
  )

  it(
    'go on to be shared when a listener throws',
    async () => {
      await using members = membersOf(broker().addresses)
      const errors: string[] = []
      const logger: Logger = { ...silentLogger, error: (event) => void errors.push(event) }
      const first = await members.join(logger, (recorder) => {
        recorder.during = () => Promise.reject(new Error('this listener fails'))
      })
      const second = await members.join()
      await untilShared([first.recorder, second.recorder])
      await second.leave()
      await untilShared([first.recorder])
      expect(errors).toEqual(['shards.listener', 'shards.listener', 'shards.listener'])
      expect(wrongs(members)).toEqual([])
    },
    limit,
  )

  it(
    'that another kind of consumer keeps us from are ours when it has gone',
    async () => {
      const brokers = broker().addresses
      const groupId = `group-${groups++}`
      await using members = membersOf(brokers, { groupId })
      const { recorder, child } = members.spawn()
      await untilShared([recorder])
      child.kill('SIGSTOP')
      const stranger = kafkajsOf(settingsOf({ brokers, random })).consumer({ groupId })
      const joined = new Promise<void>((resolve) => stranger.on(stranger.events.GROUP_JOIN, () => resolve()))
      await expect
        .poll(async () => {
          await stranger.connect()
          await stranger.subscribe({ topic })
          await stranger.run({ eachBatch: async () => {} })
          return Promise.race([joined.then(() => 'joined'), sleep(100)])
        }, wait)
        .toBe('joined')
      child.kill('SIGCONT')
      await sleep(3_000)
      await stranger.disconnect()
      const late = await members.join()
      await untilShared([recorder, late.recorder])
      expect(wrongs(members)).toEqual([])
    },
    limit,
  )
})

describe('a shard group whose broker restarts', async () => {
  await requireService('kafka')

  it(
    'keeps its shards, also when the broker is away for longer than a session, and goes on',
    async () => {
      // As by default: an empty group waits for further members before it shares anything.
      await using broker = await startBroker({ 'group.initial.rebalance.delay.ms': 3_000 })
      await using members = membersOf(broker.addresses)
      const [first, second] = [await members.join(), await members.join()]
      await untilShared([first.recorder, second.recorder])
      const before = lostBy(first.recorder).length
      const shares = [first.recorder.sorted, second.recorder.sorted]
      await broker.restart()
      await sleep(sessionTimeoutMs / 2)
      await broker.kill()
      await sleep(sessionTimeoutMs + 2_000)
      await broker.restart()
      await sleep(sessionTimeoutMs + 2_000)
      expect([first.recorder.sorted, second.recorder.sorted]).toEqual(shares)
      const third = await members.join()
      await untilShared([first.recorder, second.recorder, third.recorder])
      expect(lostBy(first.recorder)).toHaveLength(before + 2)
      expect(lostBy(second.recorder)).toHaveLength(2)
      expect(wrongs(members)).toEqual([])
    },
    limit,
  )

  it(
    'can be left while the broker is away',
    async () => {
      await using broker = await startBroker()
      await using members = membersOf(broker.addresses)
      const [first, second] = [await members.join(), await members.join()]
      await untilShared([first.recorder, second.recorder])
      await broker.kill()
      await sleep(1_000)
      await first.leave()
      const told = first.recorder.events.length
      await broker.restart()
      await untilShared([second.recorder])
      expect(first.recorder.events.length).toBe(told)
      expect(wrongs(members)).toEqual([])
    },
    limit,
  )
})

describe('a cluster that has no coordinator yet', async () => {
  // Copies of the topic of offsets that one broker cannot keep: nobody coordinates until that topic is made by hand.
  const broker = await serverOfFile('kafka', () => startBroker({ 'offsets.topic.replication.factor': 3 }))
  const groupOf = (groupId: string, logger: Logger, joinMsMax: number) => {
    const kafka = kafkajsOf(settingsOf({ brokers: broker().addresses, random }))
    return { kafka, group: new KafkaShardGroup({ kafka, groupId, topic, shards, logger, sessionTimeoutMs, joinMsMax }) }
  }

  it('is waited for, and joined when it has one', { timeout: limit }, async () => {
    const refused = Promise.withResolvers<void>()
    const logger: Logger = {
      ...silentLogger,
      warn: (event, fields) => {
        if (event === 'shards.group' && fields?.['restart'] === false) refused.resolve()
      },
    }
    const early = groupOf('early', silentLogger, 0)
    const listener = { assigned: async () => {}, revoked: async () => {} }
    await expect(early.group.join(listener)).rejects.toMatchObject({ code: 'FS_KAFKA_UNAVAILABLE' })

    const owned = new Set<number>()
    const { kafka, group } = groupOf('patient', logger, limit)
    const joining = group.join({
      assigned: async (given) => given.forEach((shard) => owned.add(shard)),
      revoked: async () => {},
    })
    await refused.promise
    const admin = kafka.admin()
    await admin.connect()
    await makeTopic(admin, {
      topic: '__consumer_offsets',
      numPartitions: 1,
      replicationFactor: 1,
      configEntries: [{ name: 'cleanup.policy', value: 'compact' }],
    })
    await admin.disconnect()
    await using _membership = await joining
    await expect.poll(() => owned.size, wait).toBe(shards)
  })
})
