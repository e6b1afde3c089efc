package redis

// The scripts share these words. Times are microseconds, by the clock of the server.
//
//	PREFIX:task:ID          a hash: type, priority, run_at, order, place, body, state, lease, attempts, crashes; back,
//	                        where it was claimed from
//	PREFIX:ready:TYPE       a sorted set of what can be claimed: by priority, then by its place, which begins with
//	                        the time and the number of the push in hexadecimal and ends with the ID
//	PREFIX:scheduled:TYPE   IDs by the time before which they are not ready
//	PREFIX:leased:TYPE      IDs by the end of their lease
//	PREFIX:taken:TYPE       the same of those that were not ready when they were claimed
//	PREFIX:buried:TYPE      IDs
//	PREFIX:types            all types that there ever were
//	PREFIX:pushes           how many were ever pushed
//	PREFIX:wake:TYPE        a channel on which is said that there may be something to claim
const prelude = `
local prefix = KEYS[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local function task(id) return prefix .. ':task:' .. id end
local function set(name, typ) return prefix .. ':' .. name .. ':' .. typ end
local function ready(id, typ, priority, place)
  redis.call('HSET', task(id), 'state', 'ready')
  redis.call('ZADD', set('ready', typ), priority, place)
end
local function wait(id, typ, priority, at)
  local order = redis.call('HGET', task(id), 'order')
  local place = string.format('%016x', at) .. order .. id
  redis.call('HSET', task(id), 'run_at', string.format('%.0f', at), 'place', place)
  if at > now then
    redis.call('HSET', task(id), 'state', 'scheduled')
    redis.call('ZADD', set('scheduled', typ), at, id)
  else
    ready(id, typ, priority, place)
  end
  redis.call('PUBLISH', prefix .. ':wake:' .. typ, '')
end
local function bury(id, typ)
  redis.call('HSET', task(id), 'state', 'buried')
  redis.call('ZADD', set('buried', typ), now, id)
end
local function putBack(id, typ)
  local m = redis.call('HMGET', task(id), 'priority', 'run_at', 'back')
  if m[3] == 'buried' then bury(id, typ) else wait(id, typ, m[1], tonumber(m[2])) end
end
local function due(id, typ)
  local m = redis.call('HMGET', task(id), 'priority', 'place')
  ready(id, typ, m[1], m[2])
end
local function crashed(id, typ)
  redis.call('HINCRBY', task(id), 'crashes', 1)
  due(id, typ)
end
local function each(name, typ, limit, act)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', set(name, typ), '-inf', now, 'LIMIT', 0, limit)) do
    redis.call('ZREM', set(name, typ), id)
    act(id, typ)
  end
end
local function makeReady(typ, limit)
  each('leased', typ, limit, crashed)
  each('taken', typ, limit, putBack)
  each('scheduled', typ, limit, due)
end
local function release(id, typ)
  redis.call('ZREM', set('leased', typ), id)
  redis.call('ZREM', set('taken', typ), id)
end
local function typesFrom(first)
  if not ARGV[first] then return redis.call('SMEMBERS', prefix .. ':types') end
  local types = {}
  for i = first, #ARGV do types[#types + 1] = ARGV[i] end
  return types
end
local function holds(id, lease)
  local m = redis.call('HMGET', task(id), 'state', 'lease', 'type', 'priority', 'run_at')
  if m[1] == 'leased' and m[2] == lease then return m end
end
`

const scriptPush = prelude + `
-- ARGV: id, type, priority, run_at, body, lease, attempts, crashes, whether it is buried, and so on
for i = 1, #ARGV, 9 do
  local id, typ, priority, at, body = ARGV[i], ARGV[i+1], ARGV[i+2], tonumber(ARGV[i+3]), ARGV[i+4]
  if redis.call('EXISTS', task(id)) == 0 then
    local order = string.format('%012x', redis.call('INCR', prefix .. ':pushes'))
    redis.call('HSET', task(id), 'type', typ, 'priority', priority, 'run_at', ARGV[i+3], 'order', order, 'body', body,
      'lease', ARGV[i+5], 'attempts', ARGV[i+6], 'crashes', ARGV[i+7])
    redis.call('SADD', prefix .. ':types', typ)
    if ARGV[i+8] == '1' then bury(id, typ) else wait(id, typ, priority, at) end
  end
end
`

