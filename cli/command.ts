import type { Command } from 'commander'
import { FeatureStoreError } from '../core/errors.ts'
import { scalarText, shapeOf, type FieldType, type Scalar } from '../core/event/types.ts'
import { formatDecimal, unscaledOf } from '../core/number/decimal.ts'
import type { RegistryState } from '../core/registry/state.ts'
import { isApplied } from '../core/registry/decide.ts'
import type { EventLog } from '../core/ports/event-log.ts'
import { parseInstant } from '../core/time/time.ts'
import { loadRegistry } from '../worker/registry-log.ts'
import { loadProject, type Project } from './project.ts'
import { reportError } from './terminal.ts'

export interface CommonOptions {
  readonly project: string
  readonly json?: true
}

/** Adds the options that every command has. */
export const withCommon = (command: Command): Command =>
  command.option('--project <folder>', 'project folder', '.').option('--json', 'print one JSON object instead of text')

/** Runs a command; errors are printed with their remedy and become the exit code. */
export const action =
  <O extends CommonOptions, A extends unknown[]>(run: (project: Project, options: O, ...rest: A) => Promise<void>) =>
  async (...received: unknown[]): Promise<void> => {
    // commander hands over the arguments, then the options, then the command.
    const options = received.at(-2) as O
    const rest = received.slice(0, -2) as A
    try {
      await run(await loadProject(options.project), options, ...rest)
    } catch (error) {
      process.exitCode = reportError(error, options.json === true)
    } finally {
      leaveParent()
    }
  }

/** The channel to the parent keeps a process alive: it is closed when the work is done, or has failed. */
function leaveParent(): void {
  process.removeAllListeners('disconnect')
  if (process.connected) process.disconnect?.()
}

/** Errors: FS_NOT_APPLIED. */
export function requireApplied(project: Project, state: RegistryState): void {
  if (!isApplied(project.catalog, state))
    throw new FeatureStoreError('FS_NOT_APPLIED', `the definitions in ${project.folder} differ from those applied`)
}

/**
 * What `read` gives. What is not ready because the definitions were changed and not applied is said to be: no worker
 * would build it.
 *
 * Errors: FS_NOT_APPLIED, and those of `read`.
 */
export async function orNotApplied<T>(project: Project, log: EventLog, read: () => Promise<T>): Promise<T> {
  try {
    return await read()
  } catch (error) {
    if (error instanceof FeatureStoreError && error.code === 'FS_NOT_READY')
      requireApplied(project, await loadRegistry(log))
    throw error
  }
}

export const instantOption = (name: string, value: string | undefined): number | undefined =>
  value === undefined ? undefined : parseInstant(value, name)

/** An option that is a whole number within bounds. Errors: FS_USAGE. */
export function wholeOption(name: string, text: string, least: number, most: number): number {
  const value = Number(text)
  if (!/^-?\d+$/.test(text) || value < least || value > most)
    throw new FeatureStoreError('FS_USAGE', `${name} ${text}: a whole number from ${least} to ${most}`)
  return value
}

/** A port to listen on; 0 is any free one. Errors: FS_USAGE. */
export const portOption = (text: string | undefined): number | undefined =>
  text === undefined ? undefined : wholeOption('--port', text, 0, 65_535)

/** `key=value` options as columns: a key given n times has n rows. Errors: FS_USAGE. */
export function pairs(name: string, values: readonly string[]): Record<string, string[]> {
  const columns: Record<string, string[]> = {}
  for (const text of values) {
    const at = text.indexOf('=')
    if (at < 1) throw new FeatureStoreError('FS_USAGE', `${name} ${text}: write key=value`)
    ;(columns[text.slice(0, at)] ??= []).push(text.slice(at + 1))
  }
  return columns
}

/** What was typed as the scalars of the declared fields. Errors: FS_USAGE for an unknown field or a wrong type. */
export function typedColumns(
  name: string,
  declared: Readonly<Record<string, FieldType>>,
  given: Readonly<Record<string, readonly string[]>>,
): Record<string, Scalar[]> {
  return Object.fromEntries(
    Object.entries(given).map(([field, cells]) => {
      const type = declared[field]
      if (type === undefined)
        throw new FeatureStoreError(
          'FS_USAGE',
          `${name} ${field} is not asked for; what is: ${Object.keys(declared).join(', ') || 'nothing'}`,
        )
      return [field, cells.map((cell) => typedCell(`${name} ${field}`, type, cell))]
    }),
  )
}

function typedCell(what: string, field: FieldType, cell: string): Scalar {
  const wrong = (): FeatureStoreError =>
    new FeatureStoreError('FS_USAGE', `${what}: ${JSON.stringify(cell)} is no ${scalarText(field)}`)
  switch (field.type) {
    case 'string':
      return cell
    case 'bool':
      if (cell !== 'true' && cell !== 'false') throw wrong()
      return cell === 'true'
    case 'int32':
      if (!/^-?\d+$/.test(cell) || Number(cell) !== (Number(cell) | 0)) throw wrong()
      return Number(cell)
    case 'int64':
      if (!/^-?\d{1,19}$/.test(cell)) throw wrong()
      return BigInt(cell)
    case 'decimal': {
      const unscaled = unscaledOf(cell, shapeOf(field))
      if (unscaled === null) throw wrong()
      return formatDecimal(unscaled, shapeOf(field).scale)
    }
    case 'float64':
      if (cell.trim() === '' || Number.isNaN(Number(cell))) throw wrong()
      return Number(cell)
    case 'timestamp':
      return parseInstant(cell, what)
  }
}

export const collect = (value: string, before: readonly string[] = []): string[] => [...before, value]
