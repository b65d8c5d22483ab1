#!/usr/bin/env bash
# The trials that take longer than a change should wait for: hours in all. Arguments choose some: syncs, kills, faults, hostile, package, trials.
#
#   syncs     a hundred dumps in a row that busy servers of every version send, from disk and without: some minutes
#   kills     captures of servers that are killed in mid-transaction, 500 times: two minutes
#   faults    a disk that fails: each rename, and each write of the journal, of a restore into a server and of its undo, one
#             after the other, with strace: two minutes
#   hostile   the owner of a data directory attacks a redkeep that runs as root in it, by links and renames while it is held
#             at its system calls: 1,000 rounds of restore, undo and capture, half an hour; as root
#   package   the .deb is built of a release, installed in a copy of this host, and README's first commands are run: as root
#   trials    operations on the repository that die or are held at any of their calls while others work, at random and in
#             order: hours
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
tests/setup.sh
for trial in "${@:-syncs kills faults hostile package trials}"; do
  for name in $trial; do
    case $name in
      syncs) REDKEEP_TEST_CAPTURES=100 cargo test --test redis sync::every_dump ;;
      kills) REDKEEP_TEST_KILLS=500 cargo test --test redis live_kills ;;
      faults) REDKEEP_TEST_FAULTS=1 cargo test --test redis restore_server_faults ;;
      hostile) REDKEEP_TEST_HOSTILE=1000 cargo test --test redis hostile_owner ;;
      package) cargo build --release && tests/package.sh target/release/redkeep ;;
      trials) REDKEEP_TEST_LONG=1 cargo test --release --test trials ;;
      *) echo "tests/long.sh: there is no trial $name" >&2; exit 2 ;;
    esac
  done
done
