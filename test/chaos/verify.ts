/** What must be true when the faults are over. Nothing of it is a worker's word. */
import { valueAt } from '../../core/engine/feature-column.ts'
import type { Project } from '../../cli/project.ts'
import { openLookup } from '../../cli/serve-process.ts'
import { openOffline } from '../../cli/stores.ts'
import { recordCount } from '../../core/event/position.ts'
import { eventually, run } from '../cli/support.ts'
import type { Arena } from './arena.ts'
import { cards } from './payments.ts'

export interface Verdict {
  /** Records in the topic. */
  readonly events: number
  /** Records that every shard's position covers. */
  readonly applied: number
  /** One line each; none where all is well. */
  readonly mismatches: readonly string[]
}

const offlineMsMax = 180_000

/**
 * Ends producer and workers, then asks: does the log have what was appended, has every shard applied all of it, does what
 * is served equal what the producer knows and what the naive twin makes of the log, and is all state, dead letters too,
 * that of a store into which the log was read once?
 */
export async function verify(arena: Arena): Promise<Verdict> {
  const { producer, findings } = arena
  await producer.stop()
  const noted = (error: unknown): void => void findings.push(String(error))
  await arena.settled().catch(noted)
  await offlineSettled(arena).catch(noted)
  await arena.dismiss()
  const events = await topicRecords(arena)
  const applied = await appliedRecords(arena)
  if (events !== producer.records) findings.push(`the topic has ${events} records, ${producer.records} were appended`)
  if (applied !== events) findings.push(`${applied} of ${events} records are applied by every shard`)
  findings.push(...(await wrongTotals(arena)))
  findings.push(...(await failure(arena, ['audit', '--rows', '300', '--seed', '3'])))
  const before = await deadLetters(arena)
  findings.push(...(await failure(arena, ['rebuild', '--verify'])))
  const after = await deadLetters(arena)
  if (before.length === 0) findings.push('no event was too late: nothing is known of dead letters')
  if (before.join('\n') !== after.join('\n'))
    findings.push(`${before.length} dead letters, and ${after.length} after a rebuild, or others`)
  return { events, applied, mismatches: [...findings] }
}

/** The offline tables hold every record: filled by the worker whose turn it is, whoever died before it. */
async function offlineSettled({ project, log, producer }: Arena): Promise<void> {
  await using offline = await openOffline(project, log.log.logId, 'read')
  await eventually('the offline tables hold every record', offlineMsMax, async () => {
    const position = await offline.position(streamsOf(project))
    return recordCount(position) === producer.records
  })
}

const streamsOf = ({ catalog }: Project): string[] => [...catalog.streams.keys()]

async function topicRecords({ project, log }: Arena): Promise<number> {
  const described = await Promise.all(streamsOf(project).map((stream) => log.log.describe(stream)))
  return described.flatMap((partitions) => partitions ?? []).reduce((sum, { start, end }) => sum + end - start, 0)
}

async function appliedRecords({ positions }: Arena): Promise<number> {
  const found = (await positions.read()) ?? []
  let sum = 0
  for (const [stream, ends] of Object.entries(found[0] ?? {}))
    for (let partition = 0; partition < ends.length; partition++)
      sum += Math.min(...found.map((held) => held[stream]?.[partition] ?? 0))
  return sum
}

/** Cards whose totals are not those of the payments that were appended. */
async function wrongTotals({ project, producer }: Arena): Promise<string[]> {
  await using opened = await openLookup(project)
  const { columns } = await opened.lookup.getFeatures({
    features: ['totals:n', 'totals:cents', 'visit_totals:n', 'visit_totals:seconds'],
    entities: { card: cards },
    request: {},
  })
  const textOf = (values: readonly unknown[]): string =>
    `${values[0]} payments of ${values[1]} cents, ${values[2]} visits of ${values[3]} s`
  return cards.flatMap((card, row) => {
    const expected = producer.payments.totals.get(card)
    const served = textOf(columns.map((column) => valueAt(column, row) ?? 0))
    const appended = textOf([expected?.n, expected?.cents, expected?.visits, expected?.seconds])
    return served === appended ? [] : [`${card}: served ${served}, appended ${appended}`]
  })
}

/** A command that finds out for itself whether all is well, and says so by its exit code. */
async function failure({ project }: Arena, args: readonly string[]): Promise<string[]> {
  const { code, stdout, stderr } = await run(project.folder, [...args, '--json'])
  return code === 0 ? [] : [`${args[0]}: exit code ${code}: ${stderr.trim()} ${stdout.trim().slice(0, 600)}`]
}

async function deadLetters({ positions }: Arena): Promise<string[]> {
  const letters = await positions.deadLetters()
  return letters.map((letter) => JSON.stringify(letter)).sort()
}
