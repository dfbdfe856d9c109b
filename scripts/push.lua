-- push.lua: push to every connection of one user, in one atomic call.
--
--   redis-cli --eval push.lua 'push:user:{alice}' , '{"text":"hi"}'
--   redis-cli --eval push.lua 'push:user:{alice}' , '{"text":"hi"}' id m-1 ttl 30000 collapse inbox
--
-- KEYS[1]   the user's presence hash, <prefix>user:{<user id>}: connection UUID -> channel of the pod that holds it
-- ARGV[1]   what to deliver: JSON, at most 64 KiB, passed on byte for byte. What Redis's decoder takes although it is no JSON
--           (nan, 01, a raw tab in a string, invalid UTF-8) is counted here, and dropped by the pods as a bad envelope
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
--
-- Everybody waits while it runs, so it does only what each push needs; functions that few need are made where they are.

local MAX_DATA = 65536 -- bytes
local MAX_NAMED = 1000 -- connections named in one envelope, to keep it below redis.max_envelope

local find, match, sub = string.find, string.match, string.sub

local function refuse(reason)
  return redis.error_reply('ERR pushpod: ' .. reason)
end

if #KEYS ~= 1 then return refuse('give one key, <prefix>user:{<user id>}; ' .. #KEYS .. ' were given') end
-- The prefix has no braces, so the first one opens the id; the id itself may hold more of them. Most ids need no quoting.
local key = KEYS[1]
local user = #key < 1024 and match(key, '^[^{]*user:{([^"\\]+)}$') -- the embedded Redis takes stack for each byte of a match
local is_plain = user
if not is_plain then
  local _, open = find(key, '^[^{]*user:{')
  if not open or #key == open or sub(key, -1) ~= '}' then
    return refuse('the key is not of the form <prefix>user:{<user id>}')
  end
  user = sub(key, open + 1, -2)
end

local data = ARGV[1]
if not data then return refuse('no data; give JSON behind the key') end
if #data > MAX_DATA then return refuse('the data has ' .. #data .. ' bytes; allowed are 65536, use PUBLISH for more') end
local is_json, decoded, fault = pcall(cjson.decode, data) -- it raises an error, or, in the embedded Redis, returns one
if not is_json or fault then
  return refuse('the data is not JSON: ' .. string.gsub(sub(tostring(fault or decoded), 1, 100), '[^ -~]', '?'))
end

local entries = redis.pcall('HGETALL', key)
if entries.err then return refuse('cannot read the presence of the user: ' .. entries.err) end

local time = redis.call('TIME')
local seconds, millis = time[1], sub('00000' .. time[2], -6, -4) -- one behind the other they are Unix milliseconds
local id, expires, collapse = '', '', ''

