import { randomBytes } from 'node:crypto'
import pino from 'pino'
import type { Clock, Logger, Random } from '../core/ports/environment.ts'

export const systemClock: Clock = { nowMs: () => Date.now() }
export const systemRandom: Random = { bytes: (length) => new Uint8Array(randomBytes(length)) }

/** Structured lines on stderr: stable event names, never feature values or entity keys. */
export function createLogger(name: string): Logger {
  const level = process.env['TIDEMARK_LOG_LEVEL'] ?? 'warn'
  const logger = pino({ name, level, base: { pid: process.pid } }, pino.destination({ dest: 2, sync: true }))
  return {
    debug: (event, fields) => logger.debug(fields ?? {}, event),
    info: (event, fields) => logger.info(fields ?? {}, event),
    warn: (event, fields) => logger.warn(fields ?? {}, event),
    error: (event, fields) => logger.error(fields ?? {}, event),
  }
}

/** A terminal and the launcher both pass a Ctrl-C on: what follows so soon is the same one, milliseconds. */
const sameSignalMs = 500

/**
 * Aborts on the first Ctrl-C or SIGTERM; a second one ends the process at once. A terminal sends Ctrl-C to children as
 * well: they leave it to the process that started them, which asks them to end by SIGTERM.
 */
export function stopSignal(): AbortSignal {
  const controller = new AbortController()
  let abortedMs = 0
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (signal === 'SIGINT' && process.send !== undefined) return
      if (!controller.signal.aborted) {
        abortedMs = performance.now()
        controller.abort(signal)
      } else if (performance.now() - abortedMs > sameSignalMs) process.exit(130)
    })
  }
  return controller.signal
}

/** Resolves after `ms`, or at once when the signal aborts. */
export const sleeper =
  (signal?: AbortSignal) =>
  (ms: number): Promise<void> =>
    new Promise((resolve) => {
      if (signal?.aborted === true) return resolve()
      const done = (): void => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', done)
        resolve()
      }
      const timer = setTimeout(done, ms)
      signal?.addEventListener('abort', done)
    })
