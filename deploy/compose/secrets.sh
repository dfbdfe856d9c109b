#!/bin/sh
# Prints a .env for deploy/compose.yaml with secrets of its own. Keep it from others.
set -eu
secret() { od -An -N 32 -t x1 /dev/urandom | tr -d ' \n'; }
for name in ADMIN_TOKEN AUTH_HMAC_SECRET REDIS_POD_PASSWORD REDIS_PRODUCER_PASSWORD REDIS_OPERATOR_PASSWORD; do
	echo "$name=$(secret)"
done
