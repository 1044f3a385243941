import fc from 'fast-check'

/** Doubles of every kind that breaks sums: subnormals, both ends of the range, ties, plain amounts and integers. */
export const wideDouble: fc.Arbitrary<number> = fc.oneof(
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.double({ noNaN: true, min: -1e6, max: 1e6 }),
  fc.integer().map((cents) => cents / 100),
  fc.integer(),
  fc.constantFrom(1e300, -1e300, 1e-300, -1e-300, 5e-324, -5e-324, 2 ** -1022, 2 ** 53, 1, -1, 0.1, 0, -0),
  fc.constantFrom(2 ** -480, 2 ** -481, 2 ** 500, 2 ** 501, 1.7976931348623157e308, -1.7976931348623157e308),
)

/** Values of which many cancel: each may be followed, anywhere, by its negative. */
export const wideDoubles: fc.Arbitrary<number[]> = fc
  .array(fc.tuple(wideDouble, fc.boolean()), { maxLength: 40 })
  .map((pairs) => pairs.flatMap(([value, cancels]) => (cancels ? [value, -value] : [value])))
  .chain((values) => fc.shuffledSubarray(values, { minLength: values.length, maxLength: values.length }))
