/** The engine's errors as HTTP has them. Source: ClickHouse `Server/HTTP/exceptionCodeToHTTPStatus.cpp`. */
export interface EngineError {
  readonly code: number
  readonly status: number
  readonly message: string
}

const statuses: Readonly<Record<number, readonly number[]>> = {
  400: [6, 26, 27, 38, 41, 53, 62, 69, 72, 117, 131, 280, 321, 386, 457],
  403: [192, 193, 497, 516],
  404: [16, 46, 47, 50, 60, 73, 81, 115, 390],
  408: [159],
  413: [307],
  501: [48],
  503: [202, 439],
  507: [243],
}
const statusOf = new Map(
  Object.entries(statuses).flatMap(([status, codes]) => codes.map((code) => [code, Number(status)] as const)),
)

/** An error of our own, worded as the engine words its errors, so that every client can read it. */
export class FrontError extends Error {
  readonly error: EngineError

  constructor(code: number, name: string, message: string) {
    super(message)
    this.error = {
      code,
      status: statusOf.get(code) ?? 500,
      message: `Code: ${code}. DB::Exception: ${message}. (${name})`,
    }
  }
}

export function engineError(cause: unknown): EngineError {
  if (cause instanceof FrontError) return cause.error
  const message = cause instanceof Error ? cause.message : String(cause)
  const code = Number(/Code: (\d+)/.exec(message)?.[1] ?? 1001)
  const text = message.includes('DB::Exception') ? message : `Code: ${code}. DB::Exception: ${message}. (STD_EXCEPTION)`
  return { code, status: statusOf.get(code) ?? 500, message: text.replace(/^Query failed: /, '') }
}
