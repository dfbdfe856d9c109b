#!/bin/sh
# Pushes JSON to all connections of a user, and prints how many were addressed.
#
#   push.sh USER JSON [NAME VALUE]...
#   push.sh alice '{"text":"hi"}' id m-1 ttl 30000 collapse inbox
#
# The pairs are those of push.lua, which must be in the same directory and checks all arguments. Needs redis-cli.
#
# Environment:
#   PUSHPOD_PREFIX          the prefix of the keys (default: PUSHPOD_REDIS_PREFIX, which pods read too, else push:)
#   REDIS_HOST, REDIS_PORT  where Redis is (default: redis-cli's own)
#   REDIS_ARGS              more arguments for redis-cli, separated by spaces: --tls -n 1 -c
#   REDISCLI_AUTH           the password, read by redis-cli itself
#   REDIS_CLI               the program to call (default redis-cli)
#   PUSHPOD_REDIS_…         where the two of the second line are not given: ADDRESSES (the first one; unix:/path too), USERNAME,
#                           PASSWORD, DB, TLS (on), TLS_CA_FILE, TLS_CERT_FILE, TLS_KEY_FILE, TLS_SERVER_NAME, as pods have them.
#                           redis-cli knows no Sentinels: there, use pushpod push.
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

script=$(dirname -- "$0")/push.lua
if [ ! -r "$script" ]; then
  echo 'push.sh: push.lua must be in the same directory' >&2
  exit 1
fi

prefix=${PUSHPOD_PREFIX-${PUSHPOD_REDIS_PREFIX-push:}}
key="${prefix}user:{$1}"
data=$2
shift 2

# From here on "$@" is redis-cli's command line: options in front, what was given after. Nothing of that is ever read
# by the shell again.
set -- --eval "$script" "$key" , "$data" "$@"
set -f # REDIS_ARGS is split, but not expanded
# shellcheck disable=SC2086
set -- ${REDIS_ARGS-} "$@"
set +f
if [ -z "${REDIS_HOST-}${REDIS_PORT-}" ]; then
  if [ -n "${PUSHPOD_REDIS_SENTINEL_MASTER-}" ]; then
    echo 'push.sh: redis-cli knows no Sentinels (PUSHPOD_REDIS_SENTINEL_MASTER): use pushpod push, or give REDIS_HOST and REDIS_PORT' >&2
    exit 2
  fi
  address=${PUSHPOD_REDIS_ADDRESSES-}
  address=${address%%,*}
  case $address in
  '') ;;
  unix:*) set -- -s "${address#unix:}" "$@" ;;
  *)
    host=${address%:*}
    host=${host#[}
    set -- -h "${host%]}" -p "${address##*:}" "$@"
    ;;
  esac
  if [ -n "${PUSHPOD_REDIS_USERNAME-}" ]; then set -- --user "$PUSHPOD_REDIS_USERNAME" "$@"; fi
  if [ -n "${PUSHPOD_REDIS_PASSWORD-}" ]; then
    REDISCLI_AUTH=${REDISCLI_AUTH-$PUSHPOD_REDIS_PASSWORD}
    export REDISCLI_AUTH
  fi
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

# redis-cli ends with 0 on an error reply too, unless it is new and told otherwise: the answer itself decides.
answer=$("${REDIS_CLI:-redis-cli}" "$@") || {
  status=$?
  if [ -n "$answer" ]; then printf 'push.sh: %s\n' "$answer" >&2; fi
  echo "push.sh: ${REDIS_CLI:-redis-cli} ended with status $status" >&2
  exit 1
}
case $answer in
'' | *[!0-9]*)
  printf 'push.sh: %s\n' "${answer:-no answer}" >&2
  exit 1
  ;;
esac
printf '%s\n' "$answer"
