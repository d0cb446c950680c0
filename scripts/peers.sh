#!/usr/bin/env bash
# Brings the foreign clients that judge the sandbox's clouds, beside the system and without root:
#
#   aws               the AWS CLI: the one on PATH if it works, else Debian's package, run by the system's python3
#   cloud-sql-proxy   Google's proxy, built from its Go module
#
# usage: peers.sh [--check] [--force] [--env]
#   --check   only verify, print a table; exit 1 if something is missing or damaged
#   --force   fetch and build again
#   --env     print what the tests want to know: export DBOPS_PEER_AWS=…, DBOPS_PEER_CLOUD_SQL_PROXY=…, DBOPS_PEER_PSQL=…
#
# The cache is $DBOPS_PEERS_CACHE, else /var/cache/dbops/peers for root, else ${XDG_CACHE_HOME:-~/.cache}/dbops/peers.
# shellcheck disable=SC2015 # A && B || fail_tree: fail_tree is meant whichever of them failed
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

PROXY=github.com/GoogleCloudPlatform/cloud-sql-proxy/v2@v2.27.0
RECIPE=1 # of the AWS CLI's tree: one more makes every cache build it anew

check=0 force=0 env=0
while (($#)); do
	case $1 in
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

# A shim of a version manager can be on PATH with nothing behind it.
runs() { [ -x "$1" ] && "$1" --version >/dev/null 2>&1; }

ready() {
	local source
	source=$(cat "$CACHE/$1/SOURCE" 2>/dev/null) || return 1
	case $1:$source in
	aws:"host "* | aws:"debian "*" recipe $RECIPE" | cloud-sql-proxy:"go $PROXY") runs "$CACHE/$1/bin/$1" ;;
	*) return 1 ;;
	esac
}

get_aws() {
	local aws
	if aws=$(command -v aws) && runs "$aws"; then
		new_tree aws-host && mkdir "$TREE/bin" && ln -s "$aws" "$TREE/bin/aws" && commit_tree aws "host $aws" || fail_tree
		return
	fi
	runs /usr/bin/python3 || {
		WHY="there is no working aws on PATH and no /usr/bin/python3 to run Debian's with"
		return 1
	}
	new_tree aws-debian || return 1
	# its parts are built for the python3 of this machine's own release
	debian_root awscli "$TREE/work" 'awscli|python3-.+' "$(. /etc/os-release 2>/dev/null && echo "${VERSION_CODENAME:-stable}")" || {
		fail_tree
		return
	}
	WHY="Debian's awscli does not run with this machine's python3"
	mkdir "$TREE/bin" "$TREE/libexec" && mv "$TREE/work/usr/bin/aws" "$TREE/libexec/aws" &&
		mv "$TREE/work/usr/lib/python3/dist-packages" "$TREE/python" && mv "$TREE/work.sums" "$TREE/PACKAGES" &&
		cat >"$TREE/bin/aws" <<-'E' && chmod 755 "$TREE/bin/aws" && runs "$TREE/bin/aws" &&
			#!/bin/sh
			p=$0
			[ ! -L "$p" ] || p=$(readlink -f "$p")
			d=${p%/*}/..
			PYTHONPATH=$d/python PYTHONDONTWRITEBYTECODE=1 exec /usr/bin/python3 -s "$d/libexec/aws" "$@"
		E
		rm -rf "$TREE"/work* && write_sums "$TREE" && commit_tree aws "debian $SUITE $PACKAGE_VERSION recipe $RECIPE" || fail_tree
}

get_cloud_sql_proxy() {
	have go || {
		WHY="go is not installed, it builds $PROXY"
		return 1
	}
	say "building $PROXY"
	new_tree cloud-sql-proxy || return 1
	(cd "$TREE" && GOFLAGS='' GOWORK=off CGO_ENABLED=0 GOBIN=$TREE/bin go install -trimpath "$PROXY") >&2 || {
		WHY="go install $PROXY failed"
		fail_tree
		return
	}
	write_sums "$TREE" && commit_tree cloud-sql-proxy "go $PROXY" || fail_tree
}

CACHE=${DBOPS_PEERS_CACHE:-$(default_cache peers)}
if [ $env = 1 ]; then
	psql=$("$here/postgres.sh" --where)/client/18/bin/psql
	printf 'export DBOPS_PEER_AWS=%q\n' "${DBOPS_PEER_AWS:-$CACHE/aws/bin/aws}"
	printf 'export DBOPS_PEER_CLOUD_SQL_PROXY=%q\n' "${DBOPS_PEER_CLOUD_SQL_PROXY:-$CACHE/cloud-sql-proxy/bin/cloud-sql-proxy}"
	printf 'export DBOPS_PEER_PSQL=%q\n' "${DBOPS_PEER_PSQL:-$psql}"
	exit 0
fi

missing=
if [ $check = 1 ]; then
	printf '%-16s %s\n' peer source
	for peer in aws cloud-sql-proxy; do
		source='missing; run: scripts/peers.sh'
		if ready $peer; then
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
for peer in aws cloud-sql-proxy; do
	WHY='' var=DBOPS_PEER_$(tr 'a-z-' 'A-Z_' <<<$peer)
	if [ -n "${!var:-}" ]; then
		runs "${!var}" || die "$var names ${!var}, which does not run: mend or unset it"
		continue
	fi
	if [ $force = 0 ] && ready $peer; then continue; fi
	"get_${peer//-/_}" || {
		missing="$missing $peer"
		say "error: $peer is missing: $WHY"
	}
done
if [ -n "$missing" ]; then
	cat >&2 <<-E
		Install them in one of these ways, then run this again:
		  Debian           sudo apt install -y awscli
		  Homebrew         brew install awscli cloud-sql-proxy
		  any system       install the AWS CLI as Amazon documents it; go gives cloud-sql-proxy
		  or name them     export DBOPS_PEER_AWS=/path/to/aws DBOPS_PEER_CLOUD_SQL_PROXY=/path/to/cloud-sql-proxy
	E
	exit 1
fi
say "ready in $CACHE: aws cloud-sql-proxy"
