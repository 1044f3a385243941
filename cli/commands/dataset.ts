import { createWriteStream, writeFileSync } from 'node:fs'
import { extname } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { readFileSync } from 'node:fs'
import type { Command } from 'commander'
import { readParquet } from '../../connectors/parquet/read.ts'
import { serviceOf } from '../../core/definition/catalog.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import { encodeToken, recordCount } from '../../core/event/position.ts'
import { readArrowFile } from '../../schemas/arrow/read.ts'
import { readCsv } from '../../schemas/csv/read.ts'
import { buildDataset } from '../../training/dataset.ts'
import { labelsFromTable, labelTableOfCsv, type LabelTable } from '../../training/labels.ts'
import { describeDataset, writeDataset, writeDatasetCsv } from '../../training/output.ts'
import { logPosition } from '../../worker/run.ts'
import { action, withCommon, type CommonOptions } from '../command.ts'
import { systemClock } from '../environment.ts'
import { serviceScan } from '../readers.ts'
import { openLogToRead } from '../stores.ts'
import { grouped, print, printJson, Progress, seconds } from '../terminal.ts'

interface BuildOptions extends CommonOptions {
  readonly service: string
  readonly labels: string
  readonly out: string
}

/** A label file by its extension. Errors: FS_LABELS_INVALID, FS_FILE_INVALID. */
async function readLabels(file: string): Promise<LabelTable> {
  if (!['.csv', '.parquet', '.arrow'].includes(extname(file)))
    throw new FeatureStoreError('FS_USAGE', `--labels ${file}: a label file ends in .csv, .parquet or .arrow`)
  try {
    if (extname(file) === '.parquet') {
      const { rowCount, columns } = await readParquet(file)
      return { rows: rowCount, columns }
    }
    const bytes = readFileSync(file)
    if (extname(file) === '.csv') return labelTableOfCsv(readCsv(bytes))
    const { rowCount, columns } = readArrowFile(bytes)
    return { rows: rowCount, columns }
  } catch (cause) {
    if (cause instanceof FeatureStoreError) throw cause
    throw new FeatureStoreError('FS_FILE_INVALID', `${file} cannot be read`, { cause })
  }
}

export function addDataset(program: Command): void {
  const dataset = program
    .command('dataset')
    .summary('training sets')
    .description('Training sets: features of label rows, each as of its own time.')
  withCommon(dataset.command('build'))
    .summary('build a training set')
    .description(
      'Label columns: the entity keys, as_of, optionally known_as_of (default: as_of), the request fields; others are copied. Output: those, then view__feature. Arrow files carry their lineage in their metadata.',
    )
    .requiredOption('--service <name>', 'feature service')
    .requiredOption('--labels <file>', '.csv, .parquet or .arrow')
    .requiredOption('--out <file>', '.arrow or .csv')
    .action(
      action<BuildOptions, []>(async (project, options) => {
        const { catalog } = project
        const service = serviceOf(catalog, options.service)
        if (!['.arrow', '.csv'].includes(extname(options.out)))
          throw new FeatureStoreError('FS_USAGE', `--out ${options.out}: a training set ends in .arrow or .csv`)
        const labels = labelsFromTable(catalog, service, await readLabels(options.labels))
        await using open = await openLogToRead(project)
        const position = await logPosition(open.log, catalog.streams.keys())
        const progress = new Progress('dataset', 'events')
        let scanned = 0
        const built = await buildDataset({
          catalog,
          service,
          labels,
          position,
          clock: systemClock,
          scan: serviceScan(catalog, open, service, position, (batch) =>
            progress.update((scanned += batch.count), recordCount(position)),
          ),
        })
        progress.end()
        const output = { catalog, service, labels, columns: built.columns, position }
        if (extname(options.out) === '.csv')
          await pipeline(Readable.from(writeDatasetCsv(output)), createWriteStream(options.out))
        else writeFileSync(options.out, writeDataset(output).arrow)
        const { digest } = describeDataset(output)
        const errorRows = new Set(built.columns.flatMap(({ errors }) => errors.map(({ row }) => row))).size
        if (options.json === true)
          return printJson({
            rows: built.rows,
            columns: built.columns.length,
            errorRows,
            digest,
            token: encodeToken(position),
            out: options.out,
            scanMs: built.scanMs,
            finishMs: built.finishMs,
          })
        print(
          `${grouped(built.rows)} rows x ${built.columns.length} features in ${options.out} (scan ${seconds(built.scanMs)}, finish ${seconds(built.finishMs)})`,
        )
        if (errorRows > 0)
          print(
            `${grouped(errorRows)} of the rows have a key that no event can have (null or longer than 1,024 bytes): its features are null (FS_ENTITY_INVALID)`,
          )
        print(`content digest ${digest}`)
      }),
    )
}
