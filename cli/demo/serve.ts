import type { ChildProcess } from 'node:child_process'
import { featureOf, viewOf } from '../../core/definition/catalog.ts'
import { referenceText, type FeatureReference, type ServiceDefinition } from '../../core/definition/types.ts'
import { valueAt, type FeatureColumn } from '../../core/engine/feature-column.ts'
import type { Position } from '../../core/event/position.ts'
import type { Scalar } from '../../core/event/types.ts'
import { formatInstant } from '../../core/time/time.ts'
import { connectFeatureClient } from '../../serving/grpc/client.ts'
import { explainValue } from '../../worker/audit/explain.ts'
import type { Pool } from '../audit.ts'
import { explanationLines } from '../commands/explain.ts'
import { cellText } from '../commands/get.ts'
import type { Project } from '../project.ts'
import { streamReader } from '../readers.ts'
import type { OpenLog } from '../stores.ts'
import { table } from '../terminal.ts'
import { endedEarly, exitOf, startChild } from '../up.ts'
import type { Report } from './report.ts'

const explainedEvents = 3

/** A server in a process of its own, once it answers. */
export async function startServe(
  project: Project,
  port: number | undefined,
): Promise<{ readonly child: ChildProcess; readonly address: string }> {
  let ready = (_address: string): void => {}
  const serving = new Promise<string>((resolve) => (ready = resolve))
  const child = startChild(project, ['serve', ...(port === undefined ? [] : ['--port', String(port)])], (message) => {
    if (message.kind === 'serving') ready(message.address)
  })
  const address = await Promise.race([
    serving,
    exitOf(child).then((code) => {
      throw endedEarly('the server', code)
    }),
  ])
  return { child, address }
}

/** What a caller sees: features of three rows and one prediction, through a real client. */
export async function serveStep(
  report: Report,
  address: string,
  service: string,
  pool: Pool,
  random: () => number,
): Promise<void> {
  await using client = connectFeatureClient(address)
  const rows = Array.from(
    { length: 3 },
    () => pool.rows[Math.floor(random() * pool.rows.length)] as Pool['rows'][number],
  )
  const columns = (part: 'entities' | 'request', of: typeof rows): Record<string, Scalar[]> =>
    Object.fromEntries(
      Object.keys(rows[0]?.[part] ?? {}).map((field) => [field, of.map((row) => row[part][field] ?? null)]),
    )
  const reply = await client.getFeatures({
    service,
    entities: columns('entities', rows),
    request: columns('request', rows),
    deadlineMs: 10_000,
  })
  const one = rows.slice(0, 1)
  const asked = performance.now()
  const prediction = await client.predict({
    service,
    entities: columns('entities', one),
    request: columns('request', one),
    deadlineMs: 10_000,
  })
  const ms = performance.now() - asked
  report.step('serve', `tidemark.v1.FeatureService on ${address}, as of ${formatInstant(reply.asOfMs)}`)
  const shown = reply.columns.filter((_, index) => index % 5 === 2)
  const heading = ['', ...rows.map((row) => Object.values(row.entities).join(' → '))]
  for (const line of table(
    [heading, ...shown.map((column) => [column.name, ...rows.map((_, row) => shortCell(column, row))])],
    [1, 2, 3],
  ))
    report.line(`            ${line}`)
  report.step(
    '',
    `prediction for ${Object.values(one[0]?.entities ?? {}).join(' → ')}: ${(prediction.scores[0] as number).toFixed(4)} by ${prediction.model} version ${prediction.modelVersion}, ${ms.toFixed(1)} ms`,
  )
}

/** A cell for the report: two decimals are enough there; `get` prints the exact value. */
function shortCell(column: FeatureColumn, row: number): string {
  const value = valueAt(column, row)
  return typeof value === 'number' && !Number.isInteger(value) ? value.toFixed(2) : cellText(column, row)
}

/** One value of the service with the events that it rests on: a list of the last few events reads best. */
export async function explainStep(
  report: Report,
  project: Project,
  open: OpenLog,
  service: ServiceDefinition,
  pool: Pool,
  position: Position,
): Promise<void> {
  const { catalog } = project
  const reference =
    service.features.find((candidate) => featureOf(catalog, candidate).aggregation.function === 'lastN') ??
    (service.features[0] as FeatureReference)
  const view = viewOf(catalog, reference.view)
  const row = pool.rows[0] as Pool['rows'][number]
  const entities = Object.fromEntries(view.keyFields.map((field) => [field, row.entities[field] ?? null]))
  const text = referenceText(reference)
  const explanation = await explainValue({
    catalog,
    reference: text,
    entities,
    asOfMs: row.eventTimeMs,
    knownAsOfMs: row.eventTimeMs,
    position,
    reader: streamReader(catalog, open, view.from),
  })
  report.step('explain', `${text} of ${Object.values(entities).join(' → ')} as of ${formatInstant(row.eventTimeMs)}`)
  for (const line of explanationLines(explanation, explainedEvents)) report.line(`            ${line}`)
}
