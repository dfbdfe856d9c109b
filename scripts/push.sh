#!/bin/sh
# Pushes JSON to all connections of a user, and prints how many were addressed.
#
#   push.sh USER JSON [NAME VALUE]...
#   push.sh alice '{"text":"hi"}' id m-1 ttl 30000 collapse inbox
#
# The pairs are those of push.lua, which must be in the same directory and checks all arguments. Needs redis-cli.
#
# With PUSHPOD_REDIS_PUBSUB=sharded, route.lua says which envelopes go to which channels, and each is sent by SPUBLISH to the
# shard that has its channel. Line breaks in the JSON become spaces.
#
# Environment:
#   PUSHPOD_PREFIX          the prefix of the keys (default: PUSHPOD_REDIS_PREFIX, which pods read too, else push:)
#   REDIS_HOST, REDIS_PORT  where Redis is (default: redis-cli's own)
#   REDIS_ARGS              more arguments for redis-cli, separated by spaces: --tls -n 1 -c
#   REDISCLI_AUTH           the password, read by redis-cli itself
#   REDIS_CLI               the program to call (default redis-cli)
#   PUSHPOD_REDIS_PUBSUB    plain (the default) or sharded, as the pods have it
#
# Exit status: 0 pushed (the count may be 0), 1 it failed, 2 wrong usage. Reasons go to stderr.

set -u

if [ "$#" -lt 2 ]; then
  echo 'usage: push.sh USER JSON [NAME VALUE]...' >&2
  exit 2
fi
if [ "$(($# % 2))" -ne 0 ]; then
  echo 'push.sh: after USER and JSON come pairs: NAME VALUE' >&2
  exit 2
fi

pubsub=${PUSHPOD_REDIS_PUBSUB-plain}
case $pubsub in
plain) script=push.lua ;;
sharded) script=route.lua ;;
*)
  echo 'push.sh: PUSHPOD_REDIS_PUBSUB must be plain or sharded' >&2
  exit 2
  ;;
esac
dir=$(dirname -- "$0")
if [ ! -r "$dir/$script" ]; then
  echo "push.sh: $script must be in the same directory" >&2
  exit 1
fi
script=$dir/$script

prefix=${PUSHPOD_PREFIX-${PUSHPOD_REDIS_PREFIX-push:}}
key="${prefix}user:{$1}"
data=$2
shift 2

if [ "$pubsub" = sharded ]; then # one line for each envelope
  data=$(printf '%s' "$data" | tr '\n\r' '  ')
fi

# Calls redis-cli with what is given, and puts the answer into $answer. What was given by the user is never read by the
# shell again.
call() {
  set -f # REDIS_ARGS is split, but not expanded
  # shellcheck disable=SC2086
  set -- ${REDIS_ARGS-} "$@"
  set +f
  if [ "$pubsub" = sharded ]; then set -- -c "$@"; fi
  if [ -n "${REDIS_PORT-}" ]; then set -- -p "$REDIS_PORT" "$@"; fi
  if [ -n "${REDIS_HOST-}" ]; then set -- -h "$REDIS_HOST" "$@"; fi
  answer=$("${REDIS_CLI:-redis-cli}" "$@") || {
    status=$?
    if [ -n "$answer" ]; then printf 'push.sh: %s\n' "$answer" >&2; fi
    echo "push.sh: ${REDIS_CLI:-redis-cli} ended with status $status" >&2
    exit 1
  }
}

# Ends with an error unless the answer is a number: redis-cli ends with 0 on an error reply too, unless it is new and told
# otherwise.
want_number() {
  case $answer in
  '' | *[!0-9]*)
    printf 'push.sh: %s\n' "${answer:-no answer}" >&2
    exit 1
    ;;
  esac
}

call --eval "$script" "$key" , "$data" "$@"
if [ "$pubsub" = plain ]; then
  want_number
  printf '%s\n' "$answer"
  exit 0
fi

# Channels and envelopes, line by line.
route=$answer
case $route in
'' | "${prefix}pod:"*) ;;
*)
  printf 'push.sh: %s\n' "$route" >&2
  exit 1
  ;;
esac
addressed=0
channel=
while IFS= read -r line; do
  if [ -z "$channel" ]; then
    channel=$line
    continue
  fi
  call SPUBLISH "$channel" "$line" </dev/null
  want_number
  if [ "$answer" -gt 0 ]; then
    case $line in
    '{"to":['*) # as many as are named
      named=${line%%]*}
      named=$(printf '%s' "$named" | tr -cd ',')
      addressed=$((addressed + ${#named} + 1))
      ;;
    '{"user":'*) # all that the user has there
      call HVALS "$key" </dev/null
      named=$(printf '%s\n' "$answer" | grep -cFx -- "$channel")
      addressed=$((addressed + named))
      ;;
    *) addressed=$((addressed + 1)) ;;
    esac
  fi
  channel=
done <<END
$route
END
printf '%s\n' "$addressed"
