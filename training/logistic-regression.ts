/**
 * Logistic regression on standardised features, fitted by Newton's method (iteratively reweighted least squares; Hastie,
 * Tibshirani, Friedman: The Elements of Statistical Learning, section 4.4.1) with an L2 penalty on the weights.
 *
 * Deterministic: float64 throughout, sums in row order, no randomness, so the same matrix gives the same bits.
 */
import assert from 'node:assert/strict'
import { FeatureStoreError } from '../core/errors.ts'

/** Row-major, `rows x features`. */
export type Matrix = Float64Array | Float32Array

/** score = sigmoid(bias + Σ weights[f] * (x[f] - mean[f]) / std[f]), with a NaN x[f] read as mean[f]. */
export interface LogisticModel {
  readonly mean: Float64Array
  /** Of the population; 1 where a feature does not vary. */
  readonly std: Float64Array
  readonly weights: Float64Array
  readonly bias: number
}

export interface FitOptions {
  /** Strength of the penalty `l2 / 2 * |weights|²` beside the summed log loss. Above 0, so that an optimum exists. */
  readonly l2?: number
  readonly iterationsMax?: number
}

export interface Fit {
  readonly model: LogisticModel
  readonly iterations: number
  /** Largest component of the gradient of the objective per row, where the fit stopped. */
  readonly gradientMax: number
}

/** A gradient per row below this is zero for a float64 sum. */
const gradientTolerance = 1e-10
const halvingsMax = 40

export const sigmoid = (logit: number): number =>
  logit >= 0 ? 1 / (1 + Math.exp(-logit)) : Math.exp(logit) / (1 + Math.exp(logit))

/** log(1 + e^x) without overflow. */
const softplus = (x: number): number => (x > 0 ? x + Math.log1p(Math.exp(-x)) : Math.log1p(Math.exp(x)))

function checkShape(matrix: Matrix, labels: Uint8Array, features: number): void {
  if (!Number.isSafeInteger(features) || features < 1)
    throw new FeatureStoreError('FS_REQUEST_INVALID', `features: ${features} is not a count of 1 or more`)
  if (matrix.length !== labels.length * features) {
    throw new FeatureStoreError(
      'FS_REQUEST_INVALID',
      `matrix: ${matrix.length} values are not ${labels.length} labels x ${features} features`,
    )
  }
  let positives = 0
  for (const label of labels) {
    if (label > 1) throw new FeatureStoreError('FS_LABELS_INVALID', `label: ${label} is neither 0 nor 1`)
    positives += label
  }
  if (positives === 0 || positives === labels.length)
    throw new FeatureStoreError('FS_LABELS_INVALID', 'label: all labels are alike, there is nothing to tell apart')
}

/** Mean and deviation of each column over its values that are not NaN: two passes, so no sum of squares cancels. */
function moments(matrix: Matrix, features: number): { readonly mean: Float64Array; readonly std: Float64Array } {
  const mean = new Float64Array(features)
  const std = new Float64Array(features)
  const counts = new Float64Array(features)
  for (let at = 0; at < matrix.length; at += features) {
    for (let f = 0; f < features; f++) {
      const value = matrix[at + f] as number
      if (Number.isNaN(value)) continue
      mean[f] = (mean[f] as number) + value
      counts[f] = (counts[f] as number) + 1
    }
  }
  for (let f = 0; f < features; f++) mean[f] = (mean[f] as number) / Math.max(counts[f] as number, 1)
  for (let at = 0; at < matrix.length; at += features) {
    for (let f = 0; f < features; f++) {
      const difference = (matrix[at + f] as number) - (mean[f] as number)
      if (!Number.isNaN(difference)) std[f] = (std[f] as number) + difference * difference
    }
  }
  for (let f = 0; f < features; f++) {
    const deviation = Math.sqrt((std[f] as number) / Math.max(counts[f] as number, 1))
    if (!Number.isFinite(deviation)) {
      throw new FeatureStoreError('FS_REQUEST_INVALID', `matrix: column ${f} holds an infinity or leaves float64`)
    }
    // A constant like 0.1 summed n times leaves a deviation of rounding errors: that is no variation.
    std[f] = deviation <= Math.abs(mean[f] as number) * 1e-12 ? 1 : deviation
  }
  return { mean, std }
}

