#!/usr/bin/env bash
# Makes what goes into a release beside the binary, in .cache/release: completions, man pages, and the licenses of the modules in it.
#
# usage: release_files.sh VERSION TIMESTAMP    TIMESTAMP: the commit's, in seconds
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
version=$1 timestamp=$2 out=.cache/release
rm -rf "$out"
mkdir -p "$out"/{completions,man}
export CGO_ENABLED=0 GOFLAGS=-buildvcs=true GOWORK=off LC_ALL=C TZ=UTC
umask 022

go build -trimpath -ldflags "-s -w -X main.release=$version" -o "$out/dbops" ./cmd/dbops
"$out/dbops" completion bash >"$out/completions/dbops.bash"
"$out/dbops" completion zsh >"$out/completions/_dbops"
"$out/dbops" completion fish >"$out/completions/dbops.fish"
SOURCE_DATE_EPOCH=$timestamp "$out/dbops" man "$out/man"
for page in "$out"/man/*.1; do gzip -9nc "$page" >"$page.gz"; done

# The modules of any platform. One without a license must not be given away.
for platform in linux/amd64 linux/arm64 darwin/amd64 darwin/arm64; do
	GOOS=${platform%/*} GOARCH=${platform#*/} go list -deps -f '{{ with .Module }}{{ if not .Main }}{{ .Path }} {{ .Version }} {{ .Dir }}{{ end }}{{ end }}' ./cmd/dbops
done | sort -u >"$out/modules"
while read -r path module_version dir; do
	found=0
	for text in "$dir"/{LICENSE,LICENCE,License,COPYING,NOTICE}*; do
		[ -f "$text" ] || continue
		found=1
		printf '==== %s %s: %s\n\n' "$path" "$module_version" "${text##*/}"
		cat "$text"
		echo
	done
	[ $found = 1 ] || {
		echo "release_files.sh: error: $path $module_version has no license in $dir" >&2
		exit 1
	}
done <"$out/modules" >"$out/third-party-licenses"
{ # of Go's own library
	printf '==== Go %s: LICENSE\n\n' "$(go env GOVERSION)"
	cat "$(go env GOROOT)/LICENSE"
} >>"$out/third-party-licenses"
gzip -9nc "$out/third-party-licenses" >"$out/third-party-licenses.gz"

printf 'dbops (%s) unstable; urgency=medium\n\n  * Built from the commit of this version; the history is in git.\n\n -- The dbops maintainers <maintainers@dbops.invalid>  %s\n' \
	"$version" "$(git log -1 --date=rfc --format=%cd)" | gzip -9nc >"$out/changelog.gz"
rm "$out/dbops" "$out/modules"
