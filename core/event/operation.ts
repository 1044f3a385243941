/**
 * What a record does. A stream with an `id` takes `insert` and `retract`; a changelog takes `upsert` and `delete`, by
 * primary key; any other stream takes `insert` alone.
 */
export const Op = { insert: 0, retract: 1, upsert: 2, delete: 3 } as const
export type OpName = keyof typeof Op
export type OpCode = (typeof Op)[OpName]

export const opNames = Object.keys(Op) as readonly OpName[]
