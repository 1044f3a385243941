/** The command line of `npm run services`. */
import { parseArgs } from 'node:util'
import { Problem } from './problem.ts'
import { heapOf, portVariables, serviceNames, versions, type ServiceName } from './settings.ts'

const commands = ['up', 'down', 'status', 'install'] as const
export type Command = (typeof commands)[number]

export interface Arguments {
  readonly command: Command | 'help'
  readonly names: readonly ServiceName[]
  readonly heapMb: number | null
  readonly json: boolean
}

/** Exit codes: 0 as asked; 1 a server is not as asked; 2 the command line is wrong. */
export const usage = `usage: npm run services -- COMMAND [SERVER …] [--heap SIZE] [--json]

Real servers on 127.0.0.1, for tests, benchmarks and trying Tidemark with them.

commands
  up        install what is missing, start what is not up, wait until it answers
  down      end what \`up\` started, and nothing else; the data stays
  status    state, address, version, process and folder of each
  install   only what is missing

servers (all of them, if none is named)
  kafka     Apache Kafka ${versions.kafka}, one broker, from Maven Central
  redis     redis-server of this machine, else Debian's
  registry  Apicurio Registry ${versions.registry}: Confluent's API at /apis/ccompat/v7

options
  --heap SIZE  heap of the Kafka broker, such as 1g, with flags for throughput; default: 256m and a quick start
  --json       one JSON object on stdout: of each server its state

environment
  TIDEMARK_SERVICES  the folder; default: \${XDG_CACHE_HOME:-~/.cache}/tidemark/services
${Object.values(portVariables)
  .map(([variable, port]) => `  ${variable}  default: ${port}\n`)
  .join('')}
exit code: 0, it is as asked; 1, it is not; 2, the command line is wrong
`

export function argumentsOf(argv: readonly string[]): Arguments {
  const { values, positionals } = parse(argv)
  const { json, heap, help } = values
  const [command = 'help', ...given] = positionals
  if (help || command === 'help') return { command: 'help', names: [], heapMb: null, json }
  if (!isOneOf(commands, command)) throw wrong(`there is no command ${JSON.stringify(command)}`)
  const names = given.map((name) => {
    if (!isOneOf(serviceNames, name)) throw wrong(`there is no server ${JSON.stringify(name)}`)
    return name
  })
  if (heap !== undefined && command !== 'up') throw wrong(`--heap is for up, not for ${command}`)
  const chosen = serviceNames.filter((name) => names.length === 0 || names.includes(name))
  if (heap !== undefined && !chosen.includes('kafka')) throw wrong('--heap is for kafka')
  return { command, names: chosen, heapMb: heap === undefined ? null : heapOf(heap), json }
}

function parse(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
        heap: { type: 'string' },
      },
    })
  } catch (error) {
    throw wrong(error instanceof Error ? error.message : String(error))
  }
}

const wrong = (message: string): Problem => new Problem(message, 'npm run services -- --help')

const isOneOf = <T extends string>(all: readonly T[], text: string): text is T => all.some((one) => one === text)
