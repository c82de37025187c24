#!/usr/bin/env bash
# The conformance suite as a matrix: a row for each case, a column for each arrangement of adapters.
#   tests/conformance.sh
# A column named after one adapter has it at both ends; in `a_and_b`, a accepts and b connects. tokio alone comes in
# three flavours: threads, one_thread, paused_time. Exits with 1 if a case fails.
set -uo pipefail
cd "$(dirname "$0")/.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
cargo test -p utp-tests --no-fail-fast --test 'conformance_*' >"$log" 2>&1
status=$?
awk '
  $1 == "test" && $2 ~ /::/ {
    split($2, part, "::")
    arrangement = part[1]
    case_name = substr($2, length(arrangement) + 3)
    if (!(arrangement in column)) { column[arrangement] = ++columns; title[columns] = arrangement }
    if (!(case_name in row)) { row[case_name] = ++rows; name[rows] = case_name }
    result[case_name, arrangement] = $NF
    if ($NF == "ok") good++; else bad++
  }
  END {
    printf "| case |"; for (c = 1; c <= columns; c++) printf " %s |", title[c]
    printf "\n|---|"; for (c = 1; c <= columns; c++) printf "---|"
    printf "\n"
    for (r = 1; r <= rows; r++) {
      printf "| %s |", name[r]
      for (c = 1; c <= columns; c++) printf " %s |", result[name[r], title[c]]
      printf "\n"
    }
    printf "\n%d passed, %d failed\n", good, bad
  }' "$log"
if [ $status -ne 0 ]; then grep -E "^error|panicked at" -A3 "$log" | tail -40 >&2; exit 1; fi
