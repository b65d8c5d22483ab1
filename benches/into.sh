#!/usr/bin/env bash
# Puts the keys of a snapshot into an empty server on loopback, by `redkeep restore --into` and by `redis-cli --pipe` of the same
# RESTOREs, in turns. Compare within a run: the ratio counts, for both wait for the same server.
#
#   benches/into.sh [KEYS [ROUNDS]]      a million small strings, three rounds
#
# REDKEEP=PATH takes that program instead of a release build.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
keys=${1:-1000000} rounds=${2:-3}
redkeep=${REDKEEP:-target/release/redkeep}
[ -n "${REDKEEP:-}" ] || cargo build --release --quiet

work=$(mktemp -d "${TMPDIR:-/tmp}/redkeep-into.XXXXXX")
started=()
trap '[ ${#started[@]} = 0 ] || kill -9 "${started[@]}" 2>/dev/null || true; rm -rf "$work"' EXIT
export REDKEEP_PASSWORD=a-long-secret REDKEEP_REPO=$work/repository
export XDG_CACHE_HOME=$work/cache XDG_STATE_HOME=$work/state XDG_CONFIG_HOME=$work/config

port=$((20000 + RANDOM % 10000))
serve() { # port
  mkdir "$work/$1"
  redis-server --port "$1" --dir "$work/$1" --save '' --enable-debug-command local >"$work/$1.log" &
  started+=($!)
  disown
  for _ in $(seq 100); do
    redis-cli -p "$1" ping >/dev/null 2>&1 && return
    sleep 0.1
  done
  tail "$work/$1.log" >&2
  exit 1
}
serve "$port"
serve $((port + 1))

redis-cli -p "$port" debug populate "$keys" key 24 >/dev/null
redis-cli -p "$port" save >/dev/null
"$redkeep" init --quiet
"$redkeep" backup "$work/$port" --dataset keys --quiet
# The same RESTOREs, as redis-cli takes them.
python3 - "$port" "$keys" >"$work/restores" <<'END'
import socket, sys

connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
replies, out, count, batch = connection.makefile("rb"), sys.stdout.buffer, int(sys.argv[2]), 10_000
for begin in range(0, count, batch):
    names = [b"key:%d" % number for number in range(begin, min(begin + batch, count))]
    connection.sendall(b"".join(b"*2\r\n$4\r\nDUMP\r\n$%d\r\n%s\r\n" % (len(name), name) for name in names))
    for name in names:
        length = int(replies.readline()[1:])
        payload = replies.read(length + 2)[:-2]
        out.write(b"*4\r\n$7\r\nRESTORE\r\n$%d\r\n%s\r\n$1\r\n0\r\n$%d\r\n%s\r\n" % (len(name), name, length, payload))
END

timed() { # name command…
  local begin end held
  redis-cli -p $((port + 1)) flushall sync >/dev/null
  begin=$(date +%s%N)
  "${@:2}" >"$work/said" 2>&1 || { cat "$work/said" >&2; exit 1; }
  end=$(date +%s%N)
  held=$(redis-cli -p $((port + 1)) dbsize)
  [ "$held" = "$keys" ] || { echo "into.sh: $1 put $held keys of $keys" >&2; exit 1; }
  awk -v name="$1" -v keys="$keys" -v nanos=$((end - begin)) \
    'BEGIN { printf "| %s | %.2f | %.0f |\n", name, nanos / 1e9, keys / nanos * 1e9 }'
}
pipe() { redis-cli -p $((port + 1)) --pipe <"$work/restores"; }

echo "$keys keys; $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg)"
echo
printf '| by | wall s | keys a second |\n|---|---|---|\n'
for _ in $(seq "$rounds"); do
  timed 'redis-cli --pipe' pipe
  timed 'restore --into' "$redkeep" restore latest --into "127.0.0.1:$((port + 1))" --quiet
done
