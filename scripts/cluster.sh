#!/bin/sh
# Starts a Redis Cluster for trying out: three masters with a replica each, on 127.0.0.1, without persistence.
#
#   scripts/cluster.sh            # ports 7000 to 7005, until Ctrl-C
#   CLUSTER_PORT=7100 scripts/cluster.sh
#
# Environment:
#   CLUSTER_PORT   the first of six ports (default 7000); the nodes talk to each other on ports that are 10000 higher
#   REDIS_SERVER   the program to run (default redis-server; Redis 7 or later, or Valkey)
#   REDIS_CLI      the program to call (default redis-cli)

set -eu

first=${CLUSTER_PORT:-7000}
server=${REDIS_SERVER:-redis-server}
cli=${REDIS_CLI:-redis-cli}
for program in "$server" "$cli"; do
  if ! command -v "$program" >/dev/null; then
    echo "cluster.sh: $program is not installed (make tools, apt install redis or brew install redis)" >&2
    exit 1
  fi
done

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

port=$first
while [ "$port" -lt $((first + 6)) ]; do
  mkdir "$dir/$port"
  "$server" --port "$port" --bind 127.0.0.1 --dir "$dir/$port" --save '' --appendonly no --daemonize no \
    --cluster-enabled yes --cluster-node-timeout 5000 --cluster-require-full-coverage no >"$dir/$port/log" 2>&1 &
  pids="$pids $!"
  port=$((port + 1))
done

call() {
  to=$1
  shift
  answer=$("$cli" -h 127.0.0.1 -p "$to" "$@") || answer="$answer (redis-cli failed)"
}
want() {
  wanted=$1
  shift
  tries=0
  call "$@"
  while ! printf '%s' "$answer" | grep -q -- "$wanted"; do
    tries=$((tries + 1))
    if [ "$tries" -gt 150 ]; then
      echo "cluster.sh: port $1 answers: $answer" >&2
      tail -n 3 "$dir/$1/log" >&2
      stop 1
    fi
    sleep 0.2
    call "$@"
  done
}

port=$first
while [ "$port" -lt $((first + 6)) ]; do
  want PONG "$port" PING
  port=$((port + 1))
done
i=0
while [ "$i" -lt 3 ]; do
  call $((first + i)) CLUSTER SET-CONFIG-EPOCH $((i + 1))
  want OK $((first + i)) CLUSTER ADDSLOTSRANGE $((16384 * i / 3)) $((16384 * (i + 1) / 3 - 1))
  i=$((i + 1))
done
port=$((first + 1))
while [ "$port" -lt $((first + 6)) ]; do
  want OK "$first" CLUSTER MEET 127.0.0.1 "$port"
  port=$((port + 1))
done
i=0
while [ "$i" -lt 3 ]; do
  want 'cluster_known_nodes:6' $((first + 3 + i)) CLUSTER INFO
  call $((first + i)) CLUSTER MYID
  master=$answer
  want OK $((first + 3 + i)) CLUSTER REPLICATE "$master"
  i=$((i + 1))
done
port=$first
while [ "$port" -lt $((first + 6)) ]; do
  want 'cluster_state:ok' "$port" CLUSTER INFO
  port=$((port + 1))
done

cat <<END
Three masters with a replica each: 127.0.0.1:$first to 127.0.0.1:$((first + 5)). Ctrl-C stops them.

A pod, in a second terminal; one address is enough:
    make run ARGS="--redis.addresses 127.0.0.1:$first"
Connect as alice, and push to her:
    go run . connect alice
    redis-cli -c -p $((first + 1)) --eval scripts/push.lua 'push:user:{alice}' , '{"text":"hi"}'
A failover by hand:
    redis-cli -p $((first + 3)) CLUSTER FAILOVER
END
wait
