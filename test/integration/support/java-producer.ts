/** The Java client as a child process that does what it is told (Produce.java). */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { libs } from './kafka.ts'

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
  private readonly child
  private readonly answers

  constructor(brokers: readonly string[]) {
    const source = join(import.meta.dirname, 'Produce.java')
    const args = ['-Xmx256m', '-XX:TieredStopAtLevel=1', '-cp', `${libs}/*`, source, brokers.join(',')]
    this.child = spawn('java', args, { stdio: ['pipe', 'pipe', 'ignore'] })
    this.answers = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]()
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
