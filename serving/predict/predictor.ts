import { createHash } from 'node:crypto'
import { serviceOf, type Catalog } from '../../core/definition/catalog.ts'
import { featureMatrix, matrixSpec, type MatrixSpec } from '../../core/engine/matrix.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import { serviceFingerprints } from '../../core/definition/fingerprint.ts'
import type { ModelRuntime } from '../../core/ports/model-runtime.ts'
import type { ModelRegistered } from '../../core/registry/events.ts'
import { newestModel, type RegistryState } from '../../core/registry/state.ts'
import { withPlainDecimals } from '../lookup/check-request.ts'
import type { FeatureLookup, Prediction, Predictor, PredictRequest } from '../lookup/types.ts'

export interface PredictorOptions {
  readonly catalog: Catalog
  readonly lookup: FeatureLookup
  readonly runtime: ModelRuntime
  /** The registry as it stands; called for each prediction, so it must be cheap when nothing changed. */
  readonly registry: () => Promise<RegistryState>
  /** Bytes of a model file by its path in the registry. */
  readonly readModel: (path: string) => Promise<Uint8Array>
}

/** Features, the same matrix as in training, the registered model: one score per row. */
export class ModelPredictor implements Predictor {
  readonly #options: PredictorOptions
  readonly #specs = new Map<string, MatrixSpec>()
  readonly #loaded = new Map<string, Promise<void>>()

  constructor(options: PredictorOptions) {
    this.#options = options
  }

  /** Loads the newest model of every service, so that a first prediction does not wait. A model that does not load is left to its first call. */
  async warm(): Promise<void> {
    const registry = await this.#options.registry()
    for (const service of this.#options.catalog.services.keys()) {
      const model = newestModel(registry, service)
      if (model !== null) await this.#load(model, this.#spec(service)).catch(() => {})
    }
  }

  /** Errors: FS_MODEL_UNKNOWN, FS_MODEL_INVALID (other features than it was trained on, or another file), those of a lookup. */
  async predict(request: PredictRequest): Promise<Prediction> {
    const { catalog, lookup, runtime, registry } = this.#options
    if (request.service === undefined) throw new FeatureStoreError('FS_REQUEST_INVALID', 'a prediction names a service')
    const service = serviceOf(catalog, request.service)
    const model = newestModel(await registry(), service.name, request.model)
    if (model === null) {
      throw new FeatureStoreError(
        'FS_MODEL_UNKNOWN',
        request.model === undefined
          ? `service ${service.name} has no model`
          : `service ${service.name} has no model ${request.model}`,
      )
    }
    const spec = this.#spec(service.name)
    await this.#load(model, spec)
    const reply = await lookup.getFeatures(request)
    const absent = Object.keys(service.request).map((field) => [field, new Array<null>(reply.rows).fill(null)])
    const given = { ...Object.fromEntries(absent), ...withPlainDecimals(service.request, request).request }
    const matrix = featureMatrix(spec, reply.columns, given, reply.rows)
    const scores = await runtime.predict(model.model, model.version, matrix, reply.rows)
    return { scores, model: model.model, modelVersion: model.version, lookup: reply }
  }

  #spec(service: string): MatrixSpec {
    const { catalog } = this.#options
    let spec = this.#specs.get(service)
    if (spec === undefined) this.#specs.set(service, (spec = matrixSpec(catalog, serviceOf(catalog, service))))
    return spec
  }

  #load(model: ModelRegistered, spec: MatrixSpec): Promise<void> {
    const id = `${model.model}@${model.version}`
    let loading = this.#loaded.get(id)
    if (loading === undefined) {
      loading = this.#read(model, spec).catch((error: unknown) => {
        this.#loaded.delete(id)
        throw error
      })
      this.#loaded.set(id, loading)
    }
    return loading
  }

  async #read(model: ModelRegistered, spec: MatrixSpec): Promise<void> {
    const { catalog, runtime, readModel } = this.#options
    const now = serviceFingerprints(catalog, model.service)
    const changed = Object.keys({ ...now, ...model.features }).filter((name) => now[name] !== model.features[name])
    if (changed.length > 0)
      throw new FeatureStoreError(
        'FS_MODEL_INVALID',
        `model ${model.model} version ${model.version} was trained on other features: ${changed.slice(0, 5).join(', ')}`,
      )
    const bytes = await readModel(model.onnx.path)
    if (createHash('sha256').update(bytes).digest('hex') !== model.onnx.digest) {
      throw new FeatureStoreError(
        'FS_MODEL_INVALID',
        `the file of model ${model.model} version ${model.version} is not the one that was registered`,
      )
    }
    await runtime.load({ name: model.model, version: model.version, bytes, features: spec.inputs.length })
  }
}
