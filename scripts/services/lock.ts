/** One command at a time changes a cache folder: two that installed or started at once would spoil each other's work. */
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Say } from './debian.ts'
import { Problem } from './problem.ts'
import { identityOf, isAlive, type Started } from './process.ts'

const waitMsMax = 600_000

export async function withLock<T>(folder: string, say: Say, work: () => Promise<T>, waitMs = waitMsMax): Promise<T> {
  mkdirSync(folder, { recursive: true })
  const file = join(folder, 'lock')
  const end = performance.now() + waitMs
  for (let told = false; !tryLock(file); told = true) {
    const holder = holderOf(file)
    if (performance.now() >= end)
      throw new Problem(`process ${holder?.pid ?? '?'} has been changing ${folder} for long`, 'end it, then try again')
    if (!told) say(`waiting for process ${holder?.pid ?? '?'}, which is changing ${folder}`)
    await sleep(200)
  }
  try {
    return await work()
  } finally {
    rmSync(file, { force: true })
  }
}

/** The file appears with its content in it, by a link; a lock of a process that is gone is taken away first. */
function tryLock(file: string): boolean {
  const holder = holderOf(file)
  if (holder !== null && isAlive(holder)) return false
  if (holder !== null) rmSync(file, { force: true })
  const own = `${file}.${process.pid}`
  writeFileSync(own, JSON.stringify({ pid: process.pid, identity: identityOf(process.pid) }))
  try {
    linkSync(own, file)
    return true
  } catch {
    return false
  } finally {
    rmSync(own, { force: true })
  }
}

function holderOf(file: string): Started | null {
  try {
    const { pid, identity } = JSON.parse(readFileSync(file, 'utf8')) as Started
    return { pid, identity }
  } catch {
    return null
  }
}
