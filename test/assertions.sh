#!/bin/bash
# assertions.sh SOURCE: `make check` with a server that checks itself, built with --enable-cassert from PostgreSQL's source in that
# directory, under tmp/assertions. Fails also if a server's log tells of an assertion that no test has noticed.
#
# The source has to be as PostgreSQL releases it: with Debian's patches it would be installed over the system's server. Debian has
# both: apt-get source --download-only postgresql-15; dpkg-source --skip-patches -x postgresql-15_*.dsc SOURCE
#
# KINDS and TESTS choose tests as for `make check`.

. "$(dirname "$0")/../scripts/common.sh"
[ -f "${1-}/src/backend/access/transam/xlog.c" ] || die "usage: assertions.sh SOURCE (a directory with PostgreSQL's source)"
source=$(cd "$1" && pwd -P)
! grep -q /usr/lib/postgresql "$source/src/Makefile.global.in" || die "$source has Debian's patches in it"

work=$root/tmp/assertions
checkout=$work/checkout		# objects for another server would be in the way of those here

build() {
	cd "$work/build" || return
	"$source/configure" --prefix="$work/server" --enable-cassert --enable-debug --enable-tap-tests --with-openssl --with-icu \
		--with-libxml --with-python PYTHON=/usr/bin/python3 CFLAGS="-O1 -g -fno-omit-frame-pointer" || return
	for target in all install "-C contrib install" "-C src/test/isolation install" "-C src/test/regress install" "-C src/test/perl install"; do
		# shellcheck disable=SC2086	# words
		make -s -j"$(getconf _NPROCESSORS_ONLN)" $target || return
	done
}

if [ ! -e "$work/built" ]; then
	say "building a server in $work"
	rm -rf "$work"
	mkdir -p "$work/build"
	(build) >"$work/log" 2>&1 || die "it does not build: see $work/log"
	touch "$work/built"
fi
rm -rf "$checkout"
git -c safe.directory='*' clone -q "$root" "$checkout"

status=0
PG_CONFIG=$work/server/bin/pg_config make -C "$checkout" check || status=$?
if grep -rl --include='*.log' TRAP: "$checkout/tmp/check"; then
	say "these logs tell of assertions that failed"
	status=1
fi
exit $status
