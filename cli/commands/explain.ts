import type { Command } from 'commander'
import { entityFieldsOf, featureOf, streamOf, viewOf } from '../../core/definition/catalog.ts'
import { featureText } from '../../core/definition/format.ts'
import { statusName } from '../../core/engine/feature-column.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import type { Scalar } from '../../core/event/types.ts'
import { formatInstant } from '../../core/time/time.ts'
import { parseReference } from '../../serving/lookup/service-plan.ts'
import { explainValue, type Explanation } from '../../worker/audit/explain.ts'
import { logPosition } from '../../worker/run.ts'
import {
  action,
  collect,
  instantOption,
  pairs,
  typedColumns,
  wholeOption,
  withCommon,
  type CommonOptions,
} from '../command.ts'
import { systemClock } from '../environment.ts'
import { streamReader } from '../readers.ts'
import { openLogToRead } from '../stores.ts'
import { grouped, print, printJson, table, valueText } from '../terminal.ts'

interface ExplainOptions extends CommonOptions {
  readonly entity?: readonly string[]
  readonly asOf?: string
  readonly knownAsOf?: string
  readonly limit: string
}

export function addExplain(program: Command): void {
  withCommon(program.command('explain'))
    .summary('the events behind one value')
    .description('Computes one value from the log by the plain definition and prints the events that it rests on.')
    .argument('<feature>', 'view:feature')
    .option('--entity <key=value>', 'entity key field; again for another', collect)
    .option('--as-of <T>', 'as of event time T (default: now)')
    .option('--known-as-of <K>', 'by what was known at K (default: T with --as-of, else everything)')
    .option('--limit <n>', 'print at most so many events, the newest', '20')
    .action(
      action<ExplainOptions, [string]>(async (project, options, text) => {
        const reference = parseReference(text)
        const limit = wholeOption('--limit', options.limit, 1, Number.MAX_SAFE_INTEGER)
        const view = viewOf(project.catalog, reference.view)
        const columns = typedColumns(
          '--entity',
          entityFieldsOf(project.catalog, [view.name]),
          pairs('--entity', options.entity ?? []),
        )
        const missing = view.keyFields.filter((field) => columns[field]?.length !== 1)
        if (missing.length > 0)
          throw new FeatureStoreError(
            'FS_USAGE',
            `give --entity ${missing.map((field) => `${field}=…`).join(' --entity ')} once each`,
          )
        await using open = await openLogToRead(project)
        const asOf = instantOption('--as-of', options.asOf)
        const explanation = await explainValue({
          catalog: project.catalog,
          reference: text,
          entities: Object.fromEntries(view.keyFields.map((field) => [field, columns[field]?.[0] as Scalar])),
          asOfMs: asOf ?? systemClock.nowMs(),
          knownAsOfMs: instantOption('--known-as-of', options.knownAsOf) ?? asOf ?? Number.POSITIVE_INFINITY,
          position: await logPosition(open.log, [streamOf(project.catalog, view.from).name]),
          reader: streamReader(project.catalog, open, view.from),
        })
        if (options.json === true)
          return printJson({ feature: text, ...explanation, status: statusName(explanation.status) })
        print(`${text} = ${featureText(featureOf(project.catalog, reference))}`)
        for (const line of explanationLines(explanation, limit)) print(line)
      }),
    )
}

const reasons: Readonly<Record<keyof Explanation['excluded'], string>> = {
  refused: 'refused by the view',
  atOrAfterAsOf: 'at or after T',
  notKnown: 'not known by K',
  corrected: 'duplicate or taken back',
  beforeWindow: 'before the window',
  afterWindow: 'after the window',
  notWhere: 'not as where asks',
  nullInput: 'null',
}

export function explanationLines(explanation: Explanation, limit: number): string[] {
  const { events, window, excluded, corrected } = explanation
  const from = Number.isFinite(window[0]) ? formatInstant(window[0]) : 'the beginning'
  const left = Object.entries(excluded).filter(([, count]) => count > 0)
  const shown = events.slice(-limit)
  return [
    `value     ${valueText(explanation.value)} (${statusName(explanation.status)})`,
    `window    [${from}, ${formatInstant(window[1])})`,
    `events    ${grouped(events.length)}${left.length === 0 ? '' : `; left out: ${left.map(([reason, count]) => `${grouped(count)} ${reasons[reason as keyof typeof reasons]}`).join(', ')}`}`,
    ...(shown.length < events.length ? [`  … ${grouped(events.length - shown.length)} older ones (--limit)`] : []),
    ...table(
      shown.map((event) => [
        `  ${event.stream}/${event.partition}@${event.offset}`,
        formatInstant(event.eventTimeMs),
        `known ${formatInstant(event.knownAtMs)}`,
        Object.entries(event.fields)
          .map(([field, value]) => `${field}=${String(value)}`)
          .join(' '),
      ]),
    ),
    ...table(
      corrected
        .slice(-limit)
        .map(({ by, ...event }) => [
          `  not ${event.stream}/${event.partition}@${event.offset}`,
          formatInstant(event.eventTimeMs),
          `known ${formatInstant(event.knownAtMs)}`,
          `${by.op === 'insert' ? 'a duplicate of' : `${corrections[by.op]} by`} ${event.stream}/${by.partition}@${by.offset}, known ${formatInstant(by.knownAtMs)}`,
        ]),
    ),
  ]
}

const corrections = { retract: 'retracted', upsert: 'superseded', delete: 'deleted' } as const
