import { type AvroNode, type AvroType, fullName, primitives } from './schema.ts'

/** Where the value that begins at `at` ends, or -1 when it is no such value or runs beyond `end`. */
export type Skipper = (bytes: Uint8Array, at: number, end: number, depth: number) => number

/** Values nested deeper than this are taken for broken: the stack is finite. */
const valueDepthMax = 256

/** Named types of one schema, as far as they are known, by full name. */
export type NamedTypes = Map<string, { readonly node: AvroNode; readonly namespace: string }>

export function namedTypes(schema: AvroType, namespace = '', known: NamedTypes = new Map()): NamedTypes {
  if (typeof schema === 'string') return known
  if (Array.isArray(schema)) {
    for (const branch of schema as readonly AvroType[]) namedTypes(branch, namespace, known)
    return known
  }
  const node = schema as AvroNode
  let inner = namespace
  if (node.name !== undefined) {
    const name = fullName(node.name, node.namespace ?? namespace)
    known.set(name, { node, namespace: node.namespace ?? namespace })
    inner = name.includes('.') ? name.slice(0, name.lastIndexOf('.')) : ''
  }
  for (const field of node.fields ?? []) namedTypes(field.type, inner, known)
  if (typeof node.type !== 'string') namedTypes(node.type, inner, known)
  if (node.items !== undefined) namedTypes(node.items, inner, known)
  if (node.values !== undefined) namedTypes(node.values, inner, known)
  return known
}

/** Walks values of a type without making them: for what a writer has and the stream has not. */
export function compileSkipper(type: AvroType, namespace: string, known: NamedTypes): Skipper {
  return new SkipperCompiler(known).compile(type, namespace)
}

class SkipperCompiler {
  private readonly known: NamedTypes
  private readonly made = new Map<string, { skip: Skipper }>()

  constructor(known: NamedTypes) {
    this.known = known
  }

  compile(type: AvroType, namespace: string): Skipper {
    if (typeof type === 'string') return primitives.has(type) ? primitive(type) : this.named(fullName(type, namespace))
    if (Array.isArray(type)) return union(type.map((branch) => this.compile(branch as AvroType, namespace)))
    const node = type as AvroNode
    if (node.name !== undefined) return this.named(fullName(node.name, node.namespace ?? namespace))
    if (node.type === 'array') return blocks(this.compile(node.items as AvroType, namespace))
    if (node.type === 'map') return blocks(sequence([skipBytes, this.compile(node.values as AvroType, namespace)]))
    return this.compile(node.type, namespace)
  }

  /** A type may contain itself, so it is entered before its parts are made. */
  private named(name: string): Skipper {
    const already = this.made.get(name)
    if (already !== undefined)
      return (bytes, at, end, depth) => (depth > valueDepthMax ? -1 : already.skip(bytes, at, end, depth + 1))
    const entry = { skip: never }
    this.made.set(name, entry)
    const found = this.known.get(name)
    if (found === undefined) return never
    const { node } = found
    const inner = name.includes('.') ? name.slice(0, name.lastIndexOf('.')) : ''
    if (node.type === 'enum') entry.skip = skipVarint
    else if (node.type === 'fixed') entry.skip = fixed(node.size ?? 0)
    else entry.skip = sequence((node.fields ?? []).map((field) => this.compile(field.type, inner)))
    return entry.skip
  }
}

function primitive(type: string): Skipper {
  switch (type) {
    case 'null':
      return fixed(0)
    case 'boolean':
      return fixed(1)
    case 'float':
      return fixed(4)
    case 'double':
      return fixed(8)
    case 'int':
    case 'long':
      return skipVarint
    default:
      return skipBytes
  }
}

const never: Skipper = () => -1

const fixed =
  (size: number): Skipper =>
  (_bytes, at, end) =>
    at + size <= end ? at + size : -1

const skipVarint: Skipper = (bytes, at, end) => {
  const last = Math.min(end, at + 10)
  for (let next = at; next < last; next++) if ((bytes[next] as number) < 128) return next + 1
  return -1
}

const skipBytes: Skipper = (bytes, at, end) => {
  const start = skipVarint(bytes, at, end, 0)
  if (start < 0) return -1
  const length = varint(bytes, at)
  return length >= 0 && start + length <= end ? start + length : -1
}

const sequence =
  (parts: readonly Skipper[]): Skipper =>
  (bytes, at, end, depth) => {
    let next = at
    for (const part of parts) {
      next = part(bytes, next, end, depth)
      if (next < 0) return -1
    }
    return next
  }

const union =
  (branches: readonly Skipper[]): Skipper =>
  (bytes, at, end, depth) => {
    const start = skipVarint(bytes, at, end, 0)
    const branch = start < 0 ? undefined : branches[varint(bytes, at)]
    return branch === undefined ? -1 : branch(bytes, start, end, depth)
  }

/** Arrays and maps: blocks of a count and as many items, ended by a count of 0; a negative count has a byte size behind it. */
const blocks =
  (item: Skipper): Skipper =>
  (bytes, from, end, depth) => {
    let at = from
    for (;;) {
      const start = skipVarint(bytes, at, end, 0)
      if (start < 0) return -1
      const count = varint(bytes, at)
      at = start
      if (count === 0) return at
      if (count < 0) {
        at = skipVarint(bytes, at, end, 0)
        if (at < 0) return -1
      }
      for (let left = Math.abs(count); left > 0; left--) {
        const next = item(bytes, at, end, depth + 1)
        if (next < 0) return -1
        // Items of no bytes: however many there are, nothing follows from them.
        if (next === at) break
        at = next
      }
    }
  }

/** The value of a whole varint; a number, so beyond 2^53 only near. */
function varint(bytes: Uint8Array, at: number): number {
  let value = 0
  let scale = 1
  for (let next = at; ; next++) {
    const byte = bytes[next] as number
    value += (byte & 0x7f) * scale
    if (byte < 128) break
    scale *= 128
  }
  return value % 2 === 0 ? value / 2 : -(value + 1) / 2
}
