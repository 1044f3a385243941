import { afterAll, it } from 'vitest'
import { checkLag, features } from './lag-of-status.ts'
import { projectOf, removeFolders } from './support.ts'

const limit = 120_000
afterAll(removeFolders, limit)

it(
  'says how far each projection is behind, by partition and shard',
  () =>
    checkLag(
      projectOf({ 'tidemark.config.ts': 'export default { online: { shards: 8 } }\n', 'features.ts': features }),
      'records',
    ),
  limit,
)
