import { execFile } from 'node:child_process'
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, describe, expect, it } from 'vitest'

const root = resolve(import.meta.dirname, '..', '..')
const folder = mkdtempSync(join(tmpdir(), 'tidemark-flights-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('the main job on three million flights', () => {
  it(
    'applies every event, serves what the log says, and a second run changes nothing',
    { timeout: 900_000 },
    async () => {
      copyFileSync(join(root, 'examples', 'flights', 'features.ts'), join(folder, 'features.ts'))
      const file = join(root, 'node_modules', 'vega-datasets', 'data', 'flights-3m.parquet')
      writeFileSync(
        join(folder, 'tidemark.config.ts'),
        `export default { demo: ${JSON.stringify({ stream: 'flights', file, model: 'delay_model' })} }\n`,
      )
      const run = async (): Promise<Record<string, unknown>> => {
        const command = [join(root, 'bin', 'tidemark.js'), 'demo', '--once', '--json', '--project', folder]
        const { stdout } = await promisify(execFile)(process.execPath, command, { maxBuffer: 2 ** 24 })
        return JSON.parse(stdout) as Record<string, unknown>
      }
      const first = await run()
      expect(first).toMatchObject({ events: 3_000_000, applied: 3_000_000, checked: 54_000, mismatched: 0 })
      const { honest, leaking } = first['auc'] as { readonly honest: number; readonly leaking: number }
      // Better than chance by far, and nowhere near what knowing the answer gives.
      expect(honest).toBeGreaterThan(0.7)
      expect(honest).toBeLessThan(0.8)
      expect(leaking).toBeGreaterThan(0.99)

      const second = await run()
      expect(second).toMatchObject({ events: 3_000_000, applied: 3_000_000, checked: 54_000, mismatched: 0 })
      expect(second['auc']).toEqual(first['auc'])
    },
  )
})
