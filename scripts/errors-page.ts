/**
 * Writes docs/errors.md from the table of codes in core/errors.ts; with --check it writes nothing and exits 1 when the
 * page is not what it would write.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { format, resolveConfig } from 'prettier'
import { errorCodes, type ErrorKind } from '../core/errors.ts'

const root = join(import.meta.dirname, '..')
const page = join(root, 'docs', 'errors.md')
const name = relative(root, page)

/** What the caller does next. The record names every kind, so a new one does not compile without its line. */
const nextSteps: Readonly<Record<ErrorKind, string>> = {
  invalid: 'Fix the call: the same one fails again.',
  conflict: 'Someone else was first. Look at the state again, then retry.',
  unavailable: 'Wait and retry, with growing pauses.',
  data: 'Repair what is stored or sent, or skip it.',
  closed: 'Open it again.',
  internal: 'Report it: an invariant of Tidemark is broken.',
}

/** Causes of dead letters: stored beside the event, never thrown at a caller. */
const deadPrefix = 'FS_DEAD_'

type Entry = readonly [code: string, entry: (typeof errorCodes)[keyof typeof errorCodes]]

const rows = (entries: readonly Entry[]): string[] => [
  '| code | meaning | what to do |',
  '| --- | --- | --- |',
  ...entries.map(([code, { meaning, remedy }]) => `| \`${code}\` | ${cell(meaning)} | ${cell(remedy)} |`),
]

const cell = (text: string): string => text.replaceAll('|', '\\|')

function pageText(): string {
  const entries = Object.entries(errorCodes).sort(([a], [b]) => (a < b ? -1 : 1))
  const thrown = entries.filter(([code]) => !code.startsWith(deadPrefix))
  const kinds = Object.entries(nextSteps)
  return [
    '# Errors',
    '<!-- Written by scripts/errors-page.ts from core/errors.ts. Change the table there. -->',
    'Every error has a stable code, a kind, a message that names the place, and a remedy. Programs look at the code or the',
    'kind; messages and remedies may change. The command line prints code, message and remedy (`--json`: as JSON on stderr);',
    'over gRPC they are the status text and the metadata `tidemark-code` and `tidemark-remedy`.',
    '',
    '| kind | what the caller does next |',
    '| --- | --- |',
    ...kinds.map(([kind, next]) => `| [${kind}](#${kind}) | ${next} |`),
    ...kinds.flatMap(([kind, next]) => [
      '',
      `## ${kind}`,
      '',
      next,
      '',
      ...rows(thrown.filter(([, { kind: of }]) => of === kind)),
    ]),
    '',
    '## Dead letters',
    '',
    'An event that cannot count is kept in the log and recorded as a dead letter, with its position and one of these',
    'causes. `tidemark status --dead-letters` lists them; the events after it go on.',
    '',
    ...rows(entries.filter(([code]) => code.startsWith(deadPrefix))),
    '',
  ].join('\n')
}

const wanted = await format(pageText(), { ...(await resolveConfig(page)), parser: 'markdown' })
if (!process.argv.includes('--check')) {
  writeFileSync(page, wanted)
  console.log(`${name}: ${Object.keys(errorCodes).length} codes`)
} else if (!existsSync(page) || readFileSync(page, 'utf8') !== wanted) {
  console.error(`${name} is not current: run node scripts/errors-page.ts`)
  process.exitCode = 1
} else console.log(`${name} is current`)
