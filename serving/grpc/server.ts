import { fromBinary, toBinary } from '@bufbuild/protobuf'
import {
  Server,
  ServerCredentials,
  type handleUnaryCall,
  type sendUnaryData,
  type ServerUnaryCall,
} from '@grpc/grpc-js'
import { FeatureStoreError } from '../../core/errors.ts'
import { silentLogger, type Logger } from '../../core/ports/environment.ts'
import { Health as HealthService } from '../../schemas/proto/generated/grpc/health/v1/health_pb.js'
import {
  FeatureService,
  GetFeaturesRequestSchema,
  PredictRequestSchema,
  PredictResponseSchema,
} from '../../schemas/proto/generated/tidemark/v1/feature_service_pb.js'
import { type FeatureLookup, type Predictor } from '../lookup/types.ts'
import { toPrediction } from './codec.ts'
import { encodeReply } from './encode-reply.ts'
import { Health } from './health.ts'
import { methodsOf } from './methods.ts'
import { fromGetFeatures, fromPredict, type RequestLimits } from './request.ts'
import { toStatus } from './status.ts'

export interface ServerLimits extends RequestLimits {
  /** Calls in work over all connections; more are refused as unavailable. */
  readonly callsMax: number
  /** Calls on one connection at a time. */
  readonly streamsMax: number
  readonly requestBytesMax: number
  readonly replyBytesMax: number
  /** Of HTTP/2 for one connection: headers, frames not yet sent. */
  readonly sessionMiBMax: number
  readonly healthWatchersMax: number
  /** For a call that names none. */
  readonly deadlineMs: number
  /** For a call that names a later one. */
  readonly deadlineMsMax: number
  readonly keepaliveMs: number
  readonly keepaliveTimeoutMs: number
  readonly idleConnectionMs: number
}

export const defaultServerLimits: ServerLimits = {
  rowsMax: 10_000,
  featuresMax: 1_000,
  callsMax: 1_024,
  streamsMax: 256,
  requestBytesMax: 4 * 2 ** 20,
  replyBytesMax: 64 * 2 ** 20,
  sessionMiBMax: 64,
  healthWatchersMax: 64,
  deadlineMs: 5_000,
  deadlineMsMax: 60_000,
  keepaliveMs: 30_000,
  keepaliveTimeoutMs: 10_000,
  idleConnectionMs: 10 * 60_000,
}

export interface FeatureServerOptions {
  readonly lookup: FeatureLookup
  /** Without one, Predict answers FS_MODEL_UNKNOWN. */
  readonly predictor?: Predictor
  /** 127.0.0.1, when left out. Anything but loopback is refused. */
  readonly host?: string
  /** 0, the default, takes any free port. */
  readonly port?: number
  readonly limits?: Partial<ServerLimits>
  readonly log?: Logger
}

export interface FeatureServer extends AsyncDisposable {
  readonly address: string
  readonly port: number
  /** What the health service says; it starts as NOT_SERVING. */
  setServing(serving: boolean): void
  /** Takes no more calls, waits for those in work up to `graceMs`, then cuts them off. Twice is safe. */
  shutdown(graceMs?: number): Promise<void>
}

type Handler = (request: Uint8Array, deadlineMs: number) => Promise<Uint8Array>

const loopback = /^(localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|::1)$/

/** Milliseconds that a call has left, with the server's default and upper limit. */
function timeLeft(call: ServerUnaryCall<Uint8Array, Uint8Array>, limits: ServerLimits): number {
  const deadline = call.getDeadline()
  const untilMs = deadline instanceof Date ? deadline.getTime() : deadline
  return Number.isFinite(untilMs) ? Math.min(untilMs - Date.now(), limits.deadlineMsMax) : limits.deadlineMs
}

function decoded<T>(decode: () => T): T {
  try {
    return decode()
  } catch (cause) {
    throw new FeatureStoreError('FS_REQUEST_INVALID', 'the bytes are not the message of this method', { cause })
  }
}

/** Answers each call once: with its bytes, its error, or the deadline. */
class Calls {
  readonly #limits: ServerLimits
  readonly #log: Logger
  #active = 0

  constructor(limits: ServerLimits, log: Logger) {
    this.#limits = limits
    this.#log = log
  }

  unary(handler: Handler): handleUnaryCall<Uint8Array, Uint8Array> {
    return (call, callback) => {
      if (this.#active >= this.#limits.callsMax) {
        const error = new FeatureStoreError('FS_SERVER_UNAVAILABLE', `${this.#active} calls are in work`, {
          remedy: 'Wait a moment, then call again.',
        })
        callback(toStatus(error))
      } else {
        void this.#run(handler, call, callback)
      }
    }
  }

