/** main/get: lookups over gRPC against a server in a process of its own. */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { Client, credentials } from '@grpc/grpc-js'
import { fork, type ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import { seeded, type AskedRow } from '../../cli/audit.ts'
import type { Scalar } from '../../core/event/types.ts'
import {
  FeatureService,
  GetFeaturesRequestSchema,
  GetFeaturesResponseSchema,
} from '../../schemas/proto/generated/tidemark/v1/feature_service_pb.js'
import { fromReply } from '../../serving/grpc/codec.ts'
import { methodsOf } from '../../serving/grpc/methods.ts'
import { toLookupFields } from '../../serving/grpc/request.ts'
import { samplesFromReply, type AuditSample } from '../../worker/audit/sample.ts'
import { endChild } from '../../cli/up.ts'
import { ensure, interleaved, quantile, timed, type BenchOptions, type Reading } from '../harness.ts'
import { echoPath } from '../limits/echo-server.ts'
import { ensureAudited, names, type FlightLog, type Sizes } from './context.ts'

/** Entities per call, and how many different requests there are. */
const cases = [
  { bench: 'main/get', entities: 1, requests: 512 },
  { bench: 'main/get-100', entities: 100, requests: 32 },
] as const

/** Calls under way at a time, on one connection: two cores are busy, and no queue builds up. */
const inFlight = 4
const warmSeconds = 0.2
const deadlineMs = 10_000
const auditedRowsPerCase = 60
const graceMs = 5_000
const callsMax = 1 << 20

interface Call {
  readonly request: Buffer
  /** What every reply to it has to be: nothing is written meanwhile, and the service's clock is the newest event. */
  readonly reply: Buffer
}

interface Echo {
  readonly child: ChildProcess
  readonly address: string
}

export async function benchGet(
  options: BenchOptions,
  log: FlightLog,
  sizes: Sizes,
  address: string,
  serverPid: number,
): Promise<void> {
  const random = seeded(4)
  const { pool } = log
  const ours = connect(address)
  const path = methodsOf(FeatureService).getFeatures.path
  const samples: AuditSample[] = []
  const calls: Call[][] = []
  for (const { entities, requests } of cases) {
    const rows = (): AskedRow[] =>
      Array.from({ length: entities }, () => pool.rows[Math.floor(random() * pool.rows.length)] as AskedRow)
    const asked = Array.from({ length: requests }, rows)
    const known: Call[] = []
    let audited = 0
    for (const chosen of asked) {
      const columns = { entities: scalarColumns(chosen, 'entities'), request: scalarColumns(chosen, 'request') }
      const message = create(GetFeaturesRequestSchema, {
        ...toLookupFields(columns),
        service: names.service,
        features: [],
      })
      const request = Buffer.from(toBinary(GetFeaturesRequestSchema, message))
      const reply = await call(ours, path, request)
      known.push({ request, reply })
      if (audited >= auditedRowsPerCase) continue
      const decoded = fromReply(fromBinary(GetFeaturesResponseSchema, reply))
      ensure(decoded.rows === entities, `${decoded.rows} rows came back for ${entities} entities`)
      samples.push(
        ...samplesFromReply('online', names.service, columns.entities, columns.request, decoded).slice(
          0,
          auditedRowsPerCase,
        ),
      )
      audited += entities
    }
    calls.push(known)
  }
  const echo = await startEcho(calls.map(replyBytes))
  const bare = connect(echo.address)
  try {
    const bounds = calls.map((known) => known.map(({ request }): Call => ({ request, reply: Buffer.alloc(0) })))
    for (const [index, known] of bounds.entries())
      for (const [at, { request }] of known.entries())
        known[at] = { request, reply: await call(bare, echoPath(index), request) }
    await interleaved(
      options,
      () => eachCase((index, bench) => load(ours, path, calls[index] as Call[], sizes.loadSeconds, serverPid, bench)),
      () =>
        eachCase((index, bench) =>
          load(bare, echoPath(index), bounds[index] as Call[], sizes.loadSeconds, echo.child.pid ?? 0, bench),
        ),
      () => ensureAudited(log, samples, 'main/get'),
    )
  } finally {
    ours.close()
    bare.close()
    await endChild(echo.child, graceMs)
  }
}

async function eachCase(run: (index: number, bench: string) => Promise<Reading[]>): Promise<Reading[]> {
  const readings: Reading[] = []
  for (const [index, { bench }] of cases.entries()) readings.push(...(await run(index, bench)))
  return readings
}

const scalarColumns = (rows: readonly AskedRow[], part: 'entities' | 'request'): Record<string, Scalar[]> =>
  Object.fromEntries(
    Object.keys(rows[0]?.[part] ?? {}).map((field) => [field, rows.map((row) => row[part][field] ?? null)]),
  )

const replyBytes = (calls: readonly Call[]): number =>
  Math.round(calls.reduce((sum, { reply }) => sum + reply.length, 0) / calls.length)

/** One client for both servers: bytes in, bytes out, so that decoding a reply is nobody's cost. */
const connect = (address: string): Client =>
  new Client(address, credentials.createInsecure(), {
    'grpc.enable_http_proxy': 0,
    'grpc.enable_channelz': 0,
    'grpc.max_receive_message_length': 64 * 2 ** 20,
  })

const pass = (bytes: Buffer): Buffer => bytes

function call(client: Client, path: string, request: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(path, pass, pass, request, { deadline: Date.now() + deadlineMs }, (error, reply) => {
      if (error !== null) reject(error)
      else resolve(reply ?? Buffer.alloc(0))
    })
  })
}

/** A closed loop: each of the `inFlight` callers asks again as soon as it has its answer. */
async function load(
  client: Client,
  path: string,
  calls: readonly Call[],
  seconds: number,
  pid: number,
  bench: string,
): Promise<Reading[]> {
  const latencies = new Float64Array(callsMax)
  const run = async (untilMs: number): Promise<number> => {
    let done = 0
    let next = 0
    const caller = async (): Promise<void> => {
      for (;;) {
        const asked = performance.now()
        if (asked >= untilMs || done >= callsMax) return
        const { request, reply } = calls[next++ % calls.length] as Call
        const answer = await call(client, path, request)
        latencies[done++] = performance.now() - asked
        ensure(answer.equals(reply), `${bench}: a reply differs from the first one to the same request`)
      }
    }
    await Promise.all(Array.from({ length: inFlight }, caller))
    return done
  }
  await run(performance.now() + warmSeconds * 1000)
  const { result: count, ...cost } = await timed(() => run(performance.now() + seconds * 1000), [pid])
  const sorted = latencies.slice(0, count).sort()
  const latency = (name: string, share: number): Reading => ({
    bench: `${bench}-${name}`,
    unit: 'ms',
    value: quantile(sorted, share),
    cpuSecondsPerMillion: null,
  })
  return [
    { bench, unit: 'calls/s', value: count / cost.seconds, cpuSecondsPerMillion: (cost.cpuSeconds / count) * 1e6 },
    latency('p50', 0.5),
    latency('p99', 0.99),
  ]
}

async function startEcho(sizes: readonly number[]): Promise<Echo> {
  const file = join(import.meta.dirname, '../limits/echo-server.ts')
  const child = fork(file, sizes.map(String), { execArgv: [], stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  const port = await new Promise<number>((resolve, reject) => {
    child.once('message', (message) => resolve((message as { readonly port: number }).port))
    child.once('exit', (code) => reject(new Error(`the echo server ended with exit code ${code}`)))
  })
  return { child, address: `127.0.0.1:${port}` }
}
