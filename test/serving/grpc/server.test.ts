import assert from 'node:assert/strict'
import { create, toBinary } from '@bufbuild/protobuf'
import { Client, credentials, status as Grpc, type ServiceError } from '@grpc/grpc-js'
import fc from 'fast-check'
import { describe, test } from 'vitest'
import { FeatureStoreError, errorCodes, type ErrorCode } from '../../../core/errors.ts'
import { Status, type FeatureColumn } from '../../../core/engine/feature-column.ts'
import { encodeToken, offset, type Position } from '../../../core/event/position.ts'
import { HealthCheckResponse_ServingStatus as ServingStatus } from '../../../schemas/proto/generated/grpc/health/v1/health_pb.js'
import {
  GetFeaturesRequestSchema,
  ValueColumnSchema,
} from '../../../schemas/proto/generated/tidemark/v1/feature_service_pb.js'
import { connectFeatureClient, type FeatureClient } from '../../../serving/grpc/client.ts'
import { startFeatureServer, type FeatureServer, type FeatureServerOptions } from '../../../serving/grpc/server.ts'
import { grpcStatusOf } from '../../../serving/grpc/status.ts'
import { type FeatureLookup, type LookupReply, type LookupRequest } from '../../../serving/lookup/types.ts'
import { replies } from './replies.ts'

const position: Position = { logId: 'log', streams: { flights: [{ epoch: 1, next: offset(42) }] } }

const delay: FeatureColumn = {
  name: 'origin_delays:mean_delay_1d',
  type: { kind: 'scalar', type: 'float64' },
  fingerprint: 'ab'.repeat(32),
  statuses: Uint8Array.of(Status.PRESENT, Status.NOT_FOUND),
  values: { type: 'float64', values: Float64Array.of(12.5, 0) },
  errors: [],
}

const replyOf = (columns: readonly FeatureColumn[], rows: number): LookupReply => ({
  asOfMs: 1_000,
  knownAsOfMs: null,
  rows,
  columns,
  position,
  token: encodeToken(position),
})

const request: LookupRequest = { service: 'delay_risk', entities: { origin: ['ATL', 'LHR'] }, request: {} }
const answering = (reply: LookupReply): FeatureLookup => ({ getFeatures: () => Promise.resolve(reply) })
const failing = (error: Error): FeatureLookup => ({ getFeatures: () => Promise.reject(error) })
const hanging: FeatureLookup = { getFeatures: () => new Promise(() => {}) }

interface Pair extends AsyncDisposable {
  readonly server: FeatureServer
  readonly client: FeatureClient
}

async function pair(options: FeatureServerOptions): Promise<Pair> {
  const server = await startFeatureServer(options)
  const client = connectFeatureClient(server.address)
  return {
    server,
    client,
    async [Symbol.asyncDispose]() {
      client.close()
      await server.shutdown(50)
    },
  }
}

function failsWith(code: ErrorCode, message = /./) {
  return (error: unknown): boolean => {
    assert.ok(error instanceof FeatureStoreError, String(error))
    assert.equal(error.code, code)
    assert.match(error.message, message)
    return true
  }
}

/** A client of another make: it may send what ours refuses to. */
function sendRaw(
  address: string,
  bytes: Uint8Array,
  path = '/tidemark.v1.FeatureService/GetFeatures',
): Promise<ServiceError | null> {
  const client = new Client(address, credentials.createInsecure())
  const identity = (value: Buffer): Buffer => value
  return new Promise((resolve) => {
    client.makeUnaryRequest(path, identity, identity, Buffer.from(bytes), { deadline: Date.now() + 5_000 }, (error) => {
      client.close()
      resolve(error)
    })
  })
}

