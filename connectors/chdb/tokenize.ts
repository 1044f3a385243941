/**
 * As much of ClickHouse's lexer as the front needs to see where a statement ends and its data begins. It works on one
 * character per byte (latin1), so that positions are byte offsets into a body whose tail is not text.
 *
 * Source: ClickHouse `Parsers/Lexer.cpp`, `Parsers/ParserInsertQuery.cpp`.
 */
export type TokenKind = 'word' | 'number' | 'string' | 'identifier' | 'semicolon' | 'open' | 'close' | 'other'

export interface Token {
  readonly kind: TokenKind
  readonly start: number
  readonly end: number
  /** Upper-case for words, else as it stands. */
  readonly text: string
}

const space = /[\s\0]/
const wordStart = /[A-Za-z_\x80-\xff]/
const wordPart = /[A-Za-z0-9_$\x80-\xff]/

export function* tokenize(sql: string): Generator<Token, void, void> {
  let at = 0
  while (at < sql.length) {
    const char = sql[at] as string
    if (space.test(char)) {
      at++
      continue
    }
    const afterComment = commentEnd(sql, at)
    if (afterComment > at) {
      at = afterComment
      continue
    }
    const start = at
    const kind = kindOf(sql, at)
    at = tokenEnd(sql, at, kind)
    const text = sql.slice(start, at)
    yield { kind, start, end: at, text: kind === 'word' ? text.toUpperCase() : text }
  }
}

function commentEnd(sql: string, at: number): number {
  const isLine = sql.startsWith('--', at) || sql.startsWith('#!', at) || sql.startsWith('# ', at)
  if (isLine) {
    const newline = sql.indexOf('\n', at)
    return newline === -1 ? sql.length : newline + 1
  }
  if (!sql.startsWith('/*', at)) return at
  const close = sql.indexOf('*/', at + 2)
  return close === -1 ? sql.length : close + 2
}

function kindOf(sql: string, at: number): TokenKind {
  const char = sql[at] as string
  if (char === "'") return 'string'
  if (char === '"' || char === '`') return 'identifier'
  if (char === '$' && heredocTag(sql, at) !== null) return 'string'
  if (char === ';') return 'semicolon'
  if (char === '(' || char === '[' || char === '{') return 'open'
  if (char === ')' || char === ']' || char === '}') return 'close'
  if (wordStart.test(char)) return 'word'
  return /[0-9]/.test(char) ? 'number' : 'other'
}

function tokenEnd(sql: string, start: number, kind: TokenKind): number {
  let at = start + 1
  switch (kind) {
    case 'word':
    case 'number':
      while (at < sql.length && wordPart.test(sql[at] as string)) at++
      return at
    case 'string': {
      const tag = sql[start] === '$' ? heredocTag(sql, start) : null
      if (tag === null) return quotedEnd(sql, start)
      const close = sql.indexOf(tag, start + tag.length)
      return close === -1 ? sql.length : close + tag.length
    }
    case 'identifier':
      return quotedEnd(sql, start)
    case 'semicolon':
    case 'open':
    case 'close':
    case 'other':
      return at
  }
}

/** `$tag$` where a heredoc begins (and is closed somewhere), else null. */
function heredocTag(sql: string, at: number): string | null {
  const tag = /^\$\w*\$/.exec(sql.slice(at, at + 64))?.[0]
  return tag !== undefined && sql.includes(tag, at + tag.length) ? tag : null
}

/** A quote is closed by itself, unless doubled or behind a backslash. */
function quotedEnd(sql: string, start: number): number {
  const quote = sql[start]
  for (let at = start + 1; at < sql.length; at++) {
    if (sql[at] === '\\') at++
    else if (sql[at] === quote) {
      if (sql[at + 1] !== quote) return at + 1
      at++
    }
  }
  return sql.length
}

export type Statement =
  /** Data follows at `dataStart`: in the statement's own text, then in the body. `head` ends before SETTINGS and FORMAT. */
  | {
      readonly kind: 'insert'
      readonly head: string
      readonly settings: string
      readonly format: string
      readonly dataStart: number
    }
  /** Can be streamed. `whole`: a chunk is not a part of the answer (WITH TOTALS). */
  | { readonly kind: 'select'; readonly sql: string; readonly format: string | null; readonly whole: boolean }
  /** `sticky`: it changes the connection, which must not be used again. */
  | { readonly kind: 'other'; readonly sql: string; readonly format: string | null; readonly sticky: boolean }
  | { readonly kind: 'empty' }
  | { readonly kind: 'refused'; readonly code: number; readonly name: string; readonly message: string }

const refused = (code: number, name: string, message: string): Statement => ({ kind: 'refused', code, name, message })

/** What a request asks for, from its text: SQL, perhaps with insert data behind it. `text` has one character per byte. */
export function parseStatement(text: string): Statement {
  const tokens = tokenize(text)
  const first = tokens.next()
  if (first.done === true) return { kind: 'empty' }
  if (first.value.kind === 'word' && first.value.text === 'INSERT') {
    const insert = parseInsert(text)
    if (insert !== null) return insert
  }
  return parseRest(text, first.value, [first.value, ...tokens])
}

