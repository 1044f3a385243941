import { create, fromBinary, toBinary, type DescMessage, type MessageShape } from '@bufbuild/protobuf'
import { Client, credentials } from '@grpc/grpc-js'
import { FeatureStoreError } from '../../core/errors.ts'
import {
  Health as HealthService,
  HealthCheckRequestSchema,
  HealthCheckResponseSchema,
  HealthCheckResponse_ServingStatus as ServingStatus,
} from '../../schemas/proto/generated/grpc/health/v1/health_pb.js'
import {
  FeatureService,
  GetFeaturesRequestSchema,
  GetFeaturesResponseSchema,
  PredictRequestSchema,
  PredictResponseSchema,
} from '../../schemas/proto/generated/tidemark/v1/feature_service_pb.js'
import { type FeatureLookup, type LookupRequest, type PredictRequest, type Prediction } from '../lookup/types.ts'
import { fromPrediction, fromReply } from './codec.ts'
import { methodsOf, type BytesMethod } from './methods.ts'
import { toLookupFields } from './request.ts'
import { fromStatus } from './status.ts'

export interface FeatureClientOptions {
  /** For a call that names none. */
  readonly deadlineMs?: number
  readonly requestBytesMax?: number
  readonly replyBytesMax?: number
}

export type HealthStatus = 'UNKNOWN' | 'SERVING' | 'NOT_SERVING' | 'SERVICE_UNKNOWN'

/** A server's lookup and predictor, with the same requests and replies; errors are those that the server threw. */
export interface FeatureClient extends FeatureLookup, AsyncDisposable {
  /** The columns of the reply's lookup are empty unless `includeFeatures`. */
  predict(request: PredictRequest & { readonly includeFeatures?: boolean }): Promise<Prediction>
  health(options?: { readonly service?: string; readonly deadlineMs?: number }): Promise<HealthStatus>
  /** Calls in flight end with FS_CLOSED or as the server answers. Twice is safe. */
  close(): void
}

const features = methodsOf(FeatureService)
const health = methodsOf(HealthService)

/** Exactly one of both, as the server wants it; said here already, before a round trip. */
function target({ service = '', features: names = [] }: LookupRequest) {
  if ((service === '') === (names.length === 0))
    throw new FeatureStoreError('FS_REQUEST_INVALID', 'give either a service or features')
  return { service, features: [...names] }
}

/**
 * A client of the server at `address` (`127.0.0.1:6566`), without TLS. Connects with the first call.
 *
 * Errors: those of the server, by their code; FS_SERVER_UNAVAILABLE when none answers, FS_DEADLINE, FS_CLOSED;
 *         FS_REQUEST_INVALID before a call whose columns mix types or whose times are no numbers.
 */
export function connectFeatureClient(address: string, options: FeatureClientOptions = {}): FeatureClient {
  const { deadlineMs: deadlineMsDefault = 5_000, requestBytesMax = 4 * 2 ** 20, replyBytesMax = 64 * 2 ** 20 } = options
  const client = new Client(address, credentials.createInsecure(), {
    'grpc.max_send_message_length': requestBytesMax,
    'grpc.max_receive_message_length': replyBytesMax,
    // A proxy of the environment is not for loopback.
    'grpc.enable_http_proxy': 0,
    'grpc.enable_channelz': 0,
  })
  let closed = false

  function call<Out extends DescMessage>(
    method: BytesMethod,
    request: Uint8Array,
    reply: Out,
    deadlineMs = deadlineMsDefault,
  ): Promise<MessageShape<Out>> {
    if (closed) return Promise.reject(new FeatureStoreError('FS_CLOSED', 'the client is closed'))
    const { path, requestSerialize, responseDeserialize } = method
    const deadline = Date.now() + deadlineMs
    return new Promise((resolve, reject) => {
      client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, { deadline }, (error, bytes) => {
        if (error !== null) reject(fromStatus(error))
        else resolve(fromBinary(reply, bytes ?? new Uint8Array(0)))
      })
    })
  }

  const close = (): void => {
    closed = true
    client.close()
  }

  return {
    async getFeatures(request) {
      const message = create(GetFeaturesRequestSchema, { ...toLookupFields(request), ...target(request) })
      const bytes = toBinary(GetFeaturesRequestSchema, message)
      return fromReply(await call(features.getFeatures, bytes, GetFeaturesResponseSchema, request.deadlineMs))
    },
    async predict(request) {
      const { service = '', model, includeFeatures = false } = request
      const named = model === undefined ? {} : { model }
      const message = create(PredictRequestSchema, { ...toLookupFields(request), ...named, service, includeFeatures })
      const bytes = toBinary(PredictRequestSchema, message)
      return fromPrediction(await call(features.predict, bytes, PredictResponseSchema, request.deadlineMs))
    },
    async health({ service = '', deadlineMs } = {}) {
      const bytes = toBinary(HealthCheckRequestSchema, create(HealthCheckRequestSchema, { service }))
      const { status } = await call(health.check, bytes, HealthCheckResponseSchema, deadlineMs)
      return (ServingStatus[status] ?? 'UNKNOWN') as HealthStatus
    },
    close,
    [Symbol.asyncDispose]: () => Promise.resolve(close()),
  }
}
