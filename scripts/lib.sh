# shellcheck shell=bash disable=SC2034 # TREE, WHY, SUITE and PACKAGE_VERSION are results
# What the provisioning scripts share: a cache of finished trees, and Debian packages unpacked beside the system.
#
# A cache is a folder with links, one for each thing, to immutable trees in its folder trees/. A tree is built in place
# under a name of its own and counts from the moment its link is renamed into place; whatever no link names is rubbish.

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() {
	say "error: $*"
	exit 1
}
usage() { sed -n '2,/^set /{/^set /d;/shellcheck/d;s/^# \{0,1\}//;p;}' "$0"; }
have() { command -v "$1" >/dev/null 2>&1; }

# default_cache NAME: where things are cached. PostgreSQL refuses to run as root, so root's trees live where another
# user can reach them, which ~root is not.
default_cache() {
	if [ "$(id -u)" = 0 ]; then
		echo "/var/cache/dbops/$1"
	elif [ -n "${XDG_CACHE_HOME:-}" ]; then
		echo "$XDG_CACHE_HOME/dbops/$1"
	else
		echo "${HOME:?HOME is not set: set it, or XDG_CACHE_HOME}/.cache/dbops/$1"
	fi
}

# closed_parent PATH: prints the first folder on the way to PATH that other users may not enter; fails if there is none.
closed_parent() {
	local p=$1
	while [ -n "$p" ]; do
		if [ -d "$p" ]; then
			case $(ls -ldL "$p") in
			?????????[xt]*) ;;
			*)
				echo "$p"
				return 0
				;;
			esac
		fi
		p=${p%/*}
	done
	return 1
}

# open_cache DIR: makes it, waits for the only writer's place in it, and sweeps away what interrupted runs left.
open_cache() {
	umask 022
	mkdir -p "$1/trees" 2>/dev/null || die "cannot write in the cache folder $1${2:+; set $2 to another one}"
	CACHE=$(cd "$1" && pwd -P)
	local closed
	if [ "$(id -u)" = 0 ] && closed=$(closed_parent "$CACHE"); then
		die "the cache $CACHE cannot be reached by an unprivileged user because $closed is closed to others" \
			"(PostgreSQL refuses to run as root); set ${2:-the cache variable} to a folder elsewhere"
	fi
	[ -w "$CACHE/trees" ] || die "cannot write in the cache folder $CACHE${2:+; set $2 to another one}"
	trap close_cache EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	lock_cache
	sweep_cache
}

close_cache() {
	rm -rf "${TREE:-}"
	[ -z "${PID_LOCK:-}" ] || rm -f "$PID_LOCK"
}

# Children inherit descriptor 9, so that a killed run keeps the lock until its last child has gone.
lock_cache() {
	if have flock; then
		exec 9>"$CACHE/.lock"
		flock -n 9 || {
			say "waiting for another run in $CACHE"
			flock 9
		}
		return
	fi
	local owner
	until (set -o noclobber && echo $$ >"$CACHE/.lock.pid") 2>/dev/null; do
		owner=$(cat "$CACHE/.lock.pid" 2>/dev/null || true)
		if [ -n "$owner" ] && ! kill -0 "$owner" 2>/dev/null; then
			rm -f "$CACHE/.lock.pid"
			continue
		fi
		sleep 0.2
	done
	PID_LOCK=$CACHE/.lock.pid
}

# A complete tree that lost its link may still have a server running from it: it stays for a day.
sweep_cache() {
	local t used
	rm -f "$CACHE"/trees/*.link
	used=$(for t in "$CACHE"/* "$CACHE"/*/*; do if [ -L "$t" ]; then readlink "$t"; fi; done | sed 's|.*/||')
	for t in "$CACHE"/trees/*; do
		[ -d "$t" ] || continue
		grep -qxF "${t##*/}" <<<"$used" && continue
		if [ ! -e "$t/SOURCE" ] || [ -n "$(find "$t" -maxdepth 0 -mtime +0)" ]; then rm -rf "$t"; fi
	done
}

# new_tree NAME: starts a tree; its folder is in TREE until commit_tree .
new_tree() {
	TREE=$(mktemp -d "$CACHE/trees/$1.XXXXXX") || return 1
	chmod 755 "$TREE"
}

fail_tree() {
	rm -rf "$TREE"
	TREE=
	return 1
}

# commit_tree LINK SOURCE: says where the tree came from, opens it to every user, and makes it the one LINK names.
# The links of the trees are the last thing written: a run killed before has changed nothing that anybody reads.
commit_tree() {
	local link=$CACHE/$1 up=. old
	case $1 in */*) up=.. ;; esac
	mkdir -p "${link%/*}" || return 1
	if [ -e "$link" ] && [ ! -L "$link" ]; then
		say "$link is in the way: it is not a link of this cache"
		return 1
	fi
	chmod -R u=rwX,go=rX "$TREE" || return 1
	printf '%s\n' "$2" >"$TREE/SOURCE" || return 1
	old=$(readlink "$link" 2>/dev/null || true)
	ln -s "$up/trees/${TREE##*/}" "$TREE.link" || return 1
	rename_link "$TREE.link" "$link" || return 1
	if [ -n "$old" ] && [ -d "$CACHE/trees/${old##*/}" ]; then touch "$CACHE/trees/${old##*/}"; fi
	TREE=
}

