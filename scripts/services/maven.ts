/** Files from Maven Central (or the mirror of the user's own settings), by Maven itself. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { isExecutable, lastLines, onPath, runCommand } from './command.ts'
import { installPackages, unpackedRoot, type Say } from './debian.ts'
import { homeOf, type Java } from './java.ts'
import { Problem } from './problem.ts'

export interface Artifact {
  readonly group: string
  readonly name: string
  readonly version: string
}

const byHand = 'install Maven (Debian: maven) and put mvn on the PATH'
const downloadMs = 600_000
const tries = 3

/** All jars that run these, into `<work>/libs`; a generated pom.xml lies beside them. */
export async function downloadJars(folder: string, work: string, artifacts: readonly Artifact[], java: Java, say: Say) {
  await downloadJarsOf(folder, work, pomOf(artifacts), java, say)
}

/** The same of a pom.xml that is there. */
export async function downloadJarsOf(folder: string, work: string, pom: string, java: Java, say: Say) {
  mkdirSync(work, { recursive: true })
  writeFileSync(join(work, 'pom.xml'), pom)
  await maven(
    folder,
    work,
    ['dependency:copy-dependencies', '-DoutputDirectory=libs', '-DincludeScope=runtime'],
    java,
    say,
  )
}

/** One file, into `work`. */
export async function downloadFile(folder: string, work: string, coordinates: string, java: Java, say: Say) {
  mkdirSync(work, { recursive: true })
  await maven(folder, work, ['dependency:copy', `-Dartifact=${coordinates}`, '-DoutputDirectory=.'], java, say)
}

export function pomOf(artifacts: readonly Artifact[]): string {
  const dependencies = artifacts.map(
    ({ group, name, version }) =>
      `    <dependency><groupId>${group}</groupId><artifactId>${name}</artifactId><version>${version}</version></dependency>\n`,
  )
  return `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tidemark</groupId>
  <artifactId>services</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
${dependencies.join('')}  </dependencies>
</project>
`
}

async function maven(folder: string, work: string, args: readonly string[], java: Java, say: Say): Promise<void> {
  const mvn = await findOrInstallMaven(folder, say)
  // Left alone, Maven takes the first Java it finds, which may be one that is too old.
  const env = { ...java.env, JAVA_HOME: homeOf(java) }
  for (let attempt = 1; ; attempt++) {
    const { code, output } = await runCommand(mvn, ['-B', '-q', ...args], { cwd: work, env, timeoutMs: downloadMs })
    if (code === 0) return
    if (attempt === tries) {
      throw new Problem(
        `Maven cannot fetch ${args.at(-1)?.startsWith('-Dartifact') ? args[1] : 'the jars'}:\n${errorsOf(output)}`,
        'see that Maven reaches Maven Central, or a mirror named in ~/.m2/settings.xml; then run the command again',
      )
    }
    say(`Maven failed, attempt ${attempt} of ${tries}`)
    await sleep(attempt * 2_000)
  }
}

/** The first lines that say what went wrong, without Maven's advice on how to get a stack trace. */
export function errorsOf(output: string): string {
  const errors = [...output.matchAll(/\[ERROR\] (\S.*)/g)]
    .map(([, text = '']) => text.replace(/ -> \[Help \d+\]/, ''))
    .filter((text) => !/^(\[Help|To see the full|Re-run Maven|For more information)/.test(text))
  return (errors.length > 0 ? errors.slice(0, 3).join('\n') : lastLines(output, 3)).slice(0, 1_000)
}

async function findOrInstallMaven(folder: string, say: Say): Promise<string> {
  const found = findMaven(folder)
  if (found !== null) return found
  await installPackages(folder, ['maven'], byHand, say)
  const installed = findMaven(folder)
  if (installed === null) throw new Problem('mvn is not there after its package was installed', byHand)
  return installed
}

/** Unpacked, /usr/bin/mvn is missing: it is a link that only an installation makes. */
function findMaven(folder: string): string | null {
  const unpacked = join(unpackedRoot(folder), 'usr', 'share', 'maven', 'bin', 'mvn')
  return onPath('mvn') ?? (existsSync(unpacked) && isExecutable(unpacked) ? unpacked : null)
}
