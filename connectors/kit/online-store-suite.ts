import { describe, expect, test } from 'vitest'
import type { DeadLetter } from '../../core/event/batch.ts'
import { offset } from '../../core/event/position.ts'
import type {
  FlushOutcome,
  OnlineStore,
  RowWrite,
  ShardFlush,
  ShardLease,
  ShardPosition,
} from '../../core/ports/online-store.ts'

export interface OpenedOnlineStore {
  readonly store: OnlineStore
  close(): Promise<void>
}

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const text = (row: Uint8Array | null | undefined): string | null =>
  row === null || row === undefined ? null : new TextDecoder().decode(row)

const at = (next: number): ShardPosition => ({
  position: { logId: 'log', streams: { clicks: [{ epoch: 1, next: offset(next) }] } },
  newestEventTimeMs: { clicks: next * 1000 },
})

const row = (key: string, value: string, view = 'totals'): RowWrite => ({ view, key: bytes(key), row: bytes(value) })

const deadLetter = (index: number, scope = 'view:totals'): DeadLetter => ({
  scope,
  stream: 'clicks',
  partition: 0,
  offset: offset(index),
  knownAt: index,
  code: 'FS_DEAD_TOO_LATE',
  reason: 'late',
})

const flush = (
  lease: ShardLease,
  from: number | null,
  to: number,
  rows: readonly RowWrite[] = [],
  deadLetters: readonly DeadLetter[] = [],
): ShardFlush => ({ lease, from: from === null ? null : at(from), to: at(to), rows, deadLetters })

async function lease(store: OnlineStore, shard: number): Promise<ShardLease> {
  const [taken] = await store.acquire([shard])
  if (taken === undefined) throw new Error('no lease')
  return taken.lease
}

const kinds = (outcomes: readonly FlushOutcome[]): readonly string[] => outcomes.map(({ kind }) => kind)

async function scanned(store: OnlineStore, view: string): Promise<readonly string[]> {
  const found: string[] = []
  for await (const { shard, key, row } of store.scan(view))
    found.push(`${shard}/${Buffer.from(key).toString('latin1')}=${text(row)}`)
  return found
}

async function deadLetters(store: OnlineStore): Promise<readonly DeadLetter[]> {
  const found: DeadLetter[] = []
  for await (const letter of store.deadLetters()) found.push(letter)
  return found
}

