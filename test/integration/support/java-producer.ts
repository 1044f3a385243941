/** The Java client as a child process that does what it is told (Produce.java). */
import { type ChildProcessByStdio, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { findKafka } from '../../../scripts/services/kafka.ts'
import { Problem } from '../../../scripts/services/problem.ts'
import { settingsOf } from '../../../scripts/services/settings.ts'

export type Compression = 'none' | 'gzip' | 'snappy' | 'lz4' | 'zstd'

export interface Sent {
  readonly topic: string
  readonly partition: number
  readonly key: Uint8Array | null
  readonly value: Uint8Array | null
  readonly timestampMs: number | null
  readonly headers: number
}

export class JavaProducer implements AsyncDisposable {
  private readonly child: ChildProcessByStdio<Writable, Readable, null>
  private readonly answers: AsyncIterator<string>

  private constructor(child: ChildProcessByStdio<Writable, Readable, null>) {
    this.child = child
    this.answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  }

  /** Why the source cannot be compiled with the broker's Java, null where it can: a JRE, which is all that a broker needs. */
  static async missing(): Promise<string | null> {
    const files = await findKafka(settingsOf().folder)
    if (files instanceof Problem) return null
    const { java } = files
    const env = { ...process.env, ...java.env }
    const { stdout } = spawnSync(java.program, ['--list-modules'], { encoding: 'utf8', env })
    return stdout.includes('jdk.compiler')
      ? null
      : `${java.program} has no compiler: install a JDK (default-jdk-headless)`
  }

  /** With the broker's own Java and jars. The source is compiled on the way: that takes a JDK. */
  static async start(brokers: readonly string[]): Promise<JavaProducer> {
    const files = await findKafka(settingsOf().folder)
    if (files instanceof Problem) throw files
    const { java, home } = files
    const source = join(import.meta.dirname, 'Produce.java')
    const libs = join(home, 'libs', '*')
    const args = ['-Xmx256m', '-XX:TieredStopAtLevel=1', '-cp', libs, source, brokers.join(',')]
    const env = { ...process.env, ...java.env }
    return new JavaProducer(spawn(java.program, args, { stdio: ['pipe', 'pipe', 'ignore'], env }))
  }

  open(id: string, transactionalId: string | null, compression: Compression): void {
    this.tell(`open ${id} ${transactionalId ?? '-'} ${compression}`)
  }

  send(id: string, { topic, partition, key, value, timestampMs, headers }: Sent): void {
    this.tell(`send ${id} ${topic} ${partition} ${hex(key)} ${hex(value)} ${timestampMs ?? '-'} ${headers}`)
  }

  tell(line: string): void {
    this.child.stdin.write(`${line}\n`)
  }

  /** When everything told before is done. Errors: Error with the first thing that failed. */
  async sync(): Promise<void> {
    this.tell('sync')
    const { value } = await this.answers.next()
    if (value !== 'ok') throw new Error(`the Java producer: ${String(value)}`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.child.exitCode !== null) return
    const exited = once(this.child, 'exit')
    this.child.kill('SIGKILL')
    await exited
  }
}

const hex = (bytes: Uint8Array | null): string => (bytes === null ? '-' : `x${Buffer.from(bytes).toString('hex')}`)
