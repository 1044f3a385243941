import assert from 'node:assert/strict'
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import fc from 'fast-check'
import { describe, test } from 'vitest'
import { Status, type FeatureColumn } from '../../../core/engine/feature-column.ts'
import { type Scalar } from '../../../core/event/types.ts'
import {
  GetFeaturesRequestSchema,
  GetFeaturesResponseSchema,
} from '../../../schemas/proto/generated/tidemark/v1/feature_service_pb.js'
import { fromReply, toReply } from '../../../serving/grpc/codec.ts'
import { encodeReply } from '../../../serving/grpc/encode-reply.ts'
import { fromGetFeatures, toLookupFields } from '../../../serving/grpc/request.ts'
import { replies } from './replies.ts'

const limits = { rowsMax: 100, featuresMax: 10 }

describe('grpc codec', () => {
  test('the direct encoder writes the bytes of its plain twin', () => {
    fc.assert(
      fc.property(replies(), (reply) => {
        const plain = toBinary(GetFeaturesResponseSchema, toReply(reply))
        assert.deepEqual(Buffer.from(encodeReply(reply)), Buffer.from(plain))
      }),
    )
  })

  test('text longer than the writer expected, of one byte or more per character, is written whole', () => {
    const texts = fc.array(fc.oneof(fc.string({ maxLength: 200 }), fc.string({ unit: 'grapheme', maxLength: 90 })), {
      minLength: 1,
      maxLength: 20,
    })
    fc.assert(
      fc.property(texts, replies(), (values, reply) => {
        const column: FeatureColumn = {
          name: values[0] as string,
          type: { kind: 'scalar', type: 'string' },
          fingerprint: '',
          statuses: new Uint8Array(values.length).fill(Status.PRESENT),
          values: { type: 'string', values },
          errors: [],
        }
        const long = { ...reply, rows: values.length, columns: [column, column] }
        const plain = toBinary(GetFeaturesResponseSchema, toReply(long))
        assert.deepEqual(Buffer.from(encodeReply(long)), Buffer.from(plain))
      }),
    )
  })

  test('a reply comes back as it was, bit for bit', () => {
    fc.assert(
      fc.property(replies(), (reply) => {
        assert.deepEqual(fromReply(fromBinary(GetFeaturesResponseSchema, encodeReply(reply))), reply)
      }),
    )
  })

  test('request columns of every type, with nulls, come back as they were', () => {
    const column = (rows: number): fc.Arbitrary<Scalar[]> => {
      const of = <T extends Scalar>(value: fc.Arbitrary<T>) =>
        fc.array(fc.option(value), { minLength: rows, maxLength: rows }) as fc.Arbitrary<Scalar[]>
      const int64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })
      return fc.oneof(of(fc.string()), of(int64), of(fc.double()), of(fc.boolean()))
    }
    const requests = fc.nat({ max: 4 }).chain((rows) =>
      fc
        .tuple(column(rows), column(rows), column(rows), fc.maxSafeInteger())
        .map(([origin, carrier, planned, asOfMs]) => ({
          entities: { origin, carrier },
          request: { planned },
          asOfMs,
        })),
    )
    fc.assert(
      fc.property(requests, (request) => {
        const message = create(GetFeaturesRequestSchema, { service: 's', ...toLookupFields(request) })
        const bytes = toBinary(GetFeaturesRequestSchema, message)
        const decoded = fromGetFeatures(fromBinary(GetFeaturesRequestSchema, bytes), limits)
        assert.deepEqual(decoded, { ...request, service: 's' })
      }),
    )
  })
})
