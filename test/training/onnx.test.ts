import assert from 'node:assert/strict'
import fc from 'fast-check'
import * as ort from 'onnxruntime-node'
import { describe, test } from 'vitest'
import { fitLogistic, scoreLogistic, type LogisticModel } from '../../training/logistic-regression.ts'
import { readOnnxMetadata, writeOnnx } from '../../training/onnx.ts'

const modelOf = (mean: number[], std: number[], weights: number[], bias: number): LogisticModel => ({
  mean: Float64Array.from(mean),
  std: Float64Array.from(std),
  weights: Float64Array.from(weights),
  bias,
})

async function run(bytes: Uint8Array, matrix: Float32Array, features: number): Promise<ort.Tensor> {
  const session = await ort.InferenceSession.create(bytes, { intraOpNumThreads: 1 })
  const rows = matrix.length / features
  const { score } = await session.run({ features: new ort.Tensor('float32', matrix, [rows, features]) })
  await session.release()
  return score as ort.Tensor
}

describe('onnx', () => {
  test('scores of the file and of the model agree within float32, missing values included', async () => {
    const value = fc.oneof({ weight: 6, arbitrary: fc.integer({ min: -90, max: 90 }) }, fc.constant(Number.NaN))
    const rows = fc.array(fc.tuple(value, value, value, fc.boolean()), { minLength: 6, maxLength: 50 })
    await fc.assert(
      fc.asyncProperty(rows, async (data) => {
        const labels = Uint8Array.from(data, (row) => Number(row[3]))
        fc.pre(labels.includes(0) && labels.includes(1))
        const matrix = Float32Array.from(data.flatMap(([a, b, c]) => [a, b, c]))
        const { model } = fitLogistic(matrix, labels, 3)
        const expected = scoreLogistic(model, matrix)
        const { data: scores, dims } = await run(writeOnnx(model, { name: 'm' }), matrix, 3)
        assert.deepEqual(dims, [data.length])
        for (let row = 0; row < data.length; row++) {
          assert.ok(Math.abs((scores[row] as number) - (expected[row] as number)) < 2e-6, `row ${row}`)
        }
      }),
      { numRuns: 25 },
    )
  })

  test('one row, one feature and no rows keep their shapes', async () => {
    const bytes = writeOnnx(modelOf([0], [1], [2], -1), { name: 'm' })
    const one = await run(bytes, Float32Array.of(0.5), 1)
    assert.deepEqual([one.dims, [...(one.data as Float32Array)]], [[1], [0.5]])
    const none = await run(bytes, new Float32Array(0), 1)
    assert.deepEqual(none.dims, [0])
  })

  test('metadata travels in the file, and the bytes do not depend on the order it was given in', () => {
    const model = modelOf([0, 0], [1, 1], [1, 2], 0)
    const metadata = { 'tidemark.features': '["v:a","v:b"]', 'tidemark.training_set': 'ab12' }
    const bytes = writeOnnx(model, { name: 'm', metadata })
    assert.deepEqual(readOnnxMetadata(bytes), metadata)
    const reversed = Object.fromEntries(Object.entries(metadata).reverse())
    assert.deepEqual(writeOnnx(model, { name: 'm', metadata: reversed }), bytes)
  })

  test('parameters that fit no float32 file are refused', () => {
    const refused = (model: LogisticModel) =>
      assert.throws(
        () => writeOnnx(model, { name: 'm' }),
        (error: { code?: string }) => error.code === 'FS_MODEL_INVALID',
      )
    refused(modelOf([0], [1], [1e300], 0))
    refused(modelOf([0], [1e-60], [1], 0))
    refused(modelOf([0, 0], [1], [1], 0))
    refused(modelOf([], [], [], 0))
    assert.throws(
      () => readOnnxMetadata(Uint8Array.of(255, 255)),
      (error: { code?: string }) => error.code === 'FS_MODEL_INVALID',
    )
  })
})
