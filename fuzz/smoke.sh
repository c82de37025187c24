#!/usr/bin/env bash
# Runs each fuzz target for so many seconds (10 by default): fuzz/smoke.sh [SECONDS [TARGET...]]
# As many at a time as there are processors, or JOBS. The same inputs in the same order each time, so that CI does not
# fail by chance; SEED=0 for others each time. Stops all at the first input that fails; it is in fuzz/artifacts/TARGET/.
#
# No sanitizer by default: the code under test forbids `unsafe`, and panics are what is looked for, with
# overflow checks and debug assertions on. SANITIZER=address for the crates below it.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-10}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cargo +nightly fuzz list)
for target in "${targets[@]}"; do mkdir -p "corpus/$target" "found/$target" "artifacts/$target"; done

# Comparisons are not recorded: inputs are choices of one byte that are relative to what would be right, and recording
# takes more than half of the time.
build=(-s "${SANITIZER:-none}" --no-trace-compares)
cargo +nightly fuzz build "${build[@]}"

# What one execution has freed is for the next, and does not go back to the system in between (glibc).
export MALLOC_TRIM_THRESHOLD_=1000000000 MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TOP_PAD_=4194304

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
declare -A running=()

stop_all() {
  # The fuzzer is a child of cargo's.
  local job
  for job in "${!running[@]}"; do kill -- "-$job" 2>/dev/null || true; done
  wait
}

start() {
  local target=$1
  # Small inputs: a failure that takes hundreds of actions is found sooner by the simulator's random worlds.
  cargo +nightly fuzz run "${build[@]}" "$target" "corpus/$target" "seeds/$target" "found/$target" -- \
    -max_total_time="$seconds" -seed="${SEED:-1}" -timeout=10 -max_len="${MAX_LEN:-512}" -reload=0 \
    >"$logs/$target" 2>&1 &
  running[$!]=$target
}

finish_one() {
  local job status=0
  wait -n -p job "${!running[@]}" || status=$?
  local target=${running[$job]}
  unset "running[$job]"
  if [ "$status" -ne 0 ]; then
    stop_all
    tail -n 60 "$logs/$target"
    echo "$target: FAILED"
    exit 1
  fi
  printf '%-14s %s\n' "$target" "$(grep -E '^Done' "$logs/$target" || tail -n 1 "$logs/$target")"
}

set -m # each target in a process group of its own, to be stopped as a whole
trap 'stop_all; exit 130' INT TERM
for target in "${targets[@]}"; do
  [ ${#running[@]} -lt "${JOBS:-$(nproc)}" ] || finish_one
  start "$target"
done
while [ ${#running[@]} -gt 0 ]; do finish_one; done
