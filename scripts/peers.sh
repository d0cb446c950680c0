#!/usr/bin/env bash
# Brings the foreign clients that judge the sandbox's clouds, the proxy and migrations, beside the system and without root:
#
#   aws               the AWS CLI: the one on PATH if it works and heeds AWS_ENDPOINT_URL, else Debian's package with its own python3
#   cloud-sql-proxy   Google's proxy, built from its Go module
#   node-pg           node-postgres, as scripts/peers/node-pg pins it, from npm
#   psycopg           a python3 with psycopg2: the one on PATH if it has it, else Debian's package and its libpq
#   jdbc              PostgreSQL's JDBC driver: an installed one, else Debian's package; only where there is a JDK
#   migrate           golang-migrate's program, of the version in go.mod, built from its Go module
#   migrations        folders of migrations that others have published, from the Go modules that scripts/peers/migrations pins
#   sshd              OpenSSH's server: the installed one, else Debian's package and its libraries; only on Linux, where ssh is
#   microsocks        a SOCKS5 proxy: the one on PATH, else Debian's package; only on Linux
#   tmux              the terminal in which people press the keys of the terminal UI: the one on PATH, else Debian's package
#   session-manager-plugin  Amazon's, built from its Go module as scripts/peers/session-manager-plugin pins what it needs
#
# usage: peers.sh [--only PEER] [--check] [--force] [--env]
#   --only    one of them, in place of all
#   --check   only verify, print a table; exit 1 if something is missing or damaged
#   --force   fetch and build again
#   --env     print what the tests want to know: export DBOPS_PEER_AWS=…, DBOPS_PEER_PSQL=…, DBOPS_PEER_NODE_PG=…, …;
#             of a peer that this machine cannot have it is "none: why"
#
# The cache is $DBOPS_PEERS_CACHE, else /var/cache/dbops/peers for root, else ${XDG_CACHE_HOME:-~/.cache}/dbops/peers.
# shellcheck disable=SC2015 # A && B || fail_tree: fail_tree is meant whichever of them failed
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

PEERS="aws cloud-sql-proxy node-pg psycopg jdbc migrate migrations sshd microsocks tmux session-manager-plugin"
PROXY=github.com/GoogleCloudPlatform/cloud-sql-proxy/v2@v2.27.0
MIGRATE=github.com/golang-migrate/migrate/v4
MIGRATE=$MIGRATE/cmd/migrate@$(awk -v m="$MIGRATE" '$1 == m { print $2 }' "$here/../go.mod")
# a name for each folder, the module that has it, and where
FOLDERS="hydra github.com/ory/hydra/v2 persistence/sql/migrations
kratos github.com/ory/kratos persistence/sql/migrations/sql
river github.com/riverqueue/river/riverdriver/riverdatabasesql migration/main"
RECIPE=2 # of the trees from Debian: one more makes every cache build them anew

check=0 force=0 env=0
while (($#)); do
	case $1 in
	--only)
		[[ " $PEERS " == *" ${2:-} "* ]] || die "--only wants one of: $PEERS"
		PEERS=$2
		shift
		;;
	--check) check=1 ;;
	--force) force=1 ;;
	--env) env=1 ;;
	-h | --help)
		usage
		exit 0
		;;
	*) die "no such option: $1; try --help" ;;
	esac
	shift
done

# variable PEER: the name of what tells the tests where it is. place PEER: where it is in the cache.
variable() { echo "DBOPS_PEER_$(tr 'a-z-' 'A-Z_' <<<"$1")"; }
place() {
	case $1 in
	node-pg) echo "$CACHE/node-pg" ;; # holds node_modules
	psycopg) echo "$CACHE/psycopg/bin/python-psycopg" ;;
	jdbc) echo "$CACHE/jdbc/postgresql.jar" ;;
	migrations) echo "$CACHE/migrations" ;; # holds a folder for each
	*) echo "$CACHE/$1/bin/$1" ;;
	esac
}