-- What hardly any push needs: pairs, and an answer to who misspells a user.
if #ARGV > 1 or #entries == 0 then
  local MAX_TEXT = 256  -- bytes of a user id, an id, a collapse key
  local MIN_TIME = 1e11 -- Unix milliseconds: what is below is a duration by mistake
  local MAX_TIME = 2 ^ 53
  local format, gsub = string.format, string.gsub

  -- Returns what is wrong with a text, or nil.
  local function text_fault(s)
    if #s == 0 or #s > MAX_TEXT then return format('has %d bytes; allowed are 1 to %d', #s, MAX_TEXT) end
    -- The sequences of RFC 3629, section 4. What is left beyond ASCII belongs to none.
    for _, sequence in ipairs({
      '[\194-\223][\128-\191]', '\224[\160-\191][\128-\191]', '[\225-\236\238\239][\128-\191][\128-\191]', '\237[\128-\159][\128-\191]',
      '\240[\144-\191][\128-\191][\128-\191]', '[\241-\243][\128-\191][\128-\191][\128-\191]', '\244[\128-\143][\128-\191][\128-\191]',
    }) do
      s = gsub(s, sequence, '.')
    end
    if find(s, '[\128-\255]') then return 'is not valid UTF-8' end
  end

  -- Returns what is wrong with a user id, or nil.
  local function user_fault(s)
    if sub(s, 1, 1) == '}' then return 'begins with }' end
    local fault = text_fault(s)
    if fault then return fault end
    if find(s, '[%z\1-\31\127]') or find(s, '\194[\128-\159]') then return 'has a control character' end
  end

  -- Returns s as a JSON string.
  local function quoted(s)
    return '"' .. gsub(s, '[%z\1-\31"\\]', function(c)
      if c == '"' or c == '\\' then return '\\' .. c end
      return format('\\u%04x', string.byte(c))
    end) .. '"'
  end

  -- What a stranger wrote, fit for an error reply: one short line.
  local function shown(s)
    return (gsub(sub(s, 1, 40), '[^ -~]', '?'))
  end

  -- Returns a whole number above 0, or nil.
  local function whole(s)
    -- The length goes first, as it bounds the pattern's work and keeps the number exact.
    return #s <= 16 and find(s, '^[1-9][0-9]*$') and tonumber(s) or nil
  end

  if #entries == 0 then -- pods write nothing under an id that is not allowed
    fault = user_fault(user)
    if fault then return refuse('the user id ' .. fault) end
  end

  local given = {}
  for i = 2, #ARGV, 2 do
    local name, value = ARGV[i], ARGV[i + 1]
    if name ~= 'id' and name ~= 'ttl' and name ~= 'expires' and name ~= 'collapse' then
      return refuse(format("unknown name '%s'; known are id, ttl, expires, collapse", shown(name)))
    end
    if not value then return refuse(name .. ' has no value; what follows the data are pairs: name value') end
    if given[name] then return refuse(name .. ' is given twice') end
    given[name] = value
  end

  if given.id then
    fault = text_fault(given.id)
    if fault then return refuse('id ' .. fault) end
    id = ',"id":' .. quoted(given.id)
  end

  if given.ttl and given.expires then return refuse('ttl and expires are given together; one is enough') end
  if given.ttl then
    local at = seconds .. millis
    local ms = whole(given.ttl)
    if not ms or at + ms >= MAX_TIME then
      return refuse(format("ttl '%s' is not a whole number of milliseconds above 0, which added to now stays below 2^53",
        shown(given.ttl)))
    end
    expires = format(',"expires":%.0f', at + ms)
  elseif given.expires then
    local ms = whole(given.expires)
    if not ms or ms < MIN_TIME or ms >= MAX_TIME then
      return refuse(format("expires '%s' is not a time in Unix milliseconds, from 10^11 to 2^53; for milliseconds from now use ttl",
        shown(given.expires)))
    end
    expires = ',"expires":' .. given.expires
  end

  if given.collapse then
    fault = text_fault(given.collapse)
    if fault then return refuse('collapse ' .. fault) end
    collapse = ',"collapse":' .. quoted(given.collapse)
  end
end

if not is_plain then user = string.gsub(user, '["\\]', '\\%0') end
local reached, addressed = 0, 0

-- Connections are named one by one, since then each stale entry is a miss and gets removed, and nobody is reached who
-- was not counted. A field that is no UUID would spoil the envelope for all, and too many would make it too large:
-- there the user is named instead.
if #entries == 2 and #entries[1] == 36 then -- most users have one connection: no function is made for it, and no table
  reached = redis.pcall('PUBLISH', entries[2], '{"to":"' .. entries[1] .. '","of":"' .. user .. '"' .. id .. ',"at":'
    .. seconds .. millis .. expires .. collapse .. ',"data":' .. data .. '}')
  if type(reached) == 'table' then return refuse('cannot publish, 0 connections were addressed before: ' .. reached.err) end
  addressed = 1
  if reached > 1 then reached = 1 end
else
  local message = '"' .. id .. ',"at":' .. seconds .. millis .. expires .. collapse .. ',"data":' .. data .. '}'
  local uuids = {}
  for i = 1, #entries, 2 do
    local uuid, channel = entries[i], entries[i + 1]
    local list = uuids[channel]
    if list then list[#list + 1] = uuid else list = { uuid } end
    uuids[channel] = list
    if #uuid ~= 36 then list.unnamed = true end
  end
  for channel, list in pairs(uuids) do
    local target
    if list.unnamed or #list > MAX_NAMED then
      target = '{"user":"'
    elseif #list == 1 then
      target = '{"to":"' .. list[1] .. '","of":"'
    else
      target = '{"to":["' .. table.concat(list, '","') .. '"],"of":"'
    end
    local receivers = redis.pcall('PUBLISH', channel, target .. user .. message)
    if type(receivers) == 'table' then
      return refuse('cannot publish, ' .. addressed .. ' connections were addressed before: ' .. receivers.err)
    end
    addressed = addressed + #list
    if receivers > 0 then reached = reached + #list end
  end
end

if reached < addressed then
  -- In a Cluster the number that PUBLISH returns says nothing about pods at other nodes.
  local info = redis.pcall('INFO', 'cluster')
  if type(info) == 'string' and find(info, 'cluster_enabled:1', 1, true) then return addressed end
end
return reached
