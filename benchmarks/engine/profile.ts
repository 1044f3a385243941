/**
 * The ingest loop alone, for a profiler: `node --cpu-prof benchmarks/engine/profile.ts [ROUNDS] [NAME] [EVENTS]`. NAME is
 * calm, zipf, 1m-keys, disorder5, disorder30, store, which flushes to LMDB, or bare, which is the limit.
 */
import { collect, exposeCollector, timed } from '../harness.ts'
import { BareIngest } from '../limits/engine.ts'
import { makeDataset, type DatasetOptions } from './dataset.ts'
import { ingestAll, storeAll } from './ingest.ts'

const [rounds = '5', name = 'calm', size = '1000000'] = process.argv.slice(2)
const events = Number(size)
const entities = 50_000
const kinds: Readonly<Record<string, Omit<DatasetOptions, 'name' | 'events'>>> = {
  calm: { entities },
  store: { entities },
  bare: { entities },
  zipf: { entities, draw: { zipf: 1.1 } },
  '1m-keys': { entities: 1_000_000 },
  disorder5: { entities, setBack: 0.05 },
  disorder30: { entities, setBack: 0.3 },
}
const kind = kinds[name]
if (kind === undefined || !(Number(rounds) > 0) || !(events > 0)) {
  console.error(
    `usage: node --cpu-prof benchmarks/engine/profile.ts [ROUNDS] [${Object.keys(kinds).join('|')}] [EVENTS]`,
  )
  process.exit(2)
}
exposeCollector()
const dataset = makeDataset({ name, events, ...kind })
const bare =
  name === 'bare' ? new BareIngest(entities, 8 + (1.6 * events) / entities + 8 * Math.sqrt(events / entities)) : null
for (let round = 0; round < Number(rounds); round++) {
  bare?.reset()
  collect()
  const { result, seconds, cpuSeconds } = await timed(async () => {
    if (bare !== null) bare.run(dataset.log.bytes)
    else if (name === 'store') return (await storeAll(dataset, () => Promise.resolve())).flushes
    else ingestAll(dataset)
    return null
  })
  const flushed =
    result === null ? '' : `, ${result.flushes} flushes, ${(result.rows / events).toFixed(2)} rows an event`
  console.log(
    `${name}: ${Math.round(events / seconds).toLocaleString('en-US')} events/s, ` +
      `${((cpuSeconds / events) * 1e6).toFixed(3)} CPU-s per million${flushed}`,
  )
}
