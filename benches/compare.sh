#!/usr/bin/env bash
# Runs redkeep, restic, borg and rustic side by side over the same directories, and prints what each stored and took.
# Every figure is of a whole process, all tools in one run: compare within a table, not between.
#
#   benches/compare.sh                   makes its own data: a dump of 700,000 keys over three days, 1 GiB of opaque files,
#                                        a tenth of them changed, an AOF of 700 MB
#   benches/compare.sh DAY1 DAY2 …       backs up these directories, one after the other, as one dataset
#   benches/compare.sh --days [N]        a dump of 700,000 keys on N days (30) of each 1.7 % changed keys, then one of 10 %, and
#                                        one with new keys only; what is left where all but the last seven are forgotten
#   benches/compare.sh --kinds           keys of one kind alone, five times: counters, long collections, JSON documents, random
#                                        bytes, sessions; first, one in a hundred of them again and a restart
#   benches/compare.sh --setup           installs restic (Debian), borg (PyPI), rustic (crates.io, ten minutes) and GNU
#                                        time, and stops
#
# borg-zstd is borg with zstd at level 3, which is redkeep's; borg alone takes lz4.
# TOOLS='redkeep restic' runs these alone. A tool that is missing or fails is said, and ends the script with an error.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
venv=$root/target/bench-tools
rustic_version=0.11.4
read -ra tools <<<"${TOOLS:-redkeep restic borg borg-zstd rustic}"

# The program of a tool.
program() { echo "${1%-zstd}"; }
wanted() { local tool; for tool in "${tools[@]}"; do [ "$(program "$tool")" != "$1" ] || return 0; done; return 1; }

setup() {
  local missing=()
  ! wanted restic || command -v restic >/dev/null 2>&1 || missing+=(restic)
  command -v redis-server >/dev/null 2>&1 || missing+=(redis-server redis-tools)
  [ -x /usr/bin/time ] || missing+=(time)
  # borg's newest version is on PyPI as source only.
  ! wanted borg || [ -x "$venv/bin/borg" ] || missing+=(python3-venv python3-dev gcc pkg-config libacl1-dev liblz4-dev libzstd-dev libxxhash-dev libssl-dev)
  if [ ${#missing[@]} -gt 0 ]; then
    local sudo=''
    [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update -qq
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  fi
  if wanted borg && [ ! -x "$venv/bin/borg" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q borgbackup
  fi
  if wanted rustic && [ ! -x "$venv/bin/rustic" ]; then
    cargo install rustic-rs --version "$rustic_version" --locked --quiet --root "$venv"
  fi
}

setup
[ "${1:-}" = --setup ] && exit 0
cargo build --release --quiet
PATH=$root/target/release:$venv/bin:$PATH

work=$(mktemp -d "${TMPDIR:-/tmp}/redkeep-compare.XXXXXX")
server=''
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT
export REDKEEP_PASSWORD=secret RESTIC_PASSWORD=secret BORG_PASSPHRASE=secret RUSTIC_PASSWORD=secret
export XDG_CACHE_HOME=$work/cache XDG_STATE_HOME=$work/state XDG_CONFIG_HOME=$work/config
export BORG_BASE_DIR=$work/borg-base BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes BORG_RELOCATED_REPO_ACCESS_IS_OK=yes

for tool in "${tools[@]}"; do
  command -v "$(program "$tool")" >/dev/null 2>&1 || { echo "compare.sh: there is no $tool: run benches/compare.sh --setup" >&2; exit 1; }
done

# Runs a command and leaves "wall cpu MiB" in $figures. redkeep's 3 (warnings) is not a failure here; restic's is.
figures=''
run() {
  local code=0
  /usr/bin/time -q -o "$work/time" -f '%e %U %S %M' "$@" >"$work/out" 2>&1 </dev/null || code=$?
  [ $code = 0 ] || { [ $code = 3 ] && [ "$1" = redkeep ]; } || { cat "$work/out" >&2; echo "compare.sh: failed ($code): $*" >&2; exit 1; }
  figures=$(awk '{ printf "%.2f %.2f %.0f", $1, $2 + $3, $4 / 1024 }' "$work/time")
}

# rustic's words: there is no -q.
quiet=(--no-progress --log-level warn)

make_repository() {
  case $1 in
    redkeep) run redkeep init --repo "$2" ;;
    restic) run restic -q init -r "$2" ;;
    borg*) run borg init -e repokey-blake2 "$2" ;;
    rustic) run rustic "${quiet[@]}" -r "$2" init ;;
  esac
}

