import type { Readable } from 'node:stream'

/**
 * The lines of a stream, as far as they are asked for; the stream's errors are thrown. (Not readline: it begins to read
 * when it is made, and what it has read before somebody listens is lost.)
 */
export async function* linesOf(input: Readable): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  let rest = ''
  // Left open when the caller stops early: an HTTP request that is destroyed cannot be answered any more.
  for await (const chunk of input.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n')
    rest = lines.pop() ?? ''
    yield* lines
  }
  rest += decoder.decode()
  if (rest !== '') yield rest
}
