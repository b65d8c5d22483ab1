#!/usr/bin/env bash
# Backs up, looks into and restores a dump of many small keys while the kernel refuses redkeep more memory than it says it takes.
#
#   benches/limits.sh           ten million keys: strings, two tenths with an expiry, a tenth hashes
#   benches/limits.sh COUNT     fewer, or more
#
# The limit is RLIMIT_DATA (prlimit --data): all memory a process may write to, its threads' stacks included, touched or not. What
# commands that store take is held to 512 MiB and 32 bytes a key, what the others take to 256 MiB and 8 bytes a key. A command
# that wants more dies, and the script goes on and ends with 1. Resident is what was touched; scratch the most that files without a name took, seen five times a second.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
count=${1:-10000000}
for part in redis-server redis-cli python3 prlimit /usr/bin/time; do
  command -v "$part" >/dev/null || { echo "limits.sh: there is no $part" >&2; exit 1; }
done
cargo build --release --quiet
PATH=$PWD/target/release:$PATH

work=$(mktemp -d "${TMPDIR:-/tmp}/redkeep-limits.XXXXXX")
server=''
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT
export XDG_CACHE_HOME=$work/cache XDG_STATE_HOME=$work/state XDG_CONFIG_HOME=$work/config REDKEEP_PASSWORD=secret

port=$((20000 + RANDOM % 20000))
cli() { redis-cli -p "$port" "$@"; }
start() {
  mkdir -p "$work/redis"
  redis-server --port "$port" --bind 127.0.0.1 --dir "$work/redis" --save '' --enable-debug-command local >/dev/null &
  server=$!
  until cli ping 2>/dev/null | grep -q PONG; do sleep 0.1; done
}
stop() { kill "$server"; wait "$server" 2>/dev/null || true; server=''; }
put() { python3 benches/keyspace.py "$@" | cli --pipe >/dev/null; }
save() { cli save >/dev/null; mkdir "$work/$1"; cp "$work/redis/dump.rdb" "$work/$1/"; }
start
cli debug populate $((count / 10 * 7)) key >/dev/null
put small "$count"; save first
put small-change "$count"; save day
stop; start; save restart
keys=$(cli dbsize)
stop

# Bytes on disk of files without a name that a process has open; it may be gone any moment.
scratch() { { find "/proc/$1/fd" -lname '*(deleted)' -exec stat -L -c %b {} + 2>/dev/null || true; } | awk '{ sum += $1 } END { print 512 * sum }'; }

within() { # limit in bytes, what it is called, command
  local limit=$1 what=$2 most=0 now code=0 pid
  shift 2
  prlimit --data="$limit" /usr/bin/time -q -o "$work/time" -f '%e %U %S %M' "$@" >"$work/out" 2>"$work/err" </dev/null &
  pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    now=$(scratch "$(pgrep -P "$pid" || echo none)")
    [ "$now" -le "$most" ] || most=$now
    sleep 0.2
  done
  wait "$pid" || code=$?
  if [ "$code" != 0 ]; then
    failed=$((failed + 1))
    printf '| %s | %s | failed (%s) | | | |\n' "$what" "$((limit >> 20))" "$code"
    head -n 5 "$work/err" >&2
    return
  fi
  awk -v what="$what" -v limit="$limit" -v scratch="$most" \
    '{ printf "| %s | %.0f | %.0f | %.0f | %.1f | %.1f |\n", what, limit / 1048576, $4 / 1024, scratch / 1048576, $1, $2 + $3 }' "$work/time"
}

failed=0 in=$(((512 << 20) + 32 * keys)) out=$(((256 << 20) + 8 * keys)) repository=$work/repository
redkeep init --repo "$repository" >/dev/null 2>&1
echo "$(date -u +%F), $(nproc) cores, $keys keys, a dump of $(stat -c %s "$work/restart/dump.rdb" | awk '{ printf "%.0f", $1 / 1048576 }') MiB"
printf '\n| step | limit MiB | resident MiB | scratch MiB | wall s | CPU s |\n|---|---|---|---|---|---|\n'
for day in first day restart; do
  within $in "backup: $day" redkeep backup --repo "$repository" --dataset many "$work/$day"
done
within $out restore redkeep restore --repo "$repository" latest --target "$work/restored"
[ $failed != 0 ] || cmp "$work/restored/dump.rdb" "$work/restart/dump.rdb"
within $out verify redkeep verify --repo "$repository" latest
within $out get redkeep get --repo "$repository" token:00012345
within $out 'keys, ten of them' bash -c 'redkeep keys --repo "$0" latest | head' "$repository"
redkeep forget --repo "$repository" --keep-last 1 >/dev/null 2>&1
within $in prune redkeep prune --repo "$repository" --grace 0
exit $((failed > 0))
