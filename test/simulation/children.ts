/** Seeds in child processes, two at a time: a seed uses one core, and a planted bug needs modules of its own. */
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { ChildTask } from './child.ts'
import type { SeedResult } from './simulation.ts'

export const childrenMax = 2
const script = fileURLToPath(new URL('child.ts', import.meta.url))

/** A seed takes about a second. A process that says nothing for so long turns in circles without a wait, milliseconds. */
const silentMsMax = 60_000

/** A seed that never ends, and lets nothing else run. */
export class Hung extends Error {}

/** Runs a task in a process of its own. Errors: where the process fails, with what it said; Hung. */
export async function runChild(task: ChildTask, onResult: (result: SeedResult) => void): Promise<void> {
  const child = spawn(process.execPath, [script, JSON.stringify(task)], { stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text))
  const exited = new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve))
  let hung = false
  const watch = setTimeout(() => {
    hung = true
    child.kill('SIGKILL')
  }, silentMsMax)
  for await (const line of createInterface({ input: child.stdout })) {
    watch.refresh()
    onResult(JSON.parse(line) as SeedResult)
  }
  const code = await exited
  clearTimeout(watch)
  if (hung) throw new Hung(`nothing ends any more: a process that ran seeds said nothing for ${silentMsMax} ms`)
  if (code !== 0) throw new Error(`a process that ran seeds ended with ${code}: ${said}`)
}

/** All seeds of a list, without a bug. */
export async function runSeeds(seeds: readonly number[], onResult: (result: SeedResult) => void): Promise<void> {
  await Promise.all(
    Array.from({ length: Math.min(childrenMax, seeds.length) }, (_, at) =>
      runChild(
        { bug: null, seeds: seeds.filter((_, index) => index % childrenMax === at), untilFound: false },
        onResult,
      ),
    ),
  )
}

export interface Caught {
  readonly bug: string
  /** Seeds run until one found it; null: none did. */
  readonly seeds: number | null
  readonly finding: string
}

/** Each bug against seed 1, 2, 3 … until one finds it. */
export async function runBugs(
  names: readonly string[],
  seedsMax: number,
  onCaught: (caught: Caught) => void,
): Promise<void> {
  const left = [...names]
  const work = async (): Promise<void> => {
    for (let bug = left.shift(); bug !== undefined; bug = left.shift()) {
      let ran = 0
      let finding: string | null = null
      const seeds = Array.from({ length: seedsMax }, (_, at) => at + 1)
      try {
        await runChild({ bug, seeds, untilFound: true }, (result) => {
          ran++
          finding ??= result.finding
        })
      } catch (error) {
        if (!(error instanceof Hung)) throw error
        ran++
        finding = error.message
      }
      onCaught({ bug, seeds: finding === null ? null : ran, finding: finding ?? '' })
    }
  }
  await Promise.all(Array.from({ length: childrenMax }, work))
}
