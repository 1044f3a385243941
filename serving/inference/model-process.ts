import { spawn, type ChildProcess } from 'node:child_process'
import { type Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import { FeatureStoreError } from '../../core/errors.ts'
import { type Logger } from '../../core/ports/environment.ts'
import { FrameKind, FrameReader, float32s, frame } from './frame.ts'

export interface ProcessLimits {
  /** Calls that wait or run, per model version; more are refused. */
  readonly queueCapacity: number
  /** Bytes of the matrices of those calls; one larger matrix alone is refused as well. */
  readonly queueBytesMax: number
  readonly deadlineMs: number
  readonly loadDeadlineMs: number
  /** A process that answers nothing for so long, with calls waiting, is killed and started again. */
  readonly hungMs: number
  /** The second restart without an answer in between waits so long, later ones double it. The first waits for nothing. */
  readonly restartDelayMs: number
  readonly restartDelayMsMax: number
  /** How long a closing process may work off its calls. */
  readonly closeMs: number
}

export interface Model {
  readonly name: string
  readonly version: number
  readonly bytes: Uint8Array
  readonly features: number
}

interface Call {
  readonly bytes: number
  /** null: the deadline passed, nobody waits; the place in the queue is free when the process answers. */
  waiting: { resolve(scores: Float32Array): void; reject(error: Error): void; readonly timer: NodeJS.Timeout } | null
}

const childPath = fileURLToPath(new URL('./child.ts', import.meta.url))
const errorTailChars = 2_000
/** All that a child needs of the environment: secrets stay here. */
const passedOn = ['PATH', 'LD_LIBRARY_PATH', 'DYLD_LIBRARY_PATH', 'SystemRoot', 'TMPDIR', 'TEMP']

const environment = (): NodeJS.ProcessEnv =>
  Object.fromEntries(passedOn.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])))

/**
 * One model version in a process of its own, started again when it dies. Calls are sent at once and answered in order:
 * the pipe is the queue, and a restarted process loads the model from the first frame before it sees a call.
 */
export class ModelProcess {
  readonly model: Model
  readonly #limits: ProcessLimits
  readonly #log: Logger
  readonly #calls = new Map<number, Call>()
  #child: ChildProcess | null = null
  #channel: Socket | null = null
  #closed: Promise<void> | null = null
  #loaded: Promise<unknown> = Promise.resolve()
  #exited = Promise.resolve()
  #nextCall = 0
  #bytes = 0
  #deaths = 0
  #answeredAt = 0
  #restart: NodeJS.Timeout | null = null
  #errorTail = ''

  constructor(model: Model, limits: ProcessLimits, log: Logger) {
    this.model = { ...model, bytes: model.bytes.slice() }
    this.#limits = limits
    this.#log = log
  }

  get pid(): number | undefined {
    return this.#child?.pid
  }

