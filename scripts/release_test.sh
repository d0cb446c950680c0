#!/usr/bin/env bash
# A release tried out, and proved to be what docs/release.md says: made twice from two clones of the commit that is checked out, signed with a
# key that is thrown away, compared, verified, unpacked, installed in a folder, and its completions and man pages used by real shells and readers.
# Nothing is published, and nothing is installed into the system. What was made is in dist. With DBOPS_RELEASE_CACHELESS=1 the program for this
# machine is compiled once more without any cache, by go build alone: releases are tried with that, each change is without.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"
cd "$here/.."
top=$PWD
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
began=$SECONDS
ok() { echo "ok   $* ($((SECONDS - began)) s)"; }
fail() {
	echo "FAIL $*" >&2
	exit 1
}
quietly() { "$@" >"$tmp/log" 2>&1 || { tail -n 40 "$tmp/log" >&2 && fail "$*"; }; }

# ---- twice, from two folders ----

# Git minds whose folder it is; that of a checkout made by somebody else is as good. What has no history gets one.
printf '[safe]\n\tdirectory = *\n[user]\n\tname = release\n\temail = release@dbops.invalid\n' >"$tmp/gitconfig"
export GIT_CONFIG_GLOBAL=$tmp/gitconfig
origin=$top
if ! git rev-parse --verify --quiet HEAD >/dev/null; then
	origin=$tmp/origin
	cp -R "$top" "$origin"
	(cd "$origin" && rm -rf .git && git init -q && git add -A && git commit -qm 'without a history')
fi
[ -z "$(git -C "$origin" status --porcelain)" ] || say "what is not committed is not in it: $(git -C "$origin" status --porcelain | head -n 3 | tr '\n' ' ')"
mkdir -p "$tmp/first" "$tmp/elsewhere/and/deeper"
git clone -q "$origin" "$tmp/first/dbops" 2>/dev/null && git clone -q "$origin" "$tmp/elsewhere/and/deeper/d" 2>/dev/null || fail "git clone $origin"
one=$tmp/first/dbops two=$tmp/elsewhere/and/deeper/d
commit=$(git -C "$one" rev-parse HEAD)
[ "$(git -C "$two" rev-parse HEAD)" = "$commit" ] || fail "the clones have different commits"

