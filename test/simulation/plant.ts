import { registerHooks } from 'node:module'
import { fileURLToPath } from 'node:url'
import type { Change } from './bugs.ts'

const root = new URL('../../', import.meta.url)

/**
 * From now on, files that are loaded have other text in place of exact snippets, in order. Nothing of the product may be
 * loaded before.
 *
 * Errors: loading fails where the snippet is not found exactly once, so that a bug that the code has outgrown is seen.
 */
export function plant(changes: readonly Change[]): { readonly isPlanted: () => boolean } {
  const left = new Map<string, Change[]>()
  for (const change of changes) left.set(change.file, [...(left.get(change.file) ?? []), change])
  registerHooks({
    load(url, context, next) {
      const loaded = next(url, context)
      if (!url.startsWith(root.href)) return loaded
      const file = fileURLToPath(url).slice(fileURLToPath(root).length)
      const own = left.get(file)
      if (own === undefined) return loaded
      left.delete(file)
      let source = String(loaded.source)
      for (const { find, replace } of own) {
        const found = source.split(find).length - 1
        if (found !== 1) throw new Error(`found ${found} times in ${file}: ${find}`)
        source = source.replace(find, () => replace)
      }
      return { ...loaded, source }
    },
  })
  return { isPlanted: () => left.size === 0 }
}
