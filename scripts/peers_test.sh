#!/usr/bin/env bash
# Proves what scripts/peers.sh and scripts/require.sh promise, on stand-ins for go, aws, npm, python3 and java: no network.
# The cache itself, and what a kill leaves of it, is proved by postgres_test.sh: both use lib.sh.
# shellcheck disable=SC2015 # A && B || fail: fail is meant whichever of them failed
set -euo pipefail
src=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
chmod 755 "$tmp"
cd "$tmp"
unset DBOPS_PEER_{AWS,CLOUD_SQL_PROXY,PSQL,NODE_PG,PSYCOPG,JDBC,MIGRATE,MIGRATIONS,SSHD,MICROSOCKS,SESSION_MANAGER_PLUGIN} CGO_ENABLED npm_config_cache
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
	case ${f##*/} in aws | ssh | sshd | microsocks | tmux | go | gcc | cc | npm | node | python3* | java | javac | apt-get | apt-config | dpkg-deb) ;; *) ln -sf "$f" bin/ ;; esac
done; done
export PATH=$tmp/bin

# ---- peers.sh ----

stand_in bin/aws 'echo "no such version" >&2; exit 127'
stand_in bin/python3 'echo "No module named psycopg2" >&2; exit 1'
run 1 "$src/peers.sh"
for want in 'aws is missing: ' 'cloud-sql-proxy is missing: go is not installed' 'node-pg is missing: npm (Node.js) is not installed' \
	'psycopg is missing: ' 'migrate is missing: go is not installed' 'migrations is missing: go is not installed' 'sshd is missing: OpenSSH' 'microsocks is missing: ' 'tmux is missing: ' \
	'session-manager-plugin is missing: go is not installed' 'sudo apt install -y awscli npm python3-psycopg2 openssh-client openssh-server microsocks tmux' 'DBOPS_PEER_CLOUD_SQL_PROXY=/path/to/cloud-sql-proxy' \
	'DBOPS_PEER_NODE_PG=/folder/with/node_modules DBOPS_PEER_PSYCOPG=/path/to/python3'; do says "$want"; done
if grep -q 'jdbc is missing' out; then fail "a machine without java wants its driver"; fi
[ -z "$(ls cache/trees)" ] || fail "something was left"
ok "a shim with nothing behind it is no aws, a python3 without psycopg2 no psycopg, and what is missing is named"

stand_in bin/aws 'echo aws-cli/2.13.0'
stand_in bin/ssh true
stand_in bin/sshd 'echo "OpenSSH_9.2" >&2; exit 1'
stand_in bin/microsocks 'echo "MicroSocks SOCKS5 Server" >&2; exit 1'
stand_in bin/tmux 'echo tmux 3.3a'
# shellcheck disable=SC2016 # the stand-in's own variables
stand_in bin/go '[ -z "$GOFLAGS" ] || exit 2
echo call >>"$HOME/go.calls"
case "$1 $2" in
"install -trimpath")
	for package; do :; done
	case $package in
	*/cloud-sql-proxy/v2@*) name=cloud-sql-proxy ;;
	*/cmd/migrate@v4.*) name=migrate && case " $* " in *" -tags pgx5 "*) ;; *) exit 3 ;; esac ;;
	*) exit 4 ;;
	esac
	mkdir -p "$GOBIN" && printf "#!/bin/sh\necho %s\n" "$package" >"$GOBIN/$name" && chmod 755 "$GOBIN/$name" ;;
"build -trimpath")
	[ "${PWD##*/}" = session-manager-plugin ] && [ -s go.sum ] && [ "$3" = -o ] || exit 7
	printf "#!/bin/sh\necho 1.3\n" >"$4" && chmod 755 "$4" ;;
"mod download")
	if [ -e "$HOME/go.fails" ]; then echo "SECURITY ERROR" >&2; exit 1; fi
	for module in github.com/ory/hydra/v2:persistence/sql/migrations github.com/ory/kratos:persistence/sql/migrations/sql \
		github.com/riverqueue/river/riverdriver/riverdatabasesql:migration/main; do
		dir=$HOME/modules/${module%%:*}
		mkdir -p "$dir/${module#*:}" && echo "select 1" >"$dir/${module#*:}/1_a.up.sql" || exit 5
		printf "{\n\t\"Path\": \"%s\",\n\t\"Dir\": \"%s\"\n}\n" "${module%%:*}" "$dir"
	done
	chmod -R a-w "$HOME/modules" ;;
