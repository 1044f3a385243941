/** The standard health service, grpc.health.v1: what the process says of itself, asked once or watched. */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { status as Grpc, type handleUnaryCall, type ServerWritableStream } from '@grpc/grpc-js'
import {
  HealthCheckRequestSchema,
  HealthCheckResponseSchema,
  HealthCheckResponse_ServingStatus as ServingStatus,
} from '../../schemas/proto/generated/grpc/health/v1/health_pb.js'

type Watcher = ServerWritableStream<Uint8Array, Uint8Array>

const encode = (status: ServingStatus): Uint8Array =>
  toBinary(HealthCheckResponseSchema, create(HealthCheckResponseSchema, { status }))

/** Bytes that are no request name no service: a throw in a handler would end the process. */
function serviceOf(request: Uint8Array): string | null {
  try {
    return fromBinary(HealthCheckRequestSchema, request).service
  } catch {
    return null
  }
}

export class Health {
  readonly #services: ReadonlySet<string>
  readonly #watchersMax: number
  readonly #watchers = new Set<Watcher>()
  #status = ServingStatus.NOT_SERVING

  /** `services` beside the empty name, which stands for the whole server. */
  constructor(services: readonly string[], watchersMax: number) {
    this.#services = new Set(['', ...services])
    this.#watchersMax = watchersMax
  }

  set(serving: boolean): void {
    const status = serving ? ServingStatus.SERVING : ServingStatus.NOT_SERVING
    if (status === this.#status) return
    this.#status = status
    for (const watcher of this.#watchers) watcher.write(encode(status))
  }

  /** Ends what is watched, so that a shutdown need not wait for it. */
  end(): void {
    for (const watcher of this.#watchers) watcher.end()
    this.#watchers.clear()
  }

  readonly check: handleUnaryCall<Uint8Array, Uint8Array> = (call, callback) => {
    const service = serviceOf(call.request)
    if (service === null) callback({ code: Grpc.INVALID_ARGUMENT, details: 'the bytes are no HealthCheckRequest' })
    else if (this.#services.has(service)) callback(null, encode(this.#status))
    else callback({ code: Grpc.NOT_FOUND, details: 'the server has no such service' })
  }

  readonly watch = (call: Watcher): void => {
    const service = serviceOf(call.request)
    if (service === null || !this.#services.has(service)) {
      // By the protocol the stream stays open: the service might come. None comes here, so it costs a client nothing.
      call.write(encode(ServingStatus.SERVICE_UNKNOWN))
      call.end()
      return
    }
    if (this.#watchers.size >= this.#watchersMax) {
      call.emit('error', { code: Grpc.UNAVAILABLE, details: `${this.#watchersMax} watch already` })
      return
    }
    this.#watchers.add(call)
    for (const event of ['cancelled', 'close', 'error']) call.on(event, () => this.#watchers.delete(call))
    call.write(encode(this.#status))
  }
}