# GNU and BSD mv disagree on how to say "replace the link, do not follow it".
rename_link() { mv -fT "$1" "$2" 2>/dev/null || mv -fh "$1" "$2"; }

# write_sums, check_sums: the checksums of every file of a finished tree, in its SHA256SUMS.
sha256() { if have sha256sum; then sha256sum "$@"; else shasum -a 256 "$@"; fi; }

write_sums() {
	local sum=(sha256sum)
	have sha256sum || sum=(shasum -a 256)
	(cd "$1" && find . -type f ! -name SHA256SUMS ! -name SOURCE -print0 | xargs -0 "${sum[@]}" >SHA256SUMS)
}

check_sums() { (cd "$1" && [ -s SHA256SUMS ] && sha256 -c SHA256SUMS >/dev/null 2>&1); }

# debian_root PACKAGE ROOT KEEP SUITE...: unpacks PACKAGE and what it depends on (names that match KEEP only) from the first
# of the suites that has it into the folder ROOT, with the packages' checksums in ROOT.sums, the suite in SUITE, and the
# package's version in PACKAGE_VERSION.
# EXTRA_DEBS names more packages to unpack, without what they depend on. Nothing is installed and no root is needed: apt runs on a private tree with the machine's own mirror, download settings
# and archive keys, and checks signatures and checksums itself. What went wrong is in WHY.
debian_root() {
	local package=$1 root=$2 keep=$3 mirror key names
	shift 3
	for p in apt-get apt-config dpkg-deb; do
		have "$p" || {
			WHY="$p is not installed"
			return 1
		}
	done
	mirror=$(debian_mirror) || {
		WHY="apt has no Debian archive configured, or 'apt-get update' has not run yet"
		return 1
	}
	for key in /usr/share/keyrings/debian-archive-keyring.{gpg,pgp} ''; do [ ! -s "$key" ] || break; done
	[ -n "$key" ] || {
		WHY="the package debian-archive-keyring is not installed"
		return 1
	}
	for SUITE in "$@"; do
		if ! private_apt "$root.apt-$SUITE" "$mirror" "$key" "$SUITE"; then
			WHY="apt-get update of $SUITE failed"
			continue
		fi
		# the solver's answer for an empty system, less what only maintainer scripts and interactive set-up need
		names=$(private_apt_get "$root.apt-$SUITE" -s install "$package" 2>/dev/null | awk '/^Inst /{sub(/:.*/, "", $2); print $2}' | grep -Ex "$keep")
		[ -z "$names" ] || break
		WHY="$package is in none of the suites: $*"
	done
	[ -n "${names:-}" ] || return 1
	say "$package from Debian $SUITE"
	mkdir -p "$root" "$root.debs" || return 1
	# shellcheck disable=SC2086 # a list of words
	(cd "$root.debs" && private_apt_get "$root.apt-$SUITE" download $names ${EXTRA_DEBS:-} >&2) || {
		WHY="the download of $package failed"
		return 1
	}
	(cd "$root.debs" && sha256 ./*.deb) >"$root.sums" || return 1
	for p in "$root.debs"/*.deb; do
		dpkg-deb -x "$p" "$root" || {
			WHY="${p##*/} cannot be unpacked"
			return 1
		}
	done
	PACKAGE_VERSION=$(dpkg-deb -f "$root.debs/${package}"_*.deb Version)
}

# debian_mirror: prints where this machine takes Debian's packages from; fails if it takes none.
debian_mirror() {
	# shellcheck disable=SC2016 # $(REPO_URI) is apt's
	apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' 2>/dev/null | awk 'NR == 1 { print } END { exit NR == 0 }'
}

private_apt_get() {
	local t=$1
	shift
	APT_CONFIG=$t/apt.conf apt-get -qq "$@"
}

private_apt() {
	local t=$1
	mkdir -p "$t"/{lists/partial,cache/archives/partial,state,etc} || return 1
	: >"$t/status"
	printf 'deb [signed-by=%s] %s %s main\n' "$3" "$2" "$4" >"$t/sources.list"
	{
		APT_CONFIG='' apt-config dump | grep -E '^Acquire::(http|https|ftp|Check-|Max-|Min-|ForceIPv)'
		cat <<-E
			Dir::Etc "$t/etc"; Dir::Etc::parts "$t/etc"; Dir::Etc::preferencesparts "$t/etc";
			Dir::Etc::sourcelist "$t/sources.list"; Dir::Etc::sourceparts "$t/etc";
			Dir::Etc::netrc "/etc/apt/auth.conf"; Dir::Etc::netrcparts "/etc/apt/auth.conf.d";
			Dir::State "$t/state"; Dir::State::lists "$t/lists"; Dir::State::status "$t/status";
			Dir::Cache "$t/cache"; Dir::Cache::archives "$t/cache/archives";
			APT::Sandbox::User ""; APT::Install-Recommends "false"; Acquire::Languages "none"; Acquire::Retries "3";
		E
	} >"$t/apt.conf"
	private_apt_get "$t" update >&2
}
