package redis

// The scripts of a queue that is shared with leptir. KEYS[1] is leptir's own sorted set: its
// documents, by the time in seconds before which they are not ready. Beside it, in the same
// slot of a cluster, are keys that only procops has; times in them are microseconds.
//
//	PREFIX:task:ID       a hash of what the document has no place for: member, score, type, lease, attempts, crashes;
//	                     state: leased, buried, or queued, in which it ends some time after the task should have run;
//	                     back, where it was claimed from
//	PREFIX:leased        IDs by the end of their lease
//	PREFIX:buried:TYPE   IDs
//	PREFIX:types         all types of which anything was ever buried
//	PREFIX:wake:TYPE     a channel on which is said that there may be something to claim
const leptirPrelude = `
local key, prefix = KEYS[1], KEYS[2]
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local seconds = string.format('%.6f', now / 1000000)
local forgotten = 30 * 86400
local function task(id) return prefix .. ':task:' .. id end
local function wake(typ) redis.call('PUBLISH', prefix .. ':wake:' .. typ, '') end
local function queue(id, typ, score, member)
  redis.call('ZADD', key, score, member)
  redis.call('HSET', task(id), 'state', 'queued', 'score', score)
  redis.call('EXPIRE', task(id), math.ceil(math.max(0, tonumber(score) - now / 1000000)) + forgotten)
  wake(typ)
end
local function bury(id, typ)
  redis.call('HSET', task(id), 'state', 'buried')
  redis.call('ZADD', prefix .. ':buried:' .. typ, now, id)
  redis.call('SADD', prefix .. ':types', typ)
end
local function giveBack(limit)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', prefix .. ':leased', '-inf', now, 'LIMIT', 0, limit)) do
    redis.call('ZREM', prefix .. ':leased', id)
    local m = redis.call('HMGET', task(id), 'type', 'score', 'member', 'back')
    if m[4] == 'ready' then redis.call('HINCRBY', task(id), 'crashes', 1) end
    if m[4] == 'buried' then bury(id, m[1]) else queue(id, m[1], m[2], m[3]) end
  end
end
local function lease(id, length, back)
  redis.call('HSET', task(id), 'state', 'leased', 'back', back)
  redis.call('PERSIST', task(id))
  redis.call('ZADD', prefix .. ':leased', now + length, id)
  local number = redis.call('HINCRBY', task(id), 'lease', 1)
  local m = redis.call('HMGET', task(id), 'score', 'attempts', 'crashes', 'member', 'type')
  return {id, tostring(number), m[1], m[2] or '0', m[3] or '0', string.format('%.0f', now + length), m[4], m[5]}
end
local function holds(id, number)
  local m = redis.call('HMGET', task(id), 'state', 'lease', 'type', 'score', 'member')
  if m[1] == 'leased' and m[2] == number then return m end
end
`

const leptirPush = leptirPrelude + `
-- ARGV: id, type, score, member, lease, attempts, crashes, whether it is buried, and so on
for i = 1, #ARGV, 8 do
  local id, typ, score, member = ARGV[i], ARGV[i+1], ARGV[i+2], ARGV[i+3]
  local m = redis.call('HMGET', task(id), 'state', 'member')
  local there = redis.call('ZSCORE', key, member) or m[1] == 'leased' or m[1] == 'buried'
    or m[1] == 'queued' and redis.call('ZSCORE', key, m[2])
  if not there then
    local buried = ARGV[i+7] == '1'
    if buried or ARGV[i+4] ~= '0' or ARGV[i+5] ~= '0' or ARGV[i+6] ~= '0' then
      redis.call('DEL', task(id))
      redis.call('HSET', task(id), 'type', typ, 'score', score, 'member', member,
        'lease', ARGV[i+4], 'attempts', ARGV[i+5], 'crashes', ARGV[i+6])
      if buried then bury(id, typ) else queue(id, typ, score, member) end
    else
      redis.call('ZADD', key, score, member)
      wake(typ)
    end
  end
end
`

// leptirLook returns what the ready part of the set looks like, and then documents with their
// scores.
const leptirLook = leptirPrelude + `
-- ARGV: from which state, how many to leave out, how many
local low, high = '-inf', seconds
if ARGV[1] == 'scheduled' then low, high = '(' .. seconds, '+inf' end
if ARGV[1] == 'all' then high = '+inf' else giveBack(1000) end
local n = redis.call('ZCOUNT', key, '-inf', seconds)
local sight = tostring(n)
if n > 0 then
  sight = sight .. redis.call('ZRANGE', key, 0, 0)[1] .. redis.call('ZRANGE', key, n - 1, n - 1)[1]
end
local list = redis.call('ZRANGEBYSCORE', key, low, high, 'WITHSCORES', 'LIMIT', ARGV[2], ARGV[3])
return {redis.sha1hex(sight), seconds, list}
`

// leptirTake claims documents. Whoever removes one from the set has it.
const leptirTake = leptirPrelude + `
-- ARGV: how many, microseconds of the lease, from which state, then id, type, document, what it is to be from now on
local limit, length, from = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local taken = {}
for i = 4, #ARGV, 4 do
  if #taken == limit then break end
  local id, typ, member, better = ARGV[i], ARGV[i+1], ARGV[i+2], ARGV[i+3]
  local score = redis.call('ZSCORE', key, member)
  local state = redis.call('HGET', task(id), 'state')
  if score and (tonumber(score) <= tonumber(seconds)) == (from == 'ready') and state ~= 'leased' and state ~= 'buried' then
    redis.call('ZREM', key, member)
    redis.call('HSET', task(id), 'type', typ, 'score', score, 'member', better)
    taken[#taken + 1] = lease(id, length, from)
  end
end
return taken
`

