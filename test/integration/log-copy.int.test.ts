/** From embedded to Kafka: the log is copied, and every value is what it was. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { json, projectOf, refusal, removeFolders } from '../cli/support.ts'
import { serverOfFile, startKafka } from '../support/services.ts'

const kafka = await serverOfFile('kafka', () => startKafka())
const limit = 180_000
afterAll(removeFolders, limit)

const features = `import { count, days, entity, float64, mean, service, stream, string, timestamp, view } from 'tidemark'
export const payments = stream('payments', {
  fields: { at: timestamp(), card: string(), amount: float64() }, eventTime: 'at', key: ['card'], partitions: 3,
})
export const card = entity('card', { key: { card: string() } })
export const byCard = view('by_card', {
  from: payments, entity: card, ttl: days(30),
  features: ({ amount }) => ({ n: count().over(days(7)), mean_7d: mean(amount).over(days(7)) }),
})
export const risk = service('risk', { features: [byCard.all()], clock: 'newestEvent' })
`
const hour = 3_600_000
const begin = Date.UTC(2026, 0, 5)
/** Known up to two hours after they happened. */
const csv = (): string =>
  [
    'at,card,amount,known',
    ...Array.from({ length: 500 }, (_, index) => {
      const at = begin + ((index * 7_919) % 400) * 60_000
      return `${at},c${index % 11},${(index % 97) / 4},${at + (index % 3) * hour}`
    }),
  ].join('\n')

interface Got {
  readonly columns?: unknown
}

it('a project is moved by its config and a copy of its log', { timeout: limit }, async () => {
  const folder = projectOf({ 'tidemark.config.ts': 'export default {}', 'features.ts': features, 'history.csv': csv() })
  const file = join(folder, 'history.csv')
  await json(folder, ['apply'])
  await json(folder, ['import', 'payments', file, '--known-at', 'known'])
  await json(folder, ['worker', '--once'])
  const asked = ['get', 'risk', '--entity', 'card=c3', '--as-of', new Date(begin + 5 * hour).toISOString()]
  const before = await json<Got>(folder, asked)
  const config = (log: string): void =>
    writeFileSync(join(folder, 'tidemark.config.ts'), `export default { log: ${log} }`)
  const brokers = JSON.stringify(kafka().addresses)

  expect(await refusal(folder, ['log', 'copy'])).toMatchObject({ code: 'FS_CONFIG_INVALID', exit: 2 })
  config(`{ kind: 'kafka', brokers: ${brokers}, topicPrefix: 'moved.' }`)
  const copied = await json<{ readonly streams: readonly { readonly stream: string; readonly copied: number }[] }>(
    folder,
    ['log', 'copy'],
  )
  expect(copied.streams.map(({ stream, copied: records }) => [stream, records > 0])).toEqual([
    ['payments', true],
    ['_registry', true],
  ])
  const again = await json<{ readonly streams: readonly { readonly copied: number }[] }>(folder, ['log', 'copy'])
  expect(again.streams.map(({ copied: records }) => records)).toEqual([0, 0])
  // Rows of another log are not gone on with, and not thrown away without the operator's word.
  expect(await refusal(folder, ['worker', '--once'])).toMatchObject({ code: 'FS_STATE_FORMAT' })
  await json(folder, ['rebuild'])
  const after = await json<Got>(folder, asked)
  const values = ({ columns, ...rest }: Got): unknown => columns ?? { ...rest, position: null, token: null }
  expect(values(after)).toEqual(values(before))
  expect(await json(folder, ['audit', '--rows', '200', '--seed', '1'])).toMatchObject({ mismatched: 0 })

  // From now on the broker says when events become known: history of its own times is refused, not bent.
  expect(await refusal(folder, ['import', 'payments', file])).toMatchObject({ code: 'FS_KNOWN_AT_REFUSED', exit: 2 })
  const line = { at: begin, card: 'c1', amount: 1 }
  expect(await refusal(folder, ['append', 'payments'], JSON.stringify({ ...line, _knownAt: begin }))).toMatchObject({
    code: 'FS_EVENT_INVALID',
  })
  await json(folder, ['append', 'payments'], JSON.stringify(line))
  expect(
    await refusal(
      projectOf({
        'tidemark.config.ts': `export default { log: { kind: 'kafka', brokers: ${brokers} } }`,
        'features.ts': features,
      }),
      ['log', 'copy'],
    ),
  ).toMatchObject({ code: 'FS_NOT_APPLIED' })
})
