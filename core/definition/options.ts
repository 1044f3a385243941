import { FeatureStoreError, notYet } from '../errors.ts'

/**
 * Refuses what a builder would otherwise pass over in silence: types are stripped at load, not checked.
 *
 * Errors: FS_NOT_YET for an option of `later`, FS_DEFINITION_INVALID for one that is not `known` either.
 */
export function checkOptions(
  owner: string,
  options: object,
  known: readonly string[],
  later: readonly string[] = [],
): void {
  for (const option of Object.keys(options)) {
    if (later.includes(option)) throw notYet(`${owner}: ${option}`)
    if (!known.includes(option))
      throw new FeatureStoreError(
        'FS_DEFINITION_INVALID',
        `${owner} has no option ${option}; the options are ${known.join(', ')}`,
      )
  }
}

/** `names`, and a readable error where plain JavaScript asks for another one. */
export function strictScope<T extends object>(owner: string, what: string, names: T): T {
  return new Proxy(names, {
    get(target, name, receiver): unknown {
      if (typeof name === 'symbol' || Object.hasOwn(target, name)) return Reflect.get(target, name, receiver)
      throw new FeatureStoreError(
        'FS_DEFINITION_INVALID',
        `${owner} has no ${what} ${name}; it has ${Object.keys(target).join(', ') || 'none'}`,
      )
    },
  })
}
