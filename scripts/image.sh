#!/usr/bin/env bash
# Builds the container image that Containerfile describes, from the Debian package in dist, with docker, podman or buildah, whichever is there;
# runs the programs in it; and names it dbops:VERSION.
#
# usage: image.sh
#   DBOPS_IMAGE_BASE     the image to stand on (default: Debian's, as Containerfile names it)
#   BUILDAH_ISOLATION    chroot, where containers cannot be started: buildah's own variable
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source-path=SCRIPTDIR source=lib.sh
. scripts/lib.sh

case ${1:-} in
'') ;;
-h | --help)
	usage
	exit 0
	;;
*) die "no such option: $1; try --help" ;;
esac
have dpkg-deb || die "dpkg-deb is missing: it looks into the package"
case $(uname -m) in
x86_64) arch=amd64 ;;
aarch64 | arm64) arch=arm64 ;;
*) die "there is no release for $(uname -m)" ;;
esac
set -- dist/dbops_*_"$arch".deb
[ -f "$1" ] && [ $# = 1 ] || die "dist has to hold one Debian package for $arch: run make release-dry-run"
version=${1#dist/dbops_} version=${version%_"$arch".deb}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
dpkg-deb -x "$1" "$tmp"
commit=$("$tmp/usr/bin/dbops" version -o json | sed -n 's/.*"commit": *"\([0-9a-f]*\)".*/\1/p')
[ -n "$commit" ] || die "the program of the package does not know its commit"
for engine in docker podman buildah ''; do
	if [ "$engine" = docker ] && ! docker info >/dev/null 2>&1; then continue; fi # its daemon is elsewhere
	if have "$engine"; then break; fi
done
[ -n "$engine" ] || die "docker, podman or buildah builds images, and none of them works here"

image=dbops:$version
set -- --build-arg TARGETARCH="$arch" --label org.opencontainers.image.title=dbops --label org.opencontainers.image.version="$version" \
	--label org.opencontainers.image.revision="$commit" --label org.opencontainers.image.licenses=Apache-2.0 -f Containerfile -t "$image"
[ -z "${DBOPS_IMAGE_BASE:-}" ] || set -- --build-arg BASE="$DBOPS_IMAGE_BASE" "$@"
"$engine" build "$@" .

# inside PROGRAM ARGUMENT…: what it prints in a container of the image
if [ "$engine" = buildah ]; then
	container=$(buildah from "$image")
	trap 'rm -rf "$tmp"; buildah rm "$container" >/dev/null' EXIT
	inside() { buildah run "$container" -- "$@"; }
else
	inside() { "$engine" run --rm "$image" "$@"; }
fi
says() { # WANT PROGRAM ARGUMENT…
	local want=$1 said
	shift
	said=$(inside "$@" 2>&1) || die "$* in the image: $said"
	# shellcheck disable=SC2053 # want is a pattern
	[[ $said == $want ]] || die "$* in the image says: $said"
	echo "$*: $said"
}
says "dbops $version *" dbops version
says '10001' id -u
says 'git version *' git --version
says '\*' git config --system safe.directory
says 'jq-*' jq --version
for p in psql pg_dump pg_restore; do
	says "* 18.*" "$p" --version
	for major in 17 18; do says "* $major.*" "/var/cache/dbops/pg/client/$major/bin/$p" --version; done
done
says '{*"/var/lib/dbops/.local/state/dbops*' sh -c 'printf "version: 1\nenvironments: {}\n" >dbops.yaml && dbops state show -o json'
echo "the image is $image"
