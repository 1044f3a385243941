import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Api, decodeResponse, encodeRequest } from '../../../connectors/kafka/protocol/api.ts'
import { apiVersions } from '../../../connectors/kafka/protocol/api-versions.ts'
import { fetch } from '../../../connectors/kafka/protocol/fetch.ts'
import { listOffsets } from '../../../connectors/kafka/protocol/list-offsets.ts'
import { metadata } from '../../../connectors/kafka/protocol/metadata.ts'
import { produce } from '../../../connectors/kafka/protocol/produce.ts'
import { ProtocolReader } from '../../../connectors/kafka/protocol/reader.ts'
import { saslAuthenticate, saslHandshake } from '../../../connectors/kafka/protocol/sasl.ts'
import { ProtocolWriter } from '../../../connectors/kafka/protocol/writer.ts'
import { FeatureStoreError } from '../../../core/errors.ts'

const id = '00112233445566778899aabbccddeeff'
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
const bytes = (...parts: string[]): Uint8Array =>
  Uint8Array.from(Buffer.from(parts.join('').replaceAll(' ', ''), 'hex'))

/** The request without its header: api key, version, correlation id 9, client "c", tags. */
function body<Request>(api: Api<Request, unknown>, request: Request): string {
  const written = hex(encodeRequest(api, request, 9, 'c'))
  const header = api.key.toString(16).padStart(4, '0') + api.version.toString(16).padStart(4, '0') + '00000009000163'
  const length = (written.length / 2 - 4).toString(16).padStart(8, '0')
  const start = length + header + (api.flexible ? '00' : '')
  expect(written.slice(0, start.length)).toBe(start)
  return written.slice(start.length)
}

const codeOf = (run: () => unknown): string => {
  try {
    run()
  } catch (error) {
    return error instanceof FeatureStoreError ? error.code : String(error)
  }
  return 'none'
}

