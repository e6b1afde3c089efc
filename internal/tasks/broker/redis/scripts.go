package redis

// The scripts share these words. Times are microseconds, by the clock of the server.
//
//	PREFIX:task:ID          a hash: type, priority, run_at, order, body, state, lease, attempts, crashes
//	PREFIX:ready:TYPE       a sorted set of what can be claimed: by priority, then by its place, which begins with
//	                        the time and the number of the push in hexadecimal and ends with the ID
//	PREFIX:scheduled:TYPE   IDs by the time before which they are not ready
//	PREFIX:leased:TYPE      IDs by the end of their lease
//	PREFIX:buried:TYPE      IDs
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
local function makeReady(name, typ, limit, crashed)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', set(name, typ), '-inf', now, 'LIMIT', 0, limit)) do
    redis.call('ZREM', set(name, typ), id)
    if crashed then redis.call('HINCRBY', task(id), 'crashes', 1) end
    local m = redis.call('HMGET', task(id), 'priority', 'place')
    ready(id, typ, m[1], m[2])
  end
end
local function holds(id, lease)
  local m = redis.call('HMGET', task(id), 'state', 'lease', 'type', 'priority', 'run_at')
  if m[1] == 'leased' and m[2] == lease then return m end
end
`

const scriptPush = prelude + `
-- ARGV: id, type, priority, run_at, body, and so on
for i = 1, #ARGV, 5 do
  local id, typ, priority, at, body = ARGV[i], ARGV[i+1], ARGV[i+2], tonumber(ARGV[i+3]), ARGV[i+4]
  if redis.call('EXISTS', task(id)) == 0 then
    local order = string.format('%012x', redis.call('INCR', prefix .. ':pushes'))
    redis.call('HSET', task(id), 'type', typ, 'priority', priority, 'order', order, 'body', body,
      'lease', 0, 'attempts', 0, 'crashes', 0)
    wait(id, typ, priority, at)
  end
end
`

const scriptClaim = prelude + `
-- ARGV: how many, microseconds of the lease, types
local limit, length = tonumber(ARGV[1]), tonumber(ARGV[2])
local heads = {}
for i = 3, #ARGV do
  local typ = ARGV[i]
  makeReady('leased', typ, limit, true)
  makeReady('scheduled', typ, limit, false)
  local found = redis.call('ZRANGE', set('ready', typ), 0, limit - 1, 'WITHSCORES')
  for j = 1, #found, 2 do
    heads[#heads + 1] = {typ = typ, place = found[j], priority = tonumber(found[j + 1])}
  end
end
table.sort(heads, function(a, b)
  if a.priority ~= b.priority then return a.priority < b.priority end
  return a.place < b.place
end)
local claimed = {}
for i = 1, math.min(limit, #heads) do
  local h = heads[i]
  local id = string.sub(h.place, 29)
  redis.call('ZREM', set('ready', h.typ), h.place)
  redis.call('ZADD', set('leased', h.typ), now + length, id)
  local lease = redis.call('HINCRBY', task(id), 'lease', 1)
  redis.call('HSET', task(id), 'state', 'leased')
  local m = redis.call('HMGET', task(id), 'run_at', 'body', 'attempts', 'crashes')
  claimed[i] = {id, h.typ, string.format('%d', h.priority), m[1], m[2], tostring(lease), m[3], m[4], string.format('%.0f', now + length)}
end
return claimed
`

const scriptExtend = prelude + `
-- ARGV: microseconds from now, then id, lease, and so on; returns the ids that are lost
local lost = {}
for i = 2, #ARGV, 2 do
  local m = holds(ARGV[i], ARGV[i+1])
  if m then
    redis.call('ZADD', set('leased', m[3]), now + ARGV[1], ARGV[i])
  else
    lost[#lost + 1] = ARGV[i]
  end
end
return lost
`

const scriptAck = prelude + `
-- ARGV: id, lease
local m = holds(ARGV[1], ARGV[2])
if not m then return 0 end
redis.call('ZREM', set('leased', m[3]), ARGV[1])
redis.call('DEL', task(ARGV[1]))
return 1
`

const scriptNack = prelude + `
-- ARGV: id, lease, time or empty for the one it had, how many attempts it was
local m = holds(ARGV[1], ARGV[2])
if not m then return 0 end
redis.call('ZREM', set('leased', m[3]), ARGV[1])
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
redis.call('ZREM', set('leased', m[3]), ARGV[1])
redis.call('HSET', task(ARGV[1]), 'state', 'buried')
redis.call('ZADD', set('buried', m[3]), now, ARGV[1])
return 1
`

const scriptCount = prelude + `
-- ARGV: types; returns ready, scheduled, leased, buried
local n = {0, 0, 0, 0}
for _, typ in ipairs(ARGV) do
  local over = redis.call('ZCOUNT', set('leased', typ), '-inf', now)
  local due = redis.call('ZCOUNT', set('scheduled', typ), '-inf', now)
  n[1] = n[1] + redis.call('ZCARD', set('ready', typ)) + over + due
  n[2] = n[2] + redis.call('ZCARD', set('scheduled', typ)) - due
  n[3] = n[3] + redis.call('ZCARD', set('leased', typ)) - over
  n[4] = n[4] + redis.call('ZCARD', set('buried', typ))
end
return n
`

// scriptNext returns the microseconds until something can be claimed: 0 at once, -1 when
// nothing is known to come.
const scriptNext = prelude + `
-- ARGV: types
local soonest = -1
for _, typ in ipairs(ARGV) do
  if redis.call('ZCARD', set('ready', typ)) > 0 then return 0 end
  for _, name in ipairs({'scheduled', 'leased'}) do
    local first = redis.call('ZRANGE', set(name, typ), 0, 0, 'WITHSCORES')
    if first[2] then
      local wait = math.max(0, tonumber(first[2]) - now)
      if soonest < 0 or wait < soonest then soonest = wait end
    end
  end
end
return math.ceil(soonest)
`
