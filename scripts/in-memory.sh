#!/usr/bin/env bash
# Runs a command with its temporary files in memory, where there is room: the tests copy data folders all the time, which costs a disk
# a quarter of all the computing, and much of the waiting. Elsewhere they go where they always do.
set -euo pipefail
root=/dev/shm/dbops-tests.$UID
need=10000 # MB to be free; the tests use 3 to 4

room() { # whether programs can be run there, and enough memory is free
	local dir=$1 avail shm
	avail=$(awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo 2>/dev/null) && [ "${avail:-0}" -ge "$need" ] || return 1
	shm=$(df -Pm /dev/shm 2>/dev/null | awk 'NR == 2 { print $4 }') && [ "${shm:-0}" -ge "$need" ] || return 1
	mkdir -p -m 755 "$dir" 2>/dev/null && [ -O "$dir" ] || return 1
	printf '#!/bin/sh\n' >"$dir/try" && chmod 755 "$dir/try" && "$dir/try" 2>/dev/null || { rm -rf "$dir"; return 1; }
	rm "$dir/try"
}

for old in "$root".*; do # of a run that was killed
	pid=${old##*.}
	if [ -O "$old" ] && [ ! -L "$old" ] && ! kill -0 "$pid" 2>/dev/null; then rm -rf "$old"; fi
done
if [ -n "${TMPDIR:-}" ] || ! room "$root.$$"; then exec "$@"; fi
trap 'rm -rf "$root.$$"' EXIT
TMPDIR=$root.$$ GOTMPDIR=${GOTMPDIR:-/tmp} "$@"