*) exit 6 ;;
esac'
# shellcheck disable=SC2016 # the stand-in's own variables
stand_in bin/npm '[ "$1" = ci ] && [ -s package.json ] && [ -s package-lock.json ] || exit 2
case " $* " in *" --ignore-scripts "*" --no-audit "*) ;; *) exit 3 ;; esac
echo call >>"$HOME/npm.calls"
if [ -e "$HOME/npm.fails" ]; then echo "npm error code EINTEGRITY" >&2; exit 1; fi
mkdir -p node_modules/pg node_modules/pg-cursor && echo pg >node_modules/pg/index.js'
# shellcheck disable=SC2016 # the stand-in's own variables
stand_in bin/node '[ "$1" = -e ] && [ -e "$3/pg/index.js" ] && [ -d "$3/pg-cursor" ]'
# shellcheck disable=SC2016 # the stand-in's own variables
stand_in bin/python3 'case "$1 $2" in
"-c import psycopg2, sys; print(sys.executable)") echo "$HOME/bin/python3" ;;
"-c import psycopg2") ;;
*) echo "python got: $*" ;;
esac'

touch npm.fails go.fails
run 1 "$src/peers.sh"
says 'node-pg is missing: npm ci failed: npm error code EINTEGRITY'
says 'SECURITY ERROR'
says 'migrations is missing: go mod download failed'
if grep -q 'aws is missing' out; then fail "one peer kept the others away"; fi
if ls cache/trees/{node-pg,migrations}* >/dev/null 2>&1; then fail "a refused package was left"; fi
rm npm.fails go.fails
ok "what npm or go refuses is missing, with its reason, and leaves nothing"

