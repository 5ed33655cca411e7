#!/usr/bin/env bash
# Every check that needs no running broker: format, clippy, documentation, licences and sources.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; }

step "format"
cargo fmt --all --check
step "clippy (warnings are errors)"
cargo clippy --release --workspace --all-targets -- -D warnings
step "documentation"
# Links to private items help whoever reads the source.
RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --release --workspace --no-deps --quiet
step "layout rules"
cargo test --release --workspace --test tidy --quiet
if command -v cargo-deny >/dev/null; then
  step "licences and sources"
  cargo deny check licenses sources bans
elif [ "${CI:-}" = true ]; then
  step "licences and sources"
  cargo install cargo-deny --locked --quiet --root "${XDG_CACHE_HOME:-$HOME/.cache}/chronik/tools"
  "${XDG_CACHE_HOME:-$HOME/.cache}/chronik/tools/bin/cargo-deny" check licenses sources bans
else
  echo "SKIPPED: licences and sources; to run it: cargo install cargo-deny --locked"
fi
echo "lint: ok"