back_up() { # tool repository directory number
  case $1 in
    redkeep) run redkeep backup --repo "$2" --dataset bench --json "$3" ;;
    restic) run restic -q -r "$2" backup "$3" ;;
    borg) run borg create "$2::$4" "$3" ;;
    borg-zstd) run borg create --compression zstd,3 "$2::$4" "$3" ;;
    rustic) run rustic "${quiet[@]}" -r "$2" backup "$3" ;;
  esac
}

restore() { # tool repository target number
  mkdir -p "$3"
  case $1 in
    redkeep) run redkeep restore --repo "$2" latest --target "$3/out" ;;
    restic) run restic -q -r "$2" restore latest --target "$3" ;;
    # borg extracts into the working directory.
    borg*) cd "$3"; run borg extract "$2::$4"; cd "$root" ;;
    rustic) run rustic "${quiet[@]}" -r "$2" restore latest "$3" ;;
  esac
}

compare() { # title directory...
  local title=$1
  shift
  printf '\n%s\n\n' "$title"
  printf '| tool | step | repository MB | wall s | CPU s | peak MiB |\n|---|---|---|---|---|---|\n'
  local tool number directory
  # A file written within two seconds of a backup is read again by redkeep's next one, as nobody's dump is.
  sleep 3
  for tool in "${tools[@]}"; do
    local repository=$work/$tool
    make_repository "$tool" "$repository"
    number=0
    for directory in "$@"; do
      number=$((number + 1))
      back_up "$tool" "$repository" "$directory" "$number"
      row "$tool" "backup $number" "$repository"
      [ "$tool" != redkeep ] || { cp "$work/out" "$work/told"; stages "$number" "${figures%% *}"; }
    done
    back_up "$tool" "$repository" "$directory" unchanged
    row "$tool" unchanged "$repository"
    restore "$tool" "$repository" "$work/restored" unchanged
    row "$tool" restore "$repository"
    rm -rf "$repository" "$work/restored" "$work/cache"
  done
  ! wanted redkeep || cat "$work/stages"
}

# What took redkeep how long, and what the bytes are that a backup stored. "start" is all that is in no other column, such as what
# a password costs.
stages() { # number wall
  [ "$1" != 1 ] || {
    printf '\n| redkeep | start s | capture | begin | read | store | commit | buckets MB | order | columns | lists | opaque | tables |\n'
    printf '|---|---|---|---|---|---|---|---|---|---|---|---|---|\n'
  } >"$work/stages"
  python3 - "$1" "$2" "$work/told" >>"$work/stages" <<'PY'
import json, sys

number, wall, path = sys.argv[1:]
told = json.loads([line for line in open(path) if line.startswith("{")][-1])
seconds = [told["seconds"][part] for part in ("capture", "begin", "read", "store", "commit")]
kinds = ("buckets", "order", "columns", "lists", "opaque")
stored = [told["stored"].get(kind, {}).get("stored_bytes", 0) for kind in kinds] + [told["table_bytes"]]
columns = ["%.2f" % part for part in [float(wall) - sum(seconds), *seconds]] + ["%.2f" % (part / 1e6) for part in stored]
print("|", " | ".join([f"backup {number}", *columns]), "|")
PY
}

row() {
  read -r wall cpu peak <<<"$figures"
  printf '| %s | %s | %s | %s | %s | %s |\n' "$1" "$2" "$(du -sb "$3" | awk '{ printf "%.2f", $1 / 1e6 }')" "$wall" "$cpu" "$peak"
}

# The server whose dumps are backed up.
port=$((20000 + RANDOM % 20000))
start() {
  mkdir -p "$work/redis"
  redis-server --port "$port" --bind 127.0.0.1 --dir "$work/redis" --save '' >/dev/null &
  server=$!
  until redis-cli -p "$port" ping 2>/dev/null | grep -q PONG; do sleep 0.1; done
}
stop() { kill "$server"; wait "$server" 2>/dev/null || true; server=''; }
put() { python3 benches/keyspace.py "$@" | redis-cli -p "$port" --pipe >/dev/null; }
save() { redis-cli -p "$port" save >/dev/null; mkdir -p "$work/day$1"; cp "$work/redis/dump.rdb" "$work/day$1/"; }

