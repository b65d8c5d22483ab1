#!/usr/bin/env bash
# Runs redkeep, restic and rustic side by side against one S3 service, a SeaweedFS on loopback: a first backup, an unchanged one and a
# restore of a dump of 154 MB and of 1 GiB of opaque files. Compare within a table, not between.
#
#   benches/remote.sh                    as fast as loopback is
#   benches/remote.sh --link [MS MBIT]   over a link of 50 ms and 100 Mbit/s, or these; 1 GiB of opaque files alone. `busy` is how
#                                        much of the time the link carried what passed the way that counts
#
# TOOLS='redkeep restic' runs these alone. benches/compare.sh --setup and tests/setup.sh install what is needed. A tool that is missing
# or fails ends the script with an error.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
read -ra tools <<<"${TOOLS:-redkeep restic rustic}"
PATH=$root/target/release:$root/target/bench-tools/bin:${REDKEEP_TEST_SERVERS:-$root/target/test-servers}/bin:$PATH
cargo build --release --quiet

fail() { echo "remote.sh: $*" >&2; exit 1; }
for tool in "${tools[@]}" weed redis-server /usr/bin/time curl; do
  command -v "$tool" >/dev/null || fail "there is no $tool: run benches/compare.sh --setup and tests/setup.sh"
done

work=$(mktemp -d "${TMPDIR:-/tmp}/redkeep-remote.XXXXXX")
started=()
trap '[ ${#started[@]} = 0 ] || kill -9 "${started[@]}" 2>/dev/null || true; rm -rf "$work"' EXIT
export REDKEEP_PASSWORD=secret RESTIC_PASSWORD=secret RUSTIC_PASSWORD=secret
export XDG_CACHE_HOME=$work/cache XDG_STATE_HOME=$work/state XDG_CONFIG_HOME=$work/config
export AWS_ACCESS_KEY_ID=benchkey AWS_SECRET_ACCESS_KEY=benchsecret AWS_REGION=us-east-1

# SeaweedFS, on ten ports that follow each other.
port=$((20000 + RANDOM % 20000))
s3() {
  mkdir -p "$work/weed"
  printf '{"identities": [{"name": "bench", "credentials": [{"accessKey": "%s", "secretKey": "%s"}], "actions": ["Admin", "Read", "Write", "List"]}]}' \
    "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" >"$work/s3.json"
  weed -logtostderr=true server -ip=127.0.0.1 -ip.bind=127.0.0.1 -dir="$work/weed" \
    -master.port=$((port + 1)) -master.port.grpc=$((port + 2)) -master.volumeSizeLimitMB=256 -master.volumePreallocate=false \
    -volume.port=$((port + 3)) -volume.port.grpc=$((port + 4)) -volume.max=400 -filer -filer.port=$((port + 5)) \
    -filer.port.grpc=$((port + 6)) -s3 -s3.port=$port -s3.port.grpc=$((port + 7)) -s3.port.iceberg=0 -s3.port.lance=0 \
    -s3.config="$work/s3.json" -s3.iam=false >"$work/weed.log" 2>&1 </dev/null &
  started+=($!)
  disown
  local try
  for try in $(seq 300); do
    sleep 0.2
    ! curl -fsS -o /dev/null -X PUT --aws-sigv4 aws:amz:us-east-1:s3 --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" \
      -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' "http://127.0.0.1:$port/bench" 2>/dev/null || return 0
  done
  tail -5 "$work/weed.log" >&2
  fail 'SeaweedFS does not come'
}

# Runs a command and leaves "wall cpu MiB" in $figures.
figures=''
run() {
  /usr/bin/time -q -o "$work/time" -f '%e %U %S %M' "$@" >"$work/out" 2>&1 </dev/null || { cat "$work/out" >&2; fail "failed: $*"; }
  figures=$(awk '{ printf "%.2f %.2f %.0f", $1, $2 + $3, $4 / 1024 }' "$work/time")
}

# The repository of a tool, and its options of each call.
repository() { # tool prefix
  case $1 in
    redkeep) export AWS_ENDPOINT_URL=http://127.0.0.1:$reached; options=(--repo "s3://bench/$2") ;;
    restic) options=(-q -r "s3:http://127.0.0.1:$reached/bench/$2") ;;
    rustic)
      cat >"$work/rustic.toml" <<END
