/**
 * Completes package-lock.json: npm leaves out optional packages of other platforms that it could not fetch while it wrote
 * the lock file, and `npm ci` then refuses the file everywhere. Run after every change of a dependency:
 *
 *     npm install && node scripts/complete-lockfile.js
 */
import { readFileSync, writeFileSync } from 'node:fs'

const path = new URL('../package-lock.json', import.meta.url)
const lock = JSON.parse(readFileSync(path, 'utf8'))
const systems = { darwin: 'darwin', linux: 'linux', win32: 'win32', win: 'win32' }
const processors = { x64: 'x64', arm64: 'arm64', aarch64: 'arm64', arm: 'arm', armv7: 'arm' }
const added = []

for (const entry of Object.values(lock.packages)) {
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    const key = `node_modules/${name}`
    if (key in lock.packages) continue
    if (!/^\d+\.\d+\.\d+\S*$/.test(version))
      throw new Error(`${name} ${version}: only an exact version can be completed`)
    const words = name.split(/[-/]/)
    const os = words.map((word) => systems[word]).find((word) => word !== undefined)
    const cpu = words.map((word) => processors[word]).find((word) => word !== undefined)
    if (os === undefined || cpu === undefined)
      throw new Error(`${name}: its name does not say for which platform it is`)
    lock.packages[key] = { version, cpu: [cpu], optional: true, os: [os] }
    added.push(`${name}@${version}`)
  }
}

// As npm sorts them, so that the next install changes nothing here.
const collator = new Intl.Collator('en')
const sorted = Object.entries(lock.packages).sort(([a], [b]) => collator.compare(a, b))
lock.packages = Object.fromEntries(sorted)
writeFileSync(path, `${JSON.stringify(lock, null, 2)}\n`)
console.log(added.length === 0 ? 'package-lock.json is complete' : `added ${added.join(', ')}`)
