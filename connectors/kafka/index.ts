/** The EventLog port on Kafka (README.md). */
export { kafkajsOf, setKnownAt } from './admin.ts'
export { settingsOf } from './cluster.ts'
export { KafkajsLog, openKafkajsLog } from './kafkajs-log.ts'
export { KafkaEventLog, openKafkaLog } from './log.ts'
export { KafkaShardGroup, type ShardGroupOptions } from './shard-group.ts'
export { type KafkaOptions, type SaslMechanism, type SaslOptions, type TlsOptions } from './options.ts'
