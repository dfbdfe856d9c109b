-- push.lua: push to every connection of one user, in one atomic call.
--
--   redis-cli --eval push.lua 'push:user:{alice}' , '{"text":"hi"}'
--   redis-cli --eval push.lua 'push:user:{alice}' , '{"text":"hi"}' id m-1 ttl 30000 collapse inbox
--
-- KEYS[1]   the user's presence hash, <prefix>user:{<user id>}: connection UUID -> channel of the pod that holds it
-- ARGV[1]   what to deliver: JSON, at most 64 KiB, passed on byte for byte
-- ARGV[2..] pairs `name value`, each name at most once:
--             id        the producer's own name for the message, 1 to 256 bytes: a client drops one that it has seen
--             ttl       milliseconds from now, after which it is no longer delivered
--             expires   the same as a time: Unix milliseconds, as in the envelope; not together with ttl
--             collapse  1 to 256 bytes: while it waits for a slow client, a newer message with the same key replaces it
--
-- Returns how many connections were addressed on pods that are subscribed; in a Cluster, where PUBLISH counts the
-- subscribers of one node only, how many were addressed. Bad input is answered with an error, and nothing is published.
--
-- It reads one key and writes none. An ACL must allow HGETALL, TIME, PUBLISH and INFO, reading and writing of the key
-- (EVAL wants both) and the pods' channels. Without INFO all is delivered, but the count in a Cluster is too low.

local MAX_DATA = 65536 -- bytes; the whole of Redis waits while they are checked
local MAX_DEPTH = 1000 -- levels; a pod may refuse what is nested deeper
local MAX_TEXT = 256   -- bytes of a user id, an id, a collapse key
local MAX_NAMED = 1000 -- connections named in one envelope, to keep it below redis.max_envelope
local MIN_TIME = 1e11  -- Unix milliseconds: what is below is a duration by mistake
local MAX_TIME = 2 ^ 53

local byte, find, format, gsub, rep, sub = string.byte, string.find, string.format, string.gsub, string.rep, string.sub

local KNOWN = { id = true, ttl = true, expires = true, collapse = true }

-- %x also takes upper case, which is asked for apart.
local UUID = '^' .. rep('%x', 8) .. rep('%-' .. rep('%x', 4), 3) .. '%-' .. rep('%x', 12) .. '$'

-- The second byte of a UTF-8 sequence where it is narrower than 80-BF: no overlong form, no surrogate, nothing above
-- U+10FFFF (RFC 3629 section 4).
local SECOND_LOW = { [224] = 160, [240] = 144 }
local SECOND_HIGH = { [237] = 159, [244] = 143 }

-- What the scanner below waits for, by its state.
local EXPECTED = {
  'a value', 'a value or ]', 'a member name or }', 'a member name', 'a colon', 'a comma or the end',
  'one of "\\/bfnrtu', 'a hexadecimal digit', 'valid UTF-8', 'true, false or null', 'no control character',
  'a digit', 'no digit after a leading 0', '', 'a digit', '', 'a digit or a sign', 'a digit', '',
}

