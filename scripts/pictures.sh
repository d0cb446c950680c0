#!/usr/bin/env bash
# Makes the pictures of the documentation: the real program in a terminal, on a sandbox of its own.
#
# usage: pictures.sh DBOPS [NAME...]: with that program, all pictures or those that are named
set -euo pipefail
program=$(realpath "$1")
shift
only=" $* "
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
chmod 755 "$scratch"
trap '"$program" sandbox down --dir "$scratch/cloud" >/dev/null 2>&1 || true; rm -rf "$scratch"' EXIT
"$program" sandbox up --dir "$scratch/cloud" --pace 0.002 >"$scratch/up.log" 2>&1 || {
	cat "$scratch/up.log" >&2
	exit 1
}
eval "$("$program" sandbox env --dir "$scratch/cloud")"
export DBOPS_STATE_DIR=$scratch/state
go build -o "$scratch/screenshot" ./scripts/screenshot

# shot NAME TITLE STEP...: a step is -wait TEXT or -keys 'KEY KEY'
shot() {
	local name=$1 title=$2
	shift 2
	[ "$only" = "  " ] || [[ "$only" == *" $name "* ]] || return 0
	"$scratch/screenshot" -cols 120 -rows 34 -limit 3m -title "$title" -wait live "$@" -o "docs/images/$name.svg" -- "$program"
	echo "docs/images/$name.svg"
}
billing=(-keys '/ s t a g i n g space b i l l i n g' -wait '1 of 5' -keys 'enter enter' -wait 'INSTANCE')
availability=("${billing[@]}" -keys 6 -wait 'MAKE IT REGIONAL' -keys z -wait 'Switch the availability' -keys 'ctrl+s' -wait 'WAY BACK')

shot fleet 'The fleet'
shot instance 'An instance: its settings, and what its server does now' "${billing[@]}" -wait 'cache hits'
shot migrations 'What is pending, and what the linter says of it' "${billing[@]}" -keys 3 -wait '! 1'
shot credentials 'The credential of a container' "${billing[@]}" -keys 4 -wait 'logs in'
shot upgrade 'The ways to a newer major version' "${billing[@]}" -keys 7 -wait 'if you stop here'
shot sessions 'The sessions of a server' "${billing[@]}" -keys 9 -wait 'sessions'
shot plan 'A plan, before anything is changed' "${availability[@]}"
shot run 'A run' "${availability[@]}" -keys R -wait 'leave it' -keys y -wait 'DONE'
