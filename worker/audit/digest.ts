import { createHash } from 'node:crypto'
import type { ViewPlan } from '../../core/engine/plan.ts'
import { canonicalRow, directoryOf, isHead } from '../../core/engine/row-parts.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import type { OnlineStore } from '../../core/ports/online-store.ts'

const hashBytes = 32
/** How often a row is read whose parts are replaced meanwhile. */
const readsMax = 8

type DigestStore = Pick<OnlineStore, 'scan' | 'read' | 'readParts'>

/**
 * Hex SHA-256 of the state of views: two stores have the same one exactly when they hold the same rows, however their
 * events were batched and flushed and however many shards they have.
 *
 *     per view, by name:  length u32, name, rows u32, then per row, by key bytes:  length u32, key, SHA-256 of the row
 *
 * A whole row is its own canonical form (core/engine/row.ts); one that is stored as a head and parts is made whole. Its
 * hash stands for it, so that what is held in memory to be sorted is a key and 32 bytes per entity, not the state itself.
 *
 * Errors: FS_ROW_CORRUPT, FS_STATE_FORMAT; FS_ONLINE_UNAVAILABLE when a row is written faster than it can be read.
 */
export async function stateDigest(store: DigestStore, plans: Iterable<ViewPlan>): Promise<string> {
  const digest = createHash('sha256')
  const addText = (text: string, encoding: 'utf8' | 'latin1'): void => {
    const bytes = Buffer.from(text, encoding)
    digest.update(uint32(bytes.length)).update(bytes)
  }
  const byName = new Map(Array.from(plans, (plan) => [plan.view.name, plan]))
  for (const view of [...byName.keys()].sort()) {
    const { keys, hashes } = await rowsOf(store, byName.get(view) as ViewPlan)
    const order = Uint32Array.from(keys.keys()).sort((a, b) => ((keys[a] as string) < (keys[b] as string) ? -1 : 1))
    addText(view, 'utf8')
    digest.update(uint32(keys.length))
    for (const index of order) {
      addText(keys[index] as string, 'latin1')
      digest.update(hashes.subarray(index * hashBytes, (index + 1) * hashBytes))
    }
  }
  return digest.digest('hex')
}

/** Keys as latin1 text, one character a byte, so that text sorts as the bytes do; and the hash of each row. */
async function rowsOf(
  store: DigestStore,
  plan: ViewPlan,
): Promise<{ readonly keys: readonly string[]; readonly hashes: Uint8Array }> {
  const keys: string[] = []
  let hashes = new Uint8Array(1024 * hashBytes)
  for await (const { shard, key, row } of store.scan(plan.view.name)) {
    const at = keys.push(Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1')) - 1
    if ((at + 1) * hashBytes > hashes.length) {
      const larger = new Uint8Array(hashes.length * 2)
      larger.set(hashes)
      hashes = larger
    }
    const canonical = await canonicalRowOf(store, plan, shard, key, row)
    hashes.set(createHash('sha256').update(canonical).digest(), at * hashBytes)
  }
  return { keys, hashes }
}

/** The canonical form of a row as a scan or a read gives it. Errors: as stateDigest. */
export async function canonicalRowOf(
  store: Pick<OnlineStore, 'read' | 'readParts'>,
  plan: ViewPlan,
  shard: number,
  key: Uint8Array,
  found: Uint8Array,
): Promise<Uint8Array> {
  if (!isHead(found)) return found
  const view = plan.view.name
  let row = found
  for (let reads = 1; reads < readsMax; reads++) {
    const names = directoryOf(plan, row).parts.map(({ name }) => name)
    const parts = await store.readParts(view, shard, key, names)
    const byName = new Map(names.map((name, index) => [name, parts[index] ?? null]))
    const canonical = canonicalRow(plan, row, (name) => byName.get(name) ?? null)
    if (canonical !== null) return canonical
    const read = await store.read(view, [shard], [key])
    const again = read.rows[0] ?? null
    if (again === null || Buffer.compare(again, row) === 0)
      throw new FeatureStoreError('FS_ROW_CORRUPT', `a part of a row of ${view} in shard ${shard} is lost or damaged`)
    if (!isHead(again)) return again
    row = again
  }
  throw new FeatureStoreError('FS_ONLINE_UNAVAILABLE', `a row of ${view} in shard ${shard} changes at every read`)
}

function uint32(value: number): Uint8Array {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setUint32(0, value, true)
  return bytes
}
