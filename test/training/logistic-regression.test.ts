import assert from 'node:assert/strict'
import fc from 'fast-check'
import { describe, test } from 'vitest'
import { areaUnderRoc } from '../../training/evaluate.ts'
import { fitLogistic, scoreLogistic, type LogisticModel } from '../../training/logistic-regression.ts'

/** Summed log loss plus penalty, straight from the definition of the score. */
function objective(model: LogisticModel, matrix: Float64Array, labels: Uint8Array, l2: number): number {
  const scores = scoreLogistic(model, matrix)
  const loss = scores.reduce((sum, score, row) => sum - Math.log(labels[row] === 1 ? score : 1 - score), 0)
  return loss + (l2 / 2) * model.weights.reduce((sum, weight) => sum + weight * weight, 0)
}

const moved = (model: LogisticModel, index: number, by: number): LogisticModel => {
  const weights = model.weights.slice()
  if (index === weights.length) return { ...model, bias: model.bias + by }
  weights[index] = (weights[index] as number) + by
  return { ...model, weights }
}

const invalid = (code: string) => (error: unknown) => (error as { code?: string }).code === code

/** A cheap deterministic stream of numbers in [0, 1). */
function numbers(seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
}

describe('logistic regression', () => {
  test('every partial derivative of the objective is zero at the fit, whatever the data', () => {
    const value = fc.oneof({ weight: 8, arbitrary: fc.integer({ min: -50, max: 50 }) }, fc.constant(Number.NaN))
    const data = fc.integer({ min: 1, max: 4 }).chain((features) =>
      fc.tuple(
        fc.constant(features),
        fc.array(fc.tuple(fc.array(value, { minLength: features, maxLength: features }), fc.boolean()), {
          minLength: 4,
          maxLength: 40,
        }),
        fc.double({ min: 0.1, max: 10, noNaN: true }),
      ),
    )
    fc.assert(
      fc.property(data, ([features, rows, l2]) => {
        const labels = Uint8Array.from(rows, ([, label]) => Number(label))
        fc.pre(labels.includes(0) && labels.includes(1))
        const matrix = Float64Array.from(rows.flatMap(([values]) => values))
        const { model } = fitLogistic(matrix, labels, features, { l2 })
        for (let index = 0; index <= features; index++) {
          const h = 1e-5
          const up = objective(moved(model, index, h), matrix, labels, l2)
          const down = objective(moved(model, index, -h), matrix, labels, l2)
          assert.ok(Math.abs(up - down) / (2 * h) < 1e-4, `derivative ${index}`)
        }
      }),
      { numRuns: 60 },
    )
  })

  test('with next to no penalty, one binary feature gives the log odds of its two groups', () => {
    // x = 0: 2 of 10 positive; x = 1: 6 of 8 positive.
    const matrix = Float64Array.from([...Array<number>(10).fill(0), ...Array<number>(8).fill(1)])
    const labels = Uint8Array.from(matrix, (x, row) => Number(x === 0 ? row < 2 : row < 16))
    const { model } = fitLogistic(matrix, labels, 1, { l2: 1e-9 })
    const [low, high] = scoreLogistic(model, Float64Array.of(0, 1))
    assert.ok(Math.abs((low as number) - 0.2) < 1e-8)
    assert.ok(Math.abs((high as number) - 0.75) < 1e-8)
  })

  test('separable classes converge, because weights cost', () => {
    const matrix = Float64Array.of(-3, -2, -1, 1, 2, 3)
    const labels = Uint8Array.of(0, 0, 0, 1, 1, 1)
    const { model, gradientMax } = fitLogistic(matrix, labels, 1, { l2: 1e-3 })
    assert.ok(gradientMax < 1e-8)
    assert.equal(areaUnderRoc(scoreLogistic(model, matrix), labels), 1)
  })

  test('a missing value counts as the mean, a constant or empty column as nothing', () => {
    const nan = Number.NaN
    const matrix = Float64Array.of(1, 0.1, nan, 2, 0.1, nan, 3, 0.1, nan, nan, 0.1, nan)
    const { model } = fitLogistic(matrix, Uint8Array.of(0, 0, 1, 1), 3)
    assert.deepEqual([...model.mean].slice(0, 1), [2])
    assert.deepEqual([...model.std].slice(1), [1, 1])
    assert.deepEqual(
      scoreLogistic(model, Float64Array.of(nan, 0.1, nan)),
      scoreLogistic(model, Float64Array.of(2, 0.1, 0)),
    )
    assert.ok(Math.abs(model.weights[1] as number) < 1e-12 && model.weights[2] === 0)
  })

  test('the same matrix gives the same bits, and a known model is found again', () => {
    const next = numbers(7)
    const rows = 20_000
    const matrix = Float64Array.from({ length: rows * 3 }, () => next() * 4 - 2)
    const logit = (row: number) => 0.5 + 1.5 * (matrix[row * 3] as number) - 0.75 * (matrix[row * 3 + 1] as number)
    const labels = Uint8Array.from({ length: rows }, (_, row) => Number(next() < 1 / (1 + Math.exp(-logit(row)))))
    const first = fitLogistic(matrix, labels, 3)
    assert.deepEqual(fitLogistic(matrix, labels, 3), first)
    const slope = (f: number) => (first.model.weights[f] as number) / (first.model.std[f] as number)
    for (const [f, expected] of [1.5, -0.75, 0].entries()) assert.ok(Math.abs(slope(f) - expected) < 0.06, `slope ${f}`)
  })

  test('what cannot be fitted is refused', () => {
    const two = Float64Array.of(1, 2)
    assert.throws(() => fitLogistic(two, Uint8Array.of(1, 1), 1), invalid('FS_LABELS_INVALID'))
    assert.throws(() => fitLogistic(two, Uint8Array.of(0, 2), 1), invalid('FS_LABELS_INVALID'))
    assert.throws(() => fitLogistic(two, Uint8Array.of(0, 1), 2), invalid('FS_REQUEST_INVALID'))
    assert.throws(() => fitLogistic(two, Uint8Array.of(0, 1), 1, { l2: 0 }), invalid('FS_REQUEST_INVALID'))
    const infinite = Float64Array.of(1, Number.POSITIVE_INFINITY)
    assert.throws(() => fitLogistic(infinite, Uint8Array.of(0, 1), 1), invalid('FS_REQUEST_INVALID'))
  })
})