function standardised(matrix: Matrix, mean: Float64Array, std: Float64Array): Float64Array {
  const features = mean.length
  const out = new Float64Array(matrix.length)
  for (let at = 0; at < matrix.length; at += features) {
    for (let f = 0; f < features; f++) {
      const value = matrix[at + f] as number
      out[at + f] = Number.isNaN(value) ? 0 : (value - (mean[f] as number)) / (std[f] as number)
    }
  }
  return out
}

/** The coefficients are the weights, then the bias. */
function logitAt(z: Float64Array, at: number, coefficients: Float64Array, features: number): number {
  let logit = coefficients[features] as number
  for (let f = 0; f < features; f++) logit += (z[at + f] as number) * (coefficients[f] as number)
  return logit
}

function objective(z: Float64Array, labels: Uint8Array, coefficients: Float64Array, l2: number): number {
  const features = coefficients.length - 1
  let loss = 0
  for (let row = 0; row < labels.length; row++) {
    const logit = logitAt(z, row * features, coefficients, features)
    loss += softplus(labels[row] === 1 ? -logit : logit)
  }
  let penalty = 0
  for (let f = 0; f < features; f++) penalty += (coefficients[f] as number) ** 2
  return loss + (l2 / 2) * penalty
}

/** Fills `gradient` and the lower triangle of `hessian` ((features + 1)², row-major) of the objective. */
function derivatives(
  z: Float64Array,
  labels: Uint8Array,
  coefficients: Float64Array,
  l2: number,
  gradient: Float64Array,
  hessian: Float64Array,
): void {
  const features = coefficients.length - 1
  const size = features + 1
  const row = new Float64Array(size)
  row[features] = 1
  gradient.fill(0)
  hessian.fill(0)
  for (let index = 0; index < labels.length; index++) {
    const at = index * features
    for (let f = 0; f < features; f++) row[f] = z[at + f] as number
    const p = sigmoid(logitAt(z, at, coefficients, features))
    const residual = p - (labels[index] as number)
    const weight = p * (1 - p)
    for (let i = 0; i < size; i++) {
      const value = row[i] as number
      gradient[i] = (gradient[i] as number) + residual * value
      const weighted = weight * value
      const base = i * size
      for (let j = 0; j <= i; j++) hessian[base + j] = (hessian[base + j] as number) + weighted * (row[j] as number)
    }
  }
  for (let f = 0; f < features; f++) {
    gradient[f] = (gradient[f] as number) + l2 * (coefficients[f] as number)
    hessian[f * size + f] = (hessian[f * size + f] as number) + l2
  }
}

/** Solves `hessian * step = gradient` by Cholesky, in place; the lower triangle of `hessian` becomes its factor. */
function solve(hessian: Float64Array, gradient: Float64Array): Float64Array {
  const size = gradient.length
  for (let i = 0; i < size; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = hessian[i * size + j] as number
      for (let k = 0; k < j; k++) sum -= (hessian[i * size + k] as number) * (hessian[j * size + k] as number)
      // The penalty makes the matrix positive definite; rounding may eat a tiny pivot (a bias far out on the sigmoid).
      hessian[i * size + j] = i === j ? Math.sqrt(Math.max(sum, 1e-12)) : sum / (hessian[j * size + j] as number)
    }
  }
  const step = new Float64Array(size)
  for (let i = 0; i < size; i++) {
    let sum = gradient[i] as number
    for (let k = 0; k < i; k++) sum -= (hessian[i * size + k] as number) * (step[k] as number)
    step[i] = sum / (hessian[i * size + i] as number)
  }
  for (let i = size - 1; i >= 0; i--) {
    let sum = step[i] as number
    for (let k = i + 1; k < size; k++) sum -= (hessian[k * size + i] as number) * (step[k] as number)
    step[i] = sum / (hessian[i * size + i] as number)
  }
  return step
}

