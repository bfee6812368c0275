#!/usr/bin/env bash
# Runs every check: formatting, clippy, unit, property, transcript and twin tests.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo fmt --all --check
cargo clippy --all-targets --locked -- -D warnings
cargo test --locked
