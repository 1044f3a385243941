import { scalarText, type FieldType } from '../event/types.ts'
import type { ArithmeticOp, ComparisonOp, Expression } from '../expression/expression.ts'
import { historyStepOf } from './history.ts'
import type { FeatureDefinition, ViewDefinition, WindowDefinition } from './types.ts'

/** Definitions as people write them, for plans, listings and explanations. Texts may change: nothing parses them. */

const units = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1_000],
] as const

/** A length of time in the largest unit that divides it: 3,600,000 is `1h`, 5,400,000 `90m`, 1,500 `1500ms`. */
export function durationText(ms: number): string {
  for (const [unit, unitMs] of units) if (ms !== 0 && ms % unitMs === 0) return `${ms / unitMs}${unit}`
  return `${ms}ms`
}

/** `every 15m`, `every event`, `none`. */
export function historyText(view: Pick<ViewDefinition, 'history'>): string {
  const stepMs = historyStepOf(view)
  return stepMs === null ? 'none' : stepMs === 1 ? 'every event' : `every ${durationText(stepMs)}`
}

/** `count() over 1h`, `mean(delay) where delay > 15 over 6h`, `lastN(delay, 3)`: a lifetime window goes without saying. */
export function featureText({ aggregation, window }: Pick<FeatureDefinition, 'aggregation' | 'window'>): string {
  const { function: name, input, where, n, divisor } = aggregation
  const parameters = [
    ...(input === null ? [] : [expressionText(input)]),
    ...(n === undefined ? [] : [String(n)]),
    // Of a sample by default.
    ...(divisor === undefined || divisor === 'sample' ? [] : [divisor]),
  ]
  const condition = where === undefined ? '' : `where ${expressionText(where)}`
  return [`${name}(${parameters.join(', ')})`, condition, windowText(window)].filter((part) => part !== '').join(' ')
}

/** `over 1h`, `over 7d ending 1d before`; nothing for a lifetime. */
export function windowText(window: WindowDefinition): string {
  switch (window.kind) {
    case 'sliding': {
      const { spanMs, endsBeforeMs, resolutionMs } = window
      const shifted = endsBeforeMs === undefined ? '' : ` ending ${durationText(endsBeforeMs)} before`
      const coarse = resolutionMs === undefined ? '' : ` to ${durationText(resolutionMs)}`
      return `over ${durationText(spanMs)}${shifted}${coarse}`
    }
    case 'series':
      return `over each ${durationText(window.stepMs)} of ${durationText(window.spanMs)}`
    case 'lifetime':
      return ''
    case 'tumbling':
      return `over the ${window.take} ${durationText(window.spanMs)}${window.zone === undefined ? '' : ` in ${window.zone.name}`}`
    case 'session':
      return `over the session with gaps below ${durationText(window.gapMs)}`
    case 'rows':
      return `over the last ${window.count}`
  }
}

/** `int32`, `nullable string`, `float64 with NaN and infinities`. */
export const typeText = ({ nullable, allowNonFinite, ...field }: FieldType): string =>
  `${nullable === true ? 'nullable ' : ''}${scalarText(field)}${allowNonFinite === true ? ' with NaN and infinities' : ''}`

const operators: Readonly<Record<ArithmeticOp | ComparisonOp, string>> = {
  add: '+',
  sub: '-',
  mul: '*',
  div: '/',
  gt: '>',
  gte: '>=',
  lt: '<',
  lte: '<=',
  eq: '=',
  ne: '!=',
}

/** How tightly an expression holds together: what stands inside a tighter one needs parentheses. */
const Tightness = { or: 1, and: 2, not: 3, comparison: 4, sum: 5, product: 6, sign: 7, whole: 8 } as const

function tightness(expression: Expression): number {
  switch (expression.kind) {
    case 'literal':
    case 'field':
      return Tightness.whole
    case 'binary':
      if (expression.op === 'add' || expression.op === 'sub') return Tightness.sum
      return expression.op === 'mul' || expression.op === 'div' ? Tightness.product : Tightness.comparison
    case 'unary':
      if (expression.op === 'not') return Tightness.not
      if (expression.op === 'isNull') return Tightness.comparison
      return expression.op === 'neg' ? Tightness.sign : Tightness.whole
    case 'variadic':
      return expression.op === 'and' || expression.op === 'or' ? Tightness[expression.op] : Tightness.whole
  }
}

/** Infix, with the parentheses that its structure needs: `(date + ceil(distance / 8)) * 60000`. */
export function expressionText(expression: Expression): string {
  const own = tightness(expression)
  const within = (part: Expression, least: number): string =>
    tightness(part) >= least ? expressionText(part) : `(${expressionText(part)})`
  switch (expression.kind) {
    case 'literal':
      return JSON.stringify(expression.value)
    case 'field':
      return expression.name
    case 'binary': {
      // Operators group to the left; comparisons do not chain.
      const left = within(expression.left, own === Tightness.comparison ? own + 1 : own)
      return `${left} ${operators[expression.op]} ${within(expression.right, own + 1)}`
    }
    case 'unary':
      if (expression.op === 'isNull') return `${within(expression.of, own + 1)} is null`
      if (expression.op === 'not') return `not ${within(expression.of, own)}`
      if (expression.op === 'neg') return `-${within(expression.of, own + 1)}`
      return `${expression.op}(${expressionText(expression.of)})`
    case 'variadic':
      return expression.op === 'and' || expression.op === 'or'
        ? expression.args.map((arg) => within(arg, own + 1)).join(` ${expression.op} `)
        : `${expression.op}(${expression.args.map(expressionText).join(', ')})`
  }
}
