/**
 * Connections kept by what was SET on them, because settings and parameters stick to a connection. What a statement
 * may have spoiled is thrown away: after an error (its entry lingers in system.processes), SET, USE, temporary tables.
 */
import type { EngineConnection } from './engine.ts'

export interface ConnectionNeeds {
  readonly database: string | null
  readonly settings: ReadonlyMap<string, string>
  /** As HTTP has them: escaped text, not literals. */
  readonly params: ReadonlyMap<string, string>
}

export interface PooledConnection {
  readonly connection: EngineConnection
  /** Its log_comment, by which a running statement is found and killed. */
  readonly mark: string
  /** Requests with equal keys can share it, one after the other. */
  readonly key: string
}

export interface PoolOptions {
  readonly connect: () => EngineConnection
  /** Settings of every connection, below those of a request. */
  readonly defaults: ReadonlyMap<string, string>
  /** Idle connections kept; the one idle for longest goes first. */
  readonly idleMax: number
}

const escapes: Readonly<Record<string, string>> = { '\\': '\\\\', "'": "\\'", '\n': '\\n', '\r': '\\r', '\0': '\\0' }
export const quoteSql = (text: string): string =>
  `'${text.replace(/[\\'\n\r\0]/g, (character) => escapes[character] as string)}'`
const quoteName = (name: string): string => `\`${name.replace(/[\\`]/g, '\\$&')}\``

const assignments = (values: ReadonlyMap<string, string>, prefix: string): string[] =>
  [...values].map(([name, value]) => `${quoteName(prefix + name)} = ${quoteSql(value)}`)

export class ConnectionPool {
  readonly #options: PoolOptions
  readonly #idle: PooledConnection[] = []
  #control: EngineConnection | null = null
  #opened = 0

  constructor(options: PoolOptions) {
    this.#options = options
  }

  /** Errors: the engine's, for a setting or a database that it does not know. */
  async acquire(needs: ConnectionNeeds): Promise<PooledConnection> {
    // Names of parameters belong to the key: a value left by another request must never answer for a missing one.
    const key = JSON.stringify([needs.database, [...needs.settings].sort(), [...needs.params.keys()].sort()])
    const index = this.#idle.findLastIndex((held) => held.key === key)
    const held = index === -1 ? await this.#open(key, needs) : (this.#idle.splice(index, 1)[0] as PooledConnection)
    try {
      const params = assignments(needs.params, 'param_')
      if (params.length > 0) await held.connection.query(`SET ${params.join(', ')}`, 'Null')
    } catch (error) {
      await held.connection.close()
      throw error
    }
    return held
  }

  async release(pooled: PooledConnection, reusable: boolean): Promise<void> {
    if (!reusable) return pooled.connection.close()
    this.#idle.push(pooled)
    if (this.#idle.length > this.#options.idleMax) await this.#idle.shift()?.connection.close()
  }

  /** Ends what runs on a connection. ASYNC, for SYNC never returns while the entry lingers. */
  async kill(pooled: PooledConnection): Promise<void> {
    this.#control ??= this.#options.connect()
    await this.#control.query(
      `KILL QUERY WHERE query_id IN (SELECT query_id FROM system.processes WHERE Settings['log_comment'] = ${quoteSql(pooled.mark)}) ASYNC`,
      'Null',
    )
  }

  async close(): Promise<void> {
    await Promise.all(this.#idle.splice(0).map((held) => held.connection.close()))
    await this.#control?.close()
  }

  async #open(key: string, needs: ConnectionNeeds): Promise<PooledConnection> {
    const connection = this.#options.connect()
    const mark = `c${++this.#opened}`
    const settings = new Map([...this.#options.defaults, ...needs.settings, ['log_comment', mark]])
    try {
      if (needs.database !== null) await connection.query(`USE ${quoteName(needs.database)}`, 'Null')
      await connection.query(`SET ${assignments(settings, '').join(', ')}`, 'Null')
    } catch (error) {
      await connection.close()
      throw error
    }
    return { connection, mark, key }
  }
}