describe("Kafka's protocol", () => {
  it('comes back from the reader as it was written, whatever the sizes', () => {
    const field = fc.oneof(
      fc.tuple(fc.constant('int8' as const), fc.integer({ min: -128, max: 127 })),
      fc.tuple(fc.constant('int16' as const), fc.integer({ min: -(2 ** 15), max: 2 ** 15 - 1 })),
      fc.tuple(fc.constant('int32' as const), fc.integer()),
      fc.tuple(fc.constant('int64' as const), fc.maxSafeInteger()),
      fc.tuple(fc.constant('unsignedVarint' as const), fc.integer({ min: 0, max: 2 ** 32 - 1 })),
      fc.tuple(fc.constant('string' as const), fc.option(fc.string({ maxLength: 200 }))),
      fc.tuple(fc.constant('compactString' as const), fc.option(fc.string({ maxLength: 200 }))),
      fc.tuple(fc.constant('compactBytes' as const), fc.uint8Array({ maxLength: 400 })),
      fc.tuple(fc.constant('boolean' as const), fc.boolean()),
      fc.tuple(fc.constant('uuid' as const), fc.constant(id)),
    )
    fc.assert(
      fc.property(fc.array(field, { maxLength: 40 }), (fields) => {
        const writer = new ProtocolWriter(1)
        for (const [kind, value] of fields) (writer[kind] as (value: unknown) => unknown).call(writer, value)
        const reader = new ProtocolReader(writer.written().slice())
        for (const [kind, value] of fields) expect(reader[kind]()).toEqual(value)
        expect(reader.left).toBe(0)
      }),
    )
  })

  it('asks for metadata by name and reads ids and leaders', () => {
    expect(body(metadata, ['ab'])).toBe('02' + '00'.repeat(16) + '03 6162 00'.replaceAll(' ', '') + '000000')
    const response = bytes(
      '00 00000005 02 00000001 03 6862 00002384 00 00', // tags, throttle, one broker hb:9092 without a rack
      '03 6964 00000001', // cluster id, controller
      '02 0000 02 74',
      id,
      '00', // topic t
      '02 0000 00000003 00000001 00000007 02 00000001 02 00000001 01 00', // partition 3 of leader 1, epoch 7
      '80000000 00 00',
    )
    expect(decodeResponse(metadata, new ProtocolReader(response))).toEqual({
      throttleMs: 5,
      brokers: [{ nodeId: 1, host: 'hb', port: 9092 }],
      clusterId: 'id',
      topics: [{ code: 0, name: 't', topicId: id, partitions: [{ code: 0, index: 3, leaderId: 1, leaderEpoch: 7 }] }],
    })
  })

  it('asks for several partitions of a topic at once, for committed data, and reads the aborted transactions', () => {
    const partitions = [1, 2].map((partition) => ({ topicId: id, partition, offset: 2 ** 33, maxBytes: 256 }))
    const each = (partition: string): string =>
      `0000000${partition}ffffffff0000000200000000ffffffffffffffffffffffff0000010000`
    expect(body(fetch, { partitions, maxBytes: 512, maxWaitMs: 0, minBytes: 0 })).toBe(
      'ffffffff' + '00000000' + '00000000' + '00000200' + '01' + '00000000' + 'ffffffff' +
        '02' + id + '03' + each('1') + each('2') + '00' + '01' + '01' + '00', // prettier-ignore
    )
    const response = bytes(
      '00 00000011 0000 00000000 02',
      id,
      '02 00000001 0000 0000000000000009 0000000000000008 0000000000000002',
      '02 8000000100000002 0000000000000003 00 ffffffff 03 aabb 00', // one aborted, two bytes of batches
      '00 00',
    )
    const read = decodeResponse(fetch, new ProtocolReader(response))
    const [partition] = read.partitions
    expect(partition).toMatchObject({
      topicId: id,
      partition: 1,
      highWatermark: 9,
      lastStableOffset: 8,
      logStartOffset: 2,
      aborted: [{ high: -(2 ** 31) + 1, low: 2, firstOffset: 3 }],
    })
    expect(read.throttleMs).toBe(17)
    expect(hex(read.bytes.subarray(partition?.from, partition?.to))).toBe('aabb')
  })

  it('produces one batch to all replicas, and reads where it lies', () => {
    expect(body(produce, { topic: 't', partition: 1, batch: Uint8Array.of(7), timeoutMs: 3 })).toBe(
      '00ffff00000003' + '020274' + '0200000001' + '0207' + '0000' + '00',
    )
    const answer = (errors: string, message: string): Uint8Array =>
      bytes(
        '00 02 0274 02 00000001 0000 0000000100000000 ffffffffffffffff 0000000000000000',
        errors,
        message,
        '00 00 00000004 00',
      )
    expect(decodeResponse(produce, new ProtocolReader(answer('01', '00')))).toEqual({
      throttleMs: 4,
      code: 0,
      baseOffset: 2 ** 32,
      logAppendTimeMs: -1,
      message: null,
    })
    expect(decodeResponse(produce, new ProtocolReader(answer('02 00000000 02 62 00', '00'))).message).toBe('b')
  })

  it('lists offsets, versions and mechanisms', () => {
    expect(body(listOffsets, { topic: 't', partitions: [4], timestamp: -1, committed: true })).toBe(
      'ffffffff01020274' + '0200000004ffffffffffffffffffffffff00' + '0000',
    )
    const listed = bytes('00 00000000 02 0274 02 00000004 0000 ffffffffffffffff 0000000000000064 00000000 00 00 00')
    expect(decodeResponse(listOffsets, new ProtocolReader(listed))).toEqual([{ partition: 4, code: 0, offset: 100 }])
    expect(body(apiVersions, null)).toBe('')
    const versions = bytes('0000 00000001 0001 0004 0012')
    expect(decodeResponse(apiVersions, new ProtocolReader(versions)).apis).toEqual([{ key: 1, min: 4, max: 18 }])
    expect(body(saslHandshake, 'PLAIN')).toBe('0005504c41494e')
    expect(decodeResponse(saslHandshake, new ProtocolReader(bytes('0021 00000001 0001 41')))).toEqual({
      code: 33,
      mechanisms: ['A'],
    })
    expect(body(saslAuthenticate, Uint8Array.of(1, 2))).toBe('000000020102')
    const authenticated = decodeResponse(
      saslAuthenticate,
      new ProtocolReader(bytes('0000 ffff 00000001 07 0000000000000bb8')),
    )
    expect(authenticated).toEqual({ code: 0, message: null, bytes: Uint8Array.of(7), lifetimeMs: 3000 })
  })

  it('ends in FS_KAFKA_PROTOCOL when a response is cut or lies about its lengths', () => {
    const response = bytes('00 00000000 02 0274 02 00000004 0000 ffffffffffffffff 0000000000000064 00000000 00 00 00')
    // The tags behind everything are not read.
    for (let end = 0; end < response.length - 1; end++)
      expect(codeOf(() => decodeResponse(listOffsets, new ProtocolReader(response.subarray(0, end))))).toBe(
        'FS_KAFKA_PROTOCOL',
      )
    const apis = [fetch, metadata, produce, listOffsets, apiVersions, saslHandshake, saslAuthenticate]
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), fc.nat({ max: apis.length - 1 }), (noise, index) => {
        const api = apis[index] as Api<never, unknown>
        expect(['none', 'FS_KAFKA_PROTOCOL']).toContain(codeOf(() => decodeResponse(api, new ProtocolReader(noise))))
      }),
      { numRuns: 2_000 },
    )
  })
})
