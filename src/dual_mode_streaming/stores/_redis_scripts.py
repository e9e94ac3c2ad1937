"""The scripts of `RedisStore`: each is one atomic step on the server.

A run has two keys in one hash slot: `head`, a hash, and `log`, a stream whose ids are `<seq>-0`. An entry of the log
has one field, `r`, with the frame of one record (`_frames.py` has the layout). The fields of `head`:

    epoch, owner, key           as the run was begun; the last two may be missing
    first, last                 numbers of the oldest record that is kept, and of the newest
    bytes                       of data that is kept
    ended                       missing while the run is live; `done` by its producer, `closed` by somebody else
    until                       when the lease runs out
    due                         when the pointer of the idempotency key needs a longer life
    fresh                       until when the life of the keys need not be made longer
    lease, ttl, ttl_after, max_items, max_bytes     the limits; times in milliseconds, the last two may be missing

Rules:

- Time is the server's own.
- The head expires before the log. So a head never speaks of a log that has expired.
- A refusal is an answer, not an error: the first element says `gone`, `ended` or `gap`. Otherwise it is `ok`.
- Where Lua makes texts of numbers that may be large, they are written with `%.0f`: it would write an exponent. As
  arguments of `redis.call` they need no such care, and cost less.
- An append writes as little as it can: the keys are given their life for an eighth longer than they need it, and it is
  made longer when that eighth is over. The state travels as one text: for the client each element of an answer costs.
- Everything works on Redis 5: no `XTRIM MINID`, no exclusive ranges, no `GETDEL`.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha1

__all__ = ["ADD", "APPEND", "BEGIN", "CLOSE", "DROP", "POINT", "READ", "Script"]


@dataclass(frozen=True, slots=True)
class Script:
    """A script, and the name under which a server that has seen it knows it."""

    text: str
    sha: str


_COMMON = """\
local head, log = KEYS[1], KEYS[2]

local function int(number)
  return string.format('%.0f', number)
end

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- What is known of a run; nothing if it is not there.
local function load()
  local h = redis.call('HMGET', head, 'epoch', 'owner', 'key', 'ended', 'first', 'last', 'bytes', 'until', 'due',
    'lease', 'ttl', 'ttl_after', 'max_items', 'max_bytes', 'fresh')
  if not h[1] then
    return nil
  end
  return {
    epoch = h[1], owner = h[2], key = h[3], ended = h[4], first = tonumber(h[5]), last = tonumber(h[6]),
    bytes = tonumber(h[7]), until_ = tonumber(h[8]), due = tonumber(h[9]), lease = tonumber(h[10]),
    ttl = tonumber(h[11]), ttl_after = tonumber(h[12]),
    items = tonumber(h[13]) or math.huge, most = tonumber(h[14]) or math.huge, fresh = tonumber(h[15]) or 0,
  }
end

-- The answer about a run: `ok`, its epoch, owner and key, and a text of the rest of its head and of the life of its
-- pointer.
local function answer(run, time, due)
  local left = math.max(0, run.until_ - time)
  local state = 'live'
  if run.ended then
    state, left = 'ended', 0
  elseif left == 0 then
    state = 'lost'
  end
  return {'ok', run.epoch, run.owner, run.key, state .. ' ' .. run.first .. ' ' .. run.last .. ' ' .. left .. ' ' ..
    (due or 0) .. ' ' .. run.ttl .. ' ' .. run.ttl_after}
end

-- The size of the data in a frame.
local function size(frame)
  local high, low = string.byte(frame, 5, 6)
  return #frame - 6 - (high % 128) * 256 - low
end

local function expire(milliseconds)
  redis.call('PEXPIRE', head, milliseconds)
  redis.call('PEXPIRE', log, milliseconds + 1000)
end

-- Make the life of the keys of a live run longer, if it is time.
local function live_on(run, time)
  if time >= run.fresh then
    redis.call('HSET', head, 'fresh', time + math.floor(run.ttl / 8))
    expire(run.ttl + math.ceil(run.ttl / 8))
  end
end

-- Say whether the pointer of the idempotency key needs a longer life, and note that it is told so.
local function prolong(run, time)
  if not run.key or time < run.due then
    return 0
  end
  redis.call('HSET', head, 'due', math.floor(time + run.ttl / 2))
  return 1
end

-- Add frames, beginning with ARGV[from], drop what is over the limits, but never the newest, and write the head.
local function add(run, from)
  if run.last == 0 then
    run.fresh = 0 -- the log is not there yet, so it has no life
  end
  for i = from, #ARGV do
    run.last = run.last + 1
    redis.call('XADD', log, int(run.last) .. '-0', 'r', ARGV[i])
    run.bytes = run.bytes + size(ARGV[i])
  end
  local oldest = run.first
  while run.first < run.last and (run.last - run.first + 1 > run.items or run.bytes > run.most) do
    local id = int(run.first) .. '-0'
    local entry = redis.call('XRANGE', log, id, id)[1]
    if entry then
      run.bytes = run.bytes - size(entry[2][2])
    end
    run.first = run.first + 1
  end
  if run.first > oldest then
    redis.call('XTRIM', log, 'MAXLEN', run.last - run.first + 1)
    redis.call('HSET', head, 'first', run.first)
  end
  redis.call('HSET', head, 'last', run.last, 'bytes', run.bytes, 'until', run.until_)
