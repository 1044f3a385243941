import { defineConfig } from 'tidemark'

export default defineConfig({
  definitions: ['features.ts'],
  demo: { stream: 'flights', file: '../../node_modules/vega-datasets/data/flights-3m.parquet', model: 'delay_model' },
})
