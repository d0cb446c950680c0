#!/usr/bin/env bash
# Runs the tests that put faults between clients, proxy and servers, in full size, and makes a table of what they measured.
#
# usage: faults.sh [FILE]    the table is printed, or replaces what is below the line "<!-- measured -->" of FILE
set -euo pipefail
said=$(mktemp)
trap 'rm -f "$said"' EXIT
export DBOPS_FAULTS=1
status=0
go test -count=1 -v -timeout 20m -run '^TestFault' ./internal/proxy >"$said" || status=$?
go test -count=1 -v -timeout 20m -run 'Sleeps|ThatIsKilledLeaves|SIGTERM|LoginThatIsRenewed|WithoutTheControlPlane' ./cmd/dbops >>"$said" || status=$?
grep -E '^ *--- FAIL|^FAIL|_test\.go:[0-9]+: ' "$said" | grep -v 'measured |' >&2 || true
table() {
	printf '%s\n' '| fault | what | measured |' '| --- | --- | --- |'
	sed -n 's/^ *[a-z_]*_test\.go:[0-9]*: measured \(|.*|\)$/\1/p' "$said" | sort -s -t '|' -k 2,2 |
		awk -F ' *[|] *' 'BEGIN { OFS = " | " } { shown = $2 == last ? "" : $2; last = $2; print "| " shown, $3, $4 " |" }'
	printf '\n%s, %s cores, Linux %s, %s.\n' "$(awk -F ': ' '/^model name/ { print $2; exit }' /proc/cpuinfo)" "$(nproc)" "$(uname -r)" "$(go env GOVERSION)"
}
if [ "$#" = 0 ]; then
	table
else
	{ sed '/^<!-- measured -->$/q' "$1" && echo && table; } >"$said.new" && cat "$said.new" >"$1" && rm "$said.new"
fi
exit "$status"
