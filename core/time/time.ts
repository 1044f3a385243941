import { FeatureStoreError } from '../errors.ts'

export const minuteMs = 60_000
export const hourMs = 60 * minuteMs
export const dayMs = 24 * hourMs

/** The first and last instants an event may carry: years 0001 to 9999; a sum with any window stays within the exact integers. */
export const earliestMs = -62_135_596_800_000
export const latestMs = 253_402_300_799_999

const zonedIso = /^([+-]?\d{4,6})-(\d{2})-(\d{2})[T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})$/i

/**
 * An instant, from epoch milliseconds or ISO 8601 with a zone. A local time has no instant and is refused.
 *
 * Units:  epoch milliseconds, UTC; a fraction of a millisecond is cut off downwards.
 * Errors: FS_TIME_INVALID (invalid).
 */
export function parseInstant(input: unknown, what: string): number {
  if (typeof input === 'number' && Number.isSafeInteger(input)) return input
  if (typeof input === 'bigint' && Number.isSafeInteger(Number(input))) return Number(input)
  if (typeof input === 'string') {
    const text = input.trim()
    if (/^[+-]?\d+$/.test(text) && Number.isSafeInteger(Number(text))) return Number(text)
    const [, year, month, day] = zonedIso.exec(text) ?? []
    // Date.parse rolls February 30 over into March.
    if (day !== undefined && Number(day) <= daysInMonth(Number(year), Number(month))) {
      const parsed = Date.parse(text.replace(' ', 'T').replace(/([+-]\d{2})(\d{2})$/, '$1:$2'))
      if (Number.isSafeInteger(parsed)) return parsed
    }
  }
  throw new FeatureStoreError('FS_TIME_INVALID', `${what}: ${JSON.stringify(String(input))} is not an instant`)
}

function daysInMonth(year: number, month: number): number {
  if (month === 2) return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31
}

export const formatInstant = (epochMs: number): string => new Date(epochMs).toISOString()
