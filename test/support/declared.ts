/** The fields of the generated histories (history.ts), as a project declares them. */
import { bool, decimal, float64, int32, int64, nullable, string, timestamp } from '../../core/definition/fields.ts'

export const declared = {
  at: timestamp(),
  who: string(),
  region: int32(),
  i: nullable(int32()),
  b: nullable(int64()),
  f: nullable(float64({ allowNonFinite: true })),
  s: nullable(string()),
  ok: nullable(bool()),
  d: nullable(decimal(18, 2)),
}

/** Those of a stream whose records correct others: by `id`, or as a changelog by `id` and `line`. */
export const declaredCorrected = { id: string(), line: int32(), ...declared }
