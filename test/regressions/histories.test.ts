/** Histories that once gave a wrong value, a wrong row or no answer (README.md), replayed from their files. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { difference, expectedOf, fromJson, type Expected, type HistoryCase } from '../core/engine/history-cases.ts'

const folder = join(import.meta.dirname, 'histories')

it.each(readdirSync(folder).filter((name) => name.endsWith('.json')))('%s', (name) => {
  const { about, expected, ...history } = fromJson(readFileSync(join(folder, name), 'utf8')) as HistoryCase & {
    readonly about: string
    readonly expected: readonly Expected[]
  }
  expect(about).not.toBe('')
  expect(expectedOf(history)).toEqual(expected)
  expect(difference(history)).toBeNull()
})