  async #run(
    handler: Handler,
    call: ServerUnaryCall<Uint8Array, Uint8Array>,
    callback: sendUnaryData<Uint8Array>,
  ): Promise<void> {
    const leftMs = timeLeft(call, this.#limits)
    let answered = false
    const answer: sendUnaryData<Uint8Array> = (error, bytes) => {
      if (!answered) callback(error, bytes)
      answered = true
    }
    const overdue = new FeatureStoreError('FS_DEADLINE', `no answer within ${Math.round(leftMs)} ms`)
    const timer = setTimeout(() => answer(toStatus(overdue)), leftMs)
    // Work that goes on behind its deadline still holds its place.
    this.#active++
    try {
      answer(null, await handler(call.request, leftMs))
    } catch (error) {
      answer(toStatus(this.#known(error, call.getPath())))
    } finally {
      clearTimeout(timer)
      this.#active--
    }
  }

  /** What is not an error of ours is a bug: logged here, and not shown to the caller, whom it might tell too much. */
  #known(error: unknown, path: string): FeatureStoreError {
    if (error instanceof FeatureStoreError) return error
    this.#log.error('grpc.unexpected', { path, error: error instanceof Error ? (error.stack ?? error.message) : error })
    return new FeatureStoreError('FS_INTERNAL', 'the call failed unexpectedly')
  }
}

function handlers(options: FeatureServerOptions, limits: ServerLimits): { getFeatures: Handler; predict: Handler } {
  const { lookup, predictor } = options
  return {
    async getFeatures(bytes, deadlineMs) {
      const message = decoded(() => fromBinary(GetFeaturesRequestSchema, bytes))
      return encodeReply(await lookup.getFeatures({ ...fromGetFeatures(message, limits), deadlineMs }))
    },
    async predict(bytes, deadlineMs) {
      const message = decoded(() => fromBinary(PredictRequestSchema, bytes))
      const request = { ...fromPredict(message, limits), deadlineMs }
      if (predictor === undefined) throw new FeatureStoreError('FS_MODEL_UNKNOWN', 'no models are served here')
      return toBinary(PredictResponseSchema, toPrediction(await predictor.predict(request), message.includeFeatures))
    },
  }
}

/** Channelz stays on: without it, grpc-js 1.14 does not keep the sessions that `forceShutdown` is to destroy. */
function createServer(limits: ServerLimits): Server {
  return new Server({
    'grpc.max_concurrent_streams': limits.streamsMax,
    'grpc.max_receive_message_length': limits.requestBytesMax,
    'grpc.max_send_message_length': limits.replyBytesMax,
    'grpc-node.max_session_memory': limits.sessionMiBMax,
    'grpc.keepalive_time_ms': limits.keepaliveMs,
    'grpc.keepalive_timeout_ms': limits.keepaliveTimeoutMs,
    'grpc.max_connection_idle_ms': limits.idleConnectionMs,
  })
}

function bind(server: Server, host: string, port: number): Promise<number> {
  const address = `${host.includes(':') ? `[${host}]` : host}:${port}`
  return new Promise((resolve, reject) => {
    server.bindAsync(address, ServerCredentials.createInsecure(), (cause, bound) => {
      if (cause === null) resolve(bound)
      else reject(new FeatureStoreError('FS_CONFIG_INVALID', `grpc: cannot listen on ${address}`, { cause }))
    })
  })
}

/** `tryShutdown` waits for ever for a call that hangs, and need not call back at all: the timer has the last word. */
async function stop(server: Server, graceMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const drained = new Promise<void>((resolve) => server.tryShutdown(() => resolve()))
  const overdue = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, graceMs)
  })
  await Promise.race([drained, overdue])
  clearTimeout(timer)
  server.forceShutdown()
}

/**
 * Starts the gRPC server: `tidemark.v1.FeatureService` and `grpc.health.v1.Health`, without TLS, on loopback.
 *
 * Errors: FS_CONFIG_INVALID when the host is not loopback (there is no authentication yet) or the port is taken.
 */
export async function startFeatureServer(options: FeatureServerOptions): Promise<FeatureServer> {
  const { host = '127.0.0.1', port = 0, log = silentLogger } = options
  if (!loopback.test(host)) {
    throw new FeatureStoreError(
      'FS_CONFIG_INVALID',
      `grpc: ${host} is not loopback, and no authentication is configured`,
      {
        remedy: 'Listen on 127.0.0.1, and put a proxy that authenticates in front.',
      },
    )
  }
  const limits = { ...defaultServerLimits, ...options.limits }
  const calls = new Calls(limits, log)
  const health = new Health([FeatureService.typeName], limits.healthWatchersMax)
  const { getFeatures, predict } = handlers(options, limits)
  const server = createServer(limits)
  server.addService(methodsOf(FeatureService), { getFeatures: calls.unary(getFeatures), predict: calls.unary(predict) })
  server.addService(methodsOf(HealthService), { check: health.check, watch: health.watch })
  const bound = await bind(server, host, port)
  log.info('grpc.listening', { host, port: bound })

  let stopping: Promise<void> | null = null
  const shutdown = (graceMs = limits.deadlineMs): Promise<void> => {
    health.set(false)
    health.end()
    stopping ??= stop(server, graceMs)
    return stopping
  }
  return {
    address: `${host.includes(':') ? `[${host}]` : host}:${bound}`,
    port: bound,
    setServing: (serving) => health.set(serving),
    shutdown,
    [Symbol.asyncDispose]: () => shutdown(),
  }
}
