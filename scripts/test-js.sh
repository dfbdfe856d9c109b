#!/usr/bin/env bash
# Tests clients/js: in Node, or with "browser" in Chromium and in Node against bin/pushpod.
# Its tools come from the npm registry, as package-lock.json names them.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../clients/js"

version=$(node --version 2>/dev/null || echo none)
major=${version#v}
major=${major%%.*}
if ! [[ $major =~ ^[0-9]+$ ]] || [ "$major" -lt 20 ]; then
	echo "test-js: SKIPPED: clients/js needs Node 20 or newer; node --version says: $version" >&2
	exit 0
fi

# npm writes this file at the end of an installation.
installed=node_modules/.package-lock.json
[ "$installed" -nt package-lock.json ] || npm ci --no-audit --no-fund

export NODE_NO_WARNINGS=1 # mock timers are experimental in Node 20
if [ "${1:-}" = browser ]; then
	chromium=${CHROMIUM:-/usr/bin/chromium}
	[ -x "$chromium" ] || { echo "test-js: $chromium is missing: install it, or name another one in CHROMIUM" >&2; exit 1; }
	exec node --test --test-reporter=spec browser/*.test.js
fi
npm run --silent check
exec node --test --test-reporter=spec test/*.test.js
