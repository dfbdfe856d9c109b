#!/bin/sh
# A backend in a shell script: answers each request from a client with a push to that user's connections,
#
#   {"echo":<what was sent>,"re":"<the request's id>"}
#
# It shows the way round, client -> uplink stream -> backend -> push -> client, with redis-cli only. Stop it with Ctrl-C.
#
# It is a demonstration. A real backend reads with a consumer group, so that no request is lost when it restarts, and
# drops repetitions by (user, id): a client repeats a request whose receipt it did not get. This one starts with what
# comes after its start, answers every repetition, and needs a standalone Redis, since one script touches the uplink
# and the users' keys.
#
# Environment: PUSHPOD_PREFIX, REDIS_HOST, REDIS_PORT, REDIS_ARGS, REDISCLI_AUTH, REDIS_CLI, all as in push.sh.

set -u

prefix=${PUSHPOD_PREFIX-${PUSHPOD_REDIS_PREFIX-push:}}
uplink=${prefix}uplink

# Reading and answering happen inside Redis: what clients sent never passes through the shell or through redis-cli's
# output, whatever it holds. KEYS[1] is the stream, ARGV the prefix and the id of the last entry seen ('' at first).
# Returns "<last id> <answered> <failed>".
# shellcheck disable=SC2016
answer_all='
local last = ARGV[2]
if last == "" then
  local newest = redis.call("XREVRANGE", KEYS[1], "+", "-", "COUNT", 1)
  return (newest[1] and newest[1][1] or "0-0") .. " 0 0"
end
local answered, failed = 0, 0
local streams = redis.call("XREAD", "COUNT", 100, "STREAMS", KEYS[1], last)
for _, entry in ipairs(streams and streams[1][2] or {}) do
  last = entry[1]
  local field = {}
  for i = 1, #entry[2], 2 do field[entry[2][i]] = entry[2][i + 1] end
  local ok = false
  -- Pods let JSON through only. Whoever else writes here must not write members of the envelope. (What decode does
  -- not like it raises in Redis, and returns as an error in the embedded one.)
  local good, _, fault = pcall(cjson.decode, field.data)
  if field.user and field.id and good and not fault then
    local envelope = "{\"user\":" .. cjson.encode(field.user) .. ",\"data\":{\"echo\":" .. field.data ..
      ",\"re\":" .. cjson.encode(field.id) .. "}}"
    local channels = redis.pcall("HVALS", ARGV[1] .. "user:{" .. field.user .. "}")
    local sent = {}
    ok = not channels.err
    for _, channel in ipairs(channels) do
      if not sent[channel] then
        sent[channel] = true
        local reply = redis.pcall("PUBLISH", channel, envelope)
        ok = ok and type(reply) == "number"
      end
    end
  end
  if ok then answered = answered + 1 else failed = failed + 1 end
end
return last .. " " .. answered .. " " .. failed
'

redis() {
  # In its own scope, so that the options can be put in front of the command.
  set -f
  # shellcheck disable=SC2086
  set -- ${REDIS_ARGS-} "$@"
  set +f
  if [ -n "${REDIS_PORT-}" ]; then set -- -p "$REDIS_PORT" "$@"; fi
  if [ -n "${REDIS_HOST-}" ]; then set -- -h "$REDIS_HOST" "$@"; fi
  "${REDIS_CLI:-redis-cli}" "$@"
}

last=
while :; do
  # Waits for something new, at most 5 s; what it prints is not looked at.
  if [ -n "$last" ]; then
    redis XREAD BLOCK 5000 COUNT 1 STREAMS "$uplink" "$last" >/dev/null 2>&1
  fi
  reply=$(redis EVAL "$answer_all" 1 "$uplink" "$prefix" "$last" 2>&1)
  # shellcheck disable=SC2086
  case $reply in
  [0-9]*-[0-9]*' '[0-9]*' '[0-9]*)
    if [ -z "$last" ]; then echo "reading $uplink"; fi
    last=${reply%% *}
    counts=${reply#* }
    if [ "${counts% *}" != 0 ]; then echo "answered ${counts% *}"; fi
    if [ "${counts#* }" != 0 ]; then echo "echo-backend.sh: ${counts#* } not answered" >&2; fi
    ;;
  *)
    printf 'echo-backend.sh: %s\n' "$reply" >&2
    sleep 1
    ;;
  esac
done
