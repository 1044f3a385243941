/**
 * What stands before the Avro record of a payload and says which schema wrote it. Two kinds, told apart by their first
 * byte; one stream may hold both:
 *
 *     single object   c3 01 │ fingerprint of the schema, u64 little-endian   │ record     (Avro specification)
 *     registry        00    │ the schema's id in a registry, u32 big-endian  │ record     (Confluent wire format)
 */
import { singleObjectBytes, singleObjectMagic } from './schema.ts'

/** Two words that name a writer schema, under one kind of framing. */
export interface Framing {
  readonly kind: 'single-object' | 'registry'
  /** Lower half of the fingerprint, or the id. */
  readonly low: number
  /** Upper half of the fingerprint, or 0. */
  readonly high: number
}

const registryMagic = 0
const registryBytes = 5
const registryRef = /^#(\d+)$/

export const framedBytes = ({ kind }: Framing): number => (kind === 'single-object' ? singleObjectBytes : registryBytes)

/** The framing of a value, null for one that has none of the two. */
export function framingOf(bytes: Uint8Array, view: DataView, start: number, end: number): Framing | null {
  const length = end - start
  if (length >= registryBytes && bytes[start] === registryMagic)
    return { kind: 'registry', low: view.getInt32(start + 1), high: 0 }
  if (length < singleObjectBytes || bytes[start] !== singleObjectMagic[0] || bytes[start + 1] !== singleObjectMagic[1])
    return null
  return { kind: 'single-object', low: view.getInt32(start + 2, true), high: view.getInt32(start + 6, true) }
}

/** Whether a value begins so. Makes nothing: it is asked for each record of writers that take turns. */
export function isFramedAs(
  { kind, low, high }: Framing,
  bytes: Uint8Array,
  view: DataView,
  start: number,
  end: number,
): boolean {
  if (kind === 'registry')
    return end - start >= registryBytes && bytes[start] === registryMagic && view.getInt32(start + 1) === low
  return (
    end - start >= singleObjectBytes &&
    bytes[start] === singleObjectMagic[0] &&
    bytes[start + 1] === singleObjectMagic[1] &&
    view.getInt32(start + 2, true) === low &&
    view.getInt32(start + 6, true) === high
  )
}

/** Source of the test whether the bytes at p begin otherwise; it reads B (bytes) and V (their view). */
export const differsSource = ({ kind, low, high }: Framing): string =>
  kind === 'registry'
    ? `B[p] !== ${registryMagic} || V.getInt32(p + 1) !== ${low | 0}`
    : `B[p] !== ${singleObjectMagic[0]} || B[p + 1] !== ${singleObjectMagic[1]} || V.getInt32(p + 2, true) !== ${low | 0} || V.getInt32(p + 6, true) !== ${high | 0}`

/** How a schema is asked for: 16 hex digits of a fingerprint, or `#` and the id in the registry. */
export const schemaRef = ({ kind, low, high }: Framing): string =>
  kind === 'registry' ? `#${low >>> 0}` : hexOf(high) + hexOf(low)

/** The registry's id in a reference, null for a fingerprint. */
export function registryIdOf(ref: string): number | null {
  const id = registryRef.exec(ref)?.[1]
  return id === undefined ? null : Number(id)
}

const hexOf = (half: number): string => (half >>> 0).toString(16).padStart(8, '0')
