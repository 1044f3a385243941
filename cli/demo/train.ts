import { mkdirSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { modelOf, serviceOf, streamOf } from '../../core/definition/catalog.ts'
import { recordCount, type Position } from '../../core/event/position.ts'
import { DatasetBuilder } from '../../training/dataset.ts'
import { labelFields, labelsFromStream } from '../../training/label-sample.ts'
import { writeDataset } from '../../training/output.ts'
import { trainModel } from '../../training/train.ts'
import { loadRegistry } from '../../worker/registry-log.ts'
import type { LocalIngest } from '../ingest.ts'
import type { Project } from '../project.ts'
import { serviceScan, streamReader } from '../readers.ts'
import type { OpenLog } from '../stores.ts'
import { grouped, Progress, seconds } from '../terminal.ts'
import { trainAndRegister } from '../train.ts'
import type { Report } from './report.ts'

/** The training set, the model, and what a leaking join would have claimed. */
export async function trainStep(
  report: Report,
  project: Project,
  open: OpenLog,
  ingest: LocalIngest,
  position: Position,
  name: string,
) {
  const { catalog } = project
  const model = modelOf(catalog, name)
  const service = serviceOf(catalog, model.service)
  const stream = streamOf(catalog, model.labels.from)
  const progress = new Progress('dataset', 'events')
  const total = recordCount(position)
  const labels = await labelsFromStream(
    catalog,
    model,
    streamReader(catalog, open, stream.name, labelFields(catalog, model)).scan(position.streams[stream.name] ?? []),
  )
  const drawn = Date.now()
  let scanned = 0
  const builder = await DatasetBuilder.scan({
    catalog,
    service,
    position,
    scan: serviceScan(catalog, open, service, position, (batch) => progress.update((scanned += batch.count), total)),
  })
  const finishing = Date.now()
  const { columns, rows } = builder.finish(labels)
  const finished = Date.now()
  const { arrow, digest } = writeDataset({ catalog, service, labels, columns, position })
  const folder = join(project.paths.data, 'training')
  mkdirSync(folder, { recursive: true })
  const file = join(folder, `${name}.arrow`)
  writeFileSync(file, arrow)
  const datasetMs = progress.end()
  report.step(
    'dataset',
    `${grouped(rows)} rows x ${columns.length} features in ${seconds(datasetMs)} (scan ${seconds(finishing - drawn)}, finish ${seconds(finished - finishing)}) → ${relative(process.cwd(), file)}`,
  )

  const begun = Date.now()
  const { trained, registered } = await trainAndRegister({
    project,
    model: name,
    labels,
    columns,
    position,
    digest,
    registry: await loadRegistry(open.log),
    ingest,
  })
  const leaking = trainModel({
    catalog,
    model,
    labels,
    columns: builder.finish(labels, { leaky: true }).columns,
    position,
    digest,
  })
  const trainMs = Date.now() - begun
  const auc = { honest: trained.metrics.test?.auc ?? null, leaking: leaking.metrics.test?.auc ?? null }
  const text = (value: number | null): string => (value === null ? '-' : value.toFixed(4))
  report.step(
    'train',
    `${name} version ${registered.version}: AUC ${text(auc.honest)} on ${grouped(trained.metrics.testRows)} later rows in ${seconds(trainMs)} (a leaking join would have claimed ${text(auc.leaking)})`,
  )
  return { labels, columns, datasetMs, trainMs, auc }
}
