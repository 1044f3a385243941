import { expect, test } from 'vitest'
import { isNoScript, isRedirection, onlineError } from '../../../connectors/redis/errors.ts'
import { isRecent } from '../../../connectors/redis/server-check.ts'
import { FeatureStoreError } from '../../../core/errors.ts'

/** As Redis 6.2 and 7.0 and ioredis 6 word them. */
const met: readonly (readonly [string, string, string])[] = [
  ["OOM command not allowed when used memory > 'maxmemory'.", 'FS_ONLINE_FULL', 'unavailable'],
  ['ERR Error running script (call to f_1): @user_script:1: -OOM command not allowed', 'FS_ONLINE_FULL', 'unavailable'],
  ["READONLY You can't write against a read only replica.", 'FS_ONLINE_UNAVAILABLE', 'unavailable'],
  ["ERR Error running script: @user_script:1: -READONLY You can't write", 'FS_ONLINE_UNAVAILABLE', 'unavailable'],
  ['LOADING Redis is loading the dataset in memory', 'FS_ONLINE_UNAVAILABLE', 'unavailable'],
  ['MASTERDOWN Link with MASTER is down', 'FS_ONLINE_UNAVAILABLE', 'unavailable'],
  ['CLUSTERDOWN The cluster is down', 'FS_ONLINE_UNAVAILABLE', 'unavailable'],
  ['CLUSTERDOWN Hash slot not served', 'FS_ONLINE_UNAVAILABLE', 'unavailable'],
  ['TRYAGAIN Multiple keys request during rehashing of slot', 'FS_ONLINE_UNAVAILABLE', 'unavailable'],
  ['MOVED 3999 127.0.0.1:6381', 'FS_ONLINE_UNAVAILABLE', 'unavailable'],
  ['Too many Cluster redirections. Last error: Error: ASK 1 127.0.0.1:1', 'FS_ONLINE_UNAVAILABLE', 'unavailable'],
  ['BUSY Redis is busy running a script.', 'FS_ONLINE_UNAVAILABLE', 'unavailable'],
  ['MISCONF Redis is configured to save RDB snapshots', 'FS_ONLINE_UNAVAILABLE', 'unavailable'],
  ['NOREPLICAS Not enough good replicas to write.', 'FS_ONLINE_UNAVAILABLE', 'unavailable'],
  ['Connection is closed.', 'FS_ONLINE_UNAVAILABLE', 'unavailable'],
  ['Command aborted due to connection close', 'FS_ONLINE_UNAVAILABLE', 'unavailable'],
  ["Stream isn't writeable and enableOfflineQueue options is false", 'FS_ONLINE_UNAVAILABLE', 'unavailable'],
  ['Reached the max retries per request limit (which is 2).', 'FS_ONLINE_UNAVAILABLE', 'unavailable'],
  ['connect ECONNREFUSED 127.0.0.1:1', 'FS_ONLINE_UNAVAILABLE', 'unavailable'],
  ['WRONGPASS invalid username-password pair or user is disabled.', 'FS_ONLINE_DENIED', 'invalid'],
  ['NOAUTH Authentication required.', 'FS_ONLINE_DENIED', 'invalid'],
  ["NOPERM this user has no permissions to run the 'evalsha' command", 'FS_ONLINE_DENIED', 'invalid'],
  ['WRONGTYPE Operation against a key holding the wrong kind of value', 'FS_ONLINE_SERVER', 'invalid'],
  ['ERR user_script:3: bad argument script: abc', 'FS_INTERNAL', 'internal'],
]

test.each(met)('%s', (message, code, kind) => {
  const error = onlineError(new Error(message))
  expect([error.code, error.kind]).toEqual([code, kind])
  expect(error.remedy.length).toBeGreaterThan(5)
})

test('a coded error stays as it is, and what was sent does not travel with an error', () => {
  const coded = new FeatureStoreError('FS_CLOSED', 'closed')
  expect(onlineError(coded)).toBe(coded)
  const failed = Object.assign(new Error('WRONGPASS'), { command: { name: 'auth', args: ['secret'] } })
  expect(JSON.stringify(onlineError(failed).cause, Object.getOwnPropertyNames(failed))).not.toContain('secret')
})

test('what is sent again, and how, is told by the first word', () => {
  expect(isNoScript(new Error('NOSCRIPT No matching script. Please use EVAL.'))).toBe(true)
  expect(isNoScript(null)).toBe(false)
  for (const message of ['MOVED 1 a:1', 'ASK 1 a:1', 'TRYAGAIN', 'CLUSTERDOWN', 'Connection is closed.'])
    expect(isRedirection(new Error(message))).toBe(true)
  for (const message of ['OOM', 'ERR MOVED', 'READONLY']) expect(isRedirection(new Error(message))).toBe(false)
})

test('versions from 6.2 on are taken', () => {
  for (const version of ['6.2.0', '6.2.14', '7.0.15', '7.2.4', '8.0.0', '10.1']) expect(isRecent(version)).toBe(true)
  for (const version of ['', '6', '6.0.16', '5.0.14', '2.8', 'x.y']) expect(isRecent(version)).toBe(false)
})