/** An INSERT whose data comes with the request; null for INSERT ... SELECT, which is a statement like others. */
function parseInsert(text: string): Statement | null {
  let depth = 0
  let settingsAt: number | null = null
  let previous: Token | null = null
  const tokens = tokenize(text)
  for (const token of tokens) {
    if (token.kind === 'open') depth++
    else if (token.kind === 'close') depth--
    else if (token.kind === 'semicolon') return null
    else if (token.kind === 'word' && !namesTable(previous)) {
      const opens = previous?.kind === 'open' || depth === 0
      if (opens && (token.text === 'SELECT' || token.text === 'WITH' || token.text === 'WATCH')) return null
      if (depth === 0 && token.text === 'INFILE' && previous?.text === 'FROM')
        return refused(48, 'NOT_IMPLEMENTED', 'INFILE is not for HTTP: send the data in the body')
      if (depth === 0 && token.text === 'SETTINGS' && settingsAt === null) settingsAt = token.start
      const isValues = depth === 0 && token.text === 'VALUES'
      const isFormat = depth === 0 && token.text === 'FORMAT'
      if (isValues || isFormat) {
        const head = text.slice(0, settingsAt ?? token.start).trimEnd()
        const settings = settingsAt === null ? '' : text.slice(settingsAt + 'SETTINGS'.length, token.start).trim()
        if (isValues) return { kind: 'insert', head, settings, format: 'Values', dataStart: token.end }
        const name = tokens.next()
        if (name.done === true || name.value.kind !== 'word')
          return refused(62, 'SYNTAX_ERROR', 'FORMAT without a name')
        return insertFrom(text, head, settings, name.value)
      }
    }
    previous = token
  }
  return null
}

/** What follows is a name, whatever it reads like. */
const namesTable = (previous: Token | null): boolean => ['.', 'INTO', 'TABLE'].includes(previous?.text ?? '')

function insertFrom(text: string, head: string, settings: string, name: Token): Statement {
  const later = trailingSettings(text, name.end)
  if (later !== null && settings !== '') return refused(62, 'SYNTAX_ERROR', 'SETTINGS both before and after FORMAT')
  const format = text.slice(name.start, name.end)
  const dataStart = dataStartAfter(text, later?.end ?? name.end)
  return { kind: 'insert', head, settings: later?.settings ?? settings, format, dataStart }
}

/** `SETTINGS name = literal, ...` right behind a format name. */
function trailingSettings(text: string, from: number): { readonly settings: string; readonly end: number } | null {
  const match = /^\s+SETTINGS\s+(?=\w+\s*=)/i.exec(text.slice(from, from + 256))
  if (match === null) return null
  const start = from + match[0].length
  let end = start
  let wants: 'name' | '=' | 'value' | ',' = 'name'
  for (const token of tokenize(text.slice(start, start + 65536))) {
    if (wants === 'name' && token.kind === 'word') wants = '='
    else if (wants === '=' && token.text === '=') wants = 'value'
    else if (wants === 'value' && ['word', 'number', 'string'].includes(token.kind)) {
      wants = ','
      end = start + token.end
    } else if (wants === 'value' && /^[-+.]$/.test(token.text)) continue
    else if (wants === ',' && token.text === ',') wants = 'name'
    else break
  }
  return { settings: text.slice(start, end), end }
}

/** Data begins after the first newline if only blanks stand before it, else after the blanks. A `;` is passed over. */
function dataStartAfter(text: string, from: number): number {
  return from + (/^[ \t\f]*;?[ \t\f]*\r?\n?/.exec(text.slice(from, from + 4096))?.[0].length ?? 0)
}

function parseRest(text: string, first: Token, all: readonly Token[]): Statement {
  let tokens = all
  while (tokens.at(-1)?.kind === 'semicolon') tokens = tokens.slice(0, -1)
  if (tokens.length === 0) return { kind: 'empty' }
  if (tokens.some((token) => token.kind === 'semicolon'))
    return refused(62, 'SYNTAX_ERROR', 'Syntax error (Multi-statements are not allowed)')
  if (followed(tokens, 'INTO', 'OUTFILE'))
    return refused(48, 'NOT_IMPLEMENTED', 'INTO OUTFILE is not for HTTP: the answer is the response')
  const sql = text.slice(0, (tokens.at(-1) as Token).end)
  const format = trailingFormat(tokens)
  const isSelect = first.kind === 'open' || ['SELECT', 'WITH', 'FROM'].includes(first.text)
  if (isSelect) return { kind: 'select', sql, format, whole: followed(tokens, 'WITH', 'TOTALS') }
  const sticky = first.text === 'SET' || first.text === 'USE' || tokens.some(({ text: word }) => /^TEMP/.test(word))
  return { kind: 'other', sql, format, sticky }
}

const followed = (tokens: readonly Token[], word: string, next: string): boolean =>
  tokens.some((token, index) => token.kind === 'word' && token.text === word && tokens[index + 1]?.text === next)

/** The name in a closing `FORMAT name [SETTINGS ...]`. */
function trailingFormat(tokens: readonly Token[]): string | null {
  for (let index = tokens.length - 2; index >= 0; index--) {
    const name = tokens[index + 1] as Token
    const after = tokens[index + 2]
    if ((tokens[index] as Token).text !== 'FORMAT' || name.kind !== 'word') continue
    if (after === undefined || after.text === 'SETTINGS') return name.text
  }
  return null
}
