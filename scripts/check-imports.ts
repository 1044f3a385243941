/**
 * Import direction, checked: core <- schemas <- connectors; worker, serving and training see core and schemas;
 * only cli names concrete connectors. Tests, benchmarks, examples and scripts may see all. Prints each slip, exits 1.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import ts from 'typescript'

const root = resolve(import.meta.dirname, '..')
const allowed: Readonly<Record<string, readonly string[]>> = {
  core: ['core'],
  schemas: ['schemas', 'core'],
  connectors: ['connectors', 'schemas', 'core'],
  worker: ['worker', 'schemas', 'core'],
  serving: ['serving', 'schemas', 'core'],
  training: ['training', 'schemas', 'core'],
  cli: ['cli', 'training', 'serving', 'worker', 'connectors', 'schemas', 'core'],
}
/** What core may take from outside: nothing but these (pure functions of Node, no I/O). */
const corePackages = new Set(['node:crypto', 'node:assert/strict', 'node:assert'])

function* sources(folder: string): Generator<string> {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name)
    if (statSync(path).isDirectory()) yield* sources(path)
    else if (/\.(ts|js)$/.test(name) && !name.endsWith('.d.ts')) yield path
  }
}

const slips: string[] = []
for (const [room, mayImport] of Object.entries(allowed)) {
  for (const file of sources(join(root, room))) {
    const text = readFileSync(file, 'utf8')
    for (const { fileName: target } of ts.preProcessFile(text, true, true).importedFiles) {
      if (target.startsWith('.')) {
        const there = relative(root, resolve(dirname(file), target)).split('/')[0] ?? ''
        if (!mayImport.includes(there))
          slips.push(`${relative(root, file)} imports ${target}: ${room} may not see ${there}`)
      } else if (room === 'core' && !corePackages.has(target)) {
        slips.push(`${relative(root, file)} imports ${target}: core is pure and takes no package`)
      }
    }
  }
}
for (const slip of slips) console.error(slip)
console.log(slips.length === 0 ? 'imports: every arrow points the allowed way' : `imports: ${slips.length} slips`)
process.exit(slips.length === 0 ? 0 : 1)
