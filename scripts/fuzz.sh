#!/usr/bin/env bash
# Runs every fuzz target of the packages that are named, each for as long as is said.
#
# usage: fuzz.sh TIME PACKAGE...
set -euo pipefail
time=$1
shift
failed=0
for pkg in "$@"; do
	mapfile -t targets < <(go test -list '^Fuzz' "$pkg" | grep '^Fuzz' || true)
	for target in "${targets[@]}"; do
		echo "$pkg $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$pkg" | { grep -vE '^(fuzz: elapsed|PASS$)' || true; } || failed=1
	done
done
exit "$failed"
