/** What keeps a server from being there, in one line, and what the reader can do about it. */
export class Problem extends Error {
  readonly remedy: string

  constructor(message: string, remedy: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'Problem'
    this.remedy = remedy
  }
}

export const textOf = (error: unknown): string =>
  error instanceof Problem
    ? `${error.message}\n  what to do: ${error.remedy}`
    : error instanceof Error
      ? error.message
      : String(error)
