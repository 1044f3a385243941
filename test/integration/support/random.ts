import { randomBytes } from 'node:crypto'

export const random = { bytes: (length: number): Uint8Array => randomBytes(length) }
