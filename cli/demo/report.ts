import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Project } from '../project.ts'
import { print } from '../terminal.ts'

/** What the demo says as it goes. With --json it says nothing: the result is one object at the end. */
export interface Report {
  line(text: string): void
  /** The step's name, then what it did. */
  step(name: string, text: string): void
}

export function createReport(quiet: boolean): Report {
  const line = (text: string): void => {
    if (!quiet) print(text)
  }
  return { line, step: (name, text) => line(`  ${name.padEnd(9)} ${text}`) }
}

/** The process of the project's ClickHouse. */
export function chdbPid(project: Project): number | undefined {
  try {
    return (JSON.parse(readFileSync(join(project.paths.offline, 'server.json'), 'utf8')) as { readonly pid?: number })
      .pid
  } catch {
    return undefined
  }
}
