import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { create, toBinary } from '@bufbuild/protobuf'
import { describe, test } from 'vitest'
import { Status } from '../../../core/engine/feature-column.ts'
import { Health } from '../../../schemas/proto/generated/grpc/health/v1/health_pb.js'
import { ModelProtoSchema, TensorProtoSchema } from '../../../schemas/proto/generated/onnx/onnx_pb.js'
import {
  FeatureColumnSchema,
  FeatureService,
  GetFeaturesRequestSchema,
  GetFeaturesResponseSchema,
  PredictRequestSchema,
  PredictResponseSchema,
  StatusSchema,
} from '../../../schemas/proto/generated/tidemark/v1/feature_service_pb.js'

const root = resolve(import.meta.dirname, '../../..')
const generated = 'schemas/proto/generated'

const fieldsOf = (message: typeof GetFeaturesRequestSchema | { fields: { number: number; name: string }[] }) =>
  Object.fromEntries(message.fields.map(({ number, name }) => [number, name]))

describe('schemas/proto', () => {
  test('the committed code is what `buf generate` makes of the schemas', { timeout: 30_000 }, () => {
    const out = mkdtempSync(join(tmpdir(), 'tidemark-buf-'))
    try {
      const bin = join(root, 'node_modules/.bin')
      const env = { ...process.env, PATH: `${bin}:${process.env['PATH'] ?? ''}` }
      execFileSync(join(bin, 'buf'), ['generate', '-o', out], { cwd: root, env })
      const files = (base: string) =>
        readdirSync(join(base, generated), { recursive: true, encoding: 'utf8' })
          .filter((name) => /\.(js|ts)$/.test(name))
          .sort()
      assert.deepEqual(files(root), files(out))
      for (const name of files(out)) {
        const text = (base: string) => readFileSync(join(base, generated, name), 'utf8')
        assert.equal(text(root), text(out), name)
      }
    } finally {
      rmSync(out, { recursive: true })
    }
  })

  test('statuses have the names and numbers of core', () => {
    const declared = StatusSchema.values.filter(({ number }) => number !== 0)
    assert.deepEqual(Object.fromEntries(declared.map(({ localName, number }) => [localName, number])), Status)
  })

  test('method paths and field numbers of the feature service never change', () => {
    assert.equal(FeatureService.typeName, 'tidemark.v1.FeatureService')
    assert.equal(Health.typeName, 'grpc.health.v1.Health')
    assert.deepEqual(
      FeatureService.methods.map(({ name }) => name),
      ['GetFeatures', 'Predict'],
    )
    const lookup = { 3: 'entities', 4: 'request_fields', 5: 'as_of_ms', 6: 'known_as_of_ms', 7: 'min_position' }
    assert.deepEqual(fieldsOf(GetFeaturesRequestSchema), { 1: 'service', 2: 'features', ...lookup })
    assert.deepEqual(fieldsOf(PredictRequestSchema), { 1: 'service', 2: 'model', ...lookup, 8: 'include_features' })
    assert.deepEqual(fieldsOf(GetFeaturesResponseSchema), {
      1: 'as_of_ms',
      2: 'known_as_of_ms',
      3: 'token',
      4: 'rows',
      5: 'columns',
      6: 'position',
    })
    assert.deepEqual(fieldsOf(PredictResponseSchema), {
      1: 'scores',
      2: 'model',
      3: 'model_version',
      4: 'token',
      5: 'as_of_ms',
      6: 'known_as_of_ms',
      7: 'features',
      8: 'position',
    })
    assert.deepEqual(Object.values(fieldsOf(FeatureColumnSchema)).slice(4), [
      'doubles',
      'int32s',
      'int64s',
      'strings',
      'bools',
      'timestamps',
      'lists',
      'counts',
      'decimals',
    ])
  })

  test('ONNX messages have the numbers of ONNX', () => {
    const model = create(ModelProtoSchema, { irVersion: 8n, opsetImport: [{ version: 17n }] })
    // ir_version = 1: 8; opset_import = 8: { version = 2: 17 }
    assert.equal(Buffer.from(toBinary(ModelProtoSchema, model)).toString('hex'), '080842021011')
    const tensor = create(TensorProtoSchema, { dims: [1n], dataType: 1, name: 'b', rawData: Uint8Array.of(0, 0, 0, 0) })
    assert.equal(Buffer.from(toBinary(TensorProtoSchema, tensor)).toString('hex'), '0a0101100142016' + '24a0400000000')
    assert.deepEqual(fieldsOf(ModelProtoSchema)[14], 'metadata_props')
  })
})