# works PEER PATH: it does its first step. A shim of a version manager can be on PATH with nothing behind it.
works() {
	case $1 in
	aws) [ -x "$2" ] && "$2" --version 2>&1 | awk -F '[/. ]' '/^aws-cli/ { found = 1; old = $2 < 2 ? $3 < 29 : $2 == 2 && $3 < 13 } END { exit !found || old }' ;;
	node-pg) node -e 'require(process.argv[1] + "/pg"); require(process.argv[1] + "/pg-cursor")' "$2/node_modules" ;;
	psycopg) [ -x "$2" ] && "$2" -c 'import psycopg2' ;;
	jdbc) [ -s "$2" ] ;;
	sshd) have ssh && [ -x "$2" ] && { "$2" -? 2>&1 || true; } | grep OpenSSH ;;
	microsocks) [ -x "$2" ] && { "$2" -? 2>&1 || true; } | grep -i socks ;;
	tmux) [ -x "$2" ] && "$2" -V ;;
	migrations) while read -r name _; do [ -n "$(find "$2/$name/" -name '*.up.sql' | head -n 1)" ] || return 1; done <<<"$FOLDERS" ;;
	*) [ -x "$2" ] && "$2" --version ;;
	esac >/dev/null 2>&1
}

# absent PEER: prints why this machine need not have it; fails if it must.
absent() {
	case $1 in
	sshd | microsocks)
		[ "$(uname -s)" != Linux ] || return 1
		echo "the networks it leads to are made of Linux's namespaces"
		return
		;;
	esac
	[ "$1" = jdbc ] && [[ "${DBOPS_PEER_JDBC:-none:}" == none:* ]] || return 1
	if ! have java || ! java -version >/dev/null 2>&1; then
		echo "no java"
	elif ! java --list-modules 2>/dev/null | grep '^jdk\.compiler@' >/dev/null; then
		echo "a java without a compiler, which is no JDK"
	elif ! host_jar >/dev/null && ! debian_mirror >/dev/null; then
		echo "no JDBC driver, and no Debian archive to take it from"
	else
		return 1
	fi
}

host_jar() {
	local jar
	for jar in /usr/share/java/postgresql.jar /usr/share/java/postgresql-jdbc.jar /usr/share/java/postgresql-jdbc/postgresql.jar; do
		[ ! -s "$jar" ] || { echo "$jar" && return; }
	done
	return 1
}

node_pg_source() {
	local lock=$here/peers/node-pg/package-lock.json
	echo "npm pg $(awk -F '"' '/"node_modules\/pg"/ { at = 1 } at && $2 == "version" { print $4; exit }' "$lock") lock $(sha256 "$lock" | cut -c 1-16)"
}

plugin_source() { echo "go $(sha256 "$here/peers/session-manager-plugin/go.sum" | cut -c 1-16)"; }

migrations_source() { echo "go $(sha256 "$here/peers/migrations/go.sum" | cut -c 1-16) recipe $(sha256 - <<<"$FOLDERS" | cut -c 1-16)"; }

ready() {
	local source
	source=$(cat "$CACHE/$1/SOURCE" 2>/dev/null) || return 1
	case $1:$source in
	aws:"host "* | psycopg:"host "* | jdbc:"host "* | sshd:"host "* | microsocks:"host "* | tmux:"host "*) ;;
	aws:"debian "*" recipe $RECIPE" | psycopg:"debian "*" recipe $RECIPE" | jdbc:"debian "*" recipe $RECIPE") ;;
	sshd:"debian "*" recipe $RECIPE" | microsocks:"debian "*" recipe $RECIPE" | tmux:"debian "*" recipe $RECIPE") ;;
	session-manager-plugin:"$(plugin_source)") ;;
	cloud-sql-proxy:"go $PROXY" | migrate:"go $MIGRATE") ;;
	migrations:"$(migrations_source)") ;;
	node-pg:"$(node_pg_source)") ;;
	*) return 1 ;;
	esac
	works "$1" "$(place "$1")"
}

# own_suite: the release of this machine, whose python3 is what Debian's packages are built for.
own_suite() { (. /etc/os-release 2>/dev/null && echo "${VERSION_CODENAME:-stable}"); }

