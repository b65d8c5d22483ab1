#!/usr/bin/env bash
# The quick start, proved: backs up a real Redis while it is written to, changes data, backs up again, restores both
# snapshots, starts a server on each, and compares every key (type, expiry, DEBUG DIGEST-VALUE) with what was true then.
# Then it puts the second into a running server that holds something else, and takes that back. Each redkeep command is printed with what it really answers. Needs Redis 7, which it installs when missing.
#
#   tests/quickstart.sh [PROGRAM]     PROGRAM is proved [one that is built for it: target/debug/redkeep]
set -Eeuo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
"$root/tests/setup.sh" redis
if (($# == 0)); then (cd "$root" && cargo build); fi
program=$(realpath "${1:-${CARGO_TARGET_DIR:-$root/target}/debug/redkeep}")

work=$(mktemp -d)
server= # the process id of the one that runs
clean_up() {
  rm -f "$work/writing" # ends the writer
  [[ -z $server ]] || kill -9 "$server" 2>/dev/null || true
  wait 2>/dev/null
  rm -rf "$work"
}
trap clean_up EXIT
trap 'echo "tests/quickstart.sh: FAILED in line $LINENO" >&2' ERR

cd "$work"
export XDG_CACHE_HOME=$work/cache XDG_STATE_HOME=$work/state
mkdir data states

fail() {
  printf 'tests/quickstart.sh: FAILED: %s\n' "$*" >&2
  exit 1
}

redkeep() {
  printf '\n$ redkeep %s\n' "$*"
  "$program" "$@"
}

# start_server DIR: a server on DIR with its AOF; sets port and server.
start_server() {
  local try deadline
  for try in {1..20}; do
    port=$((20000 + RANDOM % 12000))
    printf '%s\n' "port $port" 'bind 127.0.0.1' "dir $work/$1" 'appendonly yes' 'save ""' \
      'enable-debug-command local' >"$1.conf"
    redis-server "$work/$1.conf" >"$work/$1.log" 2>&1 &
    server=$!
    deadline=$((SECONDS + 30))
    while kill -0 "$server" 2>/dev/null; do
      ((SECONDS < deadline)) || fail "the server on $1 did not start: $(<"$work/$1.log")"
      if is_ready; then return; fi
      sleep 0.05
    done
    grep -q 'Address already in use' "$work/$1.log" || break
  done
  fail "the server on $1 exited (try $try): $(<"$work/$1.log")"
}

# Another server may have the port: ours has our process id.
is_ready() {
  local info
  info=$(redis-cli -p "$port" INFO 2>/dev/null | tr -d '\r') || return 1
  grep -qx "process_id:$server" <<<"$info" && grep -qx 'loading:0' <<<"$info"
}

stop_server() {
  redis-cli -p "$port" SHUTDOWN NOSAVE >/dev/null
  wait "$server"
  server=
}

# The server was started again by somebody else.
adopt_server() {
  server=$(redis-cli -p "$port" INFO server | tr -d '\r' | sed -n 's/^process_id://p')
}

# The same data every time: 20,000 keys in database 0 and 1,000 in database 1, a fifth of them with an expiry.
keyspace() {
  awk '
    function random(bound) { seed = seed * 16807 % 2147483647; return seed % bound }
    function words(count,  text) { while (count-- > 0) text = text word[random(10)] " "; return text "end" }
    function key_of(i) {
      kind = i % 10
      if (kind < 4) {
        printf "SET profile:%d \"{\\\"id\\\":%d,\\\"visits\\\":%d,\\\"note\\\":\\\"%s\\\"}\"\n", i, i, random(5000), words(random(20))
      } else if (kind == 4) {
        printf "SET session:%d %08x%08x EX %d\n", i, random(2147483647), random(2147483647), 86400 + random(864000)
      } else if (kind == 5) {
        printf "INCRBY counter:%d %d\n", i, random(1000000)
      } else if (kind == 6) {
        line = "HSET account:" i; n = i % 1000 == 6 ? 600 : 6
        for (f = 0; f < n; f++) line = line " field" f " \"" words(2) "\""
        print line
        printf "EXPIRE account:%d %d\n", i, 86400 + random(864000)
      } else if (kind == 7) {
        line = "RPUSH queue:" i; n = i % 1000 == 7 ? 1000 : 5
        for (f = 0; f < n; f++) line = line " job-" random(100000)
        print line
      } else if (kind == 8) {
        line = "SADD tags:" i; n = i % 1000 == 8 ? 600 : 8
        for (f = 0; f < n; f++) line = line " " (i % 20 == 8 ? "tag" : "") random(100000)
        print line
      } else if (i % 100 == 9) {
        for (f = 1; f < 10; f++) printf "XADD events:%d %d-1 user %d\n", i, f, random(1000)
        printf "XGROUP CREATE events:%d readers 0\n", i
        printf "XREADGROUP GROUP readers one COUNT 3 STREAMS events:%d >\n", i
      } else {
        line = "ZADD ranking:" i; n = i % 1000 == 19 ? 300 : 6
        for (f = 0; f < n; f++) line = line " " random(10000) ".5 player" f
        print line
      }
    }
    BEGIN {
      seed = 7
      split("order paid Berlin blue pending mail winter left cart news", list, " ")
      for (w in list) word[w - 1] = list[w]
      for (i = 0; i < 20000; i++) key_of(i)
      print "SELECT 1"
      for (i = 0; i < 1000; i++) key_of(i)
    }'
}

# A day later: some keys new, some with another value, another expiry or another type, some gone.
changes() {
  awk 'BEGIN {
    for (i = 0; i < 20000; i += 100) {
      printf "SET profile:%d \"{\\\"id\\\":%d,\\\"changed\\\":true}\"\n", i, i
      printf "PERSIST session:%d\n", i + 4
      printf "DEL counter:%d\n", i + 5
      printf "HSET account:%d field0 changed\n", i + 6
      printf "EXPIRE account:%d 172800\n", i + 16
      printf "DEL queue:%d\nSADD queue:%d job\n", i + 7, i + 7
      printf "SET new:%d %d\n", i, i
    }
  }'
}

# What the server on $port holds, a line per key: database, key, type, expiry, digest. Without live:*, which changes.
state() {
  local database
  for database in 0 1; do
    redis-cli -p "$port" -n "$database" EVAL "
      local lines = {}
      for _, key in ipairs(redis.call('KEYS', '*')) do
        if string.sub(key, 1, 5) ~= 'live:' then
          table.insert(lines, key .. ' ' .. redis.call('TYPE', key).ok .. ' ' .. redis.call('PEXPIRETIME', key))
        end
      end
      table.sort(lines)
      return lines" 0 >states/keys
    cut -d' ' -f1 states/keys | xargs -n 500 echo DEBUG DIGEST-VALUE | redis-cli -p "$port" -n "$database" >states/digests
    [[ $(wc -l <states/keys) == $(wc -l <states/digests) ]] || fail "not every key of database $database has a digest"
    paste -d' ' states/keys states/digests | sed "s/^/$database /"
  done
}

# Raises live:a and live:b together, as long as the file `writing` is there.
write_on() {
  while [[ -e writing ]]; do printf 'MULTI\nINCR live:a\nINCR live:b\nEXEC\n'; done |
    redis-cli -p "$port" >/dev/null 2>writer.log
}

live() {
  local value
  value=$(redis-cli -p "$port" GET "live:$1")
  echo "${value:-0}"
}

# The writer must be writing: its value rises.
writer_is_alive() {
  local before deadline=$((SECONDS + 30))
  before=$(live a)
  until (($(live a) > before)); do
    ((SECONDS < deadline)) || fail "the background writer does not write: $(head -5 writer.log)"
  done
}

# compare DIR NAME FROM TO: the running server, on DIR, holds states/NAME, and the writer's pair, with a value it had in
# the backup.
compare() {
  local a b
  a=$(live a)
  b=$(live b)
  state >"states/$1"
  if ! diff "states/$2" "states/$1" >states/differences; then
    head -20 states/differences >&2
    fail "$1: $(grep -c '^[<>]' states/differences) lines differ from what was true (<)"
  fi
  [[ $a == "$b" ]] || fail "$1: live:a is $a and live:b is $b, which one transaction raised"
  (($3 <= a && a <= $4)) || fail "$1: live:a is $a, and was from $3 to $4 during the backup"
  printf '%s: %d keys as they were; live:a = live:b = %d, between %d and %d\n' "$1" "$(wc -l <"states/$1")" "$a" "$3" "$4"
}

start_server data
keyspace | redis-cli -p "$port" --pipe >states/loaded
grep -q 'errors: 0,' states/loaded || fail "the keyspace was not loaded: $(<states/loaded)"
redis-cli -p "$port" BGREWRITEAOF >/dev/null # so that the AOF has a base with data, as on a server that ran for a while
until redis-cli -p "$port" INFO persistence | tr -d '\r' | grep -qx 'aof_rewrite_in_progress:0'; do sleep 0.05; done

printf '\n$ export REDKEEP_REPO=repo REDKEEP_PASSWORD=…\n'
export REDKEEP_REPO=repo REDKEEP_PASSWORD='correct horse battery staple'
redkeep init

touch writing
write_on &
writer=$!
writer_is_alive

state >states/then-1
(($(wc -l <states/then-1) == 21000)) || fail "21000 keys were to be there, not $(wc -l <states/then-1)"
from_1=$(live a)
redkeep backup --redis "127.0.0.1:$port" --dataset demo
to_1=$(live a)
writer_is_alive

changes | redis-cli -p "$port" --pipe >states/loaded
grep -q 'errors: 0,' states/loaded || fail "the changes were not made: $(<states/loaded)"
state >states/then-2
! cmp -s states/then-1 states/then-2 || fail "the changes changed nothing"
from_2=$(live a)
redkeep backup data --dataset demo
to_2=$(live a)
writer_is_alive

rm writing
wait "$writer"
stop_server

redkeep snapshots
redkeep ls latest
redkeep verify latest
redkeep check --read-data
redkeep stats
redkeep restore latest~1 --target first
redkeep forget --keep-last 1
redkeep prune --grace 0
redkeep check --read-data
redkeep restore latest --target second

echo
start_server first
compare first then-1 "$from_1" "$to_1"
stop_server
start_server second
compare second then-2 "$from_2" "$to_2"
stop_server

mkdir other
start_server other
redis-cli -p "$port" SET of:other here >/dev/null
redkeep restore latest --server="127.0.0.1:$port" --dry-run
redkeep restore latest --server="127.0.0.1:$port" --yes
adopt_server
compare other then-2 "$from_2" "$to_2"
redkeep undo --server="127.0.0.1:$port" --yes
adopt_server
[[ $(redis-cli -p "$port" GET of:other) == here ]] || fail 'the undo did not bring back what the server held'
redis-cli -p "$port" SHUTDOWN NOSAVE >/dev/null
server=
echo 'tests/quickstart.sh: both snapshots hold what was true, in directories and in a server'
