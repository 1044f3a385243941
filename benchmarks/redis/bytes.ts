/** redis/bytes: what an entity takes in Redis, by `used_memory`; against a hash of its own with a field per feature. */
import type { Redis } from 'ioredis'
import { againstBound, ensure, type BenchOptions } from '../harness.ts'
import { rowBytes, usedMemory, type Bench, type Loader } from './context.ts'

const bench = 'redis/bytes'
/** As many as fit into a row of ours at 8 bytes each. */
const features = rowBytes / 8
const chunk = 500

/** Loads the entities that the other benches of the suite read. */
export async function benchBytes(
  options: BenchOptions,
  { client }: Bench,
  loader: Loader,
  entities: number,
): Promise<void> {
  const before = await usedMemory(client)
  await loader.load(entities)
  const ours = ((await usedMemory(client)) - before) / entities
  const fields = await hashPerEntity(client, entities)
  ensure(ours > rowBytes, `${ours} bytes cannot hold a row of ${rowBytes}`)
  options.note(
    `${bench}: a row of ${rowBytes} bytes and a key of 16; the peer: ${features} fields of 8 bytes, named by 12 characters`,
  )
  options.emit(againstBound(bench, 'bytes', ours, Math.round(fields)))
}

async function hashPerEntity(client: Redis, entities: number): Promise<number> {
  const before = await usedMemory(client)
  const value = (entity: number, feature: number): string =>
    String(10_000_000 + ((entity * 31 + feature * 7) % 89_999_999))
  for (let from = 0; from < entities; from += chunk) {
    const pipeline = client.pipeline()
    for (let entity = from; entity < Math.min(entities, from + chunk); entity++) {
      const pairs = Array.from({ length: features }, (_, feature) => [
        `feature_${String(feature).padStart(4, '0')}`,
        value(entity, feature),
      ])
      pipeline.hset(`peer:4000${String(entity).padStart(12, '0')}`, ...pairs.flat())
    }
    for (const [error] of (await pipeline.exec()) ?? []) ensure(error === null, 'the peer could not be loaded')
  }
  const bytes = ((await usedMemory(client)) - before) / entities
  ensure((await client.hlen('peer:4000000000000000')) === features, 'the peer has other features')
  for (let from = 0; from < entities; from += chunk)
    await client.unlink(
      ...Array.from(
        { length: Math.min(chunk, entities - from) },
        (_, index) => `peer:4000${String(from + index).padStart(12, '0')}`,
      ),
    )
  return bytes
}
