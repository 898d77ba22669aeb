#!/bin/bash
# packages.sh [bookworm|trixie|sid]...: the Debian packages of what is committed, built, installed, used, upgraded and removed in
# roots of other releases of Debian.

. "$(dirname "$0")/roots.sh"

try() {	# RELEASE
	say "packages in Debian $1"
	in_root "$1" 'bash test/packages-inside.sh'
}

each_root try "$@"
