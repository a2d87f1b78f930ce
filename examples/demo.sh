#!/usr/bin/env bash
# The demonstration: four services that leak threads, their fixed twins, and a real server under load.
#
# Usage: examples/demo.sh BUILD_DIR   (./dev demo builds and calls it)
# Needs go, graphviz, redis-server and redis-benchmark. Writes BUILD_DIR/demo. Exits 1 if any claim fails.
set -euo pipefail

build=$(realpath "${1:?usage: demo.sh BUILD_DIR}")
castaway=$build/bin/castaway
out=$build/demo
stay=4.5 # seconds that each example stays alive: safepoints at 1 s intervals, confirmed at the second
failed=0
summary=()

# `go tool pprof` as a user runs it, offline and with or without a home directory.
export GOFLAGS=-mod=mod GOTOOLCHAIN=local GOCACHE=$out/.go-cache PPROF_TMPDIR=$out PPROF_BINARY_PATH=$out
export HOME=${HOME:-$out}

heading() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
shown() { # prints a command as a user would type it, and runs it
  printf '\033[36m$ %s\033[0m\n' "$(printf '%q ' "$@" | sed "s|$build/||g; s|$castaway|castaway|g")"
  "$@"
}

need() {
  for program in "$@"; do
    command -v "$program" >/dev/null || { echo "demo: $program is missing" >&2; exit 1; }
  done
  for file in "$castaway" "$build/lib/libcastaway.so"; do
    [ -e "$file" ] || { echo "demo: $file is missing: build first (./dev build)" >&2; exit 1; }
  done
}

# Sum over a profile's samples of one sample type, as pprof reads it.
total() { # PROFILE SAMPLE_TYPE
  go tool pprof -raw "$1" 2>/dev/null | awk -v type="$2" '
    /^Samples:/ { getline; n = split($0, names, " "); for (i = 1; i <= n; i++) if (index(names[i], type "/") == 1) column = i; inside = 1; next }
    /^Locations/ { inside = 0 }
    inside && /:/ && !/:\[/ { split($0, parts, ":"); split(parts[1], values, " "); sum += values[column] }
    END { print column ? sum + 0 : "no " type }'
}

refuted() { go tool pprof -comments "$1" 2>/dev/null | sed -n 's/^refuted: //p'; } # PROFILE

newest() { readlink -f "$1"/*.leak.pb.gz | sort -u | tail -1; } # OUTPUT_DIR of one process

claim() { # WHAT ACTUAL EXPECTED
  if [ "$2" = "$3" ]; then
    summary+=("ok      $1: $2")
  else
    summary+=("FAILED  $1: $2, expected $3")
    failed=1
  fi
}

run_example() { # NAME: output in $out/NAME.log, profiles in $out/NAME
  "$castaway" run --interval 1s --output "$out/$1" -- "$build/examples/example_$1" --stay "$stay" >"$out/$1.log" 2>&1
}

# A leaky example and its fixed twin, at the same time.
run_twins() { # NAME THREADS
  heading "example_$1"
  echo "\$ castaway run --interval 1s --output demo/$1 -- examples/example_$1"
  run_example "${1}_fixed" &
  run_example "$1"
  wait $!
  cat "$out/$1.log"
  claim "$1 (leaked threads)" "$(total "$(newest "$out/$1")" leaked_threads)" "$2"
  claim "$1, fixed (leaked threads)" "$(total "$(newest "$out/${1}_fixed")" leaked_threads)" 0
  claim "$1 (leak lines in the log)" "$(grep -c '^castaway' "$out/$1.log")" 2
  claim "$1, fixed (leak lines in the log)" "$(grep -c '^castaway' "$out/${1}_fixed.log" || true)" 0
}

wait_for_redis() { # SOCKET
  for _ in $(seq 100); do
    [ "$(redis-cli -s "$1" ping 2>/dev/null)" = PONG ] && return
    sleep 0.1
  done
  echo "demo: redis-server does not answer; its log:" >&2
  cat "$out/redis.log" >&2
  exit 1
}

run_redis() {
  heading "redis-server under load"
  local socket
  socket=$(mktemp -d)/redis.sock # the kernel allows 107 characters
  "$castaway" run --interval 1s --output "$out/redis" -- \
    redis-server --port 0 --unixsocket "$socket" --save '' --dir "$out" >"$out/redis.log" 2>&1 &
  local server=$!
  trap 'kill '$server' 2>/dev/null || true' EXIT
  wait_for_redis "$socket"
  shown redis-benchmark -s "$socket" -n 100000 -t set,get,lpush,lrange_100 -q | tr '\r' '\n' | grep 'per second'
  shown "$castaway" snap "$server" --wait
  redis-cli -s "$socket" shutdown nosave || true
  wait "$server"
  trap - EXIT
  rm -rf "$(dirname "$socket")"
  local profile
  profile=$(newest "$out/redis")
  shown "$castaway" show "$profile"
  claim "redis-server (leaked threads)" "$(total "$profile" leaked_threads)" 0
  claim "redis-server (refuted reports)" "$(refuted "$profile")" "0 threads, 0 blocks"
}

show_with_pprof() { # PROFILE PICTURE
  heading "go tool pprof"
  shown go tool pprof -top "$1" | sed '/^Build ID/,/^suppressed/d'
  shown go tool pprof -traces "$1" | sed '/^Build ID/,/^suppressed/d'
  shown go tool pprof -svg -output "$2" "$1" 2>/dev/null
  claim "picture ($(basename "$2"))" "$(grep -c '<svg' "$2")" 1
}

need go dot redis-server redis-cli redis-benchmark
rm -rf "$out"
mkdir -p "$out"

run_twins timed_out_request 10
run_twins notification_service 30
run_twins worker_pool 12
run_twins migration 1
leak=$(newest "$out/timed_out_request")
heading "castaway show"
shown "$castaway" show "$leak"
shown "$castaway" show "$(newest "$out/notification_service")"
run_redis
show_with_pprof "$leak" "$out/timed_out_request.svg"

heading "summary"
printf '%s\n' "${summary[@]}"
echo
echo "profile  $leak"
echo "picture  $out/timed_out_request.svg"
echo "browser  go tool pprof -http=localhost:8080 $leak"
exit $failed
