import { describe, expect, it } from 'vitest'
import { ColumnBuilder } from '../../../core/engine/column-builder.ts'
import { Status, type FeatureColumn } from '../../../core/engine/feature-column.ts'
import { featureMatrix, matrixSpec } from '../../../core/engine/matrix.ts'
import { referenceText } from '../../../core/definition/types.ts'
import { featureValueType } from '../../../core/definition/catalog.ts'
import { catalog, everything, windows } from '../../training/support.ts'

const rows = 4
const spec = matrixSpec(catalog, everything)

/** Columns of the service, all NULL but for what `set` does. */
function columns(set: Readonly<Record<string, (builder: ColumnBuilder) => void>>): FeatureColumn[] {
  const references = everything.features.map((reference) => ({
    name: referenceText(reference),
    type: featureValueType(catalog, reference),
    counts: reference.feature === 'n',
  }))
  const derived = ['above', 'busy'].map((name) => ({
    name,
    type: { kind: 'scalar', type: name === 'busy' ? 'bool' : 'float64' } as const,
    counts: false,
  }))
  return [...references, ...derived].map((column) => {
    const builder = new ColumnBuilder(rows, { ...column, fingerprint: '' })
    if (set[column.name] === undefined) for (let row = 0; row < rows; row++) builder.setStatus(row, Status.NULL)
    else set[column.name]?.(builder)
    return builder.build()
  })
}

const request = { planned: [1, null, 3n, 4], note: ['a', null, 'b', 'c'] }
const inputs = (matrix: Float32Array, name: string): number[] => {
  const at = spec.inputs.findIndex((input) => input.name === name)
  return Array.from({ length: rows }, (_, row) => matrix[row * spec.inputs.length + at] as number)
}

describe('the matrix of a service', () => {
  it('takes numbers and bools in order, lists item by item, and lists what it leaves out', () => {
    expect(spec.inputs.map(({ name }) => name)).toEqual([
      ...['by_who__n', 'by_who__i_mean', 'by_who__i_std', 'by_who__i_last3[0]', 'by_who__i_last3[1]'],
      ...['by_who__i_last3[2]', 'by_who__b_sum', 'by_who__f_sum', 'by_who__s_distinct', 'by_who__ok_last'],
      ...['by_place__n', 'by_place__i_min', 'by_place__i_mean', 'above', 'busy', 'planned'],
    ])
    expect(spec.omitted).toEqual([
      { name: 'by_who__s_last', type: 'string' },
      { name: 'by_who__newest', type: 'timestamp' },
      { name: 'by_who__s_last2', type: 'string' },
      { name: 'note', type: 'string' },
    ])
  })

  it('takes a series part by part, oldest first', () => {
    const names = matrixSpec(catalog, windows).inputs.map(({ name }) => name)
    expect(names.filter((name) => name.includes('series'))).toEqual([
      ...[0, 1, 2].map((part) => `by_window__n_series[${part}]`),
      ...[0, 1, 2].map((part) => `by_window__i_mean_series[${part}]`),
      ...[0, 1, 2, 3].map((part) => `by_window__b_sum_series[${part}]`),
    ])
  })

  it('holds values in float32, NaN where there is none, 0 for counts of an entity never seen', () => {
    const matrix = featureMatrix(
      spec,
      columns({
        'by_who:n': (builder) => {
          builder.setValue(0, 5n)
          builder.setStatus(2, Status.EXPIRED)
          builder.setError(3, 'FS_INTERNAL')
        },
        'by_who:i_mean': (builder) => {
          builder.setValue(0, 0.1)
          builder.setValue(1, 1e300)
          builder.setValue(2, Number.POSITIVE_INFINITY)
          builder.setValue(3, -7)
        },
        'by_who:ok_last': (builder) => {
          builder.setValue(0, true)
          builder.setValue(1, false)
        },
        'by_who:i_last3': (builder) => {
          builder.setList(0, [1, 2, 3])
          builder.setList(1, [9])
          builder.setStatus(2, Status.NULL)
          builder.setList(3, [7, null])
        },
      }),
      request,
      rows,
    )
    expect(inputs(matrix, 'by_who__n')).toEqual([5, 0, NaN, NaN])
    expect(inputs(matrix, 'by_who__i_mean')).toEqual([Math.fround(0.1), NaN, NaN, -7])
    expect(inputs(matrix, 'by_who__ok_last')).toEqual([1, 0, NaN, NaN])
    expect(inputs(matrix, 'by_who__i_last3[0]')).toEqual([1, NaN, NaN, NaN])
    expect(inputs(matrix, 'by_who__i_last3[1]')).toEqual([2, NaN, NaN, 7])
    expect(inputs(matrix, 'by_who__i_last3[2]')).toEqual([3, 9, NaN, NaN])
    expect(inputs(matrix, 'planned')).toEqual([1, NaN, 3, 4])
  })

  it('is the same from request columns as from request values', () => {
    const column = { type: 'int32', values: Int32Array.of(1, 99, 3, 4), nulls: Uint8Array.of(0, 1, 0, 0) } as const
    const given = columns({})
    expect(featureMatrix(spec, given, { planned: column }, rows)).toEqual(featureMatrix(spec, given, request, rows))
  })

  it('names a column that is missing', () => {
    expect(() => featureMatrix(spec, [], request, rows)).toThrow(/needs by_who__n/)
    expect(() => featureMatrix(spec, columns({}), {}, rows)).toThrow(/needs planned/)
  })
})
