#!/usr/bin/env bash
# Installs what the tests lean on and what is missing, from Debian's packages:
# redis-server and redis-cli, and a C compiler for the race detector; and, where
# that can be done, what some tests are left out without: nginx, HAProxy, Node, Chromium,
# Python's and PHP's clients of Redis, and promtool, which goes into bin/, from a package that
# is not installed: that would bring a service and its web page. Where nothing is missing it
# changes nothing and needs no rights.
set -euo pipefail

say() { echo "install-test-tools: $*" >&2; }

fail() {
	say "$*"
	exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

# The race detector needs cgo: a compiler, and libc's headers with it.
can_compile() {
	local compiler
	compiler=$(go env CC 2>/dev/null || echo gcc)
	has "${compiler%% *}" && echo '#include <stdlib.h>' | $compiler -E -x c - >/dev/null 2>&1
}

has go || fail "go is missing: https://go.dev/doc/install"

# promtool is one program of Debian's package prometheus. Without it the tests of
# deploy/prometheus are left out.
root=$(cd "$(dirname "$0")/.." && pwd)
get_promtool() {
	local dir=$1
	has apt-get && has dpkg-deb || return 1
	if ! (cd "$dir" && apt-get -q download prometheus) >/dev/null 2>&1; then
		# A new system has no lists of packages yet.
		[ "$(id -u)" -eq 0 ] || return 1
		apt-get -q -o DPkg::Lock::Timeout=120 update >/dev/null 2>&1 || true
		(cd "$dir" && apt-get -q download prometheus) >/dev/null 2>&1 || return 1
	fi
	mkdir -p "$root/bin"
	dpkg-deb --fsys-tarfile "$dir"/prometheus_*.deb | tar -xO ./usr/bin/promtool >"$dir/promtool" &&
		chmod 755 "$dir/promtool" && mv "$dir/promtool" "$root/bin/promtool"
}
if ! has promtool && [ ! -x "$root/bin/promtool" ]; then
	say "fetching promtool"
	download=$(mktemp -d)
	get_promtool "$download" || say "no promtool: put it into PATH; until then its tests are left out"
	rm -rf "$download"
fi

packages=()
has redis-server || packages+=(redis-server)
has redis-cli || packages+=(redis-tools)
can_compile || packages+=(gcc libc6-dev)

# What some tests are left out without. nginx is in a directory that not everybody's PATH has.
PATH=$PATH:/usr/sbin
optional=()
has nginx || optional+=(nginx)
[ -e /usr/lib/nginx/modules/ngx_stream_module.so ] || optional+=(libnginx-mod-stream)
has haproxy || optional+=(haproxy)
has chromium || [ -n "${CHROMIUM:-}" ] || optional+=(chromium)
if ! has node || ! has npm; then
	# Debian 12 has Node 18, with which scripts/test-js.sh can do nothing.
	debian=$(apt-cache policy nodejs 2>/dev/null | sed -n 's/^ *Candidate: \([0-9]*\).*/\1/p' || true)
	[ "${debian:-20}" -lt 20 ] || optional+=(nodejs npm)
fi
/usr/bin/python3 -c 'import redis' 2>/dev/null || optional+=(python3-redis) # for examples/
php -r 'new Redis();' >/dev/null 2>&1 || optional+=(php-cli php-redis)
[ $((${#packages[@]} + ${#optional[@]})) -eq 0 ] && exit 0

by_hand="please install: ${packages[*]} ${optional[*]}"
# Without what is optional one can go on.
[ ${#packages[@]} -gt 0 ] || fail() {
	say "$*; until then their tests are left out"
	exit 0
}
has apt-get || fail "no apt-get here; $by_hand"
as_root=()
if [ "$(id -u)" -ne 0 ]; then
	has sudo || fail "neither root nor sudo; $by_hand"
	sudo -n true 2>/dev/null || fail "sudo asks for a password; $by_hand"
	as_root=(sudo -n)
fi

# Debian starts a service with its package, and at each boot. The tests start
# servers of their own, and nobody asked for another one: invoke-rc.d starts
# nothing while policy-rc.d answers 101 (man 8 invoke-rc.d).
policy=/usr/sbin/policy-rc.d
policy_is_ours=no
remove_policy() {
	[ "$policy_is_ours" = no ] || "${as_root[@]}" rm -f "$policy"
}
trap remove_policy EXIT
if [ ! -e "$policy" ]; then
	policy_is_ours=yes
	printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
	"${as_root[@]}" chmod 755 "$policy"
fi

say "installing ${packages[*]} ${optional[*]}"
apt_get() {
	"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=120 "$@"
}
# One source of several that can't be reached need not be the one that matters.
apt_get update || say "apt-get update failed; trying with the lists that are here"
if [ ${#packages[@]} -gt 0 ]; then
	apt_get install -y --no-install-recommends "${packages[@]}" || fail "apt-get install failed; $by_hand"
fi
if [ ${#optional[@]} -gt 0 ]; then
	apt_get install -y --no-install-recommends "${optional[@]}" || say "apt-get install ${optional[*]} failed; until then their tests are left out"
fi

for service in redis-server nginx haproxy; do
	if [[ " ${packages[*]} ${optional[*]} " == *" $service "* ]] && has systemctl; then
		"${as_root[@]}" systemctl disable --now "$service" >/dev/null 2>&1 || true
	fi
done

has redis-server || fail "redis-server is still missing; $by_hand"
has redis-cli || fail "redis-cli is still missing; $by_hand"
can_compile || fail "no C compiler for go test -race; $by_hand"