describe('grpc server', () => {
  test('replies of every column type, status and error code arrive as the lookup gave them', async () => {
    let current = replyOf([], 0)
    await using both = await pair({ lookup: { getFeatures: () => Promise.resolve(current) } })
    await fc.assert(
      fc.asyncProperty(replies(), async (reply) => {
        current = reply
        assert.deepEqual(await both.client.getFeatures(request), reply)
      }),
      { numRuns: 60 },
    )
  })

  test('the lookup gets the request as it was made, and the time that is left', async () => {
    const seen: LookupRequest[] = []
    const lookup: FeatureLookup = {
      getFeatures(got) {
        seen.push(got)
        return Promise.resolve(replyOf([delay], 2))
      },
    }
    await using both = await pair({ lookup })
    const full: LookupRequest = {
      features: ['origin_delays:mean_delay_1d', 'origin_delays@2:flights_1h'],
      entities: { origin: ['ATL', null], carrier: [7n, 8n] },
      request: { planned: [1.5, null], holiday: [true, false] },
      asOfMs: -5,
      knownAsOfMs: 1_577_836_800_000,
      minPosition: encodeToken(position),
    }
    assert.deepEqual(await both.client.getFeatures({ ...full, deadlineMs: 2_000 }), replyOf([delay], 2))
    const [{ deadlineMs = 0, ...got } = request] = seen
    assert.deepEqual(got, full)
    assert.ok(deadlineMs > 500 && deadlineMs <= 2_001, `deadlineMs ${deadlineMs}`)
    await both.client.getFeatures(request)
    assert.deepEqual({ ...seen[1], deadlineMs: 0 }, { ...request, deadlineMs: 0 })
  })

  test('every code crosses the wire with its message and remedy', async () => {
    let error = new FeatureStoreError('FS_INTERNAL', '')
    await using both = await pair({ lookup: { getFeatures: () => Promise.reject(error) } })
    for (const code of Object.keys(errorCodes) as ErrorCode[]) {
      error = new FeatureStoreError(code, `größer than ${code}`)
      await assert.rejects(both.client.getFeatures(request), (got: FeatureStoreError) => {
        assert.ok(got instanceof FeatureStoreError)
        assert.deepEqual([got.code, got.kind, got.message], [code, error.kind, error.message])
        assert.equal(got.remedy, error.remedy)
        return true
      })
    }
  })

  test('the status says what kind of error it is', () => {
    const statusOf = (code: ErrorCode) => grpcStatusOf(new FeatureStoreError(code, code))
    assert.equal(statusOf('FS_REQUEST_INVALID'), Grpc.INVALID_ARGUMENT)
    assert.equal(statusOf('FS_SERVICE_UNKNOWN'), Grpc.NOT_FOUND)
    assert.equal(statusOf('FS_FENCED'), Grpc.ABORTED)
    assert.equal(statusOf('FS_NOT_READY'), Grpc.UNAVAILABLE)
    assert.equal(statusOf('FS_DEADLINE'), Grpc.DEADLINE_EXCEEDED)
    assert.equal(statusOf('FS_ROW_CORRUPT'), Grpc.DATA_LOSS)
    assert.equal(statusOf('FS_CLOSED'), Grpc.UNAVAILABLE)
    assert.equal(statusOf('FS_INTERNAL'), Grpc.INTERNAL)
  })

  test('an error that is not of ours is logged here and says nothing there', async () => {
    const logged: string[] = []
    const log = { debug() {}, info() {}, warn() {}, error: (event: string) => void logged.push(event) }
    await using both = await pair({ lookup: failing(new Error('secret')), log })
    await assert.rejects(both.client.getFeatures(request), (error: FeatureStoreError) => {
      assert.equal(error.code, 'FS_INTERNAL')
      assert.doesNotMatch(error.message, /secret/)
      return true
    })
    assert.deepEqual(logged, ['grpc.unexpected'])
  })

  test('malformed requests are refused before the lookup sees them', async () => {
    const lookup = failing(new Error('the lookup was asked'))
    await using both = await pair({ lookup, limits: { rowsMax: 3, featuresMax: 2 } })
    const refused = async (change: object, code: ErrorCode, message?: RegExp) =>
      assert.rejects(both.client.getFeatures({ ...request, ...change }), failsWith(code, message))
    await refused({ features: ['v:a'] }, 'FS_REQUEST_INVALID', /either/)
    await refused({ service: '' }, 'FS_REQUEST_INVALID', /either/)
    await refused({ entities: {} }, 'FS_REQUEST_INVALID', /no key/)
    await refused({ entities: { origin: ['A', 'B'], carrier: ['C'] } }, 'FS_REQUEST_INVALID', /carrier: 1 rows/)
    await refused({ request: { planned: [1, 2, 3] } }, 'FS_REQUEST_INVALID', /planned: 3 rows/)
    await refused({ entities: { origin: [1, '2'] } }, 'FS_REQUEST_INVALID', /row 1 is a string/)
    await refused({ entities: { origin: [2n ** 63n] } }, 'FS_REQUEST_INVALID', /int64/)
    await refused({ asOfMs: '1577836800000' }, 'FS_REQUEST_INVALID', /asOfMs/)
    await refused({ asOfMs: 1.5 }, 'FS_REQUEST_INVALID', /asOfMs/)
    await refused({ entities: { origin: ['A', 'B', 'C', 'D'] } }, 'FS_LIMIT_EXCEEDED', /4 rows/)
    await refused({ service: '', features: ['v:a', 'v:b', 'v:c'] }, 'FS_LIMIT_EXCEEDED', /3 features/)
    await assert.rejects(both.client.predict({ entities: { o: ['A'] }, request: {} }), failsWith('FS_REQUEST_INVALID'))
  })

  test('bytes that no client of ours sends are refused with a code', async () => {
    await using both = await pair({ lookup: failing(new Error('the lookup was asked')) })
    const codeOf = async (bytes: Uint8Array) =>
      (await sendRaw(both.server.address, bytes))?.metadata.get('tidemark-code')[0]
    const withColumn = (column: object) => {
      const entities = { origin: create(ValueColumnSchema, column) }
      return toBinary(GetFeaturesRequestSchema, create(GetFeaturesRequestSchema, { service: 's', entities }))
    }
    assert.equal(await codeOf(Uint8Array.of(255, 255, 255)), 'FS_REQUEST_INVALID')
    assert.equal(await codeOf(withColumn({})), 'FS_REQUEST_INVALID')
    const marked = { values: { case: 'strings', value: { values: ['A'] } }, nulls: Uint8Array.of(0, 0) }
    assert.equal(await codeOf(withColumn(marked)), 'FS_REQUEST_INVALID')
    const message = create(GetFeaturesRequestSchema, { service: 's', asOfMs: 2n ** 62n })
    assert.equal(await codeOf(toBinary(GetFeaturesRequestSchema, message)), 'FS_TIME_INVALID')
    const health = await sendRaw(both.server.address, Uint8Array.of(255), '/grpc.health.v1.Health/Check')
    assert.equal(health?.code, Grpc.INVALID_ARGUMENT)
    assert.equal(await both.client.health(), 'NOT_SERVING')
  })

  test('predict gives scores, and the features only when asked', async () => {
    const seen: object[] = []
    const predictor = {
      predict: (got: object) => {
        seen.push(got)
        const scores = Float32Array.of(0.1, 0.9)
        return Promise.resolve({ scores, model: 'risk', modelVersion: 3, lookup: replyOf([delay], 2) })
      },
    }
    await using both = await pair({ lookup: hanging, predictor })
    const plain = await both.client.predict(request)
    assert.deepEqual([plain.scores, plain.model, plain.modelVersion], [Float32Array.of(0.1, 0.9), 'risk', 3])
    assert.deepEqual(plain.lookup, replyOf([], 2))
    const full = await both.client.predict({ ...request, model: 'risk', includeFeatures: true })
    assert.deepEqual(full.lookup, replyOf([delay], 2))
    assert.deepEqual(
      seen.map((got) => (got as { model?: string }).model),
      [undefined, 'risk'],
    )
  })

  test('without a predictor there is no model', async () => {
    await using both = await pair({ lookup: hanging })
    await assert.rejects(both.client.predict(request), failsWith('FS_MODEL_UNKNOWN'))
  })

  test('health says what the process set, to one question and to a watcher', async () => {
    await using both = await pair({ lookup: hanging })
    assert.equal(await both.client.health(), 'NOT_SERVING')
    const watcher = new Client(both.server.address, credentials.createInsecure())
    const decode = (bytes: Buffer): number => bytes[1] ?? 0
    const stream = watcher.makeServerStreamRequest(
      '/grpc.health.v1.Health/Watch',
      (b: Buffer) => b,
      decode,
      Buffer.of(),
    )
    const seen: number[] = []
    const ended = new Promise((resolve) => stream.on('end', resolve))
    const first = new Promise((resolve) => stream.once('data', resolve))
    stream.on('data', (status: number) => seen.push(status)).on('error', () => {})
    await first
    both.server.setServing(true)
    both.server.setServing(true)
    assert.equal(await both.client.health({ service: 'tidemark.v1.FeatureService' }), 'SERVING')
    await assert.rejects(both.client.health({ service: 'other' }))
    await both.server.shutdown()
    await ended
    assert.deepEqual(seen, [ServingStatus.NOT_SERVING, ServingStatus.SERVING, ServingStatus.NOT_SERVING])
    watcher.close()
  })

  test('a call ends at its deadline, the server’s own included', async () => {
    await using both = await pair({ lookup: hanging, limits: { deadlineMs: 80, deadlineMsMax: 120 } })
    await assert.rejects(both.client.getFeatures({ ...request, deadlineMs: 30 }), failsWith('FS_DEADLINE'))
    await assert.rejects(
      both.client.getFeatures({ ...request, deadlineMs: 10_000 }),
      failsWith('FS_DEADLINE', /120 ms/),
    )
    const bytes = toBinary(
      GetFeaturesRequestSchema,
      create(GetFeaturesRequestSchema, {
        service: 's',
        entities: { o: { values: { case: 'strings', value: { values: ['A'] } } } },
      }),
    )
    assert.equal((await sendRaw(both.server.address, bytes))?.code, Grpc.DEADLINE_EXCEEDED)
  })

  test('more calls than allowed are refused as unavailable', async () => {
    await using both = await pair({ lookup: hanging, limits: { callsMax: 2 } })
    const held = [1, 2].map(() => both.client.getFeatures({ ...request, deadlineMs: 300 }))
    const settled = Promise.allSettled(held)
    await new Promise((resolve) => setTimeout(resolve, 100))
    await assert.rejects(both.client.getFeatures(request), failsWith('FS_SERVER_UNAVAILABLE', /2 calls/))
    await settled
  })

  test('a request larger than allowed is refused', async () => {
    await using both = await pair({ lookup: answering(replyOf([], 1)), limits: { requestBytesMax: 1_000 } })
    const large = { ...request, entities: { origin: ['x'.repeat(2_000)] } }
    await assert.rejects(both.client.getFeatures(large), failsWith('FS_LIMIT_EXCEEDED'))
  })

  test('shutdown lets a short call finish and cuts a hanging one off', async () => {
    const slow: FeatureLookup = {
      getFeatures: () => new Promise((resolve) => setTimeout(() => resolve(replyOf([delay], 2)), 100)),
    }
    await using both = await pair({ lookup: slow })
    const call = both.client.getFeatures(request)
    await new Promise((resolve) => setTimeout(resolve, 50))
    await both.server.shutdown(2_000)
    assert.deepEqual(await call, replyOf([delay], 2))

    await using stuck = await pair({ lookup: hanging })
    const cut = assert.rejects(stuck.client.getFeatures({ ...request, deadlineMs: 20_000 }))
    await new Promise((resolve) => setTimeout(resolve, 50))
    const from = performance.now()
    await Promise.all([stuck.server.shutdown(100), stuck.server.shutdown(100)])
    assert.ok(performance.now() - from < 1_000)
    await cut
    await assert.rejects(stuck.client.getFeatures(request), failsWith('FS_SERVER_UNAVAILABLE'))
  })

  test('a host that is not loopback and a port that is taken are refused', async () => {
    for (const host of ['0.0.0.0', '::', '10.0.0.1', 'example.org', '127.0.0.1.example.org'])
      await assert.rejects(startFeatureServer({ lookup: hanging, host }), failsWith('FS_CONFIG_INVALID', /loopback/))
    await using both = await pair({ lookup: hanging })
    const { port } = both.server
    await assert.rejects(startFeatureServer({ lookup: hanging, port }), failsWith('FS_CONFIG_INVALID', /listen/))
  })

  test('without a server, and after close, calls say so', async () => {
    const client = connectFeatureClient('127.0.0.1:1')
    await assert.rejects(client.getFeatures(request), failsWith('FS_SERVER_UNAVAILABLE'))
    client.close()
    client.close()
    await assert.rejects(client.getFeatures(request), failsWith('FS_CLOSED'))
  })
})
