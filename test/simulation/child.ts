/**
 * A process that runs seeds: `node child.ts '{"bug":null,"seeds":[1,2,3],"untilFound":false}'`. One line of JSON for each
 * seed. With a bug, the sources that it loads have it; so nothing of them may be loaded by this file itself.
 */
import { bugs } from './bugs.ts'
import { mends } from './mends.ts'
import { plant } from './plant.ts'

export interface ChildTask {
  readonly bug: string | null
  readonly seeds: readonly number[]
  readonly untilFound: boolean
}

const task = JSON.parse(process.argv[2] as string) as ChildTask
const bug = bugs.find(({ name }) => name === task.bug)
if (task.bug !== null && bug === undefined) throw new Error(`there is no bug ${task.bug}`)
const { isPlanted } = plant([...mends, ...(bug?.changes ?? [])])
const { runSeed } = await import('./simulation.ts')
if (!isPlanted()) throw new Error(`a file that bug ${task.bug} changes is never loaded`)
for (const seed of task.seeds) {
  const result = await runSeed(seed)
  const trace = result.finding === null ? [] : result.trace
  process.stdout.write(`${JSON.stringify({ ...result, trace })}\n`)
  if (task.untilFound && result.finding !== null) break
}
