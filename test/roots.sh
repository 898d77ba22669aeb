# Sourced by the scripts beside it: roots of other releases of Debian, tmp/roots/RELEASE, made by debootstrap at the first
# run and kept. Needs root, debootstrap and a mirror of Debian ($DEBIAN_MIRROR).

. "$(dirname "${BASH_SOURCE[0]}")/../scripts/common.sh"

[ "$(id -u)" -eq 0 ] || die "$(basename "$0") changes the root directory: run it as root"
command -v debootstrap >/dev/null || die "no debootstrap here: apt-get install debootstrap"
mirror=${DEBIAN_MIRROR-}
[ -n "$mirror" ] || mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 '/debian/$' || true)
[ -n "$mirror" ] || die "say where Debian's packages are: DEBIAN_MIRROR=..."

# Leaves what is committed in the root's /root/actorstore.
prepare_root() {	# RELEASE
	local directory=$root/tmp/roots/$1
	if [ ! -e "$directory/.complete" ]; then
		say "installing Debian $1 into $directory"
		rm -rf "$directory"
		mkdir -p "$directory"
		debootstrap --variant=minbase --include=ca-certificates,gcc,git,make,procps "$1" "$directory" "$mirror" >"$directory.log" 2>&1 \
			|| die "debootstrap failed: see $directory.log"
		touch "$directory/.complete"
	fi
	# The mirror may be a copy of some day.
	echo 'Acquire::Check-Valid-Until "false";' >"$directory/etc/apt/apt.conf.d/actorstore"
	rm -rf "$directory/root/actorstore"
	git -c safe.directory='*' clone -q "$root" "$directory/root/actorstore"
}

# Mounts are made in a namespace of its own, and end with it; so do the processes.
in_root() {	# RELEASE SCRIPT
	unshare --mount --pid --fork --kill-child --propagation private bash -c '
		mount -t proc proc "$1/proc"
		mount --rbind /dev "$1/dev"
		mount -t tmpfs tmpfs "$1/dev/shm"
		exec chroot "$1" bash -c "cd /root/actorstore && $2"' - "$root/tmp/roots/$1" "$2"
}

# Calls the function with each release, by default trixie and sid, and fails if it does for one.
each_root() {	# FUNCTION RELEASE...
	local function=$1 release status=0
	shift
	[ $# -gt 0 ] || set -- trixie sid
	for release in "$@"; do
		prepare_root "$release"
		"$function" "$release" || status=1
	done
	return $status
}
