/**
 * Loaded into every process of a worker before its own code (`node --import`). A worker ends with the harness that started
 * it, and dies at the step that TIDEMARK_CHAOS_KILL names, `step:times`. The product knows nothing of either.
 */
import { basename, dirname } from 'node:path'
import { stepOf } from './kill-steps.ts'

const entry = process.argv[1] ?? ''
const isWorker =
  (basename(entry) === 'main.ts' && basename(dirname(entry)) === 'cli') || basename(entry) === 'naive-worker.ts'
const die = (): void => void process.kill(process.pid, 'SIGKILL')

if (isWorker) {
  // The other end is the harness's: it is closed when that ends, however that happens.
  process.stdin.on('end', die).on('error', die).resume()
  if ('unref' in process.stdin && typeof process.stdin.unref === 'function') process.stdin.unref()
  const [name, times] = (process.env['TIDEMARK_CHAOS_KILL'] ?? '').split(':')
  if (name !== undefined && name !== '') {
    let left = Number(times)
    await stepOf(name).watch(() => {
      if (--left === 0) die()
    })
  }
}
