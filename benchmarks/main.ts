/** `npm run bench -- SUITE [--json] [--full] [--only NAME]`: see README.md. */
import { parseArgs } from 'node:util'
import { machine, textOf, WrongResult, type Line, type Suite } from './harness.ts'

/** By name; each is loaded when it is asked for. */
const suites: Readonly<Record<string, () => Promise<Suite>>> = {
  main: async () => (await import('./flow/main.ts')).mainSuite,
  engine: async () => (await import('./engine/main.ts')).engineSuite,
  kafka: async () => (await import('./kafka/main.ts')).kafkaSuite,
  redis: async () => (await import('./redis/main.ts')).redisSuite,
}

const usage = `usage: npm run bench -- SUITE [--json] [--full] [--only NAME]
suites: ${Object.keys(suites).join(', ')}
  --json  one JSON object per line instead of a table
  --full  5 rounds and all sizes; default: 3 rounds and small sizes, under 50 s a suite
  --only  lines whose name begins so; what else the suite can leave out is not run`

interface Arguments {
  readonly suite: string
  readonly json: boolean
  readonly full: boolean
  readonly only: string
}

function readArguments(): Arguments | string {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        json: { type: 'boolean', default: false },
        full: { type: 'boolean', default: false },
        only: { type: 'string', default: '' },
      },
    })
    const [suite, ...rest] = positionals
    if (suite === undefined) return 'which suite?'
    if (rest.length > 0) return `one suite at a time; ${rest.join(' ')} is one too many`
    if (!Object.hasOwn(suites, suite)) return `there is no suite ${JSON.stringify(suite)}`
    return { suite, ...values }
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

const chosen = readArguments()
if (typeof chosen === 'string') {
  console.error(`${chosen}\n${usage}`)
  process.exit(2)
}

const { suite, json, full, only } = chosen
const lines: Line[] = []
const note = (text: string): void => console.error(text)
const started = performance.now()
try {
  note(`${suite}: ${machine()}${full ? ', all sizes' : ', small sizes'}`)
  const run = await (suites[suite] as () => Promise<Suite>)()
  await run({
    full,
    rounds: full ? 5 : 3,
    note,
    wants: (bench) => bench.startsWith(only) || only.startsWith(bench),
    emit: (line) => {
      if (!line.bench.startsWith(only)) return
      lines.push(line)
      if (json) console.log(JSON.stringify(line))
    },
  })
  if (!json) for (const line of textOf(lines)) console.log(line)
  note(`${suite}: ${((performance.now() - started) / 1000).toFixed(1)} s`)
} catch (error) {
  const wrong = error instanceof WrongResult
  console.error(wrong ? `${suite}: WRONG RESULT: ${error.message}` : error)
  process.exitCode = 1
}
