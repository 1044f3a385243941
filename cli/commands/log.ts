import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from 'commander'
import { openKafkaLog, setKnownAt, settingsOf } from '../../connectors/kafka/index.ts'
import { LogSchemas, openLog } from '../../connectors/log/index.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import { LoggedSchemas } from '../../schemas/schema-log.ts'
import { copyStream, type StreamCopy } from '../../worker/ingest/copy-log.ts'
import { registryStream } from '../../worker/registry-log.ts'
import { action, withCommon, type CommonOptions } from '../command.ts'
import { systemClock, systemRandom } from '../environment.ts'
import { kafkaOptions } from '../kafka.ts'
import type { Project } from '../project.ts'
import { grouped, print, printJson, Progress } from '../terminal.ts'

export function addLog(program: Command): void {
  const log = program.command('log').summary('the log itself').description('What concerns the log as a whole.')
  withCommon(log.command('copy'))
    .summary('an embedded log to Kafka')
    .description(
      "Copies the embedded log in the project's data folder to the Kafka of the config: every record with its key, knownAt and offset, the definitions that were applied, and the writers' schemas. Goes on where it was cut short; the embedded log stays as it is.",
    )
    .action(
      action<CommonOptions, []>(async (project, options) => {
        const progress = new Progress('copy', 'records')
        const copies = await copyToKafka(project, (copied, total) => progress.update(copied, total))
        progress.end()
        if (options.json === true) return printJson({ streams: copies })
        for (const { stream, records, copied } of copies)
          print(
            `${stream}: ${grouped(records)} records${copied < records ? `, ${grouped(records - copied)} of them were there` : ''}`,
          )
        print('next: tidemark rebuild, since the rows are still those of the embedded log')
      }),
    )
}

async function copyToKafka(
  project: Project,
  onProgress: (copied: number, total: number) => void,
): Promise<readonly StreamCopy[]> {
  const { config, folder, paths, catalog } = project
  if (config.log.kind !== 'kafka')
    throw new FeatureStoreError('FS_CONFIG_INVALID', 'log.kind is embedded: there is nothing to copy to', {
      remedy: "Set log: { kind: 'kafka', brokers: [...] } first; the embedded log is found in the data folder.",
    })
  if (!existsSync(join(paths.log, 'log.json')))
    throw new FeatureStoreError('FS_NOT_APPLIED', `there is no embedded log in ${paths.log}`, {
      remedy: 'Nothing has to be copied: run `tidemark apply`.',
    })
  const options = kafkaOptions(config.log, folder)
  // As a writer: nobody appends to it meanwhile.
  await using from = await openLog(paths.log, { mode: 'write', random: systemRandom, holder: 'tidemark log copy' })
  await using to = await openKafkaLog(options)
  const schemas = new LogSchemas(paths.log)
  const kept = new LoggedSchemas(to)
  const streams: string[] = []
  for (const stream of [...catalog.streams.keys(), registryStream])
    if ((await from.describe(stream)) !== null) streams.push(stream)
  const copies: StreamCopy[] = []
  for (const stream of streams) {
    const partitions = (await from.describe(stream)) ?? []
    const total = partitions.reduce((sum, { end }) => sum + end, 0)
    // Records keep the time at which they became known, whoever says it from then on.
    await to.create(stream, { partitions: partitions.length, knownAt: 'createTime' })
    await setKnownAt(settingsOf(options), stream, 'createTime')
    for (const schema of schemas.all(stream)) await kept.putSchema(stream, schema, systemClock.nowMs())
    copies.push(await copyStream(from, to, stream, (copied) => onProgress(copied, total)))
    await setKnownAt(settingsOf(options), stream, catalog.streams.get(stream)?.knownAt ?? 'logAppendTime')
  }
  return copies
}