const leptirTakeBuried = leptirPrelude + `
-- ARGV: how many, microseconds of the lease, how many ids, ids, types
local limit, length, named = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
giveBack(1000)
local taken = {}
local function take(id)
  local m = redis.call('HMGET', task(id), 'state', 'type')
  if m[1] == 'buried' and #taken < limit then
    redis.call('ZREM', prefix .. ':buried:' .. m[2], id)
    taken[#taken + 1] = lease(id, length, 'buried')
  end
end
for i = 4, 3 + named do take(ARGV[i]) end
if named == 0 then
  local types = {}
  for i = 4, #ARGV do types[#types + 1] = ARGV[i] end
  if #types == 0 then types = redis.call('SMEMBERS', prefix .. ':types') end
  for _, typ in ipairs(types) do
    for _, id in ipairs(redis.call('ZRANGE', prefix .. ':buried:' .. typ, 0, limit - 1)) do take(id) end
  end
end
return taken
`

const leptirExtend = leptirPrelude + `
-- ARGV: microseconds from now, then id, lease, and so on; returns the places of those that are lost
local lost = {}
for i = 2, #ARGV, 2 do
  if holds(ARGV[i], ARGV[i+1]) then
    redis.call('ZADD', prefix .. ':leased', now + ARGV[1], ARGV[i])
  else
    lost[#lost + 1] = i / 2
  end
end
return lost
`

const leptirAck = leptirPrelude + `
-- ARGV: id, lease, and so on; returns the places of those that are lost
local lost = {}
for i = 1, #ARGV, 2 do
  if holds(ARGV[i], ARGV[i+1]) then
    redis.call('ZREM', prefix .. ':leased', ARGV[i])
    redis.call('DEL', task(ARGV[i]))
  else
    lost[#lost + 1] = (i + 1) / 2
  end
end
return lost
`

const leptirNack = leptirPrelude + `
-- ARGV: id, lease, score or empty for the one it had, how many attempts it was, whether it begins again
local m = holds(ARGV[1], ARGV[2])
if not m then return 0 end
redis.call('ZREM', prefix .. ':leased', ARGV[1])
if ARGV[5] == '1' then redis.call('HSET', task(ARGV[1]), 'attempts', 0, 'crashes', 0) end
redis.call('HINCRBY', task(ARGV[1]), 'attempts', ARGV[4])
local score = ARGV[3]
if score == '' then score = m[4] end
queue(ARGV[1], m[3], score, m[5])
return 1
`

const leptirBury = leptirPrelude + `
-- ARGV: id, lease
local m = holds(ARGV[1], ARGV[2])
if not m then return 0 end
redis.call('ZREM', prefix .. ':leased', ARGV[1])
bury(ARGV[1], m[3])
return 1
`

// leptirBeside returns what is kept beside the set: id, type, state, score, lease, attempts,
// crashes and document of each.
const leptirBeside = leptirPrelude + `
-- ARGV: leased, or a type of which what is buried is wanted, or ids
local list = {}
local function add(id, state)
  local m = redis.call('HMGET', task(id), 'type', 'score', 'lease', 'attempts', 'crashes', 'member', 'state')
  if m[3] then list[#list + 1] = {id, m[1] or '', state or m[7], m[2], m[3], m[4] or '0', m[5] or '0', m[6] or ''} end
end
if ARGV[1] == 'leased' then
  local all = redis.call('ZRANGE', prefix .. ':leased', 0, -1, 'WITHSCORES')
  for i = 1, #all, 2 do
    local state = 'leased'
    if tonumber(all[i+1]) <= now then
      local m = redis.call('HMGET', task(all[i]), 'back', 'score')
      state = m[1]
      if state ~= 'buried' then
        state = 'ready'
        if tonumber(m[2]) > tonumber(seconds) then state = 'scheduled' end
      end
    end
    add(all[i], state)
  end
elseif ARGV[1] == 'buried' then
  local types = {}
  for i = 2, #ARGV do types[#types + 1] = ARGV[i] end
  if #types == 0 then types = redis.call('SMEMBERS', prefix .. ':types') end
  for _, typ in ipairs(types) do
    for _, id in ipairs(redis.call('ZRANGE', prefix .. ':buried:' .. typ, 0, -1)) do add(id, 'buried') end
  end
else
  for i = 2, #ARGV do add(ARGV[i]) end
end
return list
`

// leptirNext returns how many documents are ready, what they look like, and the microseconds
// until there are more: 0 at once, -1 when nothing is known to come.
const leptirNext = leptirPrelude + `
local n = redis.call('ZCOUNT', key, '-inf', seconds)
local sight = tostring(n)
if n > 0 then
  sight = sight .. redis.call('ZRANGE', key, 0, 0)[1] .. redis.call('ZRANGE', key, n - 1, n - 1)[1]
end
local soonest = -1
local function at(micros)
  local wait = math.max(0, micros - now)
  if soonest < 0 or wait < soonest then soonest = wait end
end
local later = redis.call('ZRANGEBYSCORE', key, '(' .. seconds, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
if later[2] then at(tonumber(later[2]) * 1000000) end
local ends = redis.call('ZRANGE', prefix .. ':leased', 0, 0, 'WITHSCORES')
if ends[2] then at(tonumber(ends[2])) end
return {n, redis.sha1hex(sight), string.format('%.0f', math.ceil(soonest))}
`
