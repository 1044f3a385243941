export {
  type CallOptions,
  type ClickHouseClient,
  type ClickHouseClientOptions,
  type ClickHouseEndpoint,
  type NativeInsert,
  openClickHouseClient,
  type QueryParams,
  type Settings,
} from './client.ts'
export { openFeatureHistoryStore } from './feature-history-store.ts'
export {
  type ClickHouseOfflineStore,
  insertRowsMax,
  type OfflineStoreOptions,
  openOfflineStore,
  type PrepareReport,
} from './offline-store.ts'
