#!/usr/bin/env bash
# Takes the pictures in docs/images anew, in Chromium, of two pods and a Redis at work: clients/js/browser/screenshots.js.
# PUSHPOD_E2E_BINARY is the program of the pods (default bin/pushpod), CHROMIUM the browser.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../clients/js"
installed=node_modules/.package-lock.json # npm writes it at the end of an installation
[ "$installed" -nt package-lock.json ] || npm ci --no-audit --no-fund
exec node browser/screenshots.js
