import { describe, expect, it } from 'vitest'
import { featureMatrix, matrixSpec } from '../../core/engine/matrix.ts'
import { encodeToken } from '../../core/event/position.ts'
import { DatasetBuilder } from '../../training/dataset.ts'
import { labelsFromStream } from '../../training/label-sample.ts'
import { readOnnxMetadata } from '../../training/onnx.ts'
import { describeDataset } from '../../training/output.ts'
import { trainModel } from '../../training/train.ts'
import type { GeneratedEvent } from '../support/history.ts'
import { logged } from '../support/history.ts'
import { batchesOf, catalog, positionOf, risk, riskModel, scanOf } from './support.ts'

/** One entity is usually above 3, the other below; every seventh event is the other way round. */
const generated = Array.from({ length: 1_500 }, (_, index): GeneratedEvent => {
  const high = index % 2 === (index % 7 === 0 ? 0 : 1)
  return {
    partition: index % 3,
    eventTimeMs: 1_000_000 + index * 5,
    delayMs: 1,
    fields: { who: index % 2 === 1 ? 'a' : 'b', region: 0, i: high ? 9 : 1, b: null, f: null, s: null, ok: high },
  }
})

async function trained(size: number) {
  const history = logged(generated)
  const position = positionOf(history)
  const model = { ...riskModel, labels: { ...riskModel.labels, sampleRows: 1_000 } }
  const batches = batchesOf(history, size)
  const labels = await labelsFromStream(catalog, model, scanOf(batches))
  const builder = await DatasetBuilder.scan({ catalog, service: risk, scan: scanOf(batches), position })
  const { columns } = builder.finish(labels)
  const { digest } = describeDataset({ catalog, service: risk, labels, columns, position })
  const options = { catalog, model, labels, columns, position, digest }
  return { options, builder, result: trainModel(options) }
}

describe('training a model', () => {
  it('fits on the rows before the bound, evaluates on the others, and names what it was made from', async () => {
    const { options, result } = await trained(100)
    const { metrics, info, onnx } = result
    expect(metrics.trainRows + metrics.testRows).toBe(1_000)
    expect(metrics.trainRows).toBe(options.labels.asOfMs.filter((at) => at < riskModel.trainUntilMs).length)
    expect(metrics.test?.auc).toBeGreaterThan(0.8)
    expect(metrics.test?.logLoss).toBeLessThan(metrics.test?.baseLogLoss as number)
    expect(info.inputs.map(({ name }) => name)).toEqual([
      ...['by_who__n', 'by_who__i_mean', 'by_who__ok_last', 'by_place__i_mean', 'region_again'],
    ])
    expect(readOnnxMetadata(onnx)).toMatchObject({
      'tidemark.model': 'risk_model',
      'tidemark.service': 'risk',
      'tidemark.training_set': options.digest,
      'tidemark.token': encodeToken(options.position),
      'tidemark.features': JSON.stringify(info.inputs.map(({ name }) => name)),
    })
  })

  it('gives the same file from the same events, whatever the batches', async () => {
    const [once, again] = [await trained(100), await trained(7)]
    expect(Buffer.compare(once.result.onnx, again.result.onnx)).toBe(0)
  })

  it('reads a matrix of float32, so that serving asks about the same numbers', async () => {
    const { options } = await trained(100)
    const spec = matrixSpec(catalog, risk)
    const matrix = featureMatrix(spec, options.columns, options.labels.request, options.labels.rows)
    expect(matrix).toBeInstanceOf(Float32Array)
    expect(matrix).toHaveLength(1_000 * spec.inputs.length)
  })

  it('claims nearly everything on a leaking join, which sees the labelled event itself', async () => {
    const { options, builder } = await trained(100)
    const { columns } = builder.finish(options.labels, { leaky: true })
    const leaky = trainModel({ ...options, columns }).metrics
    expect(leaky.test?.auc).toBe(1)
  })

  it('refuses rows without labels, and none to fit on', async () => {
    const { options } = await trained(100)
    expect(() => trainModel({ ...options, labels: { ...options.labels, label: null } })).toThrow(/have no labels/)
    expect(() => trainModel({ ...options, model: { ...options.model, trainUntilMs: 5 } })).toThrow(
      /no label row is as of before 1970/,
    )
  })
})
