import { type Api } from './api.ts'

export interface SaslHandshakeResponse {
  readonly code: number
  readonly mechanisms: readonly string[]
}

/** SaslHandshake v1: the mechanism that the SaslAuthenticate requests after it speak. */
export const saslHandshake: Api<string, SaslHandshakeResponse> = {
  name: 'SaslHandshake',
  key: 17,
  version: 1,
  flexible: false,
  write: (writer, mechanism) => void writer.string(mechanism),
  read: (reader) => ({ code: reader.int16(), mechanisms: reader.array((each) => each.string() ?? '') }),
}

export interface SaslAuthenticateResponse {
  readonly code: number
  readonly message: string | null
  readonly bytes: Uint8Array
  /** After this the broker wants to be told again who we are (KIP-368); 0 for never. */
  readonly lifetimeMs: number
}

/** SaslAuthenticate v1: one step of the mechanism's dialogue. */
export const saslAuthenticate: Api<Uint8Array, SaslAuthenticateResponse> = {
  name: 'SaslAuthenticate',
  key: 36,
  version: 1,
  flexible: false,
  write: (writer, bytes) => void writer.bytes32(bytes),
  read: (reader) => ({
    code: reader.int16(),
    message: reader.string(),
    bytes: reader.nullableBytes() ?? new Uint8Array(0),
    lifetimeMs: reader.int64(),
  }),
}