end

"""


def _script(body: str) -> Script:
    text = _COMMON + body
    return Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


BEGIN = _script("""\
-- Begin a run; one that is there already is left as it is. ARGV: fields of the head and their values.
local time = now()
if redis.call('EXISTS', head) == 0 then
  redis.call('DEL', log)
  redis.call('HSET', head, 'first', 1, 'last', 0, 'bytes', 0, 'until', 0, 'due', 0, unpack(ARGV))
  local run = load()
  redis.call('HSET', head, 'until', time + run.lease, 'due', math.floor(time + run.ttl / 2))
  live_on(run, time)
end
return answer(load(), time)
""")

APPEND = _script("""\
-- Append frames and renew the lease. ARGV: epoch, channel, number of the first frame, whether the last one is final,
-- whether the bell carries the frames, then the frames; without any it is a sign of life.
local run, time = load(), now()
if not run then
  return {'gone'}
end
local begins, count = tonumber(ARGV[3]), #ARGV - 5
local known = math.min(count, run.last - begins + 1) -- so many are there already, from a time when the reply was lost
if run.epoch ~= ARGV[1] or run.ended == 'closed' or (run.ended and (count == 0 or known < count)) then
  return {'ended'}
elseif run.ended then
  return answer(run, time)
elseif known < 0 then
  return {'gap', run.last}
end

local first = run.last + 1
run.until_ = time + run.lease
local due = prolong(run, time)
if known < count then
  add(run, 6 + known)
  if ARGV[4] == '1' then
    run.ended = 'done'
    redis.call('HSET', head, 'ended', run.ended)
    expire(run.ttl_after)
  end
  local bell = ''
  if ARGV[5] == '1' then
    bell = int(first) .. ':' .. table.concat(ARGV, '', 6 + known)
  end
  redis.call('PUBLISH', ARGV[2], bell)
else
  redis.call('HSET', head, 'until', run.until_)
end
if not run.ended then
  live_on(run, time)
end
return answer(run, time, due)
""")

ADD = _script("""\
-- Add frames behind whatever is there. KEYS: head, log, and one that remembers that this was done. ARGV: epoch,
-- channel, for how long that is remembered, whether the bell carries the frames, then the frames. The answer has the
-- number of the first one in the end.
local run, time = load(), now()
if not run then
  return {'gone'}
elseif run.epoch ~= ARGV[1] or run.ended then
  return {'ended'}
end
local first = tonumber(redis.call('GET', KEYS[3]))
local due = 0
if not first then
  first = run.last + 1
  run.until_ = time + run.lease
  due = prolong(run, time)
  add(run, 5)
  redis.call('SET', KEYS[3], first, 'PX', ARGV[3])
  redis.call('PUBLISH', ARGV[2], ARGV[4] == '1' and int(first) .. ':' .. table.concat(ARGV, '', 5) or '')
  live_on(run, time)
end
local told = answer(run, time, due)
told[#told + 1] = first
return told
""")

CLOSE = _script("""\
-- End a run in the place of its producer. ARGV: channel, whether only if it is lost, the frame of the final record.
local run, time = load(), now()
if not run then
  return {'gone'}
end
if run.ended or (ARGV[2] == '1' and time < run.until_) then
  return answer(run, time)
end
add(run, 3)
run.ended = 'closed'
redis.call('HSET', head, 'ended', run.ended)
expire(run.ttl_after)
redis.call('PUBLISH', ARGV[1], int(run.last) .. ':' .. ARGV[3])
return answer(run, time)
""")

READ = _script("""\
-- Give the head, the number of the first record of the page, and the frames. ARGV: after, limit, bytes of a page.
local run, time = load(), now()
if not run then
  return {'gone'}
end
local begins, most = math.max(run.first, tonumber(ARGV[1]) + 1), tonumber(ARGV[3])
local last = math.min(run.last, begins + tonumber(ARGV[2]) - 1)
local frames, bytes, at = {}, 0, begins
while at <= last and bytes < most do
  local upto = math.min(last, at + 99)
  for _, entry in ipairs(redis.call('XRANGE', log, int(at) .. '-0', int(upto) .. '-0')) do
    if entry[1] ~= int(at) .. '-0' then
      return {'gone'}
    end
    frames[#frames + 1] = entry[2][2]
    bytes = bytes + size(entry[2][2])
    at = at + 1
    if bytes >= most then
      break
    end
  end
  if at <= upto and bytes < most then
    return {'gone'} -- a server that was short of memory has thrown the log away: better no run than one with a hole
  end
end
return {answer(run, time), begins, table.concat(frames)}
""")

DROP = _script("""\
-- Forget a run that has lost the race for its key. ARGV: epoch.
if redis.call('HGET', head, 'epoch') == ARGV[1] then
  redis.call('DEL', head, log)
end
return {'ok'}
""")

POINT = Script(
    _POINT := """\
-- Let a key point to a run, unless another has come first. KEYS: pointer. ARGV: the run it was seen to point to, of
-- which nothing is left; the run it shall point to; its life. The answer is the run it points to now.
local points = redis.call('GET', KEYS[1])
if points and points ~= ARGV[1] and points ~= ARGV[2] then
  return points
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return ARGV[2]
""",
    sha1(_POINT.encode(), usedforsecurity=False).hexdigest(),
)
