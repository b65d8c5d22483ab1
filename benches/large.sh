#!/usr/bin/env bash
# What a day costs of collections that are too long for a bucket: bytes stored of a first backup, of one behind a restart, of one
# with 1 % of the elements changed, and of one with both.
#
#   benches/large.sh [ELEMENTS]      a million of each kind
#
# REDKEEP=PATH takes that program instead of a release build.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
elements=${1:-1000000}
redkeep=${REDKEEP:-target/release/redkeep}
[ -n "${REDKEEP:-}" ] || cargo build --release --quiet
redkeep=$(realpath "$redkeep")

work=$(mktemp -d "${TMPDIR:-/tmp}/redkeep-large.XXXXXX")
port=$((20000 + RANDOM % 20000))
cli() { redis-cli -p "$port" "$@"; }
trap 'cli shutdown nosave >/dev/null 2>&1 || true; rm -rf "$work"' EXIT
export REDKEEP_PASSWORD=a-long-secret XDG_CONFIG_HOME=$work/config

serve() {
  redis-server --port "$port" --dir "$1" --save '' --daemonize yes --logfile "$work/log" >/dev/null
  for _ in $(seq 600); do
    ! cli info persistence 2>/dev/null | grep -q '^loading:0' || return 0
    sleep 0.1
  done
  tail "$work/log" >&2
  exit 1
}

# change: all elements of a kind, or by a seed one in a hundred.
change() { # kind seed
  python3 - "$port" "$1" "$2" "$elements" <<'END'
import random, socket, sys

kind, seed, count = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
replies, chance = connection.makefile("rb"), random.Random(seed)


def command(number, value):
    if kind == "hash":
        return "HSET", "key", f"field:{number}", value
    if kind == "hashes of 20,000":
        return "HSET", f"key:{number // 20_000}", f"field:{number}", value
    if kind == "set":
        return "SADD", "key", value
    if kind == "sorted set":
        return "ZADD", "key", str(chance.getrandbits(30)), f"member:{number}"
    return ("LSET", "key", str(number), value) if seed else ("RPUSH", "key", value)


def send(commands):
    texts = (f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words) for words in commands)
    connection.sendall("".join(texts).encode())
    for _ in commands:
        assert replies.readline()[:1] != b"-"


numbers = [chance.randrange(count) for _ in range(count // 100)] if seed else range(count)
for begin in range(0, len(numbers), 1000):
    some = numbers[begin : begin + 1000]
    send([command(number, f"value-{seed or number}-{chance.getrandbits(60)}") for number in some])
END
}

# What a repository holds, but for what it keeps in reserve.
bytes() { find "$REDKEEP_REPO" -type f ! -name '*reserve*' -printf '%s\n' | awk '{ all += $1 } END { print all + 0 }'; }

echo "$elements elements of each kind; kilobytes"
echo
printf '| kind | dump | first | a restart | 1 %% changed | both |\n|---|---|---|---|---|---|\n'
for kind in hash 'hashes of 20,000' set 'sorted set' list; do
  place=$work/${kind// /-}
  mkdir -p "$place/data" "$place/copy"
  export REDKEEP_REPO=$place/repository XDG_CACHE_HOME=$place/cache XDG_STATE_HOME=$place/state
  "$redkeep" init --quiet
  stored=()
  back_up() {
    local before
    cli save >/dev/null
    cp "$place/data/dump.rdb" "$place/copy/"
    before=$(bytes)
    "$redkeep" backup "$place/copy" --dataset "$kind" --quiet
    stored+=($((($(bytes) - before) / 1000)))
  }
  restart() { cli shutdown nosave; serve "$place/data"; }
  serve "$place/data"
  change "$kind" 0
  back_up
  restart
  back_up
  change "$kind" 1
  back_up
  restart
  change "$kind" 2
  back_up
  cli shutdown nosave
  "$redkeep" restore latest --target "$place/back" --quiet
  cmp "$place/back/dump.rdb" "$place/copy/dump.rdb"
  printf '| %s | %d | %d | %d | %d | %d |\n' "$kind" $(($(stat -c %s "$place/copy/dump.rdb") / 1000)) "${stored[@]}"
done
