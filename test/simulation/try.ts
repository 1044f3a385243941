import { runSeed } from './simulation.ts'
const from = Number(process.argv[2] ?? 1), n = Number(process.argv[3] ?? 5), verbose = process.argv[4] === 'v'
const t = performance.now()
let bad = 0, steps = 0, slow = 0
const kinds = new Map<string, number[]>()
for (let seed = from; seed < from + n; seed++) {
  const t0 = performance.now()
  const r = await runSeed(seed)
  slow = Math.max(slow, performance.now() - t0)
  steps += r.steps
  const { trace, ...rest } = r
  if (verbose) console.log(JSON.stringify(rest).slice(0, 900))
  if (r.finding !== null) {
    bad++
    const kind = r.finding.replace(/\d+/g, '#').slice(0, 60)
    kinds.set(kind, [...(kinds.get(kind) ?? []), seed])
    if (kinds.get(kind)!.length <= 2) console.log(seed, r.finding.slice(0, 700))
  }
  if (r.finding !== null && verbose) console.log(trace.join('\n'))
}
console.log([...kinds].map(([k, s]) => `${s.length} ${k} ${s.slice(0, 8)}`).join('\n'))
console.log(bad, 'bad', (performance.now() - t) / n, 'ms a seed', process.cpuUsage().user / 1000 / n, 'steps', steps / n, 'slowest', slow)
