/** How well scores tell label 1 from label 0. */
import { FeatureStoreError } from '../core/errors.ts'

export interface Evaluation {
  readonly rows: number
  readonly positives: number
  /** Share of label 1. */
  readonly baseRate: number
  /** Probability that a random positive scores above a random negative, ties half; null when a class is missing. */
  readonly auc: number | null
  /** Mean negative log likelihood, in nats. */
  readonly logLoss: number
  /** That of always answering the base rate: a model above it has learnt nothing. */
  readonly baseLogLoss: number
}

export type Scores = Float64Array | Float32Array

/** Scores are read as at least this far from 0 and 1, so that one sure mistake does not make the loss infinite. */
const scoreFloor = 1e-15

function checkScores(scores: Scores, labels: Uint8Array): void {
  if (scores.length !== labels.length || labels.length === 0)
    throw new FeatureStoreError('FS_REQUEST_INVALID', `${scores.length} scores do not fit ${labels.length} labels`)
  for (let row = 0; row < labels.length; row++) {
    if ((labels[row] as number) > 1)
      throw new FeatureStoreError('FS_LABELS_INVALID', `row ${row}: label ${labels[row]} is neither 0 nor 1`)
    if (Number.isNaN(scores[row])) throw new FeatureStoreError('FS_REQUEST_INVALID', `row ${row}: the score is NaN`)
  }
}

/**
 * Area under the ROC curve by ranks (Mann-Whitney U), ties counted half.
 *
 * Exact: U is counted in whole halves below 2^53, up to 9e7 rows, and divided once. null when a class is missing.
 */
export function areaUnderRoc(scores: Scores, labels: Uint8Array): number | null {
  checkScores(scores, labels)
  const order = Uint32Array.from(labels.keys())
  order.sort((a, b) => (scores[a] as number) - (scores[b] as number))
  let positives = 0
  let negatives = 0
  /** Twice U: over pairs of a positive and a negative, 2 where the positive scores higher, 1 where they tie. */
  let doubled = 0
  for (let from = 0; from < order.length;) {
    const score = scores[order[from] as number] as number
    let positivesHere = 0
    let to = from
    for (; to < order.length && scores[order[to] as number] === score; to++) {
      positivesHere += labels[order[to] as number] as number
    }
    const negativesHere = to - from - positivesHere
    doubled += positivesHere * (2 * negatives + negativesHere)
    positives += positivesHere
    negatives += negativesHere
    from = to
  }
  return positives === 0 || negatives === 0 ? null : doubled / (2 * positives * negatives)
}

/** Mean negative log likelihood, in nats. Scores are probabilities. */
export function logLoss(scores: Scores, labels: Uint8Array): number {
  checkScores(scores, labels)
  let sum = 0
  for (let row = 0; row < labels.length; row++) {
    const score = scores[row] as number
    if (score < 0 || score > 1)
      throw new FeatureStoreError('FS_REQUEST_INVALID', `row ${row}: score ${score} is no probability`)
    const likelihood = labels[row] === 1 ? score : 1 - score
    sum -= Math.log(Math.min(Math.max(likelihood, scoreFloor), 1))
  }
  return sum / labels.length
}

/** Errors: FS_REQUEST_INVALID (lengths, scores that are no probabilities), FS_LABELS_INVALID (labels beyond 0 and 1). */
export function evaluate(scores: Scores, labels: Uint8Array): Evaluation {
  const auc = areaUnderRoc(scores, labels)
  const positives = labels.reduce((sum, label) => sum + label, 0)
  const baseRate = positives / labels.length
  const baseLogLoss = logLoss(new Float64Array(labels.length).fill(baseRate), labels)
  return { rows: labels.length, positives, baseRate, auc, logLoss: logLoss(scores, labels), baseLogLoss }
}
