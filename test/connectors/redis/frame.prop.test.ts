import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { Command } from 'ioredis'
import { expect, test } from 'vitest'
import { frame, framed } from '../../../connectors/redis/frame.ts'

const numRuns = Number(process.env['TIDEMARK_PROPERTY_RUNS'] ?? 150)

const argument = fc.oneof(
  fc.record({ kind: fc.constant('text' as const), value: fc.string({ unit: 'grapheme' }) }),
  fc.record({ kind: fc.constant('bytes' as const), value: fc.uint8Array({ maxLength: 1200 }) }),
  fc.record({ kind: fc.constant('joined' as const), head: fc.uint8Array(), value: fc.uint8Array() }),
  fc.record({ kind: fc.constant('sealed' as const), value: fc.uint8Array({ maxLength: 1200 }) }),
  // Longer than the scratch, so that it grows in the middle of a frame.
  fc.record({ kind: fc.constant('large' as const), size: fc.integer({ min: 60_000, max: 1_300_000 }) }),
)
type Argument = typeof argument extends fc.Arbitrary<infer T> ? T : never

function write(one: Argument): void {
  if (one.kind === 'text') frame.text(one.value)
  else if (one.kind === 'bytes') frame.bytes(one.value)
  else if (one.kind === 'joined') frame.joined(one.head, one.value)
  else if (one.kind === 'sealed') frame.sealed(one.value)
  else frame.bytes(Buffer.alloc(one.size, 'x'))
}

function bytesOf(one: Argument): Buffer {
  if (one.kind === 'text') return Buffer.from(one.value)
  if (one.kind === 'bytes') return Buffer.from(one.value)
  if (one.kind === 'joined') return Buffer.concat([one.head, one.value])
  if (one.kind === 'large') return Buffer.alloc(one.size, 'x')
  const checksum = Buffer.alloc(4)
  checksum.writeUInt32BE(crc32(one.value))
  return Buffer.concat([checksum, one.value])
}

test('a frame has the bytes that ioredis would send for the same arguments', () => {
  fc.assert(
    fc.property(fc.array(argument, { maxLength: 12 }), (args) => {
      const command = framed('hmget', 'key', 1 + args.length, () => {
        frame.text('hmget')
        args.forEach(write)
      })
      const twin = new Command('hmget', args.map(bytesOf)).toWritable({})
      expect(Buffer.compare(command.toWritable(), Buffer.from(twin))).toBe(0)
    }),
    { numRuns },
  )
})

test('a frame keeps its bytes when the next one is written, and knows the slot of its key', () => {
  const make = (key: string) =>
    framed('hmget', key, 2, () => {
      frame.text('hmget')
      frame.text(key)
    })
  const [first, second] = [make('{a}:rows'), make('b')]
  expect(first.toWritable().toString()).toBe('*2\r\n$5\r\nhmget\r\n$8\r\n{a}:rows\r\n')
  expect(first.getSlot()).toBe(new Command('get', ['a']).getSlot())
  expect(second.getSlot()).toBe(new Command('get', ['b']).getSlot())
  const script = framed('evalsha', '{a}:rows', 1, () => frame.text('evalsha'))
  expect(script.getSlot()).toBe(first.getSlot())
  expect(script.again().toWritable()).toBe(script.toWritable())
})
