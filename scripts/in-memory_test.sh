#!/usr/bin/env bash
# Proves what scripts/in-memory.sh promises: the command's status is its own, nothing is left behind, what a killed run left is removed, and a
# TMPDIR that somebody chose is kept.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
unset TMPDIR
mine=/dev/shm/dbops-tests.$UID
fail() {
	echo "FAIL $*" >&2
	exit 1
}
dir=$(./in-memory.sh bash -c 'mktemp -d; echo "${TMPDIR:-none}"' | tail -1)
case $dir in
none) echo "in-memory_test: memory is not used here, for want of room" ;;
"$mine".*) [ ! -e "$dir" ] || fail "$dir is left" ;;
*) fail "temporary files went to $dir" ;;
esac
rc=0
./in-memory.sh bash -c 'exit 7' || rc=$?
[ $rc = 7 ] || fail "status $rc in place of 7"
[ "$(TMPDIR=/var/tmp ./in-memory.sh bash -c 'echo "$TMPDIR"')" = /var/tmp ] || fail "a TMPDIR was not kept"
bash -c : & gone=$!
wait $gone
if mkdir "$mine.$gone" 2>/dev/null; then
	./in-memory.sh true
	[ ! -e "$mine.$gone" ] || fail "what a killed run left is still there"
fi
echo "in-memory_test: ok"