const scriptClaim = prelude + `
-- ARGV: how many, microseconds of the lease, from which state, how many ids, ids, types
local limit, length, from = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local heads = {}
local function found(id, typ, priority, at, member)
  heads[#heads + 1] = {id = id, typ = typ, priority = tonumber(priority), place = at, member = member}
end
local function look(id, typ, member)
  local m = redis.call('HMGET', task(id), 'priority', 'run_at', 'order')
  found(id, typ, m[1], string.format('%016x', tonumber(m[2])) .. m[3], member)
end
local function pick(id)
  local typ = redis.call('HGET', task(id), 'type')
  if not typ then return end
  for name, act in pairs({leased = crashed, taken = putBack, scheduled = due}) do
    local score = redis.call('ZSCORE', set(name, typ), id)
    if score and tonumber(score) <= now then
      redis.call('ZREM', set(name, typ), id)
      act(id, typ)
    end
  end
  local m = redis.call('HMGET', task(id), 'state', 'place')
  if m[1] == from then
    if from == 'ready' then look(id, typ, m[2]) else look(id, typ, id) end
  end
end
local picked = tonumber(ARGV[4])
for i = 5, 4 + picked do pick(ARGV[i]) end
if picked == 0 then
  for _, typ in ipairs(typesFrom(5)) do
    makeReady(typ, limit)
    local list = redis.call('ZRANGE', set(from, typ), 0, limit - 1, 'WITHSCORES')
    for j = 1, #list, 2 do
      if from == 'ready' then
        found(string.sub(list[j], 29), typ, list[j + 1], list[j], list[j])
      else
        look(list[j], typ, list[j])
      end
    end
  end
end
table.sort(heads, function(a, b)
  if a.priority ~= b.priority then return a.priority < b.priority end
  return a.place < b.place
end)
local claimed = {}
for i = 1, math.min(limit, #heads) do
  local h = heads[i]
  redis.call('ZREM', set(from, h.typ), h.member)
  local leased = 'leased'
  if from ~= 'ready' then leased = 'taken' end
  redis.call('ZADD', set(leased, h.typ), now + length, h.id)
  local lease = redis.call('HINCRBY', task(h.id), 'lease', 1)
  redis.call('HSET', task(h.id), 'state', 'leased', 'back', from)
  local m = redis.call('HMGET', task(h.id), 'run_at', 'body', 'attempts', 'crashes')
  claimed[i] = {h.id, h.typ, string.format('%d', h.priority), m[1], m[2], tostring(lease), m[3], m[4], string.format('%.0f', now + length)}
end
return claimed
`

const scriptExtend = prelude + `
-- ARGV: microseconds from now, then id, lease, and so on; returns the places of those that are lost
local lost = {}
for i = 2, #ARGV, 2 do
  local m = holds(ARGV[i], ARGV[i+1])
  if m then
    redis.call('ZADD', set('leased', m[3]), 'XX', now + ARGV[1], ARGV[i])
    redis.call('ZADD', set('taken', m[3]), 'XX', now + ARGV[1], ARGV[i])
  else
    lost[#lost + 1] = i / 2
  end
end
return lost
`

const scriptAck = prelude + `
-- ARGV: id, lease, and so on; returns the places of those that are lost
local lost = {}
for i = 1, #ARGV, 2 do
  local m = holds(ARGV[i], ARGV[i+1])
  if m then
    release(ARGV[i], m[3])
    redis.call('DEL', task(ARGV[i]))
  else
    lost[#lost + 1] = (i + 1) / 2
  end
end
return lost
`

const scriptNack = prelude + `
-- ARGV: id, lease, time or empty for the one it had, how many attempts it was, whether it begins again
local m = holds(ARGV[1], ARGV[2])
if not m then return 0 end
release(ARGV[1], m[3])
if ARGV[5] == '1' then redis.call('HSET', task(ARGV[1]), 'attempts', 0, 'crashes', 0) end
redis.call('HINCRBY', task(ARGV[1]), 'attempts', ARGV[4])
local at = ARGV[3]
if at == '' then at = m[5] end
wait(ARGV[1], m[3], m[4], tonumber(at))
return 1
`

const scriptBury = prelude + `
-- ARGV: id, lease
local m = holds(ARGV[1], ARGV[2])
if not m then return 0 end
release(ARGV[1], m[3])
bury(ARGV[1], m[3])
return 1
`

const scriptCount = prelude + `
-- ARGV: types; returns ready, scheduled, leased, buried
local n = {0, 0, 0, 0}
for _, typ in ipairs(typesFrom(1)) do
  each('taken', typ, -1, putBack)
  local over = redis.call('ZCOUNT', set('leased', typ), '-inf', now)
  local waited = redis.call('ZCOUNT', set('scheduled', typ), '-inf', now)
  n[1] = n[1] + redis.call('ZCARD', set('ready', typ)) + over + waited
  n[2] = n[2] + redis.call('ZCARD', set('scheduled', typ)) - waited
  n[3] = n[3] + redis.call('ZCARD', set('leased', typ)) - over + redis.call('ZCARD', set('taken', typ))
  n[4] = n[4] + redis.call('ZCARD', set('buried', typ))
end
return n
`

// scriptRead returns what is known of messages; nothing for those that are gone.
const scriptRead = prelude + `
-- ARGV: ids
local list = {}
for _, id in ipairs(ARGV) do
  local m = redis.call('HMGET', task(id), 'type', 'priority', 'run_at', 'body', 'lease', 'attempts', 'crashes', 'state', 'back')
  if m[1] then
    local state = m[8]
    if state == 'leased' then
      local ends = redis.call('ZSCORE', set('leased', m[1]), id) or redis.call('ZSCORE', set('taken', m[1]), id)
      if ends and tonumber(ends) <= now then state = m[9] or 'ready' end
    end
    if state == 'scheduled' and tonumber(m[3]) <= now then state = 'ready' end
    list[#list + 1] = {id, m[1], m[2], m[3], m[4], m[5], m[6], m[7], state}
  end
end
return list
`

// scriptNext returns the microseconds until something can be claimed: 0 at once, -1 when
// nothing is known to come.
const scriptNext = prelude + `
-- ARGV: types
local soonest = -1
for _, typ in ipairs(ARGV) do
  if redis.call('ZCARD', set('ready', typ)) > 0 then return 0 end
  for _, name in ipairs({'scheduled', 'leased', 'taken'}) do
    local first = redis.call('ZRANGE', set(name, typ), 0, 0, 'WITHSCORES')
    if first[2] then
      local wait = math.max(0, tonumber(first[2]) - now)
      if soonest < 0 or wait < soonest then soonest = wait end
    end
  end
end
return math.ceil(soonest)
`
