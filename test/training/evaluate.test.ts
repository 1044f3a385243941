import assert from 'node:assert/strict'
import fc from 'fast-check'
import { describe, test } from 'vitest'
import { areaUnderRoc, evaluate, logLoss } from '../../training/evaluate.ts'

/** The definition: every positive against every negative, ties half. */
function naiveAuc(scores: Float64Array, labels: Uint8Array): number | null {
  let halves = 0
  let pairs = 0
  for (let p = 0; p < labels.length; p++) {
    for (let n = 0; n < labels.length; n++) {
      if (labels[p] !== 1 || labels[n] !== 0) continue
      pairs++
      halves += Math.sign((scores[p] as number) - (scores[n] as number)) + 1
    }
  }
  return pairs === 0 ? null : halves / (2 * pairs)
}

describe('evaluate', () => {
  test('the area by ranks is the share of pairs in order, ties and all', () => {
    // Few distinct scores, so that most rows tie with another.
    const score = fc.oneof(fc.constantFrom(0, -0, 0.25, 0.5, 1), fc.double({ min: 0, max: 1, noNaN: true }))
    const rows = fc.array(fc.tuple(score, fc.constantFrom(0, 1)), { minLength: 1, maxLength: 60 })
    fc.assert(
      fc.property(rows, (pairs) => {
        const scores = Float64Array.from(pairs, ([value]) => value)
        const labels = Uint8Array.from(pairs, ([, label]) => label)
        assert.equal(areaUnderRoc(scores, labels), naiveAuc(scores, labels))
      }),
    )
  })

  test('a perfect order has area 1, its reverse 0, one score for all 0.5', () => {
    const labels = Uint8Array.of(0, 0, 1, 1)
    assert.equal(areaUnderRoc(Float64Array.of(0.1, 0.2, 0.3, 0.4), labels), 1)
    assert.equal(areaUnderRoc(Float64Array.of(0.4, 0.3, 0.2, 0.1), labels), 0)
    assert.equal(areaUnderRoc(Float64Array.of(0.3, 0.3, 0.3, 0.3), labels), 0.5)
  })

  test('the area of one class alone is unknown', () => {
    assert.equal(areaUnderRoc(Float64Array.of(0.1, 0.9), Uint8Array.of(1, 1)), null)
  })

  test('log loss is the mean of -log likelihood, and finite for a sure mistake', () => {
    const loss = logLoss(Float64Array.of(0.8, 0.4), Uint8Array.of(1, 0))
    assert.ok(Math.abs(loss - (-Math.log(0.8) - Math.log(0.6)) / 2) < 1e-15)
    assert.ok(Math.abs(logLoss(Float64Array.of(0), Uint8Array.of(1)) - -Math.log(1e-15)) < 1e-12)
    assert.equal(logLoss(Float64Array.of(1), Uint8Array.of(1)), 0)
  })

  test('an evaluation has the base rate and the loss of answering it', () => {
    const evaluation = evaluate(Float32Array.of(0.75, 0.25, 0.25, 0.25), Uint8Array.of(1, 0, 0, 0))
    assert.deepEqual(
      { rows: evaluation.rows, positives: evaluation.positives, baseRate: evaluation.baseRate, auc: evaluation.auc },
      { rows: 4, positives: 1, baseRate: 0.25, auc: 1 },
    )
    assert.ok(evaluation.logLoss < evaluation.baseLogLoss)
  })

  test('what is no score or no label is refused', () => {
    const code = (code: string) => (error: unknown) => (error as { code?: string }).code === code
    assert.throws(() => areaUnderRoc(Float64Array.of(Number.NaN), Uint8Array.of(1)), code('FS_REQUEST_INVALID'))
    assert.throws(() => areaUnderRoc(Float64Array.of(0.5), Uint8Array.of(1, 0)), code('FS_REQUEST_INVALID'))
    assert.throws(() => areaUnderRoc(Float64Array.of(0.5), Uint8Array.of(2)), code('FS_LABELS_INVALID'))
    assert.throws(() => logLoss(Float64Array.of(1.5), Uint8Array.of(1)), code('FS_REQUEST_INVALID'))
  })
})