const largest = (values: Float64Array): number => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0)

/**
 * Fits a model to labels of 0 and 1.
 *
 * Shape:  `matrix` row-major, one row per label; NaN is a missing value. Memory O(rows x features).
 * Errors: FS_REQUEST_INVALID (shape, infinities), FS_LABELS_INVALID (a label beyond 0 and 1, or one class only).
 */
export function fitLogistic(matrix: Matrix, labels: Uint8Array, features: number, options: FitOptions = {}): Fit {
  const { l2 = 1, iterationsMax = 100 } = options
  if (!(l2 > 0 && Number.isFinite(l2)))
    throw new FeatureStoreError('FS_REQUEST_INVALID', `l2: ${l2} is not a number above 0`)
  checkShape(matrix, labels, features)
  const { mean, std } = moments(matrix, features)
  const z = standardised(matrix, mean, std)

  let coefficients = new Float64Array(features + 1)
  let loss = objective(z, labels, coefficients, l2)
  const gradient = new Float64Array(features + 1)
  const hessian = new Float64Array((features + 1) ** 2)
  let gradientMax = Number.POSITIVE_INFINITY
  let iterations = 0
  for (; iterations < iterationsMax; iterations++) {
    derivatives(z, labels, coefficients, l2, gradient, hessian)
    gradientMax = largest(gradient) / labels.length
    if (gradientMax <= gradientTolerance) break
    const step = solve(hessian, gradient)
    const next = descend(z, labels, coefficients, step, l2, loss)
    // No step lowers the loss any more: what is left of the gradient is rounding.
    if (next === null) break
    coefficients = next.coefficients
    loss = next.loss
  }
  assert(gradientMax < 1e-6, `logistic regression did not converge: gradient ${gradientMax} per row`)
  const model = { mean, std, weights: coefficients.slice(0, features), bias: coefficients[features] as number }
  return { model, iterations, gradientMax }
}

/** The longest of step, step / 2, step / 4, … that lowers the loss: a full Newton step may leap over a narrow valley. */
function descend(
  z: Float64Array,
  labels: Uint8Array,
  from: Float64Array,
  step: Float64Array,
  l2: number,
  loss: number,
): { readonly coefficients: Float64Array<ArrayBuffer>; readonly loss: number } | null {
  for (let halvings = 0, scale = 1; halvings < halvingsMax; halvings++, scale /= 2) {
    const coefficients = new Float64Array(from.length)
    for (let i = 0; i < from.length; i++) coefficients[i] = (from[i] as number) - scale * (step[i] as number)
    const reached = objective(z, labels, coefficients, l2)
    if (reached < loss) return { coefficients, loss: reached }
  }
  return null
}

/** The probability of label 1 for each row of a row-major matrix; a NaN is read as the mean. */
export function scoreLogistic(model: LogisticModel, matrix: Matrix): Float64Array {
  const { mean, std, weights, bias } = model
  const features = weights.length
  if (matrix.length % features !== 0) {
    throw new FeatureStoreError('FS_REQUEST_INVALID', `matrix: ${matrix.length} values are no rows of ${features}`)
  }
  const scores = new Float64Array(matrix.length / features)
  for (let row = 0; row < scores.length; row++) {
    let logit = bias
    for (let f = 0; f < features; f++) {
      const value = matrix[row * features + f] as number
      if (!Number.isNaN(value)) logit += ((value - (mean[f] as number)) / (std[f] as number)) * (weights[f] as number)
    }
    scores[row] = sigmoid(logit)
  }
  return scores
}
