#!/usr/bin/env bash
# A producer in bash, with redis-cli alone.
#
#   producer.sh online USER                       how many connections she has
#   producer.sh push USER JSON [NAME VALUE]...    push to her: how many were addressed
#   producer.sh many JSON [NAME VALUE]... <USERS  push to each user, one a line: how many users were reached
#   producer.sh all JSON                          push to everyone: how many pods were told
#   producer.sh logout USER [SECONDS]             close what she has, and block her so long: how many were closed
#
# The pairs are those of push.lua: id, ttl, expires, collapse. REDIS_URL says where Redis is and as whom to log in. All but
# SECONDS needs the rights of a producer alone (configs/redis-acl.conf); SECONDS needs those of an operator.
set -euo pipefail

prefix=${PUSHPOD_PREFIX:-push:}
push_lua=$(dirname "${BASH_SOURCE[0]}")/../../scripts/push.lua # copy it beside your script

# -e: an error reply ends redis-cli with 1 (since Redis 7.0). -c: REDIS_URL may be a node of a Cluster, but for many.
cli() { redis-cli -c -e --no-auth-warning -u "${REDIS_URL:-redis://127.0.0.1:6379}" "$@"; }
key() { printf '%suser:{%s}' "$prefix" "$1"; }

online() { cli HLEN "$(key "$1")"; }

# 0 is no error: she is not online. Give an id where you may push twice: clients drop one that they have seen.
push() {
	local user=$1
	shift
	cli --eval "$push_lua" "$(key "$user")" , "$@"
}

# redis-cli reads commands line by line, over one connection, and waits for each answer: a thousand take a fraction of a second.
many() {
	local sha arguments user
	sha=$(cli SCRIPT LOAD "$(cat "$push_lua")")
	arguments=$(for a in "$@"; do printf ' ' && quote "$a"; done)
	while IFS= read -r user || [ -n "$user" ]; do
		printf 'EVALSHA %s 1 ' "$sha" && quote "${prefix}user:{$user}" && printf '%s\n' "$arguments"
	done | redis-cli --no-auth-warning -u "${REDIS_URL:-redis://127.0.0.1:6379}" |
		# An error is one user's: the others have their push.
		awk '/^[0-9]+$/ { users++; reached += $1 > 0; next }
		     NF { users++; print > "/dev/stderr" }
		     END { print reached + 0 " of " users + 0 " users" }'
}

# Puts text in quotes, as redis-cli and JSON want it. JSON may have line breaks between its parts.
quote() {
	local text=${1//\\/\\\\}
	text=${text//\"/\\\"} text=${text//$'\n'/\\n} text=${text//$'\r'/\\r}
	printf '"%s"' "${text//$'\t'/\\t}"
}

# The data goes into the envelope as it is: it must be JSON.
all() { cli PUBLISH "${prefix}all" "{\"all\":true,\"data\":$1}"; }

logout() {
	local user=$1 seconds=${2:-} closed=0 n channel envelope
	if [ -n "$seconds" ]; then # first of all, so that she is not back before it is written
		cli SET "${prefix}block:{$user}" 'logged out' EX "$seconds" >/dev/null
	fi
	envelope="{\"user\":$(quote "$user"),\"close\":{\"code\":4500,\"reason\":\"logged out\"}}"
	while read -r n channel; do
		if [ "$(cli PUBLISH "$channel" "$envelope")" -gt 0 ]; then
			closed=$((closed + n))
		fi
	done < <(cli HVALS "$(key "$user")" | sed '/^$/d' | sort | uniq -c)
	echo "$closed"
}

case "${1:-} $#" in
"online 2" | "push "* | "many "* | "all 2" | "logout 2" | "logout 3")
	"$@"
	;;
*)
	sed -n '2,/^set/{/^set/d; s/^# \{0,1\}//; p}' "${BASH_SOURCE[0]}" >&2
	exit 2
	;;
esac