ssh-keygen -q -t ed25519 -N '' -C 'thrown away' -f "$tmp/key"
export DBOPS_RELEASE_KEY=$tmp/key
quietly env TZ=UTC "$one/scripts/release.sh" --snapshot
ok "a release of ${commit:0:12}"
quietly env TZ=Asia/Kathmandu LANG=C.UTF-8 USER=somebody bash -c 'umask 077; exec "$0" --snapshot' "$two/scripts/release.sh"
sums=$(cd "$one/dist" && echo dbops_*_SHA256SUMS)
version=${sums#dbops_} version=${version%_SHA256SUMS}
diff -u "$one/dist/$sums" "$two/dist/$sums" >&2 || fail "what was made in two folders differs"
ok "another one from another folder is the same, byte by byte: $(grep -c . "$one/dist/$sums") files"

arch=$(cd "$one" && go env GOARCH)
binary() { find "$one/dist" -path "*_$1_$2*/dbops" -type f; } # OS ARCH
if [ -n "${DBOPS_RELEASE_CACHELESS:-}" ]; then # minutes of compiling
	(cd "$two" && GOCACHE=$tmp/gocache GOFLAGS=-buildvcs=true GOWORK=off CGO_ENABLED=0 GOOS=linux \
		go build -trimpath -ldflags "-s -w -X main.release=$version" -o "$tmp/again" ./cmd/dbops)
	rm -rf "$tmp/gocache"
	cmp "$(binary linux "$arch")" "$tmp/again" || fail "linux/$arch, compiled anew by go build alone, is another program"
	ok "linux/$arch is what go build alone makes without any cache"
fi

# ---- the files ----

cd "$one/dist"
for os in linux darwin; do
	for a in amd64 arm64; do
		for f in "dbops_${version}_${os}_$a.tar.gz" "dbops_${version}_${os}_$a.cdx.json"; do
			grep -qF "  $f" "$sums" || fail "$f is not in $sums"
		done
		mkdir -p "$tmp/$os-$a"
		tar -xzf "dbops_${version}_${os}_$a.tar.gz" -C "$tmp/$os-$a" --strip-components 1
		cmp "$(binary $os $a)" "$tmp/$os-$a/dbops" || fail "the archive of $os/$a has another program"
		for f in LICENSE README.md third-party-licenses completions/{dbops.bash,_dbops,dbops.fish} man/man1/dbops.1; do
			[ -s "$tmp/$os-$a/$f" ] || fail "the archive of $os/$a lacks $f"
		done
		go version -m "$tmp/$os-$a/dbops" | awk '$1 == "dep" { print $2 "@" $3 }' | sort >"$tmp/modules"
		grep -qxF "github.com/jackc/pgx/v5@$(awk '$1 == "github.com/jackc/pgx/v5" { print $2 }' "$one/go.mod")" "$tmp/modules" ||
			fail "$os/$a was not built with the pgx of go.mod"
		sed -n "s/^ *\"purl\": \"pkg:golang\/\(.*\)?goarch=$a\\\\u0026goos=$os\\\\u0026type=module\".*/\1/p" "dbops_${version}_${os}_$a.cdx.json" |
			sed 's/%2[Bb]/+/g; /^std@/d' | sort -u >"$tmp/named"
		diff "$tmp/modules" "$tmp/named" >&2 || fail "the SBOM of $os/$a does not name the modules in it"
		grep -qF "pkg:golang/std@$(go env GOVERSION)?" "dbops_${version}_${os}_$a.cdx.json" || fail "the SBOM of $os/$a does not name Go"
	done
done
ok "archives are whole; SBOMs name every module, with pgx as in go.mod"
for a in amd64 arm64; do
	readelf -W -l "$(binary linux $a)" | grep -E 'INTERP|DYNAMIC' >&2 && fail "linux/$a is not static"
	readelf -W -d "$(binary linux $a)" | grep -q 'There is no dynamic section' || fail "linux/$a has a dynamic section"
done
ok "the programs for Linux are static"

sha256 -c --quiet "$sums" || fail "checksums"
printf 'dbops-release namespaces="dbops-release" %s\n' "$(cat "$tmp/key.pub")" >"$tmp/signers"
signed() { ssh-keygen -Y verify -f "$tmp/signers" -I dbops-release -n dbops-release -s "$sums.sig"; }
signed <"$sums" >"$tmp/log" 2>&1 || fail "the signature: $(cat "$tmp/log")"
sed '1s/^./x/' "$sums" | signed >"$tmp/log" 2>&1 && fail "the signature is good for other checksums"
ok "checksums and their signature verify"

# ---- the Debian package ----

for a in amd64 arm64; do
	deb=dbops_${version}_$a.deb
	[ "$(dpkg-deb -f "$deb" Package Architecture Recommends Depends | sort | tr '\n' ' ')" = "Architecture: $a Package: dbops Recommends: postgresql-client " ] ||
		fail "$deb: $(dpkg-deb --info "$deb")"
	dpkg-deb --contents "$deb" >"$tmp/contents"
	awk '$2 != "root/root" { exit 1 } /^-/ && $1 != (/ \.\/usr\/bin\/dbops$/ ? "-rwxr-xr-x" : "-rw-r--r--") { exit 1 }' "$tmp/contents" || fail "$deb: modes: $(cat "$tmp/contents")"
	dpkg-deb -x "$deb" "$tmp/deb-$a"
	(cd "$tmp/deb-$a" && dpkg-deb --ctrl-tarfile "$OLDPWD/$deb" | tar -xO ./md5sums | md5sum -c --quiet -) || fail "$deb: md5sums"
	cmp "$(binary linux $a)" "$tmp/deb-$a/usr/bin/dbops" || fail "$deb has another program"
	for f in doc/dbops/{copyright,changelog.gz,third-party-licenses.gz} man/man1/dbops.1.gz; do [ -s "$tmp/deb-$a/usr/share/$f" ] || fail "$deb lacks $f"; done
done
root=$tmp/deb-$arch
if [ "$(id -u)" = 0 ]; then # dpkg itself, into a folder of its own
	root=$tmp/root
	mkdir -p "$root"/var/lib/dpkg/{info,updates,triggers}
	touch "$root/var/lib/dpkg/status"
	quietly dpkg --root="$root" --log="$tmp/dpkg.log" -i "dbops_${version}_$arch.deb"
	[ "$(dpkg-query --admindir="$root/var/lib/dpkg" -W -f '${Status}' dbops)" = 'install ok installed' ] || fail "dpkg has not installed it"
	[ -z "$(dpkg --root="$root" --verify dbops)" ] || fail "dpkg --verify: $(dpkg --root="$root" --verify dbops)"
fi
ok "the Debian packages are well formed, and one is installed in a folder"

"$root/usr/bin/dbops" version -o json >"$tmp/version"
for has in "\"version\": *\"$version\"" "\"commit\": *\"$commit\"" "\"go\": *\"$(go env GOVERSION)\""; do
	grep -q "$has" "$tmp/version" || fail "dbops version -o json does not say $has: $(cut -c 1-300 "$tmp/version")"
done
grep -q '"modified"' "$tmp/version" && fail "dbops version says that the commit was changed"
ok "the installed program says which commit it is"

# ---- completions and man pages, as installed ----

# desk: programs to try them with, beside the system: where apt has them Debian's, else what is on PATH.
desk=$tmp/desk
if WHY='no apt here' && debian_mirror >/dev/null; then
	EXTRA_DEBS='zsh zsh-common libcap2 bash-completion mandoc zlib1g'
	# shellcheck disable=SC2034 # of debian_root
	debian_root fish "$desk" 'fish.*|lib(pcre2|tinfo).*' "$(. /etc/os-release && echo "${VERSION_CODENAME:-stable}")" >"$tmp/log" 2>&1 || fail "$WHY: $(tail -n 5 "$tmp/log")"
	ln -s ../etc "$desk/usr/etc" # fish looks for its own files beside itself, if all of them are there
	libs=$(find "$desk" -name 'lib*.so.*' -exec dirname {} + | sort -u | paste -sd: -)
fi
at() { # PROGRAM ARGUMENT…
	local p
	for p in "$desk"/{usr/bin,bin,usr/sbin}/"$1"; do
		[ -x "$p" ] || continue
		shift
		LD_LIBRARY_PATH=$libs "$p" "$@"
		return
	done
	"$@"
}
site=$root/usr/share
export PATH=$root/usr/bin:$PATH HOME=$tmp/home XDG_DATA_DIRS=$site
mkdir "$HOME" && cd "$HOME"
offers() { grep -q "^status\b" "$tmp/offered" && grep -q "^state\b" "$tmp/offered" && ! grep -qv '^sta' "$tmp/offered" || fail "$1 offers for dbops sta: $(cat "$tmp/offered")"; }

# shellcheck disable=SC2016
bash --norc -c '. "$0/usr/share/bash-completion/bash_completion" && { _comp_load dbops || __load_completion dbops; } && f=$(complete -p dbops) && f=${f##*-F } && f=${f%% *} &&
	COMP_WORDS=(dbops sta) COMP_CWORD=1 COMP_LINE="dbops sta" COMP_POINT=9 COMP_TYPE=9 && { "$f" dbops sta dbops || true; } && printf "%s\n" "${COMPREPLY[@]}"' \
	"$([ -d "$desk" ] && echo "$desk")" >"$tmp/offered" 2>"$tmp/log" || fail "bash: $(cat "$tmp/log")"
offers bash
cat >"$tmp/try.zsh" <<-'E'
	module_path=($1/usr/lib/*/zsh/*(N/) $module_path)
	fpath=($2/zsh/vendor-completions $1/usr/share/zsh/functions $1/usr/share/zsh/functions/**/*(N/) $fpath)
	autoload -Uz compinit && compinit -D -u && [[ $_comps[dbops] = _dbops ]] || exit 1
	_describe() { print -rl -- $completions }
	words=(dbops sta) CURRENT=2
	_dbops
E
at zsh -f "$tmp/try.zsh" "$desk" "$site" >"$tmp/offered" 2>"$tmp/log" || fail "zsh: $(cat "$tmp/log")"
offers zsh
at fish -c 'complete -C "dbops sta"' >"$tmp/offered" 2>"$tmp/log" || fail "fish: $(cat "$tmp/log")"
offers fish
ok "bash, zsh and fish find the completions where they are installed, and complete"

for page in "$site"/man/man1/*.gz; do
	name=${page##*/} name=${name%.1.gz}
	at mandoc -T lint -W error "$page" >"$tmp/log" || fail "the man page $name: $(head "$tmp/log")"
	at mandoc -T utf8 "$page" | sed 's/.\x08//g' >"$tmp/page"
	for has in "$name - " "dbops $version" "$(TZ=UTC git -C "$one" log -1 --date=format-local:%b\ %Y --format=%cd)"; do
		grep -qF -- "$has" "$tmp/page" || fail "the man page $name does not say $has: $(head "$tmp/page")"
	done
	if grep -q '\[rs\]\|\\&\|```' "$tmp/page"; then fail "the man page $name has markup left: $(grep '\[rs\]\|\\&\|```' "$tmp/page")"; fi
done
cp -R "$site/man" "$tmp/man" && quietly at makewhatis "$tmp/man"
at mapropos -M "$tmp/man" Nm=dbops-proxy >"$tmp/log" 2>&1 && grep -q 'one local port' "$tmp/log" || fail "apropos does not find dbops-proxy: $(cat "$tmp/log")"
ok "man pages render, and are found: $(find "$site/man/man1" -name '*.gz' | grep -c .)"

if [ "$(id -u)" = 0 ]; then
	quietly dpkg --root="$root" --log="$tmp/dpkg.log" -r dbops
	[ -z "$(find "$root" -type f -path '*dbops*' -not -path "$root/var/*")" ] || fail "it leaves files behind: $(find "$root" -path '*dbops*')"
	ok "it goes without a trace"
fi

cd "$top"
rm -rf dist
mkdir dist
# shellcheck disable=SC2046 # names without blanks
(cd "$one/dist" && cp "$sums" $(awk '{ print $2 }' "$sums") "$top/dist/")
echo "in dist, of $version: $(cd dist && ls | tr '\n' ' ')"