/** The laws of `OnlineStore`, as tests: what passes them is an online store. `open` gives a new, empty one. */
export function onlineStoreSuite(name: string, open: () => Promise<OpenedOnlineStore>): void {
  const law = (title: string, body: (store: OnlineStore) => Promise<void>): void => {
    test(title, async () => {
      const { store, close } = await open()
      try {
        await body(store)
      } finally {
        await close()
      }
    })
  }

  describe(`online store: ${name}`, () => {
    law('an empty store has no rows, positions or dead letters', async (store) => {
      expect(await store.read('totals', [3, 0], [bytes('a'), bytes('b')])).toEqual({
        rows: [null, null],
        positions: [null, null],
      })
      expect(await store.positions([0, 63])).toEqual([null, null])
      expect(await scanned(store, 'totals')).toEqual([])
      expect(await deadLetters(store)).toEqual([])
    })

    law('acquiring gives an epoch above every earlier one, and the position found', async (store) => {
      const first = await store.acquire([1, 2])
      expect(first.map(({ lease, position }) => [lease.shard, position])).toEqual([
        [1, null],
        [2, null],
      ])
      await store.apply(first.slice(0, 1).map(({ lease }) => flush(lease, null, 5)))
      const second = await store.acquire([2, 1])
      expect(second.map(({ lease, position }) => [lease.shard, position])).toEqual([
        [2, null],
        [1, at(5)],
      ])
      expect(second[1]?.lease.epoch).toBeGreaterThan(first[0]?.lease.epoch ?? Number.NaN)
      expect(second[1]?.lease.nonce).not.toBe(first[0]?.lease.nonce)
    })

    law('a flush may hold rows of several views in any order, their keys of any length', async (store) => {
      const held = await lease(store, 4)
      const rows = [
        row('a', '1'),
        row('a long key', '2'),
        row('bb', '3', 'a_view_of_a_longer_name'),
        row('a', '4', 'a_view_of_a_longer_name'),
        row('abc', '5'),
        row('bb', '6', 'v'),
      ]
      expect(kinds(await store.apply([flush(held, null, 1, rows)]))).toEqual(['applied'])
      for (const written of rows) {
        const read = await store.read(written.view, [4], [written.key])
        expect(read.rows.map(text)).toEqual([text(written.row)])
      }
      expect((await scanned(store, 'totals')).toSorted()).toEqual(['4/a long key=2', '4/a=1', '4/abc=5'])
      expect((await scanned(store, 'a_view_of_a_longer_name')).toSorted()).toEqual(['4/a=4', '4/bb=3'])
      expect(await scanned(store, 'v')).toEqual(['4/bb=6'])
    })

    law('rows come back in the order asked, each with the position of its shard', async (store) => {
      const [one, two] = [await lease(store, 1), await lease(store, 2)]
      const outcomes = await store.apply([
        flush(one, null, 4, [row('a', 'first'), row('b', '')]),
        flush(two, null, 9, [row('a', 'other shard'), row('a', 'other view', 'means')]),
      ])
      expect(kinds(outcomes)).toEqual(['applied', 'applied'])
      const read = await store.read('totals', [2, 1, 1, 1, 3], ['a', 'b', 'missing', 'a', 'a'].map(bytes))
      expect(read.rows.map(text)).toEqual(['other shard', '', null, 'first', null])
      expect(read.positions).toEqual([at(9), at(4), at(4), at(4), null])
      expect(await store.positions([1, 2, 3])).toEqual([at(4), at(9), null])
      const means = await store.read('means', [2], [bytes('a')])
      expect(means.rows.map(text)).toEqual(['other view'])
    })

    law('a later flush replaces rows and leaves the others', async (store) => {
      const held = await lease(store, 0)
      await store.apply([flush(held, null, 1, [row('a', '1'), row('b', '1')])])
      await store.apply([flush(held, 1, 2, [row('b', 'longer than before')])])
      const read = await store.read('totals', [0, 0], ['a', 'b'].map(bytes))
      expect(read.rows.map(text)).toEqual(['1', 'longer than before'])
      expect(read.positions).toEqual([at(2), at(2)])
    })

    law('a writer may reuse its buffers after the flush', async (store) => {
      const held = await lease(store, 0)
      const [key, value] = [bytes('a'), bytes('kept')]
      await store.apply([flush(held, null, 1, [{ view: 'totals', key, row: value }])])
      key.fill(0)
      value.fill(0)
      const read = await store.read('totals', [0], [bytes('a')])
      expect(read.rows.map(text)).toEqual(['kept'])
    })

    law('a flush that is sent again changes nothing', async (store) => {
      const held = await lease(store, 0)
      const sent = flush(held, null, 1, [row('a', '1')], [deadLetter(0)])
      expect(kinds(await store.apply([sent]))).toEqual(['applied'])
      expect(kinds(await store.apply([sent]))).toEqual(['already-applied'])
      expect(kinds(await store.apply([{ ...sent, rows: [row('a', 'changed')] }]))).toEqual(['already-applied'])
      expect(await scanned(store, 'totals')).toEqual(['0/a=1'])
      expect(await deadLetters(store)).toEqual([deadLetter(0)])
    })

    law('a flush that does not continue where the shard stands is a gap, and writes nothing', async (store) => {
      const held = await lease(store, 0)
      expect(await store.apply([flush(held, 1, 2, [row('a', 'lost')], [deadLetter(1)])])).toEqual([
        { kind: 'gap', found: null },
      ])
      await store.apply([flush(held, null, 5, [row('a', 'kept')])])
      for (const from of [null, 4, 6]) {
        expect(await store.apply([flush(held, from, 7, [row('a', 'lost')], [deadLetter(1)])])).toEqual([
          { kind: 'gap', found: at(5) },
        ])
      }
      expect(await scanned(store, 'totals')).toEqual(['0/a=kept'])
      expect(await store.positions([0])).toEqual([at(5)])
      expect(await deadLetters(store)).toEqual([])
    })

    law('another log epoch or another log is another position', async (store) => {
      const held = await lease(store, 0)
      await store.apply([flush(held, null, 5)])
      const elsewhere = [
        { logId: 'log', streams: { clicks: [{ epoch: 2, next: offset(5) }] } },
        { logId: 'another', streams: { clicks: [{ epoch: 1, next: offset(5) }] } },
      ]
      for (const position of elsewhere) {
        const sent = { ...flush(held, 5, 6), from: { ...at(5), position } }
        expect(kinds(await store.apply([sent]))).toEqual(['gap'])
      }
    })

    law('an owner is fenced once another took the shard, re-sent flushes included', async (store) => {
      const stale = await lease(store, 0)
      const sent = flush(stale, null, 1, [row('a', 'old')])
      await store.apply([sent])
      const owner = await lease(store, 0)
      for (const refused of [sent, flush(stale, 1, 2, [row('a', 'stale')], [deadLetter(1)])])
        expect(await store.apply([refused])).toEqual([{ kind: 'fenced', byEpoch: owner.epoch }])
      const forged = { ...owner, nonce: stale.nonce }
      expect(kinds(await store.apply([flush(forged, 1, 2, [row('a', 'forged')])]))).toEqual(['fenced'])
      expect(kinds(await store.apply([flush(owner, 1, 2, [row('a', 'new')])]))).toEqual(['applied'])
      expect(await scanned(store, 'totals')).toEqual(['0/a=new'])
      expect(await deadLetters(store)).toEqual([])
    })

    law('outcomes are by shard: one refused flush does not hold back the others', async (store) => {
      const [one, two] = [await lease(store, 1), await lease(store, 2)]
      const outcomes = await store.apply([
        flush(one, null, 1, [row('a', '1')]),
        flush(two, 7, 8, [row('b', 'lost')]),
        flush(one, 1, 2, [row('a', '2')]),
        flush(one, 1, 2, [row('a', 'again')]),
      ])
      expect(kinds(outcomes)).toEqual(['applied', 'gap', 'applied', 'already-applied'])
      expect(await scanned(store, 'totals')).toEqual(['1/a=2'])
      expect(await store.positions([1, 2])).toEqual([at(2), null])
    })

    law('a reader beside a writer sees every row of a shard at exactly its position', async (store) => {
      const held = await lease(store, 0)
      const names = ['a', 'b', 'c', 'd']
      const writing = (async () => {
        for (let next = 1; next <= 60; next++) {
          const rows = names.map((name) => row(name, String(next)))
          await store.apply([flush(held, next === 1 ? null : next - 1, next, rows)])
        }
      })()
      let last = 0
      while (last < 60) {
        const read = await store.read('totals', [0, 0, 0, 0], names.map(bytes))
        last = read.positions[0]?.newestEventTimeMs['clicks'] ?? 0
        last /= 1000
        const expected = last === 0 ? null : String(last)
        expect(read.rows.map(text)).toEqual(names.map(() => expected))
        await new Promise((resolve) => setImmediate(resolve))
      }
      await writing
    })

    law('a scan goes by shard, then by key bytes, and stays within its view', async (store) => {
      const held = [await lease(store, 10), await lease(store, 2)] as const
      const keys = ['b', 'a', '', 'a\0', 'ab', '\u00ff', 'a\u0001']
      const raw = (key: string): Uint8Array => Uint8Array.from(Buffer.from(key, 'latin1'))
      const rows = keys.map((key) => ({ view: 'v', key: raw(key), row: bytes('x') }))
      await store.apply([
        flush(held[0], null, 1, [...rows, row('z', 'y', 'v2'), row('z', 'y', 'u')]),
        flush(held[1], null, 1, [{ view: 'v', key: raw('z'), row: bytes('x') }]),
      ])
      expect(await scanned(store, 'v')).toEqual([
        '2/z=x',
        ...['', 'a', 'a\0', 'a\u0001', 'ab', 'b', '\u00ff'].map((key) => `10/${key}=x`),
      ])
      expect(await scanned(store, 'v2')).toEqual(['10/z=y'])
    })

    law('a scan of many rows gives each once, and may be left early', async (store) => {
      const held = await lease(store, 0)
      const key = (index: number): string => String(index).padStart(6, '0')
      const rows = Array.from({ length: 5000 }, (_, index) => row(key(index), String(index)))
      await store.apply([flush(held, null, 1, rows)])
      const found = await scanned(store, 'totals')
      expect(found.length).toBe(5000)
      expect(found[4321]).toBe(`0/${key(4321)}=4321`)
      for await (const first of store.scan('totals')) {
        expect(text(first.row)).toBe('0')
        break
      }
      expect(kinds(await store.apply([flush(held, 1, 2, rows)]))).toEqual(['applied'])
    })

    law('keys of 1,024 bytes, long rows and any byte are kept', async (store) => {
      const held = await lease(store, 63)
      const key = new Uint8Array(1024).map((_, index) => index % 256)
      const value = new Uint8Array(300_000).map((_, index) => (index * 7) % 256)
      await store.apply([flush(held, null, 1, [{ view: 'totals', key, row: value }])])
      const read = await store.read('totals', [63], [key])
      expect(Buffer.compare(read.rows[0] ?? bytes(''), value)).toBe(0)
    })

    law('parts go with their row, are read by name, and live until they are dropped', async (store) => {
      const [one, two] = [await lease(store, 1), await lease(store, 2)]
      const part = (name: number, value: string): { name: number; bytes: Uint8Array } => ({ name, bytes: bytes(value) })
      const parts = async (shard: number, key: string, names: readonly number[], view = 'totals') =>
        (await store.readParts(view, shard, bytes(key), names)).map(text)
      expect(await parts(1, 'a', [1, 2])).toEqual([null, null])
      const put = [part(1, 'one'), part(2, ''), part(2 ** 30, 'last')]
      const sent = flush(one, null, 1, [
        { ...row('a', 'head'), parts: { put, drop: [] } },
        { ...row('a\0\0\0\u0001', 'other key'), parts: { put: [part(1, 'of another key')], drop: [] } },
        { ...row('a', 'other view', 'means'), parts: { put: [part(1, 'of another view')], drop: [] } },
      ])
      expect(kinds(await store.apply([sent, flush(two, null, 1, [row('a', 'other shard')])]))).toEqual([
        'applied',
        'applied',
      ])
      expect(await parts(1, 'a', [2 ** 30, 1, 3, 2])).toEqual(['last', 'one', null, ''])
      expect(await parts(1, 'a\0\0\0\u0001', [1, 2])).toEqual(['of another key', null])
      expect(await parts(1, 'a', [1], 'means')).toEqual(['of another view'])
      expect(await parts(2, 'a', [1])).toEqual([null])
      expect(await parts(1, 'a', [])).toEqual([])
      // Rows alone are what a scan gives.
      expect(await scanned(store, 'totals')).toEqual(['1/a=head', '1/a\0\0\0\u0001=other key', '2/a=other shard'])
      await store.apply([flush(one, 1, 2, [{ ...row('a', 'head 2'), parts: { put: [part(3, 'three')], drop: [] } }])])
      expect(await parts(1, 'a', [1, 2, 3])).toEqual(['one', '', 'three'])
      await store.apply([flush(one, 2, 3, [{ ...row('a', 'head 3'), parts: { put: [], drop: [1, 9] } }])])
      expect((await parts(1, 'a', [2, 3])).every((found) => found !== null)).toBe(true)
      expect(await parts(1, 'a\0\0\0\u0001', [1])).toEqual(['of another key'])
    })

    law('parts of a flush that is refused are neither put nor dropped', async (store) => {
      const stale = await lease(store, 0)
      const parts = (name: number, value: string, drop: readonly number[] = []): RowWrite => ({
        ...row('a', value),
        parts: { put: [{ name, bytes: bytes(value) }], drop },
      })
      const sent = flush(stale, null, 1, [parts(1, 'kept')])
      await store.apply([sent])
      expect(kinds(await store.apply([sent, flush(stale, 5, 6, [parts(2, 'gap', [1])])]))).toEqual([
        'already-applied',
        'gap',
      ])
      await lease(store, 0)
      expect(kinds(await store.apply([flush(stale, 1, 2, [parts(3, 'fenced', [1])])]))).toEqual(['fenced'])
      expect((await store.readParts('totals', 0, bytes('a'), [1, 2, 3])).map(text)).toEqual(['kept', null, null])
    })

    law('a dead letter is kept once per scope, stream, partition and offset', async (store) => {
      const [one, two] = [await lease(store, 1), await lease(store, 2)]
      const stream = deadLetter(3, 'stream:clicks')
      await store.apply([
        flush(one, null, 1, [], [stream, deadLetter(3), deadLetter(300)]),
        flush(two, null, 1, [], [stream, deadLetter(4)]),
      ])
      await store.apply([flush(one, 1, 2, [], [deadLetter(3), { ...deadLetter(3), partition: 1 }])])
      const found = await deadLetters(store)
      const ids = found.map(({ scope, partition, offset }) => `${scope}/${partition}/${offset}`)
      expect(ids.toSorted()).toEqual([
        'stream:clicks/0/3',
        'view:totals/0/3',
        'view:totals/0/300',
        'view:totals/0/4',
        'view:totals/1/3',
      ])
      expect(found).toContainEqual(stream)
    })
  })
}
