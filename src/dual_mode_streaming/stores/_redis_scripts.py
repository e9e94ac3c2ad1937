"""The scripts of `RedisStore`: each is one atomic step on the server.

A run has two keys in one hash slot: `head`, a hash, and `log`, a stream whose ids are `<seq>-0`. An entry of the log
has one field, `r`, with the frame of one record (`_frames.py` has the layout). The fields of `head`:

    epoch, owner, key           as the run was begun; the last two may be missing
    first, last                 numbers of the oldest record that is kept, and of the newest
    bytes                       of data that is kept
    ended                       missing while the run is live; `done` by its producer, `closed` by somebody else
    until                       when the lease runs out
    due                         when the pointer of the idempotency key needs a longer life
    lease, ttl, ttl_after, max_items, max_bytes     the limits; times in milliseconds, the last two may be missing

Rules:

- Time is the server's own.
- The head expires before the log. So a head never speaks of a log that has expired.
- A refusal is an answer, not an error: the first element says `gone`, `ended` or `gap`. Otherwise it is `ok`.
- Numbers are written with `%.0f`: Lua would write large ones with an exponent.
- Everything works on Redis 5: no `XTRIM MINID`, no exclusive ranges, no `GETDEL`.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha1

__all__ = ["APPEND", "BEGIN", "CLOSE", "DROP", "POINT", "READ", "Script"]


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

-- The answer about a run: `ok`, then what a head is made of, then whether the pointer of its key is due.
local function answer(due)
  local h = redis.call('HMGET', head, 'epoch', 'owner', 'key', 'ended', 'first', 'last', 'until', 'ttl', 'ttl_after')
  local left = math.max(0, h[7] - now())
  local state = 'live'
  if h[4] then
    state, left = 'ended', 0
  elseif left == 0 then
    state = 'lost'
  end
  return {'ok', h[1], h[2], h[3], state, tonumber(h[5]), tonumber(h[6]), int(left), due or 0, int(h[8]), int(h[9])}
end

-- The size of the data in a frame.
local function size(frame)
  local high, low = string.byte(frame, 5, 6)
  return #frame - 6 - (high % 128) * 256 - low
end

local function expire(milliseconds)
  redis.call('PEXPIRE', head, int(milliseconds))
  redis.call('PEXPIRE', log, int(milliseconds + 1000))
end

-- Add frames behind record `last`, beginning with ARGV[from], and drop what is over the limits, but never the newest.
local function add(last, from)
  local h = redis.call('HMGET', head, 'first', 'bytes', 'max_items', 'max_bytes')
  local first, bytes = tonumber(h[1]), tonumber(h[2])
  local items, most = tonumber(h[3]) or math.huge, tonumber(h[4]) or math.huge
  for i = from, #ARGV do
    last = last + 1
    redis.call('XADD', log, int(last) .. '-0', 'r', ARGV[i])
    bytes = bytes + size(ARGV[i])
  end
  local oldest = first
  while first < last and (last - first + 1 > items or bytes > most) do
    local id = int(first) .. '-0'
    local entry = redis.call('XRANGE', log, id, id)[1]
    if entry then
      bytes = bytes - size(entry[2][2])
    end
    first = first + 1
  end
  if first > oldest then
    redis.call('XTRIM', log, 'MAXLEN', int(last - first + 1))
  end
  redis.call('HSET', head, 'first', int(first), 'last', int(last), 'bytes', int(bytes))
end

"""


def _script(body: str) -> Script:
    text = _COMMON + body
    return Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


BEGIN = _script("""\
-- Begin a run; one that is there already is left as it is. ARGV: fields of the head and their values.
if redis.call('EXISTS', head) == 0 then
  redis.call('DEL', log)
  redis.call('HSET', head, 'first', 1, 'last', 0, 'bytes', 0, unpack(ARGV))
  local h = redis.call('HMGET', head, 'lease', 'ttl')
  local time = now()
  redis.call('HSET', head, 'until', int(time + h[1]), 'due', int(time + h[2] / 2))
  expire(h[2])
end
return answer()
""")

APPEND = _script("""\
-- Append frames and renew the lease. ARGV: epoch, channel, number of the first frame, whether the last one is final,
-- whether the bell carries the frames, then the frames; without any it is a sign of life.
local h = redis.call('HMGET', head, 'epoch', 'ended', 'last', 'lease', 'ttl', 'ttl_after', 'key', 'due')
if not h[1] then
  return {'gone'}
end
local last, begins, count = tonumber(h[3]), tonumber(ARGV[3]), #ARGV - 5
local known = math.min(count, last - begins + 1) -- so many are there already, from a time when the reply was lost
if h[1] ~= ARGV[1] or h[2] == 'closed' or (h[2] and (count == 0 or known < count)) then
  return {'ended'}
elseif h[2] then
  return answer()
elseif known < 0 then
  return {'gap', last}
end

local time, due = now(), 0
if known < count then
  add(last, 6 + known)
end
local life = h[5]
if known < count and ARGV[4] == '1' then
  redis.call('HSET', head, 'ended', 'done')
  life = h[6]
end
redis.call('HSET', head, 'until', int(time + h[4]))
if h[7] and time >= tonumber(h[8]) then
  due = 1
  redis.call('HSET', head, 'due', int(time + h[5] / 2))
end
expire(life)
if known < count then
  local bell = ''
  if ARGV[5] == '1' then
    bell = int(last + 1) .. ':' .. table.concat(ARGV, '', 6 + known)
  end
  redis.call('PUBLISH', ARGV[2], bell)
end
return answer(due)
""")

CLOSE = _script("""\
-- End a run in the place of its producer. ARGV: channel, whether only if it is lost, the frame of the final record.
local h = redis.call('HMGET', head, 'epoch', 'ended', 'last', 'until', 'ttl_after')
if not h[1] then
  return {'gone'}
end
if h[2] or (ARGV[2] == '1' and now() < tonumber(h[4])) then
  return answer()
end
add(tonumber(h[3]), 3)
redis.call('HSET', head, 'ended', 'closed')
expire(h[5])
redis.call('PUBLISH', ARGV[1], int(h[3] + 1) .. ':' .. ARGV[3])
return answer()
""")

READ = _script("""\
-- Give the head, the number of the first record of the page, and the frames. ARGV: after, limit, bytes of a page.
local h = redis.call('HMGET', head, 'first', 'last')
if not h[1] then
  return {'gone'}
end
local begins = math.max(tonumber(h[1]), tonumber(ARGV[1]) + 1)
local last = math.min(tonumber(h[2]), begins + tonumber(ARGV[2]) - 1)
local frames, bytes, at = {}, 0, begins
while at <= last and bytes < tonumber(ARGV[3]) do
  local upto = math.min(last, at + 99)
  for _, entry in ipairs(redis.call('XRANGE', log, int(at) .. '-0', int(upto) .. '-0')) do
    if entry[1] ~= int(at) .. '-0' then
      return {'gone'}
    end
    frames[#frames + 1] = entry[2][2]
    bytes = bytes + size(entry[2][2])
    at = at + 1
    if bytes >= tonumber(ARGV[3]) then
      break
    end
  end
  if at <= upto and bytes < tonumber(ARGV[3]) then
    return {'gone'} -- a server that was short of memory has thrown the log away: better no run than one with a hole
  end
end
return {answer(), begins, table.concat(frames)}
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