-- Says what is wrong with s as JSON (RFC 8259, in valid UTF-8), or returns nil where nothing is.
--
-- It is written out because cjson takes nan, 01, 1., raw control characters and invalid UTF-8. It takes one step for
-- each byte, whatever the bytes are, so that nobody can make Redis wait by a clever choice of them. They come in
-- slices because the stack is bounded.
local function json_fault(s)
  local VALUE, ITEM, MEMBER, KEY, COLON, AFTER = 1, 2, 3, 4, 5, 6 -- between tokens
  local ESCAPE, HEX, UTF8, LITERAL, STRING = 7, 8, 9, 10, 11      -- inside one
  local MINUS, ZERO, INTEGER, POINT, FRACTION, E, SIGN, EXPONENT = 12, 13, 14, 15, 16, 17, 18, 19 -- inside a number

  local state, depth = VALUE, 0
  local object = false            -- is the innermost open level an object?
  local outer = {}                -- the same of the levels around it, by depth
  local is_key = false            -- is the string being read a member's name?
  local more, low, high = 0, 0, 0 -- bytes to come of an escape or a UTF-8 sequence, and the next one's bounds
  local literal, at = '', 0       -- the literal being read, and where in it

  for base = 1, #s, 200 do
    local slice = { byte(s, base, base + 199) }
    for i = 1, #slice do
      local b = slice[i]
      local bad = false

      if state == STRING then
        if b == 34 then -- "
          state = is_key and COLON or AFTER
        elseif b == 92 then -- \
          state = ESCAPE
        elseif b < 32 then
          bad = true
        elseif b >= 128 then
          more = b >= 240 and 3 or b >= 224 and 2 or 1
          low, high = SECOND_LOW[b] or 128, SECOND_HIGH[b] or 191
          bad = b < 194 or b > 244
          state = UTF8
        end

      elseif state <= AFTER or state >= MINUS then
        local taken = false
        if state >= MINUS then
          taken = true
          if b >= 48 and b <= 57 then
            if state == MINUS then
              state = b == 48 and ZERO or INTEGER
            elseif state == ZERO then
              bad = true
            elseif state == POINT then
              state = FRACTION
            elseif state == E or state == SIGN then
              state = EXPONENT
            end
          elseif b == 46 and (state == ZERO or state == INTEGER) then
            state = POINT
          elseif (b == 101 or b == 69) and (state == ZERO or state == INTEGER or state == FRACTION) then
            state = E
          elseif (b == 43 or b == 45) and state == E then
            state = SIGN
          elseif state == MINUS or state == POINT or state == E or state == SIGN then
            bad = true
          else
            state, taken = AFTER, false -- what ends a number belongs to what follows
          end
        end

        if taken or b <= 32 and (b == 32 or b == 10 or b == 13 or b == 9) then
          -- The number goes on, or white space.
        elseif state == AFTER then
          if depth == 0 then
            bad = true
          elseif b == 44 then -- ,
            state = object and KEY or VALUE
          elseif b == 93 and not object or b == 125 and object then -- ] }
            object, depth = outer[depth], depth - 1
          else
            bad = true
          end
        elseif state <= ITEM then
          if b == 34 then
            state, is_key = STRING, false
          elseif b == 123 or b == 91 then -- { [
            if depth == MAX_DEPTH then
              return format('it is nested deeper than %d levels at byte %d', MAX_DEPTH, base + i - 1)
            end
            depth = depth + 1
            outer[depth] = object
            object = b == 123
            state = object and MEMBER or ITEM
          elseif b == 48 then
            state = ZERO
          elseif b >= 49 and b <= 57 then
            state = INTEGER
          elseif b == 45 then
            state = MINUS
          elseif b == 116 then
            state, literal, at = LITERAL, 'true', 2
          elseif b == 102 then
            state, literal, at = LITERAL, 'false', 2
          elseif b == 110 then
            state, literal, at = LITERAL, 'null', 2
          elseif b == 93 and state == ITEM then
            object, depth, state = outer[depth], depth - 1, AFTER
          else
            bad = true
          end
        elseif state == COLON then
          if b == 58 then state = VALUE else bad = true end
        else -- KEY, MEMBER
          if b == 34 then
            state, is_key = STRING, true
          elseif b == 125 and state == MEMBER then
            object, depth, state = outer[depth], depth - 1, AFTER
          else
            bad = true
          end
        end

      elseif state == UTF8 then
        bad = b < low or b > high
        low, high, more = 128, 191, more - 1
        if more == 0 and not bad then state = STRING end

      elseif state == ESCAPE then
        if b == 117 then -- u
          state, more = HEX, 4
        elseif b == 34 or b == 92 or b == 47 or b == 98 or b == 102 or b == 110 or b == 114 or b == 116 then
          state = STRING
        else
          bad = true
        end

      elseif state == HEX then
        bad = not (b >= 48 and b <= 57 or b >= 97 and b <= 102 or b >= 65 and b <= 70)
        more = more - 1
        if more == 0 and not bad then state = STRING end

      else -- LITERAL
        bad = b ~= byte(literal, at)
        at = at + 1
        if at > #literal and not bad then state = AFTER end
      end

      if bad then
        return format('byte 0x%02X at %d, expected %s', b, base + i - 1, EXPECTED[state])
      end
    end
  end

  local whole = state == AFTER or state == ZERO or state == INTEGER or state == FRACTION or state == EXPONENT
  if depth == 0 and whole then return nil end
  return 'it ends too early'
end

-- Writes s as a JSON string. What is not UTF-8 in it stays, for json_fault to find.
local function quoted(s)
  return '"' .. gsub(s, '[%z\1-\31"\\]', function(c)
    if c == '"' or c == '\\' then return '\\' .. c end
    return format('\\u%04x', byte(c))
  end) .. '"'
end

-- Returns s as a JSON string, or nil and what is wrong with it.
local function text_member(s)
  if #s == 0 or #s > MAX_TEXT then
    return nil, format('has %d bytes; allowed are 1 to %d', #s, MAX_TEXT)
  end
  local json = quoted(s)
  if json_fault(json) then return nil, 'is not valid UTF-8' end
  return json
end

-- Returns the user id in a presence key, or nil and what is wrong. The prefix has no braces, so the first one opens
-- the id; the id itself may hold more of them.
local function user_of(key)
  local open = find(key, '{', 1, true)
  if not open or sub(key, open - 5, open - 1) ~= 'user:' or sub(key, -1) ~= '}' or #key == open then
    return nil, 'the key is not of the form <prefix>user:{<user id>}'
  end
  local id = sub(key, open + 1, -2)
  if sub(id, 1, 1) == '}' then return nil, 'the user id begins with }' end
  local json, fault = text_member(id)
  if not json then return nil, 'the user id ' .. fault end
  if find(id, '[%z\1-\31\127]') or find(id, '\194[\128-\159]') then
    return nil, 'the user id has a control character'
  end
  return json
end

-- What a stranger wrote, fit for an error reply: one short line.
local function shown(s)
  return (gsub(sub(s, 1, 40), '[^ -~]', '?'))
end

-- Returns the pairs behind the data as a table, or nil and what is wrong.
local function pairs_of(args)
  local given = {}
  for i = 2, #args, 2 do
    local name, value = args[i], args[i + 1]
    if not KNOWN[name] then
      return nil, format("unknown name '%s'; known are id, ttl, expires, collapse", shown(name))
    end
    if value == nil then return nil, name .. ' has no value; what follows the data are pairs: name value' end
    if given[name] then return nil, name .. ' is given twice' end
    given[name] = value
  end
  return given
end

-- Returns a whole number above 0, or nil.
local function whole(s)
  -- The length goes first, as it bounds the pattern's work and keeps the number exact.
  return #s <= 16 and find(s, '^[1-9][0-9]*$') and tonumber(s) or nil
end

-- Returns when the message expires, in Unix milliseconds, or nil where it does not; or nil and what is wrong.
local function expiry(given, now)
  if given.ttl and given.expires then return nil, 'ttl and expires are given together; one is enough' end
  if given.ttl then
    local ms = whole(given.ttl)
    if ms and now + ms < MAX_TIME then return now + ms end
    return nil, format("ttl '%s' is not a whole number of milliseconds above 0, which added to now stays below 2^53",
      shown(given.ttl))
  end
  if given.expires then
    local at = whole(given.expires)
    if at and at >= MIN_TIME and at < MAX_TIME then return at end
    return nil, format("expires '%s' is not a time in Unix milliseconds, from 10^11 to 2^53; for milliseconds from now use ttl",
      shown(given.expires))
  end
end

-- Returns the members behind the target, from id to data, and the closing brace; or nil and what is wrong.
local function members(data, given)
  local list = {}
  if given.id then
    local json, fault = text_member(given.id)
    if not json then return nil, 'id ' .. fault end
    list[#list + 1] = ',"id":' .. json
  end

  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  list[#list + 1] = format(',"at":%.0f', now)

  local expires, fault = expiry(given, now)
  if fault then return nil, fault end
  if expires then list[#list + 1] = format(',"expires":%.0f', expires) end

  if given.collapse then
    local json, fault = text_member(given.collapse)
    if not json then return nil, 'collapse ' .. fault end
    list[#list + 1] = ',"collapse":' .. json
  end

  list[#list + 1] = ',"data":' .. data .. '}'
  return table.concat(list)
end

-- Sorts a HGETALL reply by channel: a list of { channel, uuids, nameable }.
local function by_channel(entries)
  local list, index = {}, {}
  for i = 1, #entries, 2 do
    local uuid, channel = entries[i], entries[i + 1]
    local pod = index[channel]
    if not pod then
      pod = { channel = channel, uuids = {}, nameable = true }
      index[channel] = pod
      list[#list + 1] = pod
    end
    pod.uuids[#pod.uuids + 1] = uuid
    pod.nameable = pod.nameable and find(uuid, UUID) ~= nil and not find(uuid, '%u')
  end
  return list
end

-- Returns the target members of a pod's envelope. Connections are named one by one, since then each stale entry is a
-- miss and gets removed, and nobody is reached who was not counted. One field that is no UUID would spoil the envelope
-- for all, and too many would make it too large: there the user is named instead.
local function target(pod, user)
  local uuids = pod.uuids
  if not pod.nameable or #uuids > MAX_NAMED then return '{"user":' .. user end
  if #uuids == 1 then return '{"to":"' .. uuids[1] .. '","of":' .. user end
  return '{"to":["' .. table.concat(uuids, '","') .. '"],"of":' .. user
end

-- In a Cluster the number that PUBLISH returns says nothing about pods at other nodes.
local function in_cluster()
  local info = redis.pcall('INFO', 'cluster')
  return type(info) == 'string' and find(info, 'cluster_enabled:1', 1, true) ~= nil
end

local function refuse(reason)
  return redis.error_reply('pushpod: ' .. reason)
end

local function push(keys, args)
  if #keys ~= 1 then return refuse('give one key, <prefix>user:{<user id>}; ' .. #keys .. ' were given') end
  local user, fault = user_of(keys[1])
  if not user then return refuse(fault) end

  local data = args[1]
  if not data then return refuse('no data; give JSON behind the key') end
  if #data > MAX_DATA then
    return refuse(format('the data has %d bytes; allowed are %d, use PUBLISH for more', #data, MAX_DATA))
  end
  fault = json_fault(data)
  if fault then return refuse('the data is not JSON: ' .. fault) end

  local given, rest
  given, fault = pairs_of(args)
  if not given then return refuse(fault) end
  rest, fault = members(data, given)
  if not rest then return refuse(fault) end

  local entries = redis.pcall('HGETALL', keys[1])
  if entries.err then return refuse('cannot read the presence of the user: ' .. entries.err) end

  local reached, addressed = 0, 0
  for _, pod in ipairs(by_channel(entries)) do
    local receivers = redis.pcall('PUBLISH', pod.channel, target(pod, user) .. rest)
    if type(receivers) == 'table' then
      return refuse(format('cannot publish, %d connections were addressed before: %s', addressed, receivers.err))
    end
    addressed = addressed + #pod.uuids
    if receivers > 0 then reached = reached + #pod.uuids end
  end
  if reached < addressed and in_cluster() then return addressed end
  return reached
end

return push(KEYS, ARGV)