  /** Starts the process unless it runs, and resolves when it has the model. */
  async load(): Promise<void> {
    this.#assertOpen()
    await (this.#child === null ? this.#start() : this.#loaded)
  }

  predict(matrix: Float32Array, deadlineMs: number): Promise<Float32Array> {
    this.#assertOpen()
    if (this.#child === null) return Promise.reject(this.#unavailable('its process died and is not started again yet'))
    return this.#send(FrameKind.PREDICT, deadlineMs, matrix)
  }

  /** Takes no more calls, answers those it has, ends the process. */
  close(): Promise<void> {
    this.#closed ??= this.#drain()
    return this.#closed
  }

  async #drain(): Promise<void> {
    if (this.#restart !== null) clearTimeout(this.#restart)
    this.#channel?.end()
    const timer = setTimeout(() => this.#child?.kill('SIGKILL'), this.#limits.closeMs)
    await this.#exited
    clearTimeout(timer)
  }

  #assertOpen(): void {
    if (this.#closed !== null) throw new FeatureStoreError('FS_CLOSED', `${this.#title()} is unloaded`)
  }

  #title(): string {
    return `model ${this.model.name} version ${this.model.version}`
  }

  #unavailable(reason: string): FeatureStoreError {
    const cause = this.#errorTail === '' ? undefined : new Error(this.#errorTail)
    return new FeatureStoreError('FS_INFERENCE_UNAVAILABLE', `${this.#title()}: ${reason}`, { cause })
  }

  #start(): Promise<unknown> {
    if (this.#restart !== null) clearTimeout(this.#restart)
    this.#restart = null
    this.#errorTail = ''
    const child = spawn(process.execPath, [childPath], {
      stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
      env: environment(),
      windowsHide: true,
    })
    this.#child = child
    this.#answeredAt = performance.now()
    child.stderr?.on('data', (chunk: Buffer) => {
      this.#errorTail = (this.#errorTail + chunk.toString()).slice(-errorTailChars)
    })
    const channel = child.stdio[3] as Socket
    this.#channel = channel
    const frames = new FrameReader()
    channel.on('data', (chunk: Buffer) => {
      for (const { kind, call, body } of frames.push(chunk)) this.#answered(kind, call, body)
    })
    // The process is gone: `close` follows and says so to the callers.
    channel.on('error', () => {})
    child.on('error', (error) => (this.#errorTail = error.message))
    this.#exited = new Promise((resolve) => {
      child.on('close', (code, signal) => {
        this.#died(code === null ? String(signal) : `exit code ${code}`)
        resolve()
      })
    })
    const features = Uint32Array.of(this.model.features)
    this.#loaded = this.#send(FrameKind.LOAD, this.#limits.loadDeadlineMs, features, this.model.bytes)
    return this.#loaded
  }

  #send(kind: FrameKind, deadlineMs: number, ...parts: readonly ArrayBufferView[]): Promise<Float32Array> {
    const bytes = parts.reduce((sum, part) => sum + part.byteLength, 0)
    const { queueCapacity, queueBytesMax } = this.#limits
    const full = this.#calls.size >= queueCapacity || (this.#bytes + bytes > queueBytesMax && this.#bytes > 0)
    if (kind === FrameKind.PREDICT && full) {
      this.#killIfHung()
      return Promise.reject(this.#unavailable(`its queue is full with ${this.#calls.size} calls`))
    }
    const id = this.#nextCall
    this.#nextCall = (id + 1) >>> 0
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#overdue(id, deadlineMs), deadlineMs)
      this.#calls.set(id, { bytes, waiting: { resolve, reject, timer } })
      if (this.#calls.size === 1) this.#answeredAt = performance.now()
      this.#bytes += bytes
      this.#channel?.write(frame(kind, id, ...parts))
    })
  }

  #answered(kind: number, id: number, body: Uint8Array): void {
    this.#answeredAt = performance.now()
    const call = this.#calls.get(id)
    if (call === undefined) return
    this.#calls.delete(id)
    this.#bytes -= call.bytes
    if (kind === FrameKind.SCORES) this.#deaths = 0
    if (call.waiting === null) return
    const { resolve, reject, timer } = call.waiting
    clearTimeout(timer)
    if (kind === FrameKind.REFUSED) {
      reject(new FeatureStoreError('FS_MODEL_INVALID', `${this.#title()}: ${Buffer.from(body).toString()}`))
    } else {
      resolve(float32s(body))
    }
  }

  #overdue(id: number, deadlineMs: number): void {
    const call = this.#calls.get(id)
    call?.waiting?.reject(
      new FeatureStoreError('FS_DEADLINE', `${this.#title()} did not answer within ${deadlineMs} ms`),
    )
    if (call !== undefined) call.waiting = null
    this.#killIfHung()
  }

  #killIfHung(): void {
    if (performance.now() - this.#answeredAt < this.#limits.hungMs) return
    this.#log.warn('inference.hung', { model: this.model.name, version: this.model.version })
    this.#child?.kill('SIGKILL')
  }

  #died(reason: string): void {
    this.#child = null
    this.#channel = null
    const calls = [...this.#calls.values()]
    this.#calls.clear()
    this.#bytes = 0
    for (const { waiting } of calls) {
      if (waiting === null) continue
      clearTimeout(waiting.timer)
      waiting.reject(this.#unavailable(`its process ended (${reason})`))
    }
    if (this.#closed !== null) return
    this.#deaths++
    const { restartDelayMs, restartDelayMsMax } = this.#limits
    const delayMs = Math.min(restartDelayMs * (2 ** (this.#deaths - 1) - 1), restartDelayMsMax)
    this.#log.warn('inference.died', { model: this.model.name, version: this.model.version, reason, delayMs })
    if (delayMs === 0) this.#startAgain()
    else this.#restart = setTimeout(() => this.#startAgain(), delayMs).unref()
  }

  #startAgain(): void {
    this.#start().then(
      () => this.#log.info('inference.restarted', { model: this.model.name, version: this.model.version }),
      (error: unknown) => this.#log.error('inference.restart_failed', { model: this.model.name, error: String(error) }),
    )
  }
}
