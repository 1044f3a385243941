import { FeatureStoreError } from '../../core/errors.ts'
import { silentLogger, type Logger } from '../../core/ports/environment.ts'
import { type ModelRuntime } from '../../core/ports/model-runtime.ts'
import { ModelProcess, type Model, type ProcessLimits } from './model-process.ts'

export interface InferenceOptions extends Partial<ProcessLimits> {
  readonly log?: Logger
  /** Model versions held at a time, each a process of about 70 MiB. */
  readonly modelsMax?: number
}

const defaults: ProcessLimits = {
  queueCapacity: 256,
  queueBytesMax: 64 * 2 ** 20,
  deadlineMs: 1_000,
  loadDeadlineMs: 30_000,
  hungMs: 30_000,
  restartDelayMs: 100,
  restartDelayMsMax: 10_000,
  closeMs: 2_000,
}

export interface InferenceRuntime extends ModelRuntime, AsyncDisposable {
  /** As the port's, with a deadline of the call's own. */
  predict(
    name: string,
    version: number,
    matrix: Float32Array,
    rows: number,
    options?: { readonly deadlineMs?: number },
  ): Promise<Float32Array>
  /** Answers the calls it has, then ends the process. Unloading what is not loaded is nothing. */
  unload(name: string, version: number): Promise<void>
  /** Process ids by `name@version`. */
  processes(): ReadonlyMap<string, number>
  /** Unloads every model. Closing twice is safe. */
  close(): Promise<void>
}

const titleOf = (name: string, version: number): string => `${name}@${version}`

/**
 * ONNX models, each version in a child process: the runtime blocks its thread, leaks with every session and may abort.
 *
 * Errors: FS_MODEL_INVALID (no model, wrong names, types or feature count; other bytes under a loaded version),
 *         FS_MODEL_UNKNOWN, FS_REQUEST_INVALID, FS_LIMIT_EXCEEDED (models), FS_DEADLINE, FS_CLOSED,
 *         FS_INFERENCE_UNAVAILABLE (the process died with the call, or its queue is full).
 */
export function createInferenceRuntime(options: InferenceOptions = {}): InferenceRuntime {
  const { log = silentLogger, modelsMax = 8, ...given } = options
  const limits = { ...defaults, ...given }
  const models = new Map<string, ModelProcess>()
  let closed = false

  async function load(model: Model): Promise<void> {
    if (closed) throw new FeatureStoreError('FS_CLOSED', 'the inference runtime is closed')
    const title = titleOf(model.name, model.version)
    const known = models.get(title)
    if (known !== undefined) {
      if (known.model.features !== model.features || !Buffer.from(known.model.bytes).equals(model.bytes))
        throw new FeatureStoreError('FS_MODEL_INVALID', `${title} is loaded with other bytes: a version never changes`)
      return known.load()
    }
    if (!Number.isSafeInteger(model.features) || model.features < 1)
      throw new FeatureStoreError('FS_MODEL_INVALID', `${title}: ${model.features} is not a count of features`)
    if (models.size >= modelsMax)
      throw new FeatureStoreError('FS_LIMIT_EXCEEDED', `${modelsMax} models are loaded already: unload one`)
    const made = new ModelProcess(model, limits, log)
    models.set(title, made)
    try {
      await made.load()
    } catch (error) {
      models.delete(title)
      await made.close()
      throw error
    }
  }

  async function predict(
    name: string,
    version: number,
    matrix: Float32Array,
    rows: number,
    call: { readonly deadlineMs?: number } = {},
  ): Promise<Float32Array> {
    if (closed) throw new FeatureStoreError('FS_CLOSED', 'the inference runtime is closed')
    const title = titleOf(name, version)
    const model = models.get(title)
    if (model === undefined) throw new FeatureStoreError('FS_MODEL_UNKNOWN', `${title} is not loaded`)
    if (!Number.isSafeInteger(rows) || rows < 0 || matrix.length !== rows * model.model.features) {
      const expected = `${rows} rows x ${model.model.features} features`
      throw new FeatureStoreError('FS_REQUEST_INVALID', `${title}: ${matrix.length} values are not ${expected}`)
    }
    return rows === 0 ? new Float32Array(0) : model.predict(matrix, call.deadlineMs ?? limits.deadlineMs)
  }

  async function unload(name: string, version: number): Promise<void> {
    const model = models.get(titleOf(name, version))
    models.delete(titleOf(name, version))
    await model?.close()
  }

  async function close(): Promise<void> {
    closed = true
    await Promise.all([...models.values()].map((model) => model.close()))
    models.clear()
  }

  function processes(): ReadonlyMap<string, number> {
    const running = [...models].flatMap(([title, { pid }]) => (pid === undefined ? [] : [[title, pid] as const]))
    return new Map(running)
  }

  return { load, predict, unload, processes, close, [Symbol.asyncDispose]: close }
}