[repository]
repository = "opendal:s3"
[repository.options]
bucket = "bench"
root = "/$2"
endpoint = "http://127.0.0.1:$reached"
region = "$AWS_REGION"
END
      options=(--no-progress --log-level warn -P "$work/rustic")
      ;;
  esac
}

step() { # tool step directory
  case $1-$2 in
    redkeep-init) run redkeep init "${options[@]}" ;;
    redkeep-restore) run redkeep restore "${options[@]}" latest --target "$work/restored" ;;
    redkeep-*) run redkeep backup "${options[@]}" --dataset bench "$3" ;;
    restic-init) run restic "${options[@]}" init ;;
    restic-restore) run restic "${options[@]}" restore latest --target "$work/restored" ;;
    restic-*) run restic "${options[@]}" backup "$3" ;;
    rustic-init) run rustic "${options[@]}" init ;;
    rustic-restore) mkdir -p "$work/restored"; run rustic "${options[@]}" restore latest "$work/restored" ;;
    rustic-*) run rustic "${options[@]}" backup "$3" ;;
  esac
}

# What passed the link since it was asked last, up and down.
passed() { kill -USR1 "$link"; read -r up down <&"$told"; }

compare() { # title directory
  printf '\n%s\n\n| tool | step | wall s | CPU s | peak MiB |%s\n|---|---|---|---|---|%s\n' "$1" "${link:+ MB up | MB down | busy |}" "${link:+---|---|---|}"
  # A file written within two seconds of a backup is read again by redkeep's next one.
  sleep 3
  local tool name
  for tool in "${tools[@]}"; do
    repository "$tool" "$tool-$(basename "$2")"
    step "$tool" init
    for name in backup unchanged restore; do
      [ -z "$link" ] || passed
      step "$tool" $name "$2"
      read -r wall cpu peak <<<"$figures"
      printf '| %s | %s | %s | %s | %s |' "$tool" $name "$wall" "$cpu" "$peak"
      [ -z "$link" ] || { passed; awk -v u="$up" -v d="$down" -v w="$wall" -v m="$mbit" \
        'BEGIN { printf " %.1f | %.1f | %.0f %% |", u / 1e6, d / 1e6, 100 * (u > d ? u : d) / (m * 125000 * w) }'; }
      printf '\n'
    done
    diff -r "$2" "$(find "$work/restored" -type d -exec sh -c '[ -n "$(find "$1" -maxdepth 1 -type f)" ]' _ {} \; -print -quit)" ||
      fail "$tool restored something else"
    rm -rf "$work/restored"
  done
}

s3
reached=$port link=''
echo "$(date -u +%F), $(nproc) cores, $(awk -F': ' '/model name/ { print $2; exit }' /proc/cpuinfo); $(weed version 2>&1 | head -1 | cut -d' ' -f3)"
for tool in "${tools[@]}"; do
  case $tool in restic) restic version | cut -d' ' -f1,2 ;; *) "$tool" --version ;; esac
done | paste -sd, | sed 's/,/, /g'
mkdir "$work/opaque"
if [ "${1:-}" = --link ]; then
  mbit=${3:-100}
  exec {told}< <(exec python3 benches/link.py "$port" "${2:-50}" "$mbit")
  link=$!
  started+=("$link")
  read -r reached <&"$told"
  python3 benches/keyspace.py opaque "$work/opaque" 1024
  compare "1 GiB of opaque files over a link of ${2:-50} ms and $mbit Mbit/s" "$work/opaque"
  exit
fi
mkdir "$work/dump"
redis-server --port $((port + 9)) --bind 127.0.0.1 --dir "$work/dump" --save '' >/dev/null &
started+=($!)
disown
until redis-cli -p $((port + 9)) ping 2>/dev/null | grep -q PONG; do sleep 0.1; done
python3 benches/keyspace.py fill | redis-cli -p $((port + 9)) --pipe >/dev/null
redis-cli -p $((port + 9)) save >/dev/null
kill -9 "${started[-1]}"
unset 'started[-1]'
python3 benches/keyspace.py opaque "$work/opaque" 1024
compare 'A dump of 700,000 keys' "$work/dump"
compare '1 GiB of opaque files, half of it incompressible' "$work/opaque"
