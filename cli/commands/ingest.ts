import { createReadStream } from 'node:fs'
import { resolve } from 'node:path'
import type { Readable } from 'node:stream'
import type { Command } from 'commander'
import { streamOf } from '../../core/definition/catalog.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import { encodeToken } from '../../core/event/position.ts'
import { action, withCommon, type CommonOptions } from '../command.ts'
import { openIngest } from '../ingest.ts'
import { linesOf } from '../lines.ts'
import { grouped, print, printJson, Progress, seconds } from '../terminal.ts'

export function addImport(program: Command): void {
  withCommon(program.command('import'))
    .summary('history from a file into the log')
    .description(
      'Imports a .parquet, .arrow or .csv file, in the order in which its rows became known. A column _op of text says what a row does (insert, retract, upsert, delete), where the stream takes that. Goes on where a crash stopped it; a second run adds nothing.',
    )
    .argument('<stream>', 'stream to import into')
    .argument('<file>', 'table file')
    .option('--known-at <column>', "column that says when a row became known (default: the stream's importKnownAt)")
    .action(
      action<CommonOptions & { readonly knownAt?: string }, [string, string]>(
        async (project, options, stream, file) => {
          streamOf(project.catalog, stream)
          await using ingest = await openIngest(project, 'tidemark import')
          const progress = new Progress('import', 'events')
          const report = await ingest.import(
            {
              stream,
              file: resolve(file),
              ...(options.knownAt === undefined ? {} : { knownAtColumn: options.knownAt }),
            },
            (done, total) => progress.update(done, total),
          )
          const ms = progress.end()
          if (options.json === true) return printJson({ ...report, through: ingest.through })
          if (report.appended === 0) print(`${grouped(report.rows)} rows of ${file} are in stream ${stream} already`)
          else
            print(
              `${grouped(report.appended)} events appended to ${stream} in ${seconds(ms)} (${grouped((report.appended / ms) * 1000)} events/s)${report.alreadyThere > 0 ? `, ${grouped(report.alreadyThere)} were there` : ''}`,
            )
          if (report.clamped > 0)
            print(
              `${grouped(report.clamped)} of them were known no earlier than what the log had: their knownAt was raised`,
            )
          if (report.ignoredColumns.length > 0)
            print(`columns without a field in the stream, not imported: ${report.ignoredColumns.join(', ')}`)
          if (ingest.through !== null) print(`through up (process ${ingest.through})`)
        },
      ),
    )
}

/** Errors: FS_FILE_INVALID. */
async function* readLines(input: Readable, file = 'standard input'): AsyncGenerator<string> {
  try {
    yield* linesOf(input)
  } catch (cause) {
    throw new FeatureStoreError('FS_FILE_INVALID', `${file} cannot be read`, { cause })
  }
}

export function addAppend(program: Command): void {
  withCommon(program.command('append'))
    .summary('events from NDJSON into the log')
    .description(
      'Appends events, a JSON object a line: fields by name, optionally _op (insert; retract with an id; upsert, delete in a changelog), _knownAt and _partition. Prints the position.',
    )
    .argument('<stream>', 'stream to append to')
    .argument('[file]', 'NDJSON file; default: standard input')
    .action(
      action<CommonOptions, [string, string | undefined]>(async (project, options, stream, file) => {
        streamOf(project.catalog, stream)
        await using ingest = await openIngest(project, 'tidemark append')
        const input = file === undefined ? process.stdin : createReadStream(file)
        const report = await ingest.append(stream, readLines(input, file)).finally(() => input.destroy())
        const token = encodeToken(report.position)
        if (options.json === true) return printJson({ ...report, token, through: ingest.through })
        print(
          `${grouped(report.appended)} events appended to ${stream}${ingest.through === null ? '' : ` through up (process ${ingest.through})`}`,
        )
        if (report.clamped > 0) print(`${grouped(report.clamped)} of them had a knownAt below the log's: it was raised`)
        const partitions = report.position.streams[stream] ?? []
        print(`position: ${partitions.map(({ epoch, next }, partition) => `${partition}:${epoch}/${next}`).join(' ')}`)
        print(`token: ${token}`)
      }),
    )
}
