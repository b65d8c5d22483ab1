#!/usr/bin/env bash
# Runs all tests, after installing what they need. Arguments go to `cargo test`.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
tests/setup.sh
# Many tests wait for a server most of the time.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((3 * $(nproc)))}
exec cargo test "$@"
