#!/bin/sh
# Starts a redis-server and two pods for trying out, on 127.0.0.1, without persistence, and says which page shows
# them at work.
#
#   scripts/demo.sh               # until Ctrl-C
#   DEMO_PORT=7400 scripts/demo.sh
#
# Environment:
#   DEMO_PORT      the first of five ports (default 8180): both pods' for clients, both pods' for operators, Redis's
#   PUSHPOD        the program of the pods (default bin/pushpod; make demo builds it)
#   REDIS_SERVER   the program to run (default redis-server)

set -eu

cd "$(dirname "$0")/.."
first=${DEMO_PORT:-8180}
server=${REDIS_SERVER:-redis-server}
pod=${PUSHPOD:-bin/pushpod}
for program in "$server" "$pod"; do
  if ! command -v "$program" >/dev/null; then
    echo "demo.sh: $program is missing (redis-server: make tools, apt install redis or brew install redis)" >&2
    exit 1
  fi
done
redis=$((first + 4))

dir=$(mktemp -d)
pids=
stop() {
  trap - EXIT INT TERM
  for pid in $pids; do kill "$pid" 2>/dev/null || true; done
  wait
  rm -rf "$dir"
  exit "${1:-0}"
}
trap 'stop 1' EXIT
trap 'stop 0' INT TERM

"$server" --port "$redis" --bind 127.0.0.1 --dir "$dir" --save '' --appendonly no --daemonize no >"$dir/redis" 2>&1 &
pids=$!
for n in 0 1; do
  # What the environment says of other pods is not for these.
  env -i PATH="$PATH" HOME="${HOME:-/}" "$pod" serve --listen "127.0.0.1:$((first + n))" --admin.listen "127.0.0.1:$((first + 2 + n))" \
    --redis.addresses "127.0.0.1:$redis" --redis.load_functions=on --shutdown.drain 1s >"$dir/pod$n" 2>&1 &
  pids="$pids $!"
done

# Both pods are ready, or one of the three has ended.
for n in 0 1; do
  until env -i PATH="$PATH" "$pod" health --admin.listen "127.0.0.1:$((first + 2 + n))" >/dev/null 2>&1; do
    for pid in $pids; do
      if ! kill -0 "$pid" 2>/dev/null; then
        tail -n 3 "$dir"/redis "$dir"/pod? >&2
        stop 1
      fi
    done
    sleep 0.3
  done
done

cat <<END
Two pods and a Redis on 127.0.0.1. Ctrl-C stops them.

See them at work in a browser:  http://127.0.0.1:$((first + 2))/demo
Their consoles:                 http://127.0.0.1:$((first + 2))/ and http://127.0.0.1:$((first + 3))/
Push from a shell:              redis-cli -p $redis --eval scripts/push.lua 'push:user:{alice}' , '{"text":"hi"}'
END
# The demo lasts until Ctrl-C, or until one of the three ends.
while :; do
  for pid in $pids; do
    if ! kill -0 "$pid" 2>/dev/null; then
      echo "demo.sh: one of the three has ended:" >&2
      tail -n 3 "$dir"/redis "$dir"/pod? >&2
      stop 1
    fi
  done
  sleep 1 &
  wait $!
done
