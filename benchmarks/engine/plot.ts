/**
 * `node benchmarks/engine/plot.ts LINES`: draws the lines engine/growth-* of a full run (the output of --json, a file) into
 * benchmarks/figures/engine-growth.svg.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import type { Line } from '../harness.ts'

const target = resolve(import.meta.dirname, '../figures/engine-growth.svg')
const columns = ['windows', 'features', 'entities'] as const
const rows = [
  { title: 'ingest, million events/s', suffix: '', of: (line: Line) => line.value / 1e6 },
  { title: 'ingest, CPU-s per million', suffix: '', of: (line: Line) => line.cpuSecondsPerMillion ?? 0 },
  { title: 'finish one entity, µs', suffix: '-finish', of: (line: Line) => line.value },
] as const
const panel = { width: 240, height: 130, left: 56, top: 34, gap: 36 }

const [file] = process.argv.slice(2)
if (file === undefined) {
  console.error('usage: node benchmarks/engine/plot.ts LINES')
  process.exit(2)
}
const lines = readFileSync(file, 'utf8')
  .split('\n')
  .filter((text) => text.startsWith('{'))
  .map((text) => JSON.parse(text) as Line)

interface Spot {
  readonly x: number
  readonly y: number
}

function spotsOf(column: string, row: (typeof rows)[number]): Spot[] {
  const pattern = new RegExp(`^engine/growth-${column}-(\\d+)${row.suffix}$`)
  return lines
    .flatMap((line): Spot[] => {
      const match = pattern.exec(line.bench)
      return match === null ? [] : [{ x: Number(match[1]), y: row.of(line) }]
    })
    .sort((a, b) => a.x - b.x)
}

/** The next of 1, 2, 5, 10, 20, ... */
function roundUp(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value))
  return ([1, 2, 5, 10].find((step) => step * power >= value) ?? 10) * power
}

const plain = (value: number): string =>
  value >= 1e6 ? `${value / 1e6} M` : value >= 1e4 ? `${value / 1e3} k` : String(Number(value.toPrecision(3)))

const text = (x: number, y: number, anchor: string, what: string, more = ''): string =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}"${more}>${what}</text>`

/** One curve; the horizontal axis is logarithmic, the vertical one begins at 0. */
function drawPanel(spots: readonly Spot[], left: number, top: number): string[] {
  const [least, most] = [spots[0] as Spot, spots.at(-1) as Spot]
  const high = roundUp(Math.max(...spots.map(({ y }) => y)))
  const across = Math.log(most.x / least.x) || 1
  const at = ({ x, y }: Spot): { readonly x: number; readonly y: number } => ({
    x: left + 10 + (Math.log(x / least.x) / across) * (panel.width - 20),
    y: top + panel.height - (y / high) * panel.height,
  })
  const marks = spots.map(at)
  return [
    ...[0, 0.5, 1].flatMap((share) => {
      const y = top + panel.height * (1 - share)
      return [
        `<line x1="${left}" y1="${y}" x2="${left + panel.width}" y2="${y}" class="grid"/>`,
        text(left - 6, y + 4, 'end', plain(high * share)),
      ]
    }),
    `<polyline class="curve" points="${marks.map(({ x, y }) => `${x.toFixed(1)},${y.toFixed(1)}`).join(' ')}"/>`,
    ...marks.flatMap(({ x, y }, index) => [
      `<circle class="mark" cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="3"/>`,
      text(x, y - 7, 'middle', plain((spots[index] as Spot).y), ' class="value"'),
      text(x, top + panel.height + 15, 'middle', plain((spots[index] as Spot).x)),
    ]),
  ]
}

const stepX = panel.width + panel.left + panel.gap
const stepY = panel.height + panel.top + 44
const width = columns.length * stepX + 10
const height = rows.length * stepY + 20
const drawn = rows.flatMap((row, down) =>
  columns.flatMap((column, right) => {
    const spots = spotsOf(column, row)
    const left = right * stepX + panel.left
    const top = down * stepY + panel.top
    const title = text(left, top - 14, 'start', `${row.title}, by ${column}`, ' class="title"')
    return spots.length === 0
      ? [title, text(left, top + 20, 'start', 'not measured')]
      : [title, ...drawPanel(spots, left, top)]
  }),
)
const svg = [
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="11">`,
  '<title>How the cost of the engine grows with windows, features and entities</title>',
  '<style>text{fill:#444}.title{font-weight:bold;fill:#111}.value{font-size:10px;fill:#0b5cad}.grid{stroke:#ddd}.curve{fill:none;stroke:#0b5cad;stroke-width:2}.mark{fill:#0b5cad}</style>',
  `<rect width="${width}" height="${height}" fill="#fff"/>`,
  ...drawn,
  '</svg>',
  '',
]
mkdirSync(dirname(target), { recursive: true })
writeFileSync(target, svg.join('\n'))
console.log(`drew ${lines.filter(({ bench }) => bench.startsWith('engine/growth-')).length} lines into ${target}`)
