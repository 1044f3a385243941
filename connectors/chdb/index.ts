export { type ClickHouseEndpoint, type EmbeddedClickHouse, type EmbeddedClickHouseOptions } from './supervise.ts'
export { openEmbeddedClickHouse } from './supervise.ts'
