/**
 * Programs from Debian packages. As root they are installed as usual, but no service of theirs is started. Anybody else
 * gets them unpacked into the cache folder, with what they depend on that the machine lacks; nothing outside is touched.
 */
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { isExecutable, lastLines, onPath, runCommand } from './command.ts'
import { Problem } from './problem.ts'

const aptMs = 600_000
/** invoke-rc.d and deb-systemd-invoke ask this program whether they may start a service; 101 is no. */
const policyFile = '/usr/sbin/policy-rc.d'

export type Say = (text: string) => void

export const unpackedRoot = (folder: string): string => join(folder, 'debian')

/** An executable on the PATH, or else among the unpacked packages. */
export function findProgram(folder: string, name: string): string | null {
  const unpacked = join(unpackedRoot(folder), 'usr', 'bin', name)
  return onPath(name) ?? (isExecutable(unpacked) ? unpacked : null)
}

/** What an unpacked program needs around it: its libraries are not where the loader looks. Others need nothing. */
export function environmentOf(folder: string, program: string): Readonly<Record<string, string>> {
  const root = unpackedRoot(folder)
  if (!program.startsWith(`${root}/`)) return {}
  const libraries = [join(root, 'usr', 'lib'), join(root, 'lib')].flatMap((lib) => [lib, ...tripletFolders(lib)])
  return { LD_LIBRARY_PATH: [...libraries, process.env['LD_LIBRARY_PATH'] ?? ''].filter(Boolean).join(':') }
}

/** `usr/lib/x86_64-linux-gnu` and its like. */
const tripletFolders = (lib: string): string[] =>
  existsSync(lib)
    ? readdirSync(lib)
        .filter((name) => name.includes('-linux-gnu'))
        .map((name) => join(lib, name))
    : []

export async function installPackages(folder: string, packages: readonly string[], byHand: string, say: Say) {
  if (onPath('apt-get') === null)
    throw new Problem(`${packages.join(' and ')}: not found, and there is no apt-get to install it with`, byHand)
  if (process.getuid?.() === 0) await installAsRoot(packages, byHand, say)
  else await unpack(folder, packages, byHand, say)
}

async function installAsRoot(packages: readonly string[], byHand: string, say: Say): Promise<void> {
  say(`apt-get install ${packages.join(' ')}`)
  await apt(['update'], byHand, true)
  const guarded = !existsSync(policyFile)
  if (guarded) writeFileSync(policyFile, '#!/bin/sh\nexit 101\n', { mode: 0o755 })
  try {
    await apt(['install', '-y', '--no-install-recommends', ...packages], byHand)
  } finally {
    if (guarded) rmSync(policyFile, { force: true })
  }
}

async function unpack(folder: string, packages: readonly string[], byHand: string, say: Say): Promise<void> {
  const root = unpackedRoot(folder)
  const archives = join(folder, 'apt', 'archives')
  for (const name of ['lists/partial', 'cache/archives/partial', 'archives']) {
    mkdirSync(join(folder, 'apt', name), { recursive: true })
  }
  // Lists and cache of our own: those of the machine belong to root.
  const own = [
    '-o',
    `Dir::State::Lists=${join(folder, 'apt', 'lists')}`,
    '-o',
    `Dir::Cache=${join(folder, 'apt', 'cache')}`,
  ]
  say(`apt-get download ${packages.join(' ')}, unpacked into ${root}`)
  await apt([...own, '-o', 'APT::Sandbox::User=', 'update'], byHand, true)
  const plan = await apt([...own, 'install', '--simulate', '--no-install-recommends', ...packages], byHand)
  const wanted = plannedPackages(plan)
  if (wanted.length === 0)
    throw new Problem(
      `${packages.join(' and ')}: installed as packages, and yet the program is not there`,
      `look at PATH; ${byHand}`,
    )
  await apt([...own, '-o', 'APT::Sandbox::User=', 'download', ...wanted], byHand, false, archives)
  mkdirSync(root, { recursive: true })
  for (const name of readdirSync(archives).filter((file) => file.endsWith('.deb'))) {
    const { code, output } = await runCommand('dpkg', ['-x', join(archives, name), root])
    if (code !== 0) throw new Problem(`dpkg cannot unpack ${name}: ${lastLines(output, 3)}`, byHand)
  }
  rmSync(join(folder, 'apt'), { recursive: true, force: true })
  keepLinksInside(root)
}

/** `Inst name (version …)` lines of a simulated install. */
export const plannedPackages = (plan: string): string[] =>
  [...plan.matchAll(/^Inst (\S+)/gm)].map(([, name]) => name ?? '')

/** Packages link to absolute paths such as /etc/java-17-openjdk, which are in the unpacked tree here. */
export function keepLinksInside(root: string, folder: string = root): void {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) keepLinksInside(root, path)
    if (!entry.isSymbolicLink()) continue
    const target = readlinkSync(path)
    if (!target.startsWith('/') || target.startsWith(root) || !isThere(join(root, target))) continue
    rmSync(path)
    symlinkSync(relative(dirname(path), join(root, target)), path)
  }
}

function isThere(path: string): boolean {
  try {
    lstatSync(path)
    return true
  } catch {
    return false
  }
}

/** apt-get's output. Its `update` may fail in part (a list of somebody else's that is down): what follows will tell. */
async function apt(args: readonly string[], byHand: string, mayFail = false, cwd = '/'): Promise<string> {
  const { code, output } = await runCommand('apt-get', ['-q', ...args], {
    cwd,
    timeoutMs: aptMs,
    env: { DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C' },
  })
  if (code !== 0 && !mayFail) {
    const command = args.find((arg) => /^[a-z]/.test(arg) && !arg.includes('=')) ?? ''
    throw new Problem(
      `apt-get ${command} failed:\n${lastLines(output, 5)}`,
      `see that apt reaches its mirror, or ${byHand}`,
    )
  }
  return output
}
