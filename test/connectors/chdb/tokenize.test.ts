import { describe, expect, test } from 'vitest'
import { parseStatement } from '../../../connectors/chdb/tokenize.ts'

/** What an insert was taken apart into, with its data. */
function insert(text: string): unknown {
  const statement = parseStatement(text)
  if (statement.kind !== 'insert') return statement.kind
  const { head, settings, format, dataStart } = statement
  return { head, settings, format, data: text.slice(dataStart) }
}

describe('statements', () => {
  test('an insert ends where its data begins', () => {
    const head = 'INSERT INTO t (a, `FORMAT`)'
    const parts = { head, settings: '', format: 'CSV' }
    expect(insert(`${head} FORMAT CSV\n1;2`)).toEqual({ ...parts, data: '1;2' })
    expect(insert(`${head} format CSV 1`)).toEqual({ ...parts, data: '1' })
    expect(insert(`${head} FORMAT CSV;`)).toEqual({ ...parts, data: '' })
    expect(insert(`${head} FORMAT CSV\r\n\n\n`)).toEqual({ ...parts, data: '\n\n' })
    expect(insert(`${head} VALUES (1, 'FORMAT x')`)).toEqual({ ...parts, format: 'Values', data: " (1, 'FORMAT x')" })
  })

  test('settings of an insert stand before or behind the format', () => {
    const parts = { head: 'INSERT INTO t', settings: "a = 1, b = 'x;'", format: 'CSV', data: '1' }
    expect(insert("INSERT INTO t SETTINGS a = 1, b = 'x;' FORMAT CSV\n1")).toEqual(parts)
    expect(insert("INSERT INTO t FORMAT CSV SETTINGS a = 1, b = 'x;'\n1")).toEqual(parts)
    expect(insert('INSERT INTO t FORMAT CSV SETTINGS of the house')).toMatchObject({ data: 'SETTINGS of the house' })
    expect(insert('INSERT INTO t SETTINGS a = 1 FORMAT CSV SETTINGS b = 1\n')).toBe('refused')
  })

  test('INSERT SELECT has no data', () => {
    for (const text of [
      'INSERT INTO t SELECT 1',
      'INSERT INTO t (a) (SELECT 1)',
      'INSERT INTO t WITH 1 AS x SELECT x FORMAT CSV',
      "INSERT INTO FUNCTION file('a', 'CSV') SELECT 1",
    ])
      expect(insert(text)).toBe('other')
    expect(insert('INSERT INTO select.values FORMAT CSV\n')).toMatchObject({ head: 'INSERT INTO select.values' })
  })

  test('the format of a select is the one at its end', () => {
    const format = (text: string): unknown => {
      const statement = parseStatement(text)
      return statement.kind === 'select' ? statement.format : statement.kind
    }
    expect(format('SELECT 1 FORMAT JSON')).toBe('JSON')
    expect(format('SELECT 1 FORMAT Native SETTINGS max_threads = 1;')).toBe('NATIVE')
    expect(format('SELECT 1 SETTINGS max_threads = 1 FORMAT Native -- FORMAT CSV')).toBe('NATIVE')
    expect(format("SELECT format('{}', 1) AS format FROM t")).toBe(null)
    expect(format("(SELECT 'FORMAT JSON')")).toBe(null)
    expect(format('SHOW TABLES FORMAT JSON')).toBe('other')
  })

  test('a semicolon inside quotes, comments and heredocs separates nothing', () => {
    for (const text of ["SELECT ';'", 'SELECT `a;b`', 'SELECT "a\\";"', "SELECT 'it''s;'", "SELECT '\\';'"])
      expect(parseStatement(text).kind).toBe('select')
    expect(parseStatement("SELECT $x$ ' ; $x$, ';'").kind).toBe('select')
    expect(parseStatement("SELECT $x$ ' $x$; SELECT ';'").kind).toBe('refused')
    expect(parseStatement('SELECT 1 -- ;\n; -- ;\n').kind).toBe('select')
    expect(parseStatement('SELECT 1 /* ; */; SELECT 2').kind).toBe('refused')
    expect(parseStatement(' ;; -- nothing').kind).toBe('empty')
  })

  test('what changes the connection is marked', () => {
    for (const text of ['SET a = 1', 'USE x', 'CREATE TEMPORARY TABLE x (a Int8)'])
      expect(parseStatement(text)).toMatchObject({ kind: 'other', sticky: true })
    expect(parseStatement('CREATE TABLE x (a Int8)')).toMatchObject({ kind: 'other', sticky: false })
  })
})
