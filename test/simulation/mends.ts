/**
 * Bugs of the product that the simulation has found and that are not mended yet: mended here, in every process that runs
 * seeds, so that what lies behind them can be found as well. The list is empty when all is well; a mend that the code has
 * outgrown fails loudly.
 */
import type { Change } from './bugs.ts'

export const mends: readonly Change[] = []
