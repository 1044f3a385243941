import { EventEmitter } from 'node:events'
import { Socket } from 'node:net'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { inWholes } from '../../../connectors/kafka/whole-replies.ts'

const reply = (body: Uint8Array): Buffer => {
  const bytes = Buffer.alloc(4 + body.length)
  bytes.writeInt32BE(body.length, 0)
  bytes.set(body, 4)
  return bytes
}

it('replies are told whole, however their bytes come, and never a part of one', () => {
  const bodies = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 12 })
  const sizes = fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 10 })
  fc.assert(
    fc.property(bodies, sizes, fc.nat({ max: 60 }), (written, cuts, lost) => {
      const replies = written.map(reply)
      const all = Buffer.concat(replies)
      const sent = all.subarray(0, Math.max(0, all.length - lost))
      const socket = inWholes(new Socket())
      const told: Buffer[] = []
      socket.on('data', (bytes: Buffer) => told.push(Buffer.from(bytes)))
      for (let at = 0, index = 0; at < sent.length; index++) {
        const size = cuts[index % cuts.length] as number
        socket.emit('data', Buffer.from(sent.subarray(at, at + size)))
        at += size
      }
      let end = 0
      const whole = replies.filter(({ length }) => (end += length) <= sent.length)
      expect(told).toEqual(whole)
    }),
  )
})

it('other events pass', () => {
  const socket = inWholes(new EventEmitter())
  const seen: unknown[] = []
  socket.on('close', (had) => seen.push(had))
  expect(socket.emit('close', true)).toBe(true)
  expect(seen).toEqual([true])
})
