/** What a project imports: `import { stream, view, count } from 'tidemark'`. */
export { bool, decimal, float64, int32, int64, nullable, string, timestamp } from './core/definition/fields.ts'
export {
  approxDistinctCount,
  count,
  days,
  distinctCount,
  first,
  hours,
  last,
  lastN,
  max,
  mean,
  min,
  minutes,
  quantile,
  rows,
  seconds,
  series,
  session,
  share,
  stddev,
  sum,
  topN,
  tumbling,
  variance,
} from './core/definition/functions.ts'
export { every, everyEvent, none } from './core/definition/history.ts'
export { entity, stream } from './core/definition/stream.ts'
export { view } from './core/definition/view.ts'
export { model, service } from './core/definition/service.ts'
export { defineConfig } from './core/definition/config.ts'
export { FeatureStoreError } from './core/errors.ts'
