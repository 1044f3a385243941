/** The `tidemark` command, and the only composition root: config in, adapters built, started, stopped. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Command, CommanderError } from 'commander'
import { FeatureStoreError } from '../core/errors.ts'
import { addAudit } from './commands/audit.ts'
import { addDataset } from './commands/dataset.ts'
import { addApply, addPlan } from './commands/definitions.ts'
import { addDemo } from './commands/demo.ts'
import { addExplain } from './commands/explain.ts'
import { addGet } from './commands/get.ts'
import { addAppend, addImport } from './commands/ingest.ts'
import { addLog } from './commands/log.ts'
import { addInit } from './commands/init.ts'
import { addServe, addUp, addWorker } from './commands/processes.ts'
import { addRebuild } from './commands/rebuild.ts'
import { addStatus } from './commands/status.ts'
import { reportError } from './terminal.ts'

const { version } = JSON.parse(readFileSync(join(import.meta.dirname, '..', 'package.json'), 'utf8')) as {
  readonly version: string
}

const program = new Command('tidemark')
  .description('An event-sourced streaming feature store: exact, reproducible, explainable features from one log.')
  .version(version)
  .showSuggestionAfterError()
  .addHelpText(
    'after',
    '\nExit codes: 0 done, 1 a mismatch or a bug, 2 something to correct (usage, definitions, data), 3 try again later (locked, not ready, unavailable).\nErrors are a code, a message and a remedy; --json prints them as JSON on stderr.',
  )

for (const add of [
  addInit,
  addPlan,
  addApply,
  addImport,
  addAppend,
  addWorker,
  addServe,
  addUp,
  addGet,
  addDataset,
  addAudit,
  addExplain,
  addStatus,
  addRebuild,
  addLog,
  addDemo,
])
  add(program)

/** Usage errors are Tidemark's own kind of error, in commander's words. */
function useOwnErrors(command: Command): void {
  command.exitOverride().configureOutput({ outputError: () => {} })
  for (const child of command.commands) useOwnErrors(child)
}
useOwnErrors(program)

// `tidemark status | head -1`: whoever read the output has seen enough.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0)
  throw error
})

const asked = process.argv.slice(2)
try {
  await program.parseAsync(process.argv)
} catch (error) {
  if (error instanceof CommanderError) {
    if (error.exitCode !== 0) {
      process.exitCode =
        asked.length === 0
          ? 2
          : reportError(
              new FeatureStoreError('FS_USAGE', error.message.replace(/^error: /, '')),
              asked.includes('--json'),
            )
    }
  } else process.exitCode = reportError(error, asked.includes('--json'))
}
