import type { Command } from 'commander'
import { serviceOf } from '../../core/definition/catalog.ts'
import { statusName } from '../../core/engine/feature-column.ts'
import { formatInstant } from '../../core/time/time.ts'
import { buildDataset } from '../../training/dataset.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import type { AuditReport } from '../../worker/audit/audit.ts'
import type { AuditSample } from '../../worker/audit/sample.ts'
import { logPosition } from '../../worker/run.ts'
import { drawPool, labelsOfPool, runAudit, sampleOnline, samplePast, sampleTraining, seeded } from '../audit.ts'
import { action, wholeOption, withCommon, type CommonOptions } from '../command.ts'
import { systemClock } from '../environment.ts'
import { serviceScan } from '../readers.ts'
import { openLookup } from '../serve-process.ts'
import { grouped, print, printJson, toJson } from '../terminal.ts'

interface AuditOptions extends CommonOptions {
  readonly service?: string
  readonly rows: string
  readonly seed: string
}

const rowsPerTime = 10

export function addAudit(program: Command): void {
  withCommon(program.command('audit'))
    .summary('recompute served values from the log')
    .description(
      'Samples online rows, training rows and as-of answers, recomputes each value by a plain scan of the log and compares bit for bit. Exits 1 on a mismatch.',
    )
    .option('--service <name>', 'service to audit (default: every one)')
    .option('--rows <n>', 'rows per service', '600')
    .option('--seed <n>', 'seed of the sample', String(systemClock.nowMs() % 2 ** 31))
    .action(
      action<AuditOptions, []>(async (project, options) => {
        const { catalog } = project
        const rows = wholeOption('--rows', options.rows, 1, 1_000_000)
        const random = seeded(wholeOption('--seed', options.seed, 0, 2 ** 31 - 1))
        // Nothing compared must not look like nothing wrong.
        if (catalog.services.size === 0)
          throw new FeatureStoreError('FS_SERVICE_UNKNOWN', 'there is no service to audit', {
            remedy: 'Define a service over the views whose values are served.',
          })
        await using opened = await openLookup(project)
        const position = await logPosition(opened.open.log, catalog.streams.keys())
        const samples: AuditSample[] = []
        const services =
          options.service === undefined ? [...catalog.services.keys()] : [serviceOf(catalog, options.service).name]
        for (const name of services) {
          const service = serviceOf(catalog, name)
          const pool = await drawPool(catalog, opened.open, service, position, random)
          if (pool.rows.length === 0) continue
          const request = { lookup: opened.lookup, service: name, pool, random, rowsPerTime }
          const third = Math.ceil(rows / 3)
          samples.push(...(await sampleOnline({ ...request, rows: third }, pool.newestMs)))
          samples.push(...(await samplePast({ ...request, rows: Math.min(third, 100) })))
          const labels = labelsOfPool(catalog, name, pool, third)
          const built = await buildDataset({
            catalog,
            service,
            labels,
            position,
            clock: systemClock,
            scan: serviceScan(catalog, opened.open, service, position),
          })
          samples.push(...sampleTraining(name, labels, built.columns, position, third, random))
        }
        const report = await runAudit(catalog, opened.open, samples)
        if (options.json === true) printJson({ seed: Number(options.seed), ...reportJson(report) })
        else {
          for (const line of reportLines(report)) print(line)
          print(`seed ${options.seed}`)
        }
        if (report.mismatched > 0) process.exitCode = 1
      }),
    )
}

export const reportJson = (report: AuditReport): Readonly<Record<string, unknown>> => ({
  checked: report.checked,
  mismatched: report.mismatched,
  byKind: Object.fromEntries(report.byKind),
  byFeature: Object.fromEntries(report.byFeature),
  mismatches: report.mismatches,
})

export function reportLines(report: AuditReport): string[] {
  const kinds = [...report.byKind].map(
    ([kind, { checked, mismatched }]) =>
      `${kind} ${grouped(checked)}${mismatched > 0 ? ` (${grouped(mismatched)} mismatched)` : ''}`,
  )
  return [
    `checked ${grouped(report.checked)} values of ${report.byFeature.size} features (${kinds.join(', ')}), mismatched ${grouped(report.mismatched)}`,
    ...report.mismatches.map(
      ({ sample, name, expected, got }) =>
        `  ${sample.kind} ${name} ${toJson(sample.entities)} as of ${formatInstant(sample.asOfMs)}: served ${toJson(got.value)} ${statusName(got.status)}, the log says ${toJson(expected.value)} ${statusName(expected.status)}`,
    ),
  ]
}
