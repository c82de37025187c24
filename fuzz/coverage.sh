#!/usr/bin/env bash
# Line coverage of utp-proto: fuzz/coverage.sh [TEST...] (fuzz_corpora by default: the seeds, and found/).
# fuzz/coverage.sh fuzz_corpora sim_random adds the random worlds. What the fuzzer gathered counts if CORPUS=1.
# Needs: rustup component add llvm-tools --toolchain nightly
set -euo pipefail
cd "$(dirname "$0")/.."
tests=("${@:-fuzz_corpora}")
out=${CARGO_TARGET_DIR:-$PWD/target/coverage}
tools=$(rustc +nightly --print target-libdir)/../bin
mkdir -p "$out/profiles"
rm -f "$out"/profiles/*
# Build scripts and macros are instrumented too: their profiles go where nobody looks.
export CARGO_TARGET_DIR=$out RUSTFLAGS="-C instrument-coverage" LLVM_PROFILE_FILE="$out/build-%m.profraw"
objects=()
for test in "${tests[@]}"; do
  binary=$(cargo +nightly test --no-run -p utp-tests --no-default-features --test "$test" 2>&1 |
    sed -n 's/.*Executable.*(\(.*\))$/\1/p')
  binary=$(realpath "$binary") # cargo names it relative to where it was called
  # Run where cargo would run it.
  (cd tests && FUZZ_CORPUS=${CORPUS:-} LLVM_PROFILE_FILE="$out/profiles/$test-%p.profraw" "$binary" >&2)
  objects+=(-object "$binary")
done
"$tools/llvm-profdata" merge -sparse "$out"/profiles/*.profraw -o "$out/all.profdata"
"$tools/llvm-cov" report "${objects[@]}" -instr-profile="$out/all.profdata" --sources "$PWD/utp-proto/src" |
  awk '$8 ~ /^[0-9]+$/ { printf "%-28s %5d lines %5d missed %s\n", $1, $8, $9, $10 }'
