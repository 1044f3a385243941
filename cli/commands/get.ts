import type { Command } from 'commander'
import { hasValue, statusName, valueAt, type FeatureColumn } from '../../core/engine/feature-column.ts'
import { formatInstant } from '../../core/time/time.ts'
import type { LookupReply } from '../../serving/lookup/types.ts'
import {
  action,
  collect,
  instantOption,
  orNotApplied,
  pairs,
  typedColumns,
  withCommon,
  type CommonOptions,
} from '../command.ts'
import { openLookup } from '../serve-process.ts'
import { print, printJson, table, valueText } from '../terminal.ts'

interface GetOptions extends CommonOptions {
  readonly entity?: readonly string[]
  readonly request?: readonly string[]
  readonly asOf?: string
  readonly knownAsOf?: string
}

export function addGet(program: Command): void {
  withCommon(program.command('get'))
    .summary('look features up')
    .description('Features of entities: of a service, or named one by one (view:feature). Without --as-of: now.')
    .argument('<what...>', 'a service, or view:feature names')
    .option('--entity <key=value>', 'entity key field; again for another field, or for another row', collect)
    .option('--request <field=value>', 'request field of the service', collect)
    .option('--as-of <T>', 'as of event time T: epoch ms or ISO 8601 with zone')
    .option('--known-as-of <K>', 'by what was known at K; default: K = T when --as-of is given, else everything')
    .addHelpText(
      'after',
      '\nExample:\n  tidemark get origin_delays:mean_delay_1d --entity origin=ATL --as-of 2001-03-01T12:00:00Z',
    )
    .action(
      action<GetOptions, [readonly string[]]>(async (project, options, what) => {
        await using opened = await openLookup(project)
        const chosen =
          what.length === 1 && !(what[0] as string).includes(':') ? { service: what[0] as string } : { features: what }
        const plan = opened.lookup.plan(chosen)
        const asOfMs = instantOption('--as-of', options.asOf)
        const knownAsOfMs = instantOption('--known-as-of', options.knownAsOf)
        const entities = typedColumns('--entity', plan.entityFields, pairs('--entity', options.entity ?? []))
        const request = typedColumns('--request', plan.requestFields, pairs('--request', options.request ?? []))
        const reply = await orNotApplied(project, opened.open.log, () =>
          opened.lookup.getFeatures({
            ...chosen,
            entities,
            request,
            ...(asOfMs === undefined ? {} : { asOfMs }),
            ...(knownAsOfMs === undefined ? {} : { knownAsOfMs }),
          }),
        )
        if (options.json === true) printJson(replyJson(reply))
        else printReply(reply)
      }),
    )
}

/** Codes of the features of a row whose status is ERROR. */
function errorsOf(reply: LookupReply, row: number): Record<string, string> {
  const errors: Record<string, string> = {}
  for (const column of reply.columns)
    for (const error of column.errors) if (error.row === row) errors[column.name] = error.code
  return errors
}

/** A reply as JSON: one object per row, statuses beside the values, and the codes of errors. */
export const replyJson = (reply: LookupReply): unknown => ({
  asOf: formatInstant(reply.asOfMs),
  asOfMs: reply.asOfMs,
  knownAsOfMs: reply.knownAsOfMs,
  token: reply.token,
  fingerprints: Object.fromEntries(reply.columns.map((column) => [column.name, column.fingerprint])),
  rows: Array.from({ length: reply.rows }, (_, row) => ({
    values: Object.fromEntries(reply.columns.map((column) => [column.name, valueAt(column, row)])),
    statuses: Object.fromEntries(
      reply.columns.map((column) => [column.name, statusName(column.statuses[row] as number)]),
    ),
    errors: errorsOf(reply, row),
  })),
})

export function cellText(column: FeatureColumn, row: number): string {
  const status = column.statuses[row] as number
  const value = valueAt(column, row)
  if (hasValue(status)) return valueText(value)
  const error = column.errors.find((candidate) => candidate.row === row)
  return `${value === null ? '' : `${String(value)} `}${statusName(status)}${error === undefined ? '' : ` ${error.code}`}`
}

export function printReply(reply: LookupReply): void {
  const rows = reply.columns.map((column) => [
    column.name,
    ...Array.from({ length: reply.rows }, (_, row) => cellText(column, row)),
  ])
  for (const line of table(
    rows,
    Array.from({ length: reply.rows }, (_, row) => row + 1),
  ))
    print(line)
  print(
    `as of ${formatInstant(reply.asOfMs)}${reply.knownAsOfMs === null ? '' : `, known by ${formatInstant(reply.knownAsOfMs)}`}`,
  )
}
