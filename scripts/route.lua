-- route.lua: what push.lua would publish to the connections of one user, for producers that do so themselves. In a Cluster
-- whose pods have redis.pubsub: sharded, a producer sends each envelope by SPUBLISH to the node that has the channel's slot.
--
--   redis-cli -c --eval route.lua 'push:user:{alice}' , '{"text":"hi"}'
--
-- Keys, arguments and errors are those of push.lua. Returns a list: channel, envelope, channel, envelope, ...; empty where
-- the user has no connection. It publishes nothing, and may be sent to a replica (EVAL_RO).
--
-- An ACL must allow HGETALL and TIME, and reading and writing of the key (EVAL wants both).

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
-- Connections are named one by one, as in push.lua.
local message = '"' .. id .. ',"at":' .. seconds .. millis .. expires .. collapse .. ',"data":' .. data .. '}'
local answer, uuids = {}, {}
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
  answer[#answer + 1] = channel
  answer[#answer + 1] = target .. user .. message
end
return answer
