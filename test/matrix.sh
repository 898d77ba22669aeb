#!/bin/bash
# matrix.sh [trixie|sid]...: `make check` with the PostgreSQL of other releases of Debian: 17 in trixie, 18 in sid.
#
# KINDS and TESTS choose tests as for `make check`; npm's packages are left out unless ACTORSTORE_WITHOUT_NPM is set empty.

. "$(dirname "$0")/roots.sh"
export ACTORSTORE_WITHOUT_NPM=${ACTORSTORE_WITHOUT_NPM-1}

check() {	# RELEASE
	say "make check in Debian $1"
	in_root "$1" 'make check'
}

each_root check "$@"
