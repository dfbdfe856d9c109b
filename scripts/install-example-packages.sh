#!/usr/bin/env bash
# Installs the packages of examples/node, as package-lock.json names them, where that was not done or the file has
# changed. Without Node, or where it fails, the tests of these examples are left out.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../examples/node"
command -v npm >/dev/null 2>&1 || exit 0
# npm writes this file at the end of an installation.
[ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --silent --no-audit --no-fund ||
	echo "install-example-packages: npm ci failed: no tests of examples/node" >&2
