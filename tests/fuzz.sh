#!/usr/bin/env bash
# fuzz.sh BUILD FUZZ_BUILD OPTION...: runs each libFuzzer target of FUZZ_BUILD with these options, from captures and
# profiles that the castaway of BUILD has just made of programs that leak, and from a library. An input that fails is
# kept and named. New inputs are kept in FUZZ_BUILD/corpus for the next run, unless a number of runs is asked for: such
# a run is like any other. Needs nothing but what is built.
set -euo pipefail
build=$(readlink -f "$1") fuzz_build=$(readlink -f "$2")
shift 2
seeds=$fuzz_build/seeds
output=$fuzz_build/seeds/output

# One capture and its profiles for each: threads, blocks, a deadlock, a library that is gone, a suppressed leak.
make_seeds() {
  local case
  rm -rf "$seeds"
  mkdir -p "$seeds"/{capture,elf,parse}
  cp "$build"/tests/programs/libplugin.so "$seeds/elf"
  printf '# known\nleak:support::take\nthread:Dropped*\n' >"$seeds/parse/suppressions"
  cp /proc/self/maps "$seeds/parse/maps"
  for case in "waits cond" "waits abba" "waits join_chain" "blocks ring" "blocks closed_library" "roots global leak"; do
    # shellcheck disable=SC2086
    CASTAWAY_KEEP_CAPTURES=1 CASTAWAY_SUPPRESSIONS=$seeds/parse/suppressions "$build/bin/castaway" check \
      --output "$output" --sample-bytes 1 -- "$build"/tests/programs/$case </dev/null >/dev/null 2>&1 || [ $? = 23 ]
  done
  cp "$output"/*.capture "$seeds/capture"
  for profile in "$output"/*.[0-9]*.pb.gz; do
    cp "$profile" "$seeds/parse"
    gzip -dc "$profile" >"$seeds/parse/$(basename "$profile" .gz)"
  done
  rm -rf "$output"
}

run() { # NAME OPTION...
  local name=$1 log=$fuzz_build/$1.log corpus=("$fuzz_build/corpus/$1")
  mkdir -p "${corpus[@]}"
  [[ "$*" == *-runs=* ]] && corpus=()
  if ! "$fuzz_build/bin/profile_${name}_fuzz" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$fuzz_build/$name-" "${@:2}" "${corpus[@]}" "$seeds/$name" >"$log" 2>&1; then
    tail -n 60 "$log"
    printf 'fuzz: %s failed; the input is named above\n' "$name"
    exit 1
  fi
  sed -n "s/^stat::number_of_executed_units: */$name: inputs run: /p" "$log"
}

make_seeds
for target in capture elf parse; do run "$target" "$@"; done
