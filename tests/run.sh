#!/usr/bin/env bash
# Runs all tests, after installing what they need. Arguments go to `cargo test`.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
tests/setup.sh
exec cargo test "$@"
