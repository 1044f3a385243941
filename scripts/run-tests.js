/**
 * `npm test`: all tests once, then one plain line: `N passed, N failed, N skipped`.
 *
 *     node scripts/run-tests.js [vitest filters and options]
 *
 * Plain JavaScript, so that any Node (>= 20) can start it: it goes on under the Node 24 that npm installed, since tests
 * start processes of their own and sources are TypeScript. Fails when a test or a file fails, and when nothing ran.
 */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)

process.exitCode =
  major > 24 || (major === 24 && minor >= 6) ? await runTests(process.argv.slice(2)) : await goOnUnderNode24()

/** @returns {Promise<number>} exit code */
async function runTests(args) {
  const begunMs = performance.now()
  const { parseCLI, startVitest } = await import('vitest/node')
  const { filter, options } = parseCLI(['vitest', 'run', ...args])
  // The one run that fails with nothing to see would be one without tests.
  const vitest = await startVitest('test', filter, {
    ...options,
    root,
    watch: false,
    run: true,
    passWithNoTests: false,
  })
  const files = vitest.state.getTestModules()
  const brokenFiles = files.filter((file) => file.errors().length > 0)
  const tests = files.flatMap((file) => [...file.children.allTests()])
  const having = (...states) => tests.filter((test) => states.includes(test.result().state))
  const passed = having('passed')
  const failed = having('failed')
  // A test that never came to an end (its process died, or a hook before it failed) did not pass.
  const unfinished = having('pending').filter((test) => test.options.mode === 'run' || test.options.mode === 'only')
  const skipped = having('skipped', 'pending').filter((test) => !unfinished.includes(test))
  const otherErrors = vitest.state.getUnhandledErrors()
  await vitest.close()

  const title = (test) => `${test.module.relativeModuleId} > ${test.fullName}`
  list('Skipped', skipped, (test) => `${title(test)}: ${test.result().note ?? 'no reason given'}`)
  list('Never ran', unfinished, title)
  list('Files that failed to load or to clean up', brokenFiles, (file) => file.relativeModuleId)
  list('Errors outside any test', otherErrors, (error) => error?.stack ?? String(error))
  if (tests.length === 0) console.log('No test ran.')
  // Errors outside of tests mostly belong to a failure that is counted already; alone they count for themselves.
  const failedCount = failed.length + unfinished.length + brokenFiles.length || otherErrors.length
  console.log(`\nTests took ${((performance.now() - begunMs) / 1000).toFixed(1)} s.`)
  console.log(`${passed.length} passed, ${failedCount} failed, ${skipped.length} skipped`)
  return failedCount > 0 || passed.length === 0 ? 1 : 0
}

function list(heading, items, text) {
  if (items.length === 0) return
  console.log(`\n${heading}:`)
  for (const item of items) console.log(`  ${text(item)}`)
}

/** @returns {Promise<number>} exit code of this script under the bundled Node */
function goOnUnderNode24() {
  const node = bundledNode()
  if (node === null) {
    console.error(
      `The tests need Node 24.6 or newer; this is ${process.version}. Run npm ci with optional dependencies.`,
    )
    return Promise.resolve(1)
  }
  const child = spawn(node, process.argv.slice(1), { stdio: 'inherit' })
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  // A terminal sends Ctrl-C to the whole process group: the child has it already.
  process.on('SIGINT', () => {})
  return new Promise((resolve) => child.on('exit', (code) => resolve(code ?? 1)))
}

/** The Node binary of the optional dependency that fits this platform, or null. */
function bundledNode() {
  const windows = process.platform === 'win32'
  try {
    const manifest = createRequire(import.meta.url).resolve(
      `node-${windows ? 'win' : process.platform}-${process.arch}/package.json`,
    )
    const binary = join(dirname(manifest), 'bin', windows ? 'node.exe' : 'node')
    return existsSync(binary) ? binary : null
  } catch {
    return null
  }
}
