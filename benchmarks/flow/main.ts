/** The suite `main`: the main job's speed, step by step, on the flights of examples/flights. See README.md. */
import { ensure, type Suite } from '../harness.ts'
import { fullSizes, openFlightLog, smallSizes, Workplace } from './context.ts'
import { benchDataset } from './dataset.ts'
import { benchGet } from './get.ts'
import { benchImport } from './import.ts'
import { askPast, Peaks, runWorkerChild, startServeChild } from './memory.ts'
import { scanByHand } from './scan-limit.ts'
import { benchStream } from './stream.ts'

export const mainSuite: Suite = async (options) => {
  const sizes = options.full ? fullSizes : smallSizes
  await using workplace = new Workplace()
  const project = await benchImport(options, sizes, workplace)
  await using log = await openFlightLog(project)
  ensure(log.events === sizes.events, `the log has ${log.events} events, not ${sizes.events}`)
  const { columns } = await scanByHand(log)
  await benchStream(options, log, workplace, columns)
  await benchDataset(options, log, sizes, columns)

  using peaks = new Peaks(project, workplace)
  await runWorkerChild(project, peaks, log.events)
  {
    await using serving = await startServeChild(project, peaks)
    await benchGet(options, log, sizes, serving.address, serving.pid)
    await askPast(log, serving.address)
  }
  peaks.emit(options)
}
