import { afterAll, it } from 'vitest'
import { checkLag, features } from '../cli/lag-of-status.ts'
import { projectOf, removeFolders } from '../cli/support.ts'
import { serverOfFile, startKafka, startRedis } from '../support/services.ts'

const kafka = await serverOfFile('kafka', () => startKafka())
const redis = await serverOfFile('redis', () => startRedis())
const limit = 180_000
afterAll(removeFolders, limit)

it('status on Kafka and Redis says how far each projection is behind, by partition and shard', { timeout: limit }, () =>
  checkLag(
    projectOf({
      'tidemark.config.ts': `export default {
        log: { kind: 'kafka', brokers: ${JSON.stringify(kafka().addresses)} },
        online: { kind: 'redis', address: ${JSON.stringify(redis().address)}, shards: 8 },
      }`,
      'features.ts': features,
    }),
    'offsets',
  ),
)
