#!/usr/bin/env bash
# Checks, before minutes are spent, that this machine has what a make target needs, and names everything that is missing
# at once with the way to get it.
#
# usage: require.sh NEED…    go: Go; cc: a C compiler, for the race detector; postgres: what scripts/postgres.sh
#                            fetches with; peers: what scripts/peers.sh fetches with; pages: what the pages of docs use; release: what a release is made and tried with
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

missing=() debs=()
# lack WHAT WHY PACKAGE…
lack() {
	local deb
	missing+=("$1: $2")
	shift 2
	for deb in "$@"; do [[ " ${debs[*]-} " == *" $deb "* ]] || debs+=("$deb"); done
}

# A Go since 1.21 fetches by itself the toolchain that go.mod asks for, unless it is told not to.
need_go() {
	local want version
	want=$(awk '$1 == "go" { split($2, v, "."); print v[2] }' "$here/../go.mod")
	if ! have go; then
		lack "Go 1.$want or newer" "it is not on PATH; the distribution's golang-go may be older, go.dev has them all"
	elif ! version=$(cd "$here/.." && go env GOVERSION 2>&1); then
		lack "Go 1.$want or newer" "$version"
	elif ! [[ "$version" =~ ^go1\.([0-9]+) ]] || [ "${BASH_REMATCH[1]}" -lt "$want" ]; then
		lack "Go 1.$want or newer" "this is $version"
	fi
}

need_cc() {
	local cc
	cc=$(go env CC 2>/dev/null || echo gcc)
	if [ "$(go env CGO_ENABLED 2>/dev/null)" = 0 ] && [ -n "${CGO_ENABLED:-}" ]; then
		lack "cgo" "CGO_ENABLED=0 is set, and the race detector of 'go test -race' needs cgo: unset it"
	elif ! have "${cc%% *}"; then
		lack "a C compiler ($cc)" "the race detector of 'go test -race' needs cgo" gcc libc6-dev
	elif ! echo '#include <stdlib.h>' | $cc -E - >/dev/null 2>&1; then
		lack "the C library's headers" "the race detector of 'go test -race' needs cgo, and $cc finds no stdlib.h" libc6-dev
	fi
}

need_postgres() {
	have tar || lack tar "it unpacks what npm brings" tar
	if have npm && have node && { [ "$(uname -s)" = Darwin ] || { have apt-get && have dpkg-deb; }; }; then return; fi
	"$here/postgres.sh" --check >/dev/null 2>&1 && return
	if ! have npm || ! have node; then
		lack "npm (Node.js)" "it brings the PostgreSQL servers that this machine lacks" npm
	fi
	if ! have apt-get || ! have dpkg-deb; then
		lack "apt" "it brings the PostgreSQL client tools that this machine lacks; scripts/postgres.sh names other ways"
	fi
}

need_peers() {
	"$here/peers.sh" --check >/dev/null 2>&1 && return
	if ! have npm || ! have node; then lack "npm (Node.js)" "it brings and runs node-postgres, a judge of the proxy" npm; fi
	have ssh || lack ssh "the ways to private networks are tested with OpenSSH's server, and its client belongs to it" openssh-client
	have python3 || lack python3 "psycopg2, a judge of the proxy, runs with it" python3
	if have aws && aws --version >/dev/null 2>&1 && have python3 && python3 -c 'import psycopg2' >/dev/null 2>&1; then return; fi
	have apt-get || lack "the AWS CLI (aws), or a python3 with psycopg2" \
		"they judge the sandbox and the proxy, and without apt they cannot be fetched; scripts/peers.sh names other ways"
}

need_pages() {
	have jq || lack jq "the pages of docs are followed as they stand, and some of their commands read JSON with it" jq
	have openssl || lack openssl "the pages of docs are followed as they stand, and one checks a signature with it" openssl
	type -P kill >/dev/null || lack "the program kill" "proxies are ended by it, as from a script" procps
	have git || lack git "migrations are judged since a commit, and workflows are run in a repository" git
}

need_release() {
	have git || lack git "a release is of a commit" git
	have dpkg-deb || lack dpkg-deb "the Debian packages are looked into and installed in a folder with it" dpkg
	have readelf || lack readelf "it shows whether a program is static" binutils
	have ssh-keygen || lack ssh-keygen "it signs the checksums" openssh-client
	debian_mirror >/dev/null 2>&1 && return
	for p in zsh fish mandoc; do have $p || lack $p "without apt it cannot be fetched, and completions or man pages are tried with it" $p; done
	[ -f /usr/share/bash-completion/bash_completion ] || lack bash-completion "without apt it cannot be fetched, and completions are tried with it" bash-completion
}

for need in "$@"; do
	case $need in
	go) need_go ;;
	cc) need_cc ;;
	postgres) need_postgres ;;
	peers) need_peers ;;
	pages) need_pages ;;
	release) need_release ;;
	*) die "no such need: $need" ;;
	esac
done
[ ${#missing[@]} -gt 0 ] || exit 0
say "error: this machine lacks:"
printf '  %s\n' "${missing[@]}" >&2
[ ${#debs[@]} = 0 ] || say "on Debian or Ubuntu: sudo apt install -y ${debs[*]}"
exit 1
