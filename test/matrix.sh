#!/bin/bash
# matrix.sh [trixie|sid]...: `make check` with the PostgreSQL of other releases of Debian: 17 in trixie, 18 in sid.
#
# Each release is a folder, tmp/roots/RELEASE, made by debootstrap at the first run and kept; what is committed here is
# cloned into it and tested there. Mounts are made in a namespace of its own, and end with it. Needs root, debootstrap
# and a mirror of Debian ($DEBIAN_MIRROR). KINDS chooses tests as for `make check`; npm's packages are left out unless
# ACTORSTORE_WITHOUT_NPM is set empty.

. "$(dirname "$0")/../scripts/common.sh"

[ "$(id -u)" -eq 0 ] || die "matrix.sh changes the root directory: run it as root"
command -v debootstrap >/dev/null || die "no debootstrap here: apt-get install debootstrap"
mirror=${DEBIAN_MIRROR-}
[ -n "$mirror" ] || mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 '/debian/$' || true)
[ -n "$mirror" ] || die "say where Debian's packages are: DEBIAN_MIRROR=..."
export ACTORSTORE_WITHOUT_NPM=${ACTORSTORE_WITHOUT_NPM-1}

make_root() {	# RELEASE DIRECTORY
	[ ! -e "$2/.complete" ] || return 0
	say "installing Debian $1 into $2"
	rm -rf "$2"
	mkdir -p "$2"
	debootstrap --variant=minbase --include=ca-certificates,gcc,git,make,procps "$1" "$2" "$mirror" >"$2.log" 2>&1 \
		|| die "debootstrap failed: see $2.log"
	touch "$2/.complete"
}

try() {	# DIRECTORY
	rm -rf "$1/root/actorstore"
	git -c safe.directory='*' clone -q "$root" "$1/root/actorstore"
	unshare --mount --propagation private bash -c '
		mount -t proc proc "$1/proc"
		mount --rbind /dev "$1/dev"
		mount -t tmpfs tmpfs "$1/dev/shm"
		exec chroot "$1" bash -c "cd /root/actorstore && make check"' - "$1"
}

[ $# -gt 0 ] || set -- trixie sid
status=0
for release in "$@"; do
	make_root "$release" "$root/tmp/roots/$release"
	say "make check in Debian $release"
	try "$root/tmp/roots/$release" || status=1
done
exit $status
