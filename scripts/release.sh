#!/usr/bin/env bash
# Makes a release of the commit that is checked out, in dist: archives, Debian packages, SBOMs, checksums and their signature.
# Nothing is uploaded. The working folder has to be clean, and the commit to have a tag such as v1.2.3.
#
# usage: release.sh [--snapshot]
#   --snapshot   of any commit, and of changes besides: to try it
#
# DBOPS_RELEASE_KEY names the file of the SSH key that signs; one that an agent holds is named by its public half.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source-path=SCRIPTDIR source=lib.sh
. scripts/lib.sh

case ${1:-} in
'' | --snapshot) ;;
-h | --help)
	usage
	exit 0
	;;
*) die "no such option: $1; try --help" ;;
esac
[ -d .git ] || die "Go writes the commit into what it builds in a clone only, and here is no .git folder (a worktree has none, either)"
[ -f "${DBOPS_RELEASE_KEY:-}" ] || die "set DBOPS_RELEASE_KEY to the file of the SSH key that signs the release"
DBOPS_RELEASE_KEY=$(cd "$(dirname "$DBOPS_RELEASE_KEY")" && pwd)/${DBOPS_RELEASE_KEY##*/}
umask 022
tool() { GOFLAGS="-buildvcs=false ${2:-}" GOWORK=off go tool -n -modfile=tools/release/go.mod "$1"; }
goreleaser=$(tool goreleaser)
sbom=$(CGO_ENABLED=0 tool cyclonedx-gomod -trimpath) # an SBOM has the checksum of the program that wrote it
export DBOPS_RELEASE_KEY PATH=${sbom%/*}:$PATH
exec "$goreleaser" release --clean "$@"
