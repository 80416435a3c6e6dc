# shellcheck shell=bash
# Sourced by the gate. A step is a command whose output goes to a log; it gives counts, and its log is shown when it fails.
#   begin NAME COUNT COMMAND…   starts a step beside the others; finish waits for all that were begun and prints them
# COUNT says how its tests are counted: one (the step itself), tap (lines "ok …", "not ok …", "skip …"),
# junit (the file $steps/NAME.xml), deno or pytest (their closing line).

steps="$(mktemp -d)"
passed=0 failed=0 skipped=0
running=()
counting=()
trap 'jobs -p | xargs -r kill 2>/dev/null || true' INT TERM
trap '[ "$failed" -gt 0 ] || rm -rf "$steps"' EXIT

begin() {
  local name=$1
  running+=("$name")
  counting+=("$2")
  shift 2
  (
    started=$(date +%s)
    code=0
    "$@" >"$steps/$name.log" 2>&1 </dev/null || code=$?
    echo "$code $(($(date +%s) - started))" >"$steps/$name.end"
  ) &
}

finish() {
  wait
  local index
  for index in "${!running[@]}"; do report "${running[$index]}" "${counting[$index]}"; done
  running=()
  counting=()
}

report() {
  local name=$1 code=1 seconds=0 ok=0 bad=0 skip=0
  read -r code seconds <"$steps/$name.end" || true
  read -r ok bad skip <<<"$("count_$2" "$name" "$code")"
  # A failed step is a failure even where no single test failed, and so is a test step that ran no test.
  if [ "$code" -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
  if [ $((ok + bad + skip)) -eq 0 ]; then
    bad=1
    echo "It ran no test." >>"$steps/$name.log"
  fi
  passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + skip))
  if [ "$bad" -gt 0 ]; then
    printf '✖ %-28s %4ss  %s failed, %s passed\n' "$name" "$seconds" "$bad" "$ok"
    tail -n 120 "$steps/$name.log" | sed 's/^/    /'
  else
    printf '✔ %-28s %4ss  %s passed%s\n' "$name" "$seconds" "$ok" "$([ "$skip" -eq 0 ] || echo ", $skip skipped")"
    grep '^skip ' "$steps/$name.log" | sed 's/^/    /' || true
  fi
}

count_one() { if [ "$2" -eq 0 ]; then echo 1 0 0; else echo 0 1 0; fi; }

count_tap() {
  local log="$steps/$1.log"
  echo "$(grep -c '^ok ' "$log" || true) $(grep -c '^not ok ' "$log" || true) $(grep -c '^skip ' "$log" || true)"
}

count_junit() {
  sed -n 's/.*<testsuites .*tests="\([0-9]*\)".* failures="\([0-9]*\)".* skipped="\([0-9]*\)".*/\1 \2 \3/p' "$steps/$1.xml" 2>/dev/null |
    awk '{ print $1 - $2 - $3, $2, $3; found = 1 } END { if (!found) print 0, 0, 0 }'
}

# "ok | 12 passed (3 steps) | 1 failed | 2 ignored (9ms)"
count_deno() { words_before "$steps/$1.log" '^(ok|FAILED) \|' passed failed ignored; }
# "=== 1 failed, 12 passed, 2 skipped in 3.21s ==="
count_pytest() { words_before "$steps/$1.log" ' in [0-9.]+s' passed 'failed|errors?' skipped; }

words_before() {
  local line pattern
  line="$(sed 's/\x1b\[[0-9;]*m//g' "$1" | grep -E "$2" | tail -n 1 || true)"
  for pattern in "${@:3}"; do
    grep -oE "[0-9]+ ($pattern)" <<<"$line" | awk '{ sum += $1 } END { printf "%d ", sum }'
  done
}

# The closing line that CI reads; the exit code says the same.
close() {
  if [ "$failed" -gt 0 ]; then printf '\nThe logs are in %s.\n' "$steps"; fi
  printf '%s passed, %s failed%s\n' "$passed" "$failed" "$([ "$skipped" -eq 0 ] || echo ", $skipped skipped")"
  [ "$failed" -eq 0 ]
}
