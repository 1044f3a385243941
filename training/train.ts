import { serviceOf, type Catalog } from '../core/definition/catalog.ts'
import { canonicalJson, semanticsVersion } from '../core/definition/fingerprint.ts'
import type { ModelDefinition } from '../core/definition/types.ts'
import type { FeatureColumn } from '../core/engine/feature-column.ts'
import { featureMatrix, matrixSpec, type MatrixInput, type MatrixSpec } from '../core/engine/matrix.ts'
import { FeatureStoreError } from '../core/errors.ts'
import { encodeToken, type Position } from '../core/event/position.ts'
import { servicePosition } from '../core/lineage/lineage.ts'
import { formatInstant } from '../core/time/time.ts'
import { evaluate, type Evaluation } from './evaluate.ts'
import type { LabelSet } from './labels.ts'
import { fitLogistic, scoreLogistic } from './logistic-regression.ts'
import { writeOnnx } from './onnx.ts'

export interface TrainOptions {
  readonly catalog: Catalog
  readonly model: ModelDefinition
  /** With labels. */
  readonly labels: LabelSet
  /** Of the model's service, a row each label. */
  readonly columns: readonly FeatureColumn[]
  readonly position: Position
  /** Content digest of the training set. */
  readonly digest: string
}

export interface TrainMetrics {
  readonly trainRows: number
  readonly testRows: number
  /** Share of the positive class over all rows. */
  readonly baseRate: number
  /** On the rows that were fitted. */
  readonly train: Evaluation
  /** On the rows as of `trainUntilMs` or later; null when there are none. */
  readonly test: Evaluation | null
}

export interface ModelInfo {
  readonly name: string
  readonly service: string
  readonly inputs: readonly MatrixInput[]
  readonly omitted: MatrixSpec['omitted']
  readonly iterations: number
  /** By input, on standardised values: how much each moves the score. */
  readonly weights: Readonly<Record<string, number>>
  readonly bias: number
  readonly metadata: Readonly<Record<string, string>>
}

export interface TrainedModel {
  readonly onnx: Uint8Array
  readonly metrics: TrainMetrics
  readonly info: ModelInfo
}

/** Keys of a model file's metadata. */
export const modelMetadataKeys = {
  model: 'tidemark.model',
  service: 'tidemark.service',
  features: 'tidemark.features',
  fingerprints: 'tidemark.fingerprints',
  trainingSet: 'tidemark.training_set',
  token: 'tidemark.token',
  trainUntil: 'tidemark.train_until',
  semanticsVersion: 'tidemark.semantics_version',
} as const

/**
 * Fits a model on the rows as of before `trainUntilMs` and evaluates it on the others, on float32 values as serving has
 * them. Deterministic: the same rows give the same file.
 *
 * Errors: FS_LABELS_INVALID without labels, without rows to fit, or with one class only; FS_DEFINITION_INVALID when the
 *         service has no numbers.
 */
export function trainModel({ catalog, model, labels, columns, position, digest }: TrainOptions): TrainedModel {
  const service = serviceOf(catalog, model.service)
  const spec = matrixSpec(catalog, service)
  const { label } = labels
  if (label === null) throw new FeatureStoreError('FS_LABELS_INVALID', `model ${model.name}: the rows have no labels`)
  if (spec.inputs.length === 0)
    throw new FeatureStoreError(
      'FS_DEFINITION_INVALID',
      `service ${service.name} has no number that a model could read`,
    )
  const matrix = featureMatrix(spec, columns, labels.request, labels.rows)
  const train = rowsWhere(labels, (asOfMs) => asOfMs < model.trainUntilMs)
  const test = rowsWhere(labels, (asOfMs) => asOfMs >= model.trainUntilMs)
  if (train.length === 0) {
    throw new FeatureStoreError(
      'FS_LABELS_INVALID',
      `model ${model.name}: no label row is as of before ${formatInstant(model.trainUntilMs)}`,
    )
  }
  const width = spec.inputs.length
  const fitted = { matrix: pickRows(matrix, width, train), labels: pickLabels(label, train) }
  const fit = fitLogistic(fitted.matrix, fitted.labels, width, { l2: model.algorithm.l2 })
  const evaluated = (rows: Int32Array): Evaluation =>
    evaluate(scoreLogistic(fit.model, pickRows(matrix, width, rows)), pickLabels(label, rows))
  const metadata = {
    [modelMetadataKeys.model]: model.name,
    [modelMetadataKeys.service]: service.name,
    [modelMetadataKeys.features]: JSON.stringify(spec.inputs.map(({ name }) => name)),
    [modelMetadataKeys.fingerprints]: canonicalJson(fingerprintsOf(spec)),
    [modelMetadataKeys.trainingSet]: digest,
    [modelMetadataKeys.token]: encodeToken(servicePosition(catalog, service, position)),
    [modelMetadataKeys.trainUntil]: String(model.trainUntilMs),
    [modelMetadataKeys.semanticsVersion]: String(semanticsVersion),
  }
  const positives = label.reduce((sum, value) => sum + value, 0)
  return {
    onnx: writeOnnx(fit.model, { name: model.name, metadata }),
    metrics: {
      trainRows: train.length,
      testRows: test.length,
      baseRate: positives / labels.rows,
      train: evaluated(train),
      test: test.length === 0 ? null : evaluated(test),
    },
    info: {
      name: model.name,
      service: service.name,
      inputs: spec.inputs,
      omitted: spec.omitted,
      iterations: fit.iterations,
      weights: Object.fromEntries(spec.inputs.map(({ name }, index) => [name, fit.model.weights[index] as number])),
      bias: fit.model.bias,
      metadata,
    },
  }
}

/** By input; request fields have none. */
const fingerprintsOf = ({ inputs }: MatrixSpec): Record<string, string> =>
  Object.fromEntries(inputs.flatMap((input) => (input.kind === 'feature' ? [[input.name, input.fingerprint]] : [])))

function rowsWhere({ rows, asOfMs }: LabelSet, test: (asOfMs: number) => boolean): Int32Array {
  const found = new Int32Array(rows)
  let count = 0
  for (let row = 0; row < rows; row++) if (test(asOfMs[row] as number)) found[count++] = row
  return found.subarray(0, count)
}

function pickRows(matrix: Float32Array, width: number, rows: Int32Array): Float32Array {
  const picked = new Float32Array(rows.length * width)
  for (let index = 0; index < rows.length; index++) {
    const from = (rows[index] as number) * width
    picked.set(matrix.subarray(from, from + width), index * width)
  }
  return picked
}

const pickLabels = (labels: Uint8Array, rows: Int32Array): Uint8Array =>
  Uint8Array.from(rows, (row) => labels[row] as number)