# A dump of 700,000 keys (strings with expiries, hashes, lists, sorted sets, streams), then the same with 1 % updated, 0.5 % new
# and 0.2 % deleted, then nothing but a restart.
make_days() {
  start; put fill; save 1
  stop; start; put change; save 2
  stop; start; save 3
  stop
}

# Keys of one kind alone, on two days with a restart between.
kinds() {
  local kind
  for kind in counters collections documents blobs logins; do
    rm -rf "$work"/redis "$work"/day*
    start; put alone "$kind" 1; save 1
    stop; start; put alone "$kind" 2; save 2
    stop
    compare "$kind: a dump of $(stat -c %s "$work/day1/dump.rdb" | awk '{ printf "%.0f", $1 / 1e6 }') MB" "$work"/day1 "$work"/day2
  done
}

# Many days, each backed up by every tool; sizes alone.
days() {
  local count=$1 day tool
  start; put fill
  for tool in "${tools[@]}"; do make_repository "$tool" "$work/$tool"; done
  make_repository redkeep "$work/last7"
  printf '\n%s days in one process, repository MB\n\n| day |%s\n|---|%s\n' "$count" "$(printf ' %s |' "${tools[@]}")" "$(printf -- '---|%.0s' "${tools[@]}")"
  one() { # what it is called
    save now; sleep 3
    printf '| %s |' "$1"
    for tool in "${tools[@]}"; do
      back_up "$tool" "$work/$tool" "$work/daynow" "$1"
      printf ' %s |' "$(du -sb "$work/$tool" | awk '{ printf "%.2f", $1 / 1e6 }')"
    done
    printf '\n'
  }
  one 1
  for ((day = 2; day <= count; day++)); do
    put change "$day"; one "$day"
    [ "$day" -le $((count - 7)) ] || back_up redkeep "$work/last7" "$work/daynow" "$day"
  done
  run redkeep restore --repo "$work/redkeep" latest --target "$work/restored"
  cmp "$work/restored/dump.rdb" "$work/daynow/dump.rdb"
  cp -r "$work/redkeep" "$work/all"
  run redkeep forget --repo "$work/all" --keep-last 7
  run redkeep prune --repo "$work/all" --grace 0
  echo "after forget --keep-last 7 and prune --grace 0: $(du -sb "$work/all" | awk '{ printf "%.2f", $1 / 1e6 }') MB; these seven alone: $(du -sb "$work/last7" | awk '{ printf "%.2f", $1 / 1e6 }') MB"
  put change $((count + 1)) 10; one '10 % updated'
  put grow; one '1 % new'
  stop
}

echo "$(date -u +%F), $(nproc) cores, $(awk -F': ' '/model name/ { print $2; exit }' /proc/cpuinfo), $(awk '/MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)"
for tool in "${tools[@]}"; do
  case $tool in restic) restic version | cut -d' ' -f1,2 ;; borg-zstd) ;; *) "$tool" --version ;; esac
done | paste -sd, | sed 's/,/, /g'
if [ "${1:-}" = --days ]; then
  days "${2:-30}"
elif [ "${1:-}" = --kinds ]; then
  kinds
elif [ $# -gt 0 ]; then
  compare "$*" "$@"
else
  make_days
  compare 'A dump of 700,000 keys: first, 1.7 % of keys changed and a restart, a restart' "$work"/day1 "$work"/day2 "$work"/day3
  printf '\nFloor of backup 2: '
  cargo bench --quiet --bench floor -- "$work"/day{1,2}/dump.rdb
  mkdir "$work/opaque"
  python3 benches/keyspace.py opaque "$work/opaque" 1024
  mkdir "$work/scattered"
  python3 benches/keyspace.py scatter "$work/opaque" "$work/scattered" 10
  # The same paths on both days.
  mv "$work/opaque" "$work/opaque-1"; mv "$work/scattered" "$work/opaque-2"
  compare '1 GiB of opaque files, half of it incompressible: first, a tenth of it overwritten in runs of 4 KiB' "$work"/opaque-1 "$work"/opaque-2
  mkdir "$work/aof"
  python3 benches/keyspace.py aof "$work/aof" 700
  compare 'An AOF of 700 MB' "$work/aof"
fi
