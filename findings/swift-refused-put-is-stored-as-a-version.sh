#!/usr/bin/env bash
# A PUT that Swift refuses with 412 is stored all the same where the container keeps versions, and counted in the bytes used.
#
# OpenStack Swift 2.30.1 of Debian 12 (swift-proxy, swift-account, swift-container, swift-object, memcached; curl), with
# versioned_writes and `X-Versions-Enabled: true`. Versions are made by writing the body under a name of its own first; the condition
# is looked at when the object is then made a link to it. An object of 6 bytes, five PUTs over it of 1,000 bytes each with
# `If-None-Match: *`, as of several writers of which one may win. Seen: 412 five times, GET gives the first, but ?versions lists six
# and the container counts 5,006 bytes. Without versions: one object, 6 bytes. (Run as root.)
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
  'pipeline = cache tempauth versioned_writes symlink proxy-server' '[app:proxy-server]' 'use = egg:swift#proxy' \
  'account_autocreate = true' '[filter:cache]' 'use = egg:swift#memcache' "memcache_servers = 127.0.0.1:$((p + 4))" \
  '[filter:tempauth]' 'use = egg:swift#tempauth' \
  'user_a_b = c .admin' '[filter:versioned_writes]' 'use = egg:swift#versioned_writes' 'allow_object_versioning = true' \
  '[filter:symlink]' 'use = egg:swift#symlink' >proxy.conf
memcached -l 127.0.0.1 -p $((p + 4)) -u "$(id -un)" >memcached.log 2>&1 &
echo $! >memcached.pid
for name in account container object proxy; do
  swift-$name-server "$work/$name.conf" >$name.log 2>&1 &
  echo $! >$name.pid
done
token= url=http://127.0.0.1:$p/v1/AUTH_a
for _ in $(seq 600); do
  token=$(curl -fsSi "http://127.0.0.1:$p/auth/v1.0" -H 'X-Auth-User: a:b' -H 'X-Auth-Key: c' 2>/dev/null | tr -d '\r' | sed -n 's/^X-Auth-Token: //pI') || true
  [ -n "$token" ] && curl -fsS -o /dev/null -X PUT -H "X-Auth-Token: $token" $url/plain 2>/dev/null && break
  sleep 0.1
done
swift() { curl -sS -H "X-Auth-Token: $token" "$@"; }
swift -o made -X PUT -H 'X-Versions-Enabled: true' $url/versions
head -c 1000 /dev/zero >body
seen=
for container in plain versions; do
  printf first. | swift -o made -T - "$url/$container/o"
  codes=$(for _ in 1 2 3 4 5; do swift -o refused -w '%{http_code} ' -T body -H 'If-None-Match: *' "$url/$container/o"; done)
  kept=$(swift "$url/$container/o")
  versions=$(swift "$url/$container?versions" | grep -o '"name"' | wc -l)
  bytes=$(swift -I "$url/$container" | tr -d '\r' | sed -n 's/^X-Container-Bytes-Used: //pI')
  printf '%-8s PUTs: %s; GET: %s; listed: %s, bytes used: %s\n' "$container" "$codes" "$kept" "$versions" "$bytes"
  seen+="$codes$kept $versions $bytes;"
done
[[ $seen == '412 412 412 412 412 first. 1 6;412 412 412 412 412 first. 6 5006;' ]] || { echo "this has changed"; exit 1; }
