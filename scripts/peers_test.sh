#!/usr/bin/env bash
# Proves what scripts/peers.sh and scripts/require.sh promise, on stand-ins for go, aws and apt: no network.
# The cache itself, and what a kill leaves of it, is proved by postgres_test.sh: both use lib.sh.
# shellcheck disable=SC2015 # A && B || fail: fail is meant whichever of them failed
set -euo pipefail
src=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
chmod 755 "$tmp"
cd "$tmp"
unset DBOPS_PEER_AWS DBOPS_PEER_CLOUD_SQL_PROXY DBOPS_PEER_PSQL CGO_ENABLED
export DBOPS_PEERS_CACHE=$tmp/cache DBOPS_PG_CACHE=$tmp/pg HOME=$tmp

passed=0
ok() {
	passed=$((passed + 1))
	echo "ok   $*"
}
fail() {
	echo "FAIL $*" >&2
	[ ! -s out ] || sed 's/^/     /' out >&2
	exit 1
}
# run WANT COMMAND…: its output is in the file out, its exit code has to be WANT.
run() {
	local want=$1 rc=0
	shift
	"$@" >out 2>&1 || rc=$?
	[ $rc = "$want" ] || fail "exit $rc instead of $want: $*"
}
says() { grep -qF -- "$1" out || fail "does not say: $1"; }
# stand_in FILE BODY
stand_in() {
	rm -f "$1"
	printf '#!/bin/sh\n%s\n' "$2" >"$1"
	chmod 755 "$1"
}

# a machine with the usual programs and none of those that matter here
mkdir bin
for d in /bin /usr/bin; do for f in "$d"/*; do
	case ${f##*/} in aws | go | gcc | cc | npm | node | python3* | apt-get | apt-config | dpkg-deb) ;; *) ln -sf "$f" bin/ ;; esac
done; done
export PATH=$tmp/bin

# ---- peers.sh ----

stand_in bin/aws 'echo "no such version" >&2; exit 127'
run 1 "$src/peers.sh"
for want in 'aws is missing: ' 'cloud-sql-proxy is missing: go is not installed' 'sudo apt install -y awscli' \
	'DBOPS_PEER_CLOUD_SQL_PROXY=/path/to/cloud-sql-proxy'; do says "$want"; done
[ -z "$(ls cache/trees)" ] || fail "something was left"
ok "a shim with nothing behind it is no aws, and what is missing is named"

stand_in bin/aws 'echo aws-cli/2.0.0'
# shellcheck disable=SC2016 # the stand-in's own variables
stand_in bin/go '[ "$1" = install ] && [ -z "$GOFLAGS" ] || exit 2
echo call >>"$HOME/go.calls"
mkdir -p "$GOBIN" && printf "#!/bin/sh\necho %s\n" "$3" >"$GOBIN/cloud-sql-proxy" && chmod 755 "$GOBIN/cloud-sql-proxy"'
GOFLAGS=-mod=vendor run 0 "$src/peers.sh"
run 0 "$src/peers.sh"
[ "$(grep -c . go.calls)" = 1 ] || fail "the second run built again"
run 0 "$src/peers.sh" --check
says "host $tmp/bin/aws"
cache/cloud-sql-proxy/bin/cloud-sql-proxy | grep -qx 'github.com/GoogleCloudPlatform/cloud-sql-proxy/v2@v2.*' || fail "the proxy is not there"
ok "a first run brings both, a second one does nothing"

# shellcheck source=/dev/null
(. <("$src/peers.sh" --env) && "$DBOPS_PEER_AWS" --version && "$DBOPS_PEER_CLOUD_SQL_PROXY" && echo "$DBOPS_PEER_PSQL") >out 2>&1 ||
	fail "--env cannot be used"
says "$tmp/pg/client/18/bin/psql"
ok "--env names what the tests run"

echo more >>cache/cloud-sql-proxy/bin/cloud-sql-proxy
run 1 "$src/peers.sh" --check
says 'damaged'
run 0 "$src/peers.sh" --force
run 0 "$src/peers.sh" --check
ok "a damaged one is seen by --check and mended by --force"

stand_in bin/aws 'exit 1'
run 1 "$src/peers.sh" --check
says 'missing'
ok "an aws that has ceased to work is not counted"

DBOPS_PEER_AWS=/nowhere/aws run 1 "$src/peers.sh"
says 'DBOPS_PEER_AWS names /nowhere/aws, which does not run'
stand_in mine 'echo aws-cli/2'
DBOPS_PEER_AWS=$tmp/mine run 0 "$src/peers.sh"
ok "an aws that somebody named is used, or refused by name"

# ---- require.sh ----

rm -rf cache bin/go bin/aws bin/tar
run 1 "$src/require.sh" go cc postgres peers
for want in 'Go 1.' 'a C compiler (gcc)' 'tar: ' 'npm (Node.js)' 'python3: ' 'the AWS CLI (aws)' \
	'sudo apt install -y gcc libc6-dev tar npm python3'; do says "$want"; done
ok "everything that is missing is named at once, with the command"

stand_in bin/go 'echo go1.19.8'
run 1 "$src/require.sh" go
says 'this is go1.19.8'
stand_in bin/go 'echo "go: go.mod requires go >= 1.26.0 (running go 1.25.1; GOTOOLCHAIN=local)" >&2; exit 1'
run 1 "$src/require.sh" go
says 'running go 1.25.1; GOTOOLCHAIN=local'
stand_in bin/go 'echo go1.26.8'
run 0 "$src/require.sh" go
stand_in bin/go 'echo go1.30.0'
run 0 "$src/require.sh" go
ok "a Go that is too old is named with its version"

# shellcheck disable=SC2016 # the stand-in's own variables
stand_in bin/go '[ "$2" = CC ] && echo gcc || echo "${CGO_ENABLED:-1}"'
stand_in bin/gcc 'exit 1'
run 1 "$src/require.sh" cc
says 'finds no stdlib.h'
stand_in bin/gcc 'exit 0'
run 0 "$src/require.sh" cc
CGO_ENABLED=0 run 1 "$src/require.sh" cc
says 'CGO_ENABLED=0 is set'
ok "what the race detector lacks is named: compiler, headers, or cgo itself"

echo "peers_test: ok: $passed promises kept"
