/** What the simulation is worth: bugs that are planted in the code must be found, each within its number of seeds. */
import { expect, it } from 'vitest'
import { bugs } from './bugs.ts'
import { runBugs, type Caught } from './children.ts'

const seedsMax = 1_000

it('at least thirty bugs are known, under names of their own', () => {
  expect(bugs.length).toBeGreaterThanOrEqual(30)
  expect(new Set(bugs.map(({ name }) => name)).size).toBe(bugs.length)
})

it('every planted bug is caught', { timeout: 900_000 }, async () => {
  const all: Caught[] = []
  await runBugs(
    bugs.map(({ name }) => name),
    seedsMax,
    (caught) => all.push(caught),
  )
  expect(all.filter(({ seeds }) => seeds === null).map(({ bug }) => bug)).toEqual([])
  expect(all.map(({ bug }) => bug).sort()).toEqual(bugs.map(({ name }) => name).sort())
})
