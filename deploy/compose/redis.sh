#!/bin/sh
# Starts Redis with the accounts of configs/redis-acl.conf. An account gets the password in its variable
# (POD_PASSWORD, PRODUCER_PASSWORD, BACKEND_PASSWORD, OPERATOR_PASSWORD); without one it lets nobody in.
# What is to be kept goes into DATA_DIR. Arguments go to redis-server.
set -eu
umask 077

acl=${ACL_FILE:-/etc/pushpod/redis-acl.conf}
dir=$(mktemp -d)
conf=$dir/redis.conf

# password ACCOUNT PASSWORD: adds the hash of the password behind "on".
password() {
	[ -n "$2" ] || return 0
	hash=$(printf %s "$2" | sha256sum | cut -d ' ' -f 1)
	sed "s/^user $1 on /&#$hash /" "$conf" >"$conf.new"
	mv "$conf.new" "$conf"
}

cp "$acl" "$conf"
password pod "${POD_PASSWORD:?the password of the pods is missing}"
password producer "${PRODUCER_PASSWORD:-}"
password backend "${BACKEND_PASSWORD:-}"
password operator "${OPERATOR_PASSWORD:-}"

# Presence is written anew by the pods: there is nothing to save but what clients send up (push:uplink).
# noeviction: any other policy may remove presence.
cat >>"$conf" <<EOF
dir ${DATA_DIR:-$dir}
save ""
appendonly yes
maxmemory 1gb
maxmemory-policy noeviction
EOF
unset POD_PASSWORD PRODUCER_PASSWORD BACKEND_PASSWORD OPERATOR_PASSWORD
exec redis-server "$conf" "$@"
