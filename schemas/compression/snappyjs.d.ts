/** The package has no types; this is the one function that snappy.ts takes from it. */
declare module 'snappyjs' {
  /** Errors: Error when the block is damaged or announces more than `maxLength` bytes. */
  export function uncompress(compressed: Uint8Array, maxLength?: number): Uint8Array
}
