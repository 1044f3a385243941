/** `npm run services -- up|down|status|install [kafka|redis|registry …]`: see arguments.ts and docs/services.md. */
import { argumentsOf, usage, type Arguments } from './arguments.ts'
import { withLock } from './lock.ts'
import { down, services, stateOf, up, type State } from './operate.ts'
import { Problem, textOf } from './problem.ts'
import { settingsOf, type ServiceName, type Settings } from './settings.ts'

/** What a command came to, for one server. */
interface Line {
  readonly name: ServiceName
  readonly good: boolean
  readonly text: string
  readonly json: object
}

async function work(name: ServiceName, { command }: Arguments, settings: Settings): Promise<Line> {
  const service = services[name]
  const begun = performance.now()
  const took = (): string => `${((performance.now() - begun) / 1000).toFixed(1)} s`
  const say = (text: string): void => console.error(`${name.padEnd(9)} ${text}`)
  switch (command) {
    case 'status':
      return statusLine(name, await stateOf(service, settings.folder))
    case 'install': {
      await service.install(settings.folder, say)
      const version = await service.find(settings.folder)
      if (version instanceof Problem) throw version
      return { name, good: true, text: `${version} is there (${took()})`, json: { state: 'installed', version } }
    }
    case 'down': {
      const outcome = await down(service, settings.folder)
      return { name, good: true, text: `down: ${outcome} (${took()})`, json: { state: 'down', outcome } }
    }
    default: {
      const { started, ...record } = await up(service, settings, say)
      const how = started ? `up in ${took()}` : 'up already, and well'
      const text = `${how}: ${record.address} (version ${record.version}, process ${record.pid})`
      return { name, good: true, text, json: { state: 'up', started, ...record } }
    }
  }
}

function statusLine(name: ServiceName, state: State): Line {
  const json = { state: state.kind }
  switch (state.kind) {
    case 'missing':
      return {
        name,
        good: false,
        text: `not there: ${textOf(state.problem)}`,
        json: { ...json, reason: state.problem.message },
      }
    case 'down':
      return { name, good: false, text: `down (version ${state.version})`, json: { ...json, version: state.version } }
    default: {
      const { address, version, pid, folder } = state.record
      const how = { up: 'up', sick: 'SICK', ended: 'ENDED' }[state.kind]
      const reason = state.kind === 'sick' ? `: ${state.reason}` : state.kind === 'ended' ? ': its process is gone' : ''
      const text = `${how} ${address} (version ${version}, process ${pid}, ${folder})${reason}`
      return { name, good: state.kind === 'up', text, json: { ...json, ...state.record } }
    }
  }
}

/** Each server by itself: what keeps one from its state does not keep the others. */
async function lineOf(name: ServiceName, args: Arguments, settings: Settings): Promise<Line> {
  try {
    return await work(name, args, settings)
  } catch (error) {
    return { name, good: false, text: `FAILED: ${textOf(error)}`, json: { state: 'failed', reason: textOf(error) } }
  }
}

async function main(argv: readonly string[]): Promise<number> {
  let args: Arguments
  let settings: Settings
  try {
    args = argumentsOf(argv)
    settings = settingsOf(process.env, args.heapMb)
  } catch (error) {
    console.error(textOf(error))
    return 2
  }
  if (args.command === 'help') {
    console.log(usage)
    return argv.length === 0 ? 2 : 0
  }
  const lines: Line[] = []
  const all = async (): Promise<void> => {
    for (const name of args.names) {
      const line = await lineOf(name, args, settings)
      lines.push(line)
      if (!args.json)
        (line.good || args.command === 'status' ? console.log : console.error)(`${name.padEnd(9)} ${line.text}`)
    }
  }
  try {
    if (args.command === 'status') await all()
    else await withLock(settings.folder, console.error, all)
  } catch (error) {
    console.error(textOf(error))
    return 1
  }
  if (args.json) console.log(JSON.stringify(Object.fromEntries(lines.map(({ name, json }) => [name, json]))))
  return lines.every(({ good }) => good) ? 0 : 1
}

process.exitCode = await main(process.argv.slice(2))
