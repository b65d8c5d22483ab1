#!/usr/bin/env bash
# A GET of a Swift object that exists all the time answers 404 now and then while the object is overwritten.
#
# OpenStack Swift 2.30.1 of Debian 12 (swift-proxy, swift-account, swift-container, swift-object, memcached; curl), one replica; with
# more of them not tried. Presumably the file that a GET is about to open is removed by the PUT that came after it.
# Seen: of 4,500 GETs beside 1,200 PUTs of one object one to three answer 404. Who takes one 404 for "deleted" is wrong. (Linux; run as root.)
set -euo pipefail

work=$(mktemp -d)
trap 'disown -a; kill -9 $(cat "$work"/*.pid) 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
mkdir -p srv/d1 cache
p=$((20000 + RANDOM % 10000))
i=1
for name in account container object; do
  printf '%s\n' '[DEFAULT]' 'bind_ip = 127.0.0.1' "bind_port = $((p + i))" 'workers = 0' "user = $(id -un)" "swift_dir = $work" \
    "devices = $work/srv" 'mount_check = false' "recon_cache_path = $work/cache" 'fallocate_reserve = 0' '[pipeline:main]' \
    "pipeline = $name-server" "[app:$name-server]" "use = egg:swift#$name" >"$name.conf"
  swift-ring-builder $name.builder create 10 1 1 >/dev/null
  swift-ring-builder $name.builder add "r1z1-127.0.0.1:$((p + i))/d1" 1 >/dev/null
  swift-ring-builder $name.builder rebalance >/dev/null
  i=$((i + 1))
done
printf '%s\n' '[DEFAULT]' 'bind_ip = 127.0.0.1' "bind_port = $p" 'workers = 0' "user = $(id -un)" "swift_dir = $work" '[pipeline:main]' \
  'pipeline = cache tempauth proxy-server' '[app:proxy-server]' 'use = egg:swift#proxy' 'account_autocreate = true' '[filter:cache]' \
  'use = egg:swift#memcache' "memcache_servers = 127.0.0.1:$((p + 4))" '[filter:tempauth]' 'use = egg:swift#tempauth' \
  'user_a_b = c .admin' >proxy.conf
memcached -l 127.0.0.1 -p $((p + 4)) -u "$(id -un)" >memcached.log 2>&1 &
echo $! >memcached.pid
for name in account container object proxy; do
  swift-$name-server "$work/$name.conf" >$name.log 2>&1 &
  echo $! >$name.pid
done
token= url=http://127.0.0.1:$p/v1/AUTH_a/c
for _ in $(seq 600); do
  token=$(curl -fsSi "http://127.0.0.1:$p/auth/v1.0" -H 'X-Auth-User: a:b' -H 'X-Auth-Key: c' 2>/dev/null | tr -d '\r' | sed -n 's/^X-Auth-Token: //pI') || true
  [ -n "$token" ] && curl -fsS -o /dev/null -X PUT -H "X-Auth-Token: $token" $url 2>/dev/null && break
  sleep 0.1
done
head -c 400000 /dev/zero >body
curl -fsS -o /dev/null -T body -H "X-Auth-Token: $token" $url/o
# One client each, on a connection that stays: [1-N] is one transfer after the other. Some rounds, since it is rare.
missing=0
for round in 1 2 3 4 5; do
  curl -sS -o /dev/null -T body -H "X-Auth-Token: $token" "$url/o?[1-1200]" &
  writer=$!
  readers=()
  for reader in 1 2 3; do
    curl -sS -o /dev/null -w '%{http_code}\n' -H "X-Auth-Token: $token" "$url/o?[1-1500]" >"codes.$reader" &
    readers+=($!)
  done
  wait $writer "${readers[@]}"
  missing=$(cat codes.* | grep -c 404 || true)
  printf 'round %s: %s GETs, %s of them 404\n' "$round" "$(cat codes.* | wc -l)" "$missing"
  ((missing == 0)) || break
done
((missing > 0)) || { echo "this has changed"; exit 1; }