get_aws() {
	local aws
	if aws=$(command -v aws) && works aws "$aws"; then
		new_tree aws-host && mkdir "$TREE/bin" && ln -s "$aws" "$TREE/bin/aws" && commit_tree aws "host $aws" || fail_tree
		return
	fi
	new_tree aws-debian || return 1
	# with a python3 and a C library of its own: those of an older Debian run only an aws that is too old
	# shellcheck disable=SC2086 # a list of words
	debian_root awscli "$TREE/work" '(awscli|python3.*|lib.+|zlib1g)' ${DBOPS_DEBIAN_SUITES:-trixie sid} || {
		fail_tree
		return
	}
	WHY="Debian's awscli does not run on this machine"
	mkdir "$TREE/bin" && mv "$TREE/work/usr" "$TREE/root" && mv "$TREE/work.sums" "$TREE/PACKAGES" &&
		rm -rf "$TREE/root/share" "$TREE/root/lib/python3/dist-packages/awscli/examples" &&
		cat >"$TREE/bin/aws" <<-'E' && chmod 755 "$TREE/bin/aws" && works aws "$TREE/bin/aws" &&
			#!/bin/sh
			p=$0
			[ ! -L "$p" ] || p=$(readlink -f "$p")
			d=$(cd "${p%/*}/../root" && pwd -P)
			for loader in "$d"/lib*/ld-linux*.so.*; do [ ! -x "$loader" ] || break; done
			for libraries in "$d"/lib/*-linux-gnu; do [ ! -e "$libraries/libc.so.6" ] || break; done
			for python in "$d"/bin/python3.[0-9]*[0-9]; do [ ! -x "$python" ] || break; done
			PYTHONHOME=$d PYTHONPATH=$d/lib/python3/dist-packages PYTHONDONTWRITEBYTECODE=1 \
				exec "$loader" --library-path "$libraries" "$python" -s "$d/bin/aws" "$@"
		E
		rm -rf "$TREE"/work* && write_sums "$TREE" && commit_tree aws "debian $SUITE $PACKAGE_VERSION recipe $RECIPE" || fail_tree
}

get_cloud_sql_proxy() { from_go cloud-sql-proxy "$PROXY"; }
get_migrate() { from_go migrate "$MIGRATE" -tags pgx5; }

# from_go PEER PACKAGE@VERSION FLAG…
from_go() {
	local peer=$1 package=$2
	shift 2
	have go || {
		WHY="go is not installed, it builds $package"
		return 1
	}
	say "building $package"
	new_tree "$peer" || return 1
	(cd "$TREE" && GOFLAGS='' GOWORK=off CGO_ENABLED=0 GOBIN=$TREE/bin go install -trimpath "$@" "$package") >&2 || {
		WHY="go install $package failed"
		fail_tree
		return
	}
	write_sums "$TREE" && commit_tree "$peer" "go $package" || fail_tree
}

get_migrations() {
	local name module path dir
	have go || {
		WHY="go is not installed, it brings the modules that have them"
		return 1
	}
	say "migrations: $(awk '$2 ~ /^v[0-9]/ { printf "%s %s  ", $1, $2 }' "$here/peers/migrations/go.mod")"
	new_tree migrations || return 1
	# go refuses what differs from go.sum
	mkdir "$TREE/work" && cp "$here"/peers/migrations/go.{mod,sum} "$TREE/work/" &&
		(cd "$TREE/work" && GOFLAGS='' GOWORK=off go mod download -json >modules) && cmp -s "$here/peers/migrations/go.sum" "$TREE/work/go.sum" || {
		WHY="go mod download failed: $(sed -n 's/^[[:space:]]*"Error": //p' "$TREE/work/modules" 2>/dev/null | head -n 1)"
		fail_tree
		return
	}
	while read -r name module path; do
		dir=$(awk -F '"' -v m="$module" '$2 == "Path" { at = $4 == m } at && $2 == "Dir" { print $4; exit }' "$TREE/work/modules")
		WHY="$module has no $path"
		cp -R "${dir:-/nonexistent}/$path" "$TREE/$name" && chmod -R u+w "$TREE/$name" || {
			fail_tree
			return
		}
	done <<<"$FOLDERS"
	rm -rf "$TREE/work" && works migrations "$TREE" && write_sums "$TREE" && commit_tree migrations "$(migrations_source)" || fail_tree
}

get_node_pg() {
	local source
	if ! have npm || ! have node; then
		WHY="npm (Node.js) is not installed, it brings and runs node-postgres"
		return 1
	fi
	source=$(node_pg_source)
	say "node-pg: $source"
	new_tree node-pg || return 1
	cp "$here"/peers/node-pg/package*.json "$TREE/" || {
		fail_tree
		return
	}
	if [ ! -w "${HOME:-/nonexistent}" ]; then export npm_config_cache=$TREE/npm-cache; fi
	# the lock names every package with its checksum; npm refuses what differs
	(cd "$TREE" && npm ci --ignore-scripts --omit=optional --no-audit --no-fund --no-update-notifier >npm.log 2>&1) || {
		WHY="npm ci failed: $(grep -v '^npm warn' "$TREE/npm.log" | head -n 3 | tr '\n' ' ')"
		fail_tree
		return
	}
	WHY="what npm brought does not run here"
	rm -rf "$TREE"/{npm.log,npm-cache} && works node-pg "$TREE" && write_sums "$TREE" && commit_tree node-pg "$source" || fail_tree
}

get_psycopg() {
	local python
	# its own name for itself: not that of a shim, which depends on the folder it is called in
	if python=$(python3 -c 'import psycopg2, sys; print(sys.executable)' 2>/dev/null) && [ -n "$python" ]; then
		new_tree psycopg-host && mkdir "$TREE/bin" && printf '#!/bin/sh\nexec "%s" "$@"\n' "$python" >"$TREE/bin/python-psycopg" &&
			chmod 755 "$TREE/bin/python-psycopg" && commit_tree psycopg "host $python" || fail_tree
		return
	fi
	works python /usr/bin/python3 || {
		WHY="there is no python3 with psycopg2 on PATH and no /usr/bin/python3 to run Debian's with"
		return 1
	}
	new_tree psycopg-debian || return 1
	# libpq5 and what it needs, but not the C library: it has to be the one of python3
	debian_root python3-psycopg2 "$TREE/work" \
		'(python3-psycopg2|libpq5|lib(com-err|db5|ffi|gmp|gnutls|gssapi|hogweed|idn2|k5crypto|keyutils|krb5|ldap|nettle|p11-kit|sasl2|ssl|tasn1|unistring).*)' \
		"$(own_suite)" || {
		fail_tree
		return
	}
	WHY="Debian's psycopg2 does not run with this machine's python3"
	mkdir "$TREE/bin" "$TREE/lib" && mv "$TREE/work/usr/lib/python3/dist-packages" "$TREE/python" && mv "$TREE/work.sums" "$TREE/PACKAGES" &&
		find "$TREE/work" -path '*/lib/*' -name 'lib*.so.*' -exec mv {} "$TREE/lib/" \; &&
		cat >"$TREE/bin/python-psycopg" <<-'E' && chmod 755 "$TREE/bin/python-psycopg" && works psycopg "$TREE/bin/python-psycopg" &&
			#!/bin/sh
			p=$0
			[ ! -L "$p" ] || p=$(readlink -f "$p")
			d=${p%/*}/..
			LD_LIBRARY_PATH=$d/lib PYTHONPATH=$d/python PYTHONDONTWRITEBYTECODE=1 exec /usr/bin/python3 -s "$@"
		E
		rm -rf "$TREE"/work* && write_sums "$TREE" && commit_tree psycopg "debian $SUITE $PACKAGE_VERSION recipe $RECIPE" || fail_tree
}

get_jdbc() {
	local jar
	if jar=$(host_jar); then
		new_tree jdbc-host && ln -s "$jar" "$TREE/postgresql.jar" && commit_tree jdbc "host $jar" || fail_tree
		return
	fi
	new_tree jdbc-debian || return 1
	# shellcheck disable=SC2086 # a list of words
	debian_root libpostgresql-jdbc-java "$TREE/work" libpostgresql-jdbc-java ${DBOPS_DEBIAN_SUITES:-trixie sid} || {
		fail_tree
		return
	}
	WHY="libpostgresql-jdbc-java has no jar"
	cp -L "$TREE/work/usr/share/java/postgresql.jar" "$TREE/" && mv "$TREE/work.sums" "$TREE/PACKAGES" && rm -rf "$TREE"/work* &&
		write_sums "$TREE" && commit_tree jdbc "debian $SUITE $PACKAGE_VERSION recipe $RECIPE" || fail_tree
}

get_sshd() {
	local sshd p
	have ssh || {
		WHY="OpenSSH's client is not installed (openssh-client), it belongs to every test with its server"
		return 1
	}
	sshd=$(command -v sshd || echo /usr/sbin/sshd) # which is not on everybody's PATH
	if works sshd "$sshd"; then
		new_tree sshd-host && mkdir "$TREE/bin" && ln -s "$sshd" "$TREE/bin/sshd" && commit_tree sshd "host $sshd" || fail_tree
		return
	fi
	new_tree sshd-debian || return 1
	# its libraries, but not the C library: this machine's own is of the same release
	debian_root openssh-server "$TREE/work" \
		'(openssh-server|lib(audit1|cap-ng0|com-err2|crypt1|gssapi-krb5-2|k5crypto3|keyutils1|krb5-3|krb5support0|lz4-1|lzma5|nsl2|pam0g|pcre2-8-0|selinux1|ssl3|ssl3t64|systemd0|tirpc3|tirpc3t64|wrap0|wtmpdb0|zstd1))' \
		"$(own_suite)" || {
		fail_tree
		return
	}
	WHY="Debian's sshd does not run with this machine's C library"
	mkdir "$TREE/bin" "$TREE/lib" "$TREE/libexec" && mv "$TREE/work/usr/sbin/sshd" "$TREE/libexec/sshd" && mv "$TREE/work.sums" "$TREE/PACKAGES" &&
		for p in session auth; do if [ -e "$TREE/work/usr/lib/openssh/sshd-$p" ]; then mv "$TREE/work/usr/lib/openssh/sshd-$p" "$TREE/libexec/"; fi; done &&
		find "$TREE/work" -path '*/lib/*' -name 'lib*.so.*' -exec mv {} "$TREE/lib/" \; &&
		cat >"$TREE/bin/sshd" <<-'E' && chmod 755 "$TREE/bin/sshd" && works sshd "$TREE/bin/sshd" &&
			#!/bin/sh
			p=$0
			[ ! -L "$p" ] || p=$(readlink -f "$p")
			d=$(cd "${p%/*}/.." && pwd -P)
			LD_LIBRARY_PATH=$d/lib exec "$d/libexec/sshd" "$@"
		E
		rm -rf "$TREE"/work* && write_sums "$TREE" && commit_tree sshd "debian $SUITE $PACKAGE_VERSION recipe $RECIPE" || fail_tree
}

get_microsocks() {
	local socks
	if socks=$(command -v microsocks) && works microsocks "$socks"; then
		new_tree microsocks-host && mkdir "$TREE/bin" && ln -s "$socks" "$TREE/bin/microsocks" && commit_tree microsocks "host $socks" || fail_tree
		return
	fi
	new_tree microsocks-debian || return 1
	debian_root microsocks "$TREE/work" microsocks "$(own_suite)" || {
		fail_tree
		return
	}
	WHY="Debian's microsocks does not run with this machine's C library"
	mkdir "$TREE/bin" && mv "$TREE/work/usr/bin/microsocks" "$TREE/bin/" && mv "$TREE/work.sums" "$TREE/PACKAGES" &&
		works microsocks "$TREE/bin/microsocks" && rm -rf "$TREE"/work* && write_sums "$TREE" &&
		commit_tree microsocks "debian $SUITE $PACKAGE_VERSION recipe $RECIPE" || fail_tree
}

get_tmux() {
	local tmux
	if tmux=$(command -v tmux) && works tmux "$tmux"; then
		new_tree tmux-host && mkdir "$TREE/bin" && ln -s "$tmux" "$TREE/bin/tmux" && commit_tree tmux "host $tmux" || fail_tree
		return
	fi
	new_tree tmux-debian || return 1
	debian_root tmux "$TREE/work" '(tmux|lib(cap2|event-core-2.1-7|event-core-2.1-7t64|gcc-s1|jemalloc2|stdc\+\+6|systemd0|tinfo6|utempter0))' "$(own_suite)" || {
		fail_tree
		return
	}
	WHY="Debian's tmux does not run with this machine's C library"
	mkdir "$TREE/bin" "$TREE/lib" "$TREE/libexec" && mv "$TREE/work/usr/bin/tmux" "$TREE/libexec/tmux" && mv "$TREE/work.sums" "$TREE/PACKAGES" &&
		find "$TREE/work" -path '*/lib/*' -name 'lib*.so.*' -exec mv {} "$TREE/lib/" \; &&
		cat >"$TREE/bin/tmux" <<-'E' && chmod 755 "$TREE/bin/tmux" && works tmux "$TREE/bin/tmux" &&
			#!/bin/sh
			p=$0
			[ ! -L "$p" ] || p=$(readlink -f "$p")
			d=$(cd "${p%/*}/.." && pwd -P)
			LD_LIBRARY_PATH=$d/lib exec "$d/libexec/tmux" "$@"
		E
		rm -rf "$TREE"/work* && write_sums "$TREE" && commit_tree tmux "debian $SUITE $PACKAGE_VERSION recipe $RECIPE" || fail_tree
}

get_session_manager_plugin() {
	local package=github.com/aws/session-manager-plugin/src/sessionmanagerplugin-main
	have go || {
		WHY="go is not installed, it builds $package"
		return 1
	}
	say "building $package"
	new_tree session-manager-plugin || return 1
	mkdir "$TREE/bin" && (cd "$here/peers/session-manager-plugin" &&
		GOFLAGS='' GOWORK=off CGO_ENABLED=0 go build -trimpath -o "$TREE/bin/session-manager-plugin" "$package") >&2 || {
		WHY="go build $package failed"
		fail_tree
		return
	}
	write_sums "$TREE" && commit_tree session-manager-plugin "$(plugin_source)" || fail_tree
}

CACHE=${DBOPS_PEERS_CACHE:-$(default_cache peers)}
if [ $env = 1 ]; then
	psql=$("$here/postgres.sh" --where)/client/18/bin/psql
	printf 'export DBOPS_PEER_PSQL=%q\n' "${DBOPS_PEER_PSQL:-$psql}"
	for peer in $PEERS; do
		var=$(variable "$peer")
		if why=$(absent "$peer"); then value="none: $why"; else value=${!var:-$(place "$peer")}; fi
		printf 'export %s=%q\n' "$var" "$value"
	done
	exit 0
fi

missing='' left_out='' there=''
if [ $check = 1 ]; then
	printf '%-16s %s\n' peer source
	for peer in $PEERS; do
		source='missing; run: scripts/peers.sh'
		if why=$(absent "$peer"); then
			source="not on this machine: $why"
		elif ready "$peer"; then
			source=$(cat "$CACHE/$peer/SOURCE")
			[[ "$source" == host* ]] || check_sums "$CACHE/$peer" || source='damaged; run: scripts/peers.sh --force'
		fi
		case $source in missing* | damaged*) missing="$missing $peer" ;; esac
		printf '%-16s %s\n' "$peer" "$source"
	done
	[ -z "$missing" ] || die "not ready in $CACHE:$missing"
	exit 0
fi

open_cache "$CACHE" DBOPS_PEERS_CACHE
for peer in $PEERS; do
	WHY='' var=$(variable "$peer")
	if why=$(absent "$peer"); then
		left_out="$left_out
NOT TESTED on this machine: $peer: $why"
		continue
	fi
	there="$there $peer"
	if [ -n "${!var:-}" ]; then
		works "$peer" "${!var}" || die "$var names ${!var}, which does not run, or is too old: mend or unset it"
		continue
	fi
	if [ $force = 0 ] && ready "$peer"; then continue; fi
	"get_${peer//-/_}" || {
		missing="$missing $peer"
		say "error: $peer is missing: $WHY"
	}
done
if [ -n "$missing" ]; then
	cat >&2 <<-E
		Install them in one of these ways, then run this again:
		  Debian           sudo apt install -y awscli npm python3-psycopg2 openssh-client openssh-server microsocks tmux
		  Homebrew         brew install awscli cloud-sql-proxy node; pip install psycopg2-binary
		  any system       install the AWS CLI as Amazon documents it; go gives cloud-sql-proxy, migrate and migrations, npm node-pg,
		                   pip psycopg2-binary
		  or name them     export DBOPS_PEER_AWS=/path/to/aws DBOPS_PEER_CLOUD_SQL_PROXY=/path/to/cloud-sql-proxy
		                   DBOPS_PEER_NODE_PG=/folder/with/node_modules DBOPS_PEER_PSYCOPG=/path/to/python3
		                   DBOPS_PEER_JDBC=/path/to/postgresql.jar DBOPS_PEER_MIGRATE=/path/to/migrate
		                   DBOPS_PEER_MIGRATIONS=/folder/of/hydra-kratos-river DBOPS_PEER_SSHD=/path/to/sshd
		                   DBOPS_PEER_MICROSOCKS=/path/to/microsocks DBOPS_PEER_TMUX=/path/to/tmux
		                   DBOPS_PEER_SESSION_MANAGER_PLUGIN=/path/to/session-manager-plugin
	E
	exit 1
fi
say "ready in $CACHE:$there${left_out:+$left_out}"
