import { type Api } from './api.ts'

export interface ApiRange {
  readonly key: number
  readonly min: number
  readonly max: number
}

export interface ApiVersionsResponse {
  readonly code: number
  readonly apis: readonly ApiRange[]
}

/**
 * What the broker speaks. Version 0: every broker answers it, whatever its age, so it also tells whether a broker is there.
 *
 *     response   error i16 | array of: key i16, min i16, max i16
 */
export const apiVersions: Api<null, ApiVersionsResponse> = {
  name: 'ApiVersions',
  key: 18,
  version: 0,
  flexible: false,
  write() {},
  read: (reader) => ({
    code: reader.int16(),
    apis: reader.array((each) => ({ key: each.int16(), min: each.int16(), max: each.int16() })),
  }),
}
