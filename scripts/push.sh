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
#   PUSHPOD_REDIS_ADDRESSES where neither REDIS_HOST nor REDIS_PORT is given: where Redis is (the first one; unix:/path too); and with
#                           the same beginning USERNAME, PASSWORD, DB, TLS (on), TLS_CA_FILE, TLS_CERT_FILE, TLS_KEY_FILE and
#                           TLS_SERVER_NAME, as pods have them. redis-cli knows no Sentinels: there, use pushpod push.
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

as_pods= # where Redis is, what pods are told says
if [ -z "${REDIS_HOST-}${REDIS_PORT-}" ]; then
  as_pods=yes
  if [ -n "${PUSHPOD_REDIS_SENTINEL_MASTER-}" ]; then
    echo 'push.sh: redis-cli knows no Sentinels (PUSHPOD_REDIS_SENTINEL_MASTER): use pushpod push, or give REDIS_HOST and REDIS_PORT' >&2
    exit 2
  fi
  if [ -n "${PUSHPOD_REDIS_PASSWORD-}" ]; then
    REDISCLI_AUTH=${REDISCLI_AUTH-$PUSHPOD_REDIS_PASSWORD}
    export REDISCLI_AUTH
  fi
fi
address=${PUSHPOD_REDIS_ADDRESSES-}
address=${address%%,*}
host=${address%:*}
host=${host#[}

# Calls redis-cli with what is given, and puts the answer into $answer. What was given by the user is never read by the
# shell again.
call() {
  set -f # REDIS_ARGS is split, but not expanded
  # shellcheck disable=SC2086
  set -- ${REDIS_ARGS-} "$@"
  set +f
  if [ "$pubsub" = sharded ]; then set -- -c "$@"; fi
  if [ -n "$as_pods" ]; then
    case $address in
    '') ;;
    unix:*) set -- -s "${address#unix:}" "$@" ;;
    *) set -- -c -h "${host%]}" -p "${address##*:}" "$@" ;; # one address may be a Cluster's
    esac
    if [ -n "${PUSHPOD_REDIS_USERNAME-}" ]; then set -- --user "$PUSHPOD_REDIS_USERNAME" "$@"; fi
    if [ -n "${PUSHPOD_REDIS_DB-}" ]; then set -- -n "$PUSHPOD_REDIS_DB" "$@"; fi
    case ${PUSHPOD_REDIS_TLS-} in
    on | true)
      if [ -n "${PUSHPOD_REDIS_TLS_CA_FILE-}" ]; then set -- --cacert "$PUSHPOD_REDIS_TLS_CA_FILE" "$@"; fi
      if [ -n "${PUSHPOD_REDIS_TLS_CERT_FILE-}" ]; then set -- --cert "$PUSHPOD_REDIS_TLS_CERT_FILE" "$@"; fi
      if [ -n "${PUSHPOD_REDIS_TLS_KEY_FILE-}" ]; then set -- --key "$PUSHPOD_REDIS_TLS_KEY_FILE" "$@"; fi
      if [ -n "${PUSHPOD_REDIS_TLS_SERVER_NAME-}" ]; then set -- --sni "$PUSHPOD_REDIS_TLS_SERVER_NAME" "$@"; fi
      set -- --tls "$@"
      ;;
    esac
  fi
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
