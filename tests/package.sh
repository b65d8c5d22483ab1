#!/usr/bin/env bash
# The package and README's first commands, proved: in a copy of this host, in namespaces of its own, whose changes are thrown
# away at the end, starts the distribution's redis-server, runs the commands of README's "The first six commands" as they
# stand, and looks at what they left. As root.
#
#   tests/package.sh [PROGRAM]     PROGRAM is packed [the one of tests/quickstart.sh: target/debug/redkeep]
set -Eeuo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
trap 'echo "tests/package.sh: FAILED in line $LINENO" >&2' ERR
fail() {
  printf 'tests/package.sh: FAILED: %s\n' "$*" >&2
  exit 1
}

# The commands of the README, as they stand there, without what they print and what is said beside them.
commands() {
  sed -n '/^## The first six commands/,/^## /p' "$root/README.md" | sed -n 's/^\$ //p' | sed 's/ \+# .*//'
}

inside() {
  ip link set lo up
  cd "$1"
  sed 's/^supervised .*//; s/^daemonize .*/daemonize yes/' /etc/redis/redis.conf >/tmp/redis.conf
  redis-server /tmp/redis.conf >/dev/null
  until redis-cli ping >/dev/null 2>&1; do sleep 0.1; done
  redis-cli set greeting hello >/dev/null
  if command -v cron >/dev/null; then cron; fi
  while read -r -u 3 command; do
    printf '\n# %s\n' "$command"
    code=0
    DEBIAN_FRONTEND=noninteractive bash -c "${command/apt install/apt-get install -y -qq}" || code=$?
    # Without a cron daemon a schedule is installed with a warning.
    [[ $code == 0 || ($code == 3 && $command == *schedule*) ]] || fail "$command ended with $code"
  done 3< <(commands)
  (($(commands | wc -l) == 6)) || fail 'the README has not six commands'
  [[ $(redkeep snapshots --config /etc/redkeep.toml --json) == *'"keys":1'* ]] || fail 'no snapshot with the key'
  redis-check-rdb /tmp/found/dump.rdb >/dev/null || fail 'what was restored is no dump'
  [[ $(redkeep schedule show daily --json) == *'"profile":"daily"'* ]] || fail 'nothing is scheduled'
  man -w redkeep redkeep-restore redkeep-operations >/dev/null || fail 'there are no manual pages'
  systemd-analyze verify --man=no /usr/lib/systemd/system/redkeep@.service /usr/lib/systemd/system/redkeep@.timer
  source /usr/share/bash-completion/completions/redkeep
  COMP_WORDS=(redkeep run '') COMP_CWORD=2 COMP_TYPE=9 COMPREPLY=()
  _clap_complete_redkeep redkeep '' run
  [[ " ${COMPREPLY[*]} " == *' daily '* ]] || fail "the profile is not completed: ${COMPREPLY[*]}"
  cmp /usr/share/doc/redkeep/examples/redkeep.toml <(redkeep config example)
  dpkg -P redkeep >/dev/null 2>&1
  [[ ! -e /usr/bin/redkeep && -e /srv/redkeep/config ]] || fail 'a removal takes the program and leaves the repository'
}

if [[ ${1:-} == --inside ]]; then
  inside "$2"
  exit
fi
((EUID == 0)) || exec sudo --preserve-env=CARGO_TARGET_DIR "$0" "$@"
cd "$root"
packaging/build.sh --built "${1:-${CARGO_TARGET_DIR:-target}/debug/redkeep}" >/dev/null
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unshare --mount --pid --net --fork --kill-child bash -Eeuo pipefail -c '
  mount -t tmpfs tmpfs "$1"
  mkdir "$1"/{changes,work,root}
  mount -t overlay overlay -o "lowerdir=/,upperdir=$1/changes,workdir=$1/work" "$1/root"
  mkdir "$1/root/package"
  mount -t proc proc "$1/root/proc"
  mount --rbind /dev "$1/root/dev"
  cp "$2"/target/package/*.deb "$1/root/package/"
  mkdir "$1/root/package/tests"
  cp "$2/tests/package.sh" "$1/root/package/tests/"
  cp "$2/README.md" "$1/root/package/"
  rm -rf "$1"/root/etc/redkeep* "$1/root/srv/redkeep" "$1/root/tmp/found"
  env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root chroot "$1/root" /package/tests/package.sh --inside /package
' - "$work" "$root"
echo 'tests/package.sh: the package installs, and the first six commands do what the README says'
