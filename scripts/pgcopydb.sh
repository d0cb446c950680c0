#!/usr/bin/env bash
# Brings pgcopydb, which make bench compares the copy of an upgrade with, beside the system and without root: the one on PATH
# if it is new enough, else Debian's package of a newer release, with that release's libraries. Debian 12's own, 0.10, knows no
# server newer than 15; 0.17 copies to 18 with the client programs of 18. Prints its path.
#
# usage: pgcopydb.sh [--force]
#   --force   fetch again
#
# The cache is $DBOPS_PEERS_CACHE, else /var/cache/dbops/peers for root, else ${XDG_CACHE_HOME:-~/.cache}/dbops/peers.
# shellcheck disable=SC2015 # A && B || fail_tree: fail_tree is meant whichever of them failed
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

OLDEST=17 # 0.17
RECIPE=1  # of the tree: one more builds it anew

force=0
while (($#)); do
	case $1 in
	--force) force=1 ;;
	-h | --help)
		usage
		exit 0
		;;
	*) die "no such option: $1; try --help" ;;
	esac
	shift
done

# works PATH: it runs here, and is new enough.
works() {
	local said
	said=$("$1" --version 2>/dev/null) && [[ "$said" =~ pgcopydb\ version\ 0\.([0-9]+) ]] && [ "${BASH_REMATCH[1]}" -ge "$OLDEST" ]
}

ready() {
	case $(cat "$CACHE/pgcopydb/SOURCE" 2>/dev/null) in
	"debian "*" recipe $RECIPE") works "$CACHE/pgcopydb/bin/pgcopydb" ;;
	*) return 1 ;;
	esac
}

get() {
	local root ld dirs lib
	new_tree pgcopydb-debian || return 1
	root=$TREE/work
	# shellcheck disable=SC2086 # a list of words
	debian_root pgcopydb "$root" 'pgcopydb|lib.*|zlib1g' ${DBOPS_DEBIAN_SUITES:-trixie sid} || {
		fail_tree
		return
	}
	WHY="the packages of pgcopydb lack something"
	ld=$(find "$root" -name 'ld-linux*.so.*' -type f | head -n 1)
	dirs=$(find "$root" -name '*.so*' -not -path '*/gconv/*' -exec dirname {} + | LC_ALL=C sort -u | tr '\n' ':')
	mkdir "$TREE"/{bin,lib,libexec}
	[ -n "$ld" ] && cp "$ld" "$TREE/lib/" && cp "$root/usr/bin/pgcopydb" "$TREE/libexec/" &&
		"$ld" --library-path "$dirs" --list "$TREE/libexec/pgcopydb" >"$root.ldd" 2>/dev/null || {
		fail_tree
		return
	}
	while read -r lib; do
		case $lib in
		"$root"/*) cp -L "$lib" "$TREE/lib/" || return 1 ;;
		*)
			WHY="pgcopydb misses a library: $lib"
			fail_tree
			return
			;;
		esac
	done < <(awk -v ld="${ld##*/}" '$1 ~ /^linux-(vdso|gate)/ || index($0, ld) { next } { print ($3 == "" ? $1 : $3) }' "$root.ldd")
	cat >"$TREE/bin/pgcopydb" <<-E
		#!/bin/sh
		p=\$0
		[ ! -L "\$p" ] || p=\$(readlink -f "\$p")
		d=\${p%/*}/..
		exec "\$d/lib/${ld##*/}" --library-path "\$d/lib" --argv0 "\$0" "\$d/libexec/pgcopydb" "\$@"
	E
	chmod 755 "$TREE/bin/pgcopydb"
	works "$TREE/bin/pgcopydb" || {
		WHY="Debian's pgcopydb does not run here, or is older than 0.$OLDEST"
		fail_tree
		return
	}
	mv "$root.sums" "$TREE/PACKAGES" && rm -rf "$TREE"/work* && write_sums "$TREE" &&
		commit_tree pgcopydb "debian $SUITE $PACKAGE_VERSION recipe $RECIPE" || fail_tree
}

if own=$(command -v pgcopydb) && works "$own"; then
	echo "$own"
	exit 0
fi
open_cache "${DBOPS_PEERS_CACHE:-$(default_cache peers)}" DBOPS_PEERS_CACHE
WHY=
if { [ $force = 1 ] || ! ready; } && ! get; then
	die "no pgcopydb: $WHY; install pgcopydb 0.$OLDEST or newer"
fi
echo "$CACHE/pgcopydb/bin/pgcopydb"
