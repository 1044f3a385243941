/** What `tidemark.config.ts` exports: numbers and names. Parsed and checked by the command line; everything has a default. */
export interface ProjectConfig {
  /** Definition files, relative to the project folder. Default: ['features.ts']. */
  readonly definitions?: readonly string[]
  /** Folder of the embedded log and stores. Default: '.tidemark'. */
  readonly dataFolder?: string
  readonly log?: { readonly kind?: 'embedded'; readonly fsync?: 'always' | 'interval' | 'never' }
  readonly online?: { readonly kind?: 'embedded'; readonly shards?: number; readonly historyMs?: number }
  readonly offline?: { readonly kind?: 'embedded' }
  readonly worker?: { readonly memoryMb?: number; readonly flushMs?: number; readonly pollMs?: number }
  readonly serving?: {
    readonly host?: string
    readonly port?: number
    readonly rowsMax?: number
    readonly cacheMb?: number
    readonly arenaMb?: number
  }
  /** For the `demo` command: what to import first. */
  readonly demo?: { readonly stream: string; readonly file: string; readonly model: string }
}

export const defineConfig = (config: ProjectConfig): ProjectConfig => config