rm -rf cache ./*.calls
GOFLAGS=-mod=vendor run 0 "$src/peers.sh"
run 0 "$src/peers.sh"
[ "$(cat ./*.calls | grep -c .)" = 5 ] || fail "the second run built or fetched again"
says 'NOT TESTED on this machine: jdbc: no java'
run 0 "$src/peers.sh" --check
says "host $tmp/bin/aws"
says "host $tmp/bin/python3"
says "host $tmp/bin/sshd"
says "host $tmp/bin/microsocks"
says "host $tmp/bin/tmux"
grep -qE '^node-pg +npm pg 8\.[0-9.]+ lock [0-9a-f]{16}$' out || fail "the version of node-postgres is not shown"
grep -qE '^jdbc +not on this machine: no java$' out || fail "it is not said why there is no JDBC"
cache/cloud-sql-proxy/bin/cloud-sql-proxy | grep -qx 'github.com/GoogleCloudPlatform/cloud-sql-proxy/v2@v2.*' || fail "the proxy is not there"
grep -qE '^migrate +go github.com/golang-migrate/migrate/v4/cmd/migrate@v4\.[0-9.]+$' out || fail "the version of golang-migrate is not that of go.mod"
ok "a first run brings all, a second one does nothing, and what is left out is said aloud"

# shellcheck source=/dev/null
(. <("$src/peers.sh" --env) && "$DBOPS_PEER_AWS" --version && "$DBOPS_PEER_CLOUD_SQL_PROXY" && echo "$DBOPS_PEER_PSQL" &&
	"$DBOPS_PEER_MIGRATE" && ls "$DBOPS_PEER_MIGRATIONS"/{hydra,kratos,river}/1_a.up.sql && ls "$DBOPS_PEER_NODE_PG/node_modules" && "$DBOPS_PEER_PSYCOPG" some.py && echo "JDBC $DBOPS_PEER_JDBC" &&
	"$src/peers.sh") >out 2>&1 || fail "--env cannot be used"
for want in "$tmp/pg/client/18/bin/psql" pg-cursor 'python got: some.py' 'JDBC none: no java' 'ready in'; do says "$want"; done
ok "--env names what the tests run, and what they cannot"

for f in cloud-sql-proxy/bin/cloud-sql-proxy session-manager-plugin/bin/session-manager-plugin node-pg/node_modules/pg/index.js migrate/bin/migrate migrations/kratos/1_a.up.sql; do
	echo more >>cache/$f
	run 1 "$src/peers.sh" --check
	says "not ready in $tmp/cache: ${f%%/*}"
	says 'damaged'
	run 0 "$src/peers.sh" --force
	run 0 "$src/peers.sh" --check
done
ok "a damaged one is seen by --check and mended by --force"

cp -r "$src" scripts
cp "$src/../go.mod" .
sed -i.bak 's/"version": "8\.[0-9.]*"/"version": "8.99.0"/' scripts/peers/node-pg/package-lock.json
run 1 scripts/peers.sh --check
says 'not ready in'
run 0 scripts/peers.sh
run 0 scripts/peers.sh --check
says 'npm pg 8.99.0 lock'
run 0 "$src/peers.sh"
echo '# more' >>scripts/peers/migrations/go.sum
sed -i.bak 's|^\(.*golang-migrate/migrate/v4\) v4\..*|\1 v4.99.0|' go.mod
run 1 scripts/peers.sh --check
says 'not ready in'
run 0 scripts/peers.sh
run 0 scripts/peers.sh --check
says 'cmd/migrate@v4.99.0'
run 0 "$src/peers.sh"
ok "another lock of node-postgres or of the migrations, or another golang-migrate in go.mod, makes another tree"

stand_in bin/aws 'exit 1'
stand_in bin/python3 'exit 1'
run 1 "$src/peers.sh" --check
says "not ready in $tmp/cache: aws psycopg"
ok "what has ceased to work is not counted"

DBOPS_PEER_AWS=/nowhere/aws run 1 "$src/peers.sh"
says 'DBOPS_PEER_AWS names /nowhere/aws, which does not run'
for old in 1.28.9 2.9.19; do
	stand_in mine "echo aws-cli/$old Python/3.11"
	DBOPS_PEER_AWS=$tmp/mine run 1 "$src/peers.sh"
	says "DBOPS_PEER_AWS names $tmp/mine, which does not run, or is too old: mend or unset it"
done
stand_in mine 'echo aws-cli/1.29.0'
mkdir -p empty/node_modules
DBOPS_PEER_AWS=$tmp/mine DBOPS_PEER_NODE_PG=$tmp/empty run 1 "$src/peers.sh"
says "DBOPS_PEER_NODE_PG names $tmp/empty, which does not run"
DBOPS_PEER_AWS=$tmp/mine DBOPS_PEER_PSYCOPG=$tmp/mine run 0 "$src/peers.sh"
ok "one that somebody named is used, or refused by name"

run 0 "$src/peers.sh" --only cloud-sql-proxy
says "ready in $tmp/cache: cloud-sql-proxy"
run 1 "$src/peers.sh" --only nobody
says '--only wants one of: aws cloud-sql-proxy'
ok "one alone can be had where others cannot"

# ---- a machine with java ----

stand_in bin/aws 'echo aws-cli/2.13.0'
stand_in bin/java 'echo "no runtime" >&2; exit 1'
run 1 "$src/peers.sh" --check
says 'not on this machine: no java'
# shellcheck disable=SC2016 # the stand-in's own variables
stand_in bin/java '[ "$1" != --list-modules ] || echo java.base@17'
run 1 "$src/peers.sh" --check
says 'not on this machine: a java without a compiler'
# shellcheck disable=SC2016 # the stand-in's own variables
stand_in bin/java '[ "$1" != --list-modules ] || printf "java.base@17\njdk.compiler@17.0.1\n"'
echo jar >my.jar
DBOPS_PEER_PSYCOPG=$tmp/mine DBOPS_PEER_JDBC=$tmp/my.jar run 0 "$src/peers.sh"
if grep -q 'NOT TESTED' out; then fail "a driver that was named is left out"; fi
DBOPS_PEER_JDBC=$tmp/my.jar "$src/peers.sh" --env >out
says "export DBOPS_PEER_JDBC=$tmp/my.jar"
DBOPS_PEER_JDBC=$tmp/no.jar run 1 "$src/peers.sh"
says "DBOPS_PEER_JDBC names $tmp/no.jar, which does not run"
if [ ! -e /usr/share/java/postgresql.jar ]; then
	run 1 "$src/peers.sh" --check
	says 'not on this machine: no JDBC driver, and no Debian archive'
	# shellcheck disable=SC2016 # the stand-in's own variables
	stand_in bin/apt-get '[ "$1" = indextargets ] && echo mirror && exit; exit 100'
	run 1 "$src/peers.sh" --check
	grep -qE '^jdbc +missing' out || fail "where the driver can be had, it is not wanted"
	rm bin/apt-get
fi
rm bin/java
ok "JDBC is wanted where there is a JDK and its driver can be had"

# ---- the lock that the project ships ----

lock=$src/peers/node-pg/package-lock.json
if grep -E 'resolved|https?:' "$lock" "${lock%-lock.json}.json" >out; then fail "it names a registry"; fi
[ "$(grep -c '"node_modules/' "$lock")" = "$(grep -cE '"integrity": "sha512-[A-Za-z0-9+/]{86}=="' "$lock")" ] || fail "a package has no checksum"
ok "the lock of node-postgres has a checksum for every package, and no registry's name"

for peer in migrations session-manager-plugin; do
	for module in $(awk '$2 ~ /^v[0-9]/ { print $1 "@" $2 }' "$src/peers/$peer/go.mod"); do
		grep -qE "^${module%@*} ${module#*@} h1:[A-Za-z0-9+/]{43}=$" "$src/peers/$peer/go.sum" || fail "$module has no checksum"
	done
done
ok "the modules of the migrations and of the plugin have checksums"

# ---- require.sh ----

rm -rf cache bin/go bin/aws bin/tar bin/npm bin/node bin/python3
run 1 "$src/require.sh" go cc postgres peers
for want in 'Go 1.' 'a C compiler (gcc)' 'tar: ' 'npm (Node.js)' 'python3: ' 'the AWS CLI (aws), or a python3 with psycopg2' \
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
stand_in bin/gcc 'cat >/dev/null' # as one that reads what it is given does
run 0 "$src/require.sh" cc
CGO_ENABLED=0 run 1 "$src/require.sh" cc
says 'CGO_ENABLED=0 is set'
ok "what the race detector lacks is named: compiler, headers, or cgo itself"

echo "peers_test: ok: $passed promises kept"
