import type { Redis } from 'ioredis'
import { FeatureStoreError } from '../../core/errors.ts'
import { onlineError } from './errors.ts'

/** From 6.2 on a script without memory is refused at its first write, and users have rights by command and key. */
const versionMin = [6, 2] as const

const refused = (message: string, remedy: string): FeatureStoreError =>
  new FeatureStoreError('FS_ONLINE_SERVER', message, { remedy })

/**
 * Asserts that a server keeps what it is given: a master of at least 6.2, as cluster node or not as configured, that
 * evicts nothing.
 *
 * Errors: FS_ONLINE_SERVER; FS_ONLINE_UNAVAILABLE, FS_ONLINE_DENIED when it cannot be asked.
 */
export async function checkServer(node: Redis, isCluster: boolean): Promise<void> {
  const info = await infoOf(node)
  const version = info.get('redis_version') ?? ''
  if (!isRecent(version))
    throw refused(`Redis ${version} is too old`, `Use Redis ${versionMin.join('.')} or later, or a Valkey of any age.`)
  if (info.get('role') !== 'master')
    throw refused(
      'this Redis is a replica',
      'Give the address of the master, or those of the Sentinels, who know which one it is.',
    )
  const isNode = info.get('cluster_enabled') === '1'
  if (isNode !== isCluster)
    throw isNode
      ? refused('this Redis is a node of a cluster', 'Configure the online store as a cluster.')
      : refused('this Redis is no cluster', 'Configure the online store as a standalone server.')
  const policy = await evictionPolicy(node, info)
  if (policy !== 'noeviction')
    throw refused(
      `Redis evicts: its maxmemory-policy is ${policy ?? 'not to be learnt'}, so rows could vanish behind their position`,
      'CONFIG SET maxmemory-policy noeviction, and in its configuration file too.',
    )
}

async function infoOf(node: Redis): Promise<ReadonlyMap<string, string>> {
  try {
    const text = await node.info()
    return new Map(
      text.split('\r\n').flatMap((line) => {
        const colon = line.indexOf(':')
        return colon < 0 ? [] : [[line.slice(0, colon), line.slice(colon + 1)] as const]
      }),
    )
  } catch (error) {
    throw onlineError(error)
  }
}

/** Managed services often forbid CONFIG; what INFO says is the same. */
async function evictionPolicy(node: Redis, info: ReadonlyMap<string, string>): Promise<string | undefined> {
  try {
    const reply: unknown = await node.config('GET', 'maxmemory-policy')
    if (Array.isArray(reply) && typeof reply[1] === 'string') return reply[1]
  } catch {
    // falls back to INFO
  }
  return info.get('maxmemory_policy')
}

export function isRecent(version: string): boolean {
  const [major = Number.NaN, minor = Number.NaN] = version.split('.').map(Number)
  return major > versionMin[0] || (major === versionMin[0] && minor >= versionMin[1])
}
