import { createHash } from 'node:crypto'
import type { OnlineStore } from '../../core/ports/online-store.ts'

const hashBytes = 32

/**
 * Hex SHA-256 of the state of views: two stores have the same one exactly when they hold the same rows, however their
 * events were batched and flushed and however many shards they have.
 *
 *     per view, by name:  length u32, name, rows u32, then per row, by key bytes:  length u32, key, SHA-256 of the row
 *
 * A row is its own canonical form (core/engine/row.ts). Its hash stands for it, so that what is held in memory to be
 * sorted is a key and 32 bytes per entity, not the state itself.
 */
export async function stateDigest(store: Pick<OnlineStore, 'scan'>, views: Iterable<string>): Promise<string> {
  const digest = createHash('sha256')
  const addText = (text: string, encoding: 'utf8' | 'latin1'): void => {
    const bytes = Buffer.from(text, encoding)
    digest.update(uint32(bytes.length)).update(bytes)
  }
  for (const view of [...new Set(views)].sort()) {
    const { keys, hashes } = await rowsOf(store, view)
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
  store: Pick<OnlineStore, 'scan'>,
  view: string,
): Promise<{ readonly keys: readonly string[]; readonly hashes: Uint8Array }> {
  const keys: string[] = []
  let hashes = new Uint8Array(1024 * hashBytes)
  for await (const { key, row } of store.scan(view)) {
    const at = keys.push(Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1')) - 1
    if ((at + 1) * hashBytes > hashes.length) {
      const larger = new Uint8Array(hashes.length * 2)
      larger.set(hashes)
      hashes = larger
    }
    hashes.set(createHash('sha256').update(row).digest(), at * hashBytes)
  }
  return { keys, hashes }
}

function uint32(value: number): Uint8Array {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setUint32(0, value, true)
  return bytes
}
