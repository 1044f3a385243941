import { type Logger, type Random } from '../../core/ports/environment.ts'

export type SaslMechanism = 'plain' | 'scram-sha-256' | 'scram-sha-512'

export interface SaslOptions {
  readonly mechanism: SaslMechanism
  readonly username: string
  readonly password: string
}

/** PEM texts. An empty object is TLS with the authorities that Node trusts. */
export interface TlsOptions {
  readonly ca?: string
  readonly cert?: string
  readonly key?: string
  /** The name that the broker's certificate has to bear; default: the host that is connected to. */
  readonly servername?: string
}

export interface KafkaOptions {
  /** `host:port`, where to ask first; every broker of the cluster is found from any of them. */
  readonly brokers: readonly string[]
  readonly random: Random
  readonly logger?: Logger
  /** Under which brokers log us; default `tidemark`. */
  readonly clientId?: string
  /** Topic of stream s = prefix + s; default none. */
  readonly topicPrefix?: string
  readonly tls?: TlsOptions
  readonly sasl?: SaslOptions
  /** Of new topics; default: what the brokers say. */
  readonly replicationFactor?: number
  /** Milliseconds until a connection stands, TLS and SASL included; default 10,000. */
  readonly connectTimeoutMs?: number
  /** Milliseconds until a request is answered; default 30,000. */
  readonly requestTimeoutMs?: number
  /** Milliseconds that a call tries again while leaders move and brokers are away; default 15,000. */
  readonly retryMs?: number
  /** Longest response that is taken in, bytes; the largest record has to fit; default 128 MiB. */
  readonly responseBytesMax?: number
}

export interface Settings extends KafkaOptions {
  readonly logger: Logger
  readonly clientId: string
  readonly topicPrefix: string
  readonly connectTimeoutMs: number
  readonly requestTimeoutMs: number
  readonly retryMs: number
  readonly responseBytesMax: number
}
