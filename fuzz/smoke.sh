#!/usr/bin/env bash
# Runs each fuzz target for so many seconds (10 by default): fuzz/smoke.sh [SECONDS [TARGET...]]
# The same inputs in the same order each time, so that CI does not fail by chance; SEED=0 for others each time.
# Stops at the first input that fails; it is in fuzz/artifacts/TARGET/.
#
# No sanitizer by default: the code under test forbids `unsafe`, and panics are what is looked for, with
# overflow checks and debug assertions on. SANITIZER=address for the crates below it.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-10}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cargo +nightly fuzz list)

cargo +nightly fuzz build -s "${SANITIZER:-none}"
for target in "${targets[@]}"; do
  mkdir -p "corpus/$target" "found/$target"
  log=$(mktemp)
  # Small inputs: a failure that takes hundreds of actions is found sooner by the simulator's random worlds.
  if ! cargo +nightly fuzz run -s "${SANITIZER:-none}" "$target" "corpus/$target" "seeds/$target" "found/$target" -- \
    -max_total_time="$seconds" -seed="${SEED:-1}" -timeout=10 -max_len="${MAX_LEN:-512}" >"$log" 2>&1; then
    tail -n 60 "$log"
    echo "$target: FAILED"
    exit 1
  fi
  printf '%-14s %s\n' "$target" "$(grep -E '^Done' "$log" || tail -n 1 "$log")"
  rm -f "$log"
done
