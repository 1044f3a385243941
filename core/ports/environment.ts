/** Wall time, epoch milliseconds. Core never reads it: it arrives as a parameter. */
export interface Clock {
  nowMs(): number
}

export interface Random {
  /** Random bytes, for nonces and ids. */
  bytes(length: number): Uint8Array
}

/** Structured: a stable event name and fields. Feature values and entity keys stay out. */
export interface Logger {
  debug(event: string, fields?: Readonly<Record<string, unknown>>): void
  info(event: string, fields?: Readonly<Record<string, unknown>>): void
  warn(event: string, fields?: Readonly<Record<string, unknown>>): void
  error(event: string, fields?: Readonly<Record<string, unknown>>): void
}

export const silentLogger: Logger = { debug() {}, info() {}, warn() {}, error() {} }
