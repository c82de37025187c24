#!/usr/bin/env bash
# Compiles the crates for other systems, as far as that goes without a linker: no warning of rustc or clippy.
#   tests/targets.sh [TARGET ...]
# Without arguments: all of the list below. Adds targets that are missing (`rustup target add`). Checked are the core,
# the driver, the adapters and the command with their tests and examples, and the simulated network; for wasm32 the
# core alone. Nothing is run: what is known of these systems is that the code fits their interfaces.
set -uo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}

all=(
  x86_64-pc-windows-msvc
  x86_64-pc-windows-gnu
  aarch64-apple-darwin
  x86_64-unknown-freebsd
  armv7-unknown-linux-gnueabihf # 32 bits
  aarch64-linux-android
  wasm32-unknown-unknown
)
[ $# -gt 0 ] || set -- "${all[@]}"

clippy() {
  cargo clippy --quiet --target-dir target/targets --target "$@" -- -D warnings
}

failed=()
for target in "$@"; do
  from=$SECONDS
  rustup target list --installed | grep -qxF "$target" || rustup target add "$target" || { failed+=("$target"); continue; }
  case $target in
    wasm32-*) clippy "$target" -p utp-proto --no-default-features ;;
    *)
      clippy "$target" --all-targets -p utp-proto -p utp-driver -p utp-tokio -p utp-async-std -p utp-mio -p utp-cli &&
        # The other parts of the tests need a C++ compiler for the target.
        clippy "$target" --lib -p utp-tests --no-default-features
      ;;
  esac || { failed+=("$target"); printf '%s: failed\n' "$target"; continue; }
  printf '%s: ok, %d s\n' "$target" $((SECONDS - from))
done
if [ ${#failed[@]} -gt 0 ]; then
  printf 'failed: %s\n' "${failed[*]}" >&2
  exit 1
fi
