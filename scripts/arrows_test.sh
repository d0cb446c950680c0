#!/usr/bin/env bash
# Proves that .golangci.yml enforces the arrows of the design: a small module with the house's rooms, in which every room
# imports everything that it may not and something that it may. The linter has to complain about exactly the former.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
lint=${GOLANGCI_LINT:-$(cd "$top" && go tool -modfile=tools/go.mod -n golangci-lint)}
# A folder whose name looks like rooms must not open a door.
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
mod=$tmp/cmd/dbops/internal/app
mkdir -p "$mod"
cp "$top/.golangci.yml" "$mod/"
cd "$mod"

caps="proxy migrate creds certs availability backup upgrade drift live encore runbook"
base="op state cloud pg config dial secret fault"
sdks="github.com/aws/aws-sdk-go-v2/aws github.com/aws/smithy-go google.golang.org/api/option cloud.google.com/go/cloudsqlconn github.com/googleapis/gax-go/v2"
otel="go.opentelemetry.io/otel/sdk go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp go.opentelemetry.io/contrib/exporters/autoexport"
screens="charm.land/bubbletea/v2"
data="github.com/jackc/pgx/v5 database/sql os/exec"

# stand-ins for what the rooms import: no network, no compiling of real libraries
echo "module dbops" >go.mod
echo "go 1.26" >>go.mod
for m in $sdks $otel $screens github.com/jackc/pgx/v5; do
	case $m in */v[0-9]) v=${m##*/v}.0.0 ;; *) v=0.0.1 ;; esac
	mkdir -p "$tmp/stub/$m"
	printf 'module %s\n' "$m" >"$tmp/stub/$m/go.mod"
	echo "package stub" >"$tmp/stub/$m/stub.go"
	printf 'require %s v%s\nreplace %s => %s\n' "$m" "$v" "$m" "$tmp/stub/$m" >>go.mod
done
for room in $caps $base telemetry app tui sandbox; do
	mkdir -p "internal/$room/leaf"
	echo "package leaf" >"internal/$room/leaf/leaf.go"
done
mkdir -p cmd/dbops/leaf
echo "package leaf" >cmd/dbops/leaf/leaf.go

: >"$tmp/want.all"
# room FOLDER FILE forbid|allow IMPORT...: one file with those imports, and what the linter should say about them.
room() {
	local dir=$1 file=$1/$2 verdict=$3 i
	shift 3
	mkdir -p "$dir"
	{
		echo "package $(basename "$dir")"
		for i in "$@"; do echo "import _ \"$i\""; done
	} >"$file"
	if [ "$verdict" = forbid ]; then for i in "$@"; do echo "$file $i"; done >>"$tmp/want.all"; fi
}
leaves() { for r in $1; do echo "dbops/internal/$r/leaf"; done; }
without() { for r in $1; do [ "$r" = "$2" ] || echo "$r"; done; }

# shellcheck disable=SC2046,SC2086 # lists of words
{
	for c in $caps; do
		room "internal/$c" forbid.go forbid $(leaves "$(without "$caps" "$c") telemetry app tui sandbox") $otel dbops/cmd/dbops/leaf $sdks $screens
		room "internal/$c/sub" forbid.go forbid $(leaves "$(without "$caps" "$c") telemetry app tui sandbox") $otel dbops/cmd/dbops/leaf $sdks $screens
		room "internal/$c" forbid_test.go forbid $(leaves "$(without "$caps" "$c") app tui")
		room "internal/$c" allow.go allow $(leaves "$base $c") $data
		room "internal/$c" allow_test.go allow $(leaves "telemetry sandbox")
	done
	for b in $(without "$base" dial); do
		room "internal/$b" forbid.go forbid $(leaves "$caps telemetry app tui sandbox") $otel dbops/cmd/dbops/leaf $sdks $screens
		room "internal/$b" allow.go allow $(leaves "$base") $data
		room "internal/$b" allow_test.go allow $(leaves sandbox)
	done
	room internal/dial forbid.go forbid $(leaves "$caps app tui sandbox") dbops/cmd/dbops/leaf $screens
	room internal/dial allow.go allow $(leaves "$base") $sdks
	room internal/newroom forbid.go forbid $(leaves "$caps telemetry app tui sandbox") $otel dbops/cmd/dbops/leaf $sdks $screens
	for d in cloud/rds cloud/cloudsql secret/awssm secret/gcpsm; do
		room "internal/$d" forbid.go forbid $(leaves "$caps app tui sandbox") dbops/cmd/dbops/leaf $screens
		room "internal/$d" allow.go allow $(leaves "$base") $sdks
	done
	for d in creds secret pg certs sandbox/pki; do room "internal/$d" chance.go forbid math/rand math/rand/v2; done
	room internal/telemetry forbid.go forbid $(leaves "$caps app tui sandbox") dbops/cmd/dbops/leaf $sdks $screens
	room internal/telemetry allow.go allow $(leaves "$base telemetry") $otel
	room internal/app forbid.go forbid $(leaves "tui sandbox") dbops/cmd/dbops/leaf $sdks $otel $screens
	room internal/app allow.go allow $(leaves "$caps $base telemetry app")
	room internal/tui forbid.go forbid $(leaves "telemetry sandbox") $otel dbops/cmd/dbops/leaf $sdks $data
	room internal/tui allow.go allow $(leaves "$caps $base app tui") $screens
	room internal/tui allow_test.go allow $(leaves sandbox) $data
	room internal/sandbox forbid.go forbid $(leaves "telemetry app tui") $otel dbops/cmd/dbops/leaf $screens
	room internal/sandbox allow.go allow $(leaves "$base sandbox") $sdks $data
	room internal/sandbox/rdsapi allow_test.go allow $(leaves "app sandbox") $sdks
	room cmd/dbops forbid.go forbid $(leaves telemetry) $sdks $otel
	room cmd/dbops allow.go allow $(leaves "$caps $base app tui sandbox") $screens $data
}

export GOFLAGS=-mod=mod GOPROXY=off GOWORK=off
unset GOLANGCI_LINT_CACHE
# exit 1 is "issues found"; anything else means that it did not look
rc=0
"$lint" run --allow-parallel-runners --enable-only depguard --show-stats=false --output.text.path "$tmp/out" \
	--output.text.print-issued-lines=false --output.text.colors=false 2>"$tmp/err" || rc=$?
[ $rc = 1 ] || {
	echo "arrows_test: the linter did not run (exit $rc):" >&2
	cat "$tmp/err" "$tmp/out" >&2
	exit 1
}
sort -u "$tmp/want.all" >"$tmp/want"
sed -nE "s/^([^:]+):[0-9]+:[0-9]+: import '([^']+)' is not allowed from list '[^']+'.*/\1 \2/p" "$tmp/out" | sort -u >"$tmp/got"
bad=0
comm -23 "$tmp/want" "$tmp/got" | sed 's/^/arrows_test: not caught: /; s/ \([^ ]*\)$/ imports \1/' >"$tmp/missed"
comm -13 "$tmp/want" "$tmp/got" | sed 's/^/arrows_test: wrongly forbidden: /; s/ \([^ ]*\)$/ imports \1/' >"$tmp/extra"
for f in missed extra; do if [ -s "$tmp/$f" ]; then
	head -n 20 "$tmp/$f" >&2
	bad=1
fi; done
[ $bad = 0 ] || exit 1
echo "arrows_test: ok: $(wc -l <"$tmp/want") forbidden imports caught, none of the allowed ones"
