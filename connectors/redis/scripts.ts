import { createHash } from 'node:crypto'

/** A script and the name under which the server knows it once it has run. */
export interface Script {
  readonly lua: string
  readonly sha: string
}

const script = (lua: string): Script => ({ lua, sha: createHash('sha1').update(lua).digest('hex') })

/*
 * Each script runs as one step of the server, touches one shard, and is harmless when it comes twice: ioredis sends
 * commands again after a reconnect.
 *
 * The first line writes nothing to a key that is never there. A replica refuses it (READONLY), a full server refuses it
 * (OOM), and so does a master without the replicas that it was told to have (NOREPLICAS). Without it a replica would
 * answer from old rows that a flush is fenced, or that it is a gap; and a server that is full would say so only at the
 * first row: Redis asks for memory before the first write of a script and never again. Scripts of Redis 7 declare this
 * with a first line that 6.2 does not understand.
 *
 * Each shard's keys share a hash tag, so that naming the first is enough for a cluster to find the node; Redis asks that
 * all are given all the same.
 */
const takesWrites = `redis.call('SETRANGE', KEYS[4], 0, '')`

/** Lua keeps at most 8,000 values on its stack. */
const chunk = 4_000

/**
 * Takes a shard. The nonce tells a repeat from another owner: the same one gets its epoch again. It writes in any case, so
 * that the answer is never that of a replica.
 *
 *     KEYS  rows, parts, dead, none        ARGV  nonce        answer  epoch, sealed position or null
 */
export const acquireScript = script(`${takesWrites}
local owner = redis.call('HGET', KEYS[1], 'owner') or '0:'
local epoch, nonce = string.match(owner, '^(%d+):(.*)$')
epoch = tonumber(epoch or '0')
if nonce ~= ARGV[1] then epoch = epoch + 1 end
redis.call('HSET', KEYS[1], 'owner', string.format('%.0f:%s', epoch, ARGV[1]))
return {string.format('%.0f', epoch), redis.call('HGET', KEYS[1], 'position')}
`)

/**
 * A flush of a shard: decides as decideFlush (connectors/kit/shard-state.ts) does, then writes, the position last.
 *
 *     KEYS  rows, parts, dead, none
 *     ARGV  epoch:nonce, name of from, name of to, sealed position of to,
 *           how many arguments follow for: rows, parts put, parts dropped, dead letters,
 *           then those: field, value, …    field, value, …    field, …    id, value, …
 *     answer  'applied' | 'already-applied' | 'gap', sealed position or null | 'fenced', owner or null
 */
export const flushScript = script(`${takesWrites}
local held = redis.call('HMGET', KEYS[1], 'owner', 'at', 'position')
if held[1] ~= ARGV[1] then return {'fenced', held[1]} end
local at = held[2] or ''
if at == ARGV[3] then return {'already-applied'} end
if at ~= ARGV[2] then return {'gap', held[3]} end
local first = 9
local function each(size, command, key)
  local last = first + size - 1
  for from = first, last, ${chunk} do
    redis.call(command, key, unpack(ARGV, from, math.min(from + ${chunk} - 1, last)))
  end
  first = last + 1
end
each(tonumber(ARGV[5]), 'HSET', KEYS[1])
each(tonumber(ARGV[6]), 'HSET', KEYS[2])
each(tonumber(ARGV[7]), 'HDEL', KEYS[2])
for index = first, first + tonumber(ARGV[8]) - 1, 2 do
  redis.call('HSETNX', KEYS[3], ARGV[index], ARGV[index + 1])
end
redis.call('HSET', KEYS[1], 'at', ARGV[3], 'position', ARGV[4])
return {'applied'}
`)

/**
 * Some fields of a hash without their values, which HSCAN itself leaves out only from 7.4 on.
 *
 *     KEYS  rows        ARGV  cursor, pattern, count        answer  cursor, fields
 */
export const fieldsScript = script(`
local page = redis.call('HSCAN', KEYS[1], ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
local fields = {}
for index = 1, #page[2], 2 do fields[#fields + 1] = page[2][index] end
return {page[1], fields}
`)
