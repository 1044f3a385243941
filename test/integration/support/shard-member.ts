/**
 * A member of a shard group in a process of its own, for what cannot be done to ours: SIGKILL and SIGSTOP.
 *
 *     node shard-member.ts '{"brokers":[…],"groupId":…,"topic":…,"shards":…,"sessionTimeoutMs":…}'
 *
 * Prints a line of JSON for each thing that its listener is told: {"told":"assigned","shards":[…]}. Ends with its stdin.
 */
import { kafkajsOf, settingsOf } from '../../../connectors/kafka/index.ts'
import { KafkaShardGroup } from '../../../connectors/kafka/shard-group.ts'
import { silentLogger } from '../../../core/ports/environment.ts'
import { random } from './random.ts'

export interface MemberOptions {
  readonly brokers: readonly string[]
  readonly groupId: string
  readonly topic: string
  readonly shards: number
  readonly sessionTimeoutMs: number
}

export interface Told {
  readonly told: 'assigned' | 'revoked'
  readonly shards: readonly number[]
}

export const groupOf = ({ brokers, ...options }: MemberOptions, logger = silentLogger): KafkaShardGroup =>
  new KafkaShardGroup({ ...options, kafka: kafkajsOf(settingsOf({ brokers, random })), logger })

if (import.meta.main) {
  const options = JSON.parse(process.argv[2] ?? '') as MemberOptions
  const say = async (told: Told['told'], shards: readonly number[]): Promise<void> => {
    process.stdout.write(`${JSON.stringify({ told, shards } satisfies Told)}\n`)
  }
  process.stdin.on('end', () => process.exit()).resume()
  await groupOf(options).join({
    assigned: (shards) => say('assigned', shards),
    revoked: (shards) => say('revoked', shards),
  })
}
