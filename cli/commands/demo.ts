import type { Command } from 'commander'
import { action, portOption, wholeOption, withCommon, type CommonOptions } from '../command.ts'
import { createReport } from '../demo/report.ts'
import { runDemo } from '../demo/run.ts'
import { stopSignal } from '../environment.ts'
import { printJson } from '../terminal.ts'

interface DemoOptions extends CommonOptions {
  readonly once?: true
  readonly seed: string
  readonly port?: string
}

export function addDemo(program: Command): void {
  withCommon(program.command('demo'))
    .summary('the main job, end to end: import, stream, train, serve, prove')
    .description(
      "Runs what the config's `demo` names: imports its file, builds the stores, a training set and a model, serves, audits what was served. Then stays up.",
    )
    .option('--once', 'end when it is done: exit code 0 only if every event was applied and nothing mismatched')
    .option('--seed <n>', 'seed of the audit sample', '1')
    .option('--port <port>', 'port to serve on')
    .action(
      action<DemoOptions, []>(async (project, options) => {
        const report = await runDemo(project, {
          signal: stopSignal(),
          once: options.once === true,
          seed: wholeOption('--seed', options.seed, 0, 2 ** 31),
          port: portOption(options.port),
          report: createReport(options.json === true),
        })
        if (options.json === true) printJson(report)
        if (report.mismatched > 0 || report.applied !== report.events || report.checked === 0) process.exitCode = 1
      }),
    )
}
