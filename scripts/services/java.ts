/** A Java of the version that the broker and the registry need: JAVA_HOME, PATH, or Debian's headless one. */
import { existsSync, readdirSync, realpathSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { isExecutable, onPath, runCommand } from './command.ts'
import { environmentOf, installPackages, unpackedRoot, type Say } from './debian.ts'
import { Problem } from './problem.ts'
import { javaMin } from './settings.ts'
import { writeTrustStore } from './trust-store.ts'

export interface Java {
  readonly program: string
  /** As `java -version` gives it: 17.0.15. */
  readonly version: string
  readonly env: Readonly<Record<string, string>>
}

const byHand = `install Java ${javaMin} or newer (Debian: default-jre-headless) and put it on the PATH or into JAVA_HOME`

/** The first of the right version, or the Problem that names what was found instead. */
export async function findJava(folder: string): Promise<Java | Problem> {
  const tooOld: string[] = []
  for (const program of candidates(folder)) {
    const env = environmentOf(folder, program)
    const { code, output } = await runCommand(program, ['-version'], { env })
    const version = code === 0 ? versionOf(output) : null
    if (version !== null && majorOf(version) >= javaMin) return { program, version, env }
    tooOld.push(`${program} is ${version ?? 'broken'}`)
  }
  return new Problem(
    tooOld.length === 0 ? 'there is no Java' : `there is no Java ${javaMin} or newer: ${tooOld.join(', ')}`,
    byHand,
  )
}

export async function findOrInstallJava(folder: string, say: Say): Promise<Java> {
  const found = await findJava(folder)
  if (!(found instanceof Problem)) return found
  await installPackages(folder, ['default-jre-headless'], byHand, say)
  for (const home of unpackedHomes(folder)) writeTrustStore(join(home, 'lib', 'security', 'cacerts'))
  const installed = await findJava(folder)
  if (installed instanceof Problem) throw installed
  return installed
}

export const homeOf = (java: Java): string => dirname(dirname(realpathSync(java.program)))

function candidates(folder: string): string[] {
  const home = process.env['JAVA_HOME']
  const all = [
    home === undefined || home === '' ? null : join(home, 'bin', 'java'),
    onPath('java'),
    ...unpackedHomes(folder).map((unpacked) => join(unpacked, 'bin', 'java')),
  ]
  return all.filter((program) => program !== null).filter(isExecutable)
}

function unpackedHomes(folder: string): string[] {
  const machines = join(unpackedRoot(folder), 'usr', 'lib', 'jvm')
  if (!existsSync(machines)) return []
  return readdirSync(machines, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && isExecutable(join(machines, entry.name, 'bin', 'java')))
    .map((entry) => join(machines, entry.name))
}

/** `openjdk version "17.0.15" 2025-04-15` → `17.0.15` */
export const versionOf = (output: string): string | null => /version "([^"]+)"/.exec(output)?.[1] ?? null

/** 17 of `17.0.15`, 8 of `1.8.0_402`. */
export function majorOf(version: string): number {
  const [first, second] = version.split(/[._-]/).map(Number)
  return (first === 1 ? second : first) ?? Number.NaN
}
