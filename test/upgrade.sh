#!/bin/bash
# upgrade.sh [OLD NEW]...: pg_upgrade between the PostgreSQLs of two releases of Debian, by default from 15 of bookworm to 17 of trixie,
# and to 18 of sid. It is test/t/002_pg_upgrade.pl in the root of the new one, with the old server from that of the other.
#
# From trixie to sid it fails while sid's 18 is the older minor release of the two: 17.12 gives attributes an option that 18.6 does not know.

. "$(dirname "$0")/roots.sh"

# Builds the old server, and notes what libraries its programs want.
build() {	# RELEASE
	say "PostgreSQL of Debian $1"
	in_root "$1" 'set -e
		scripts/install-deps
		scripts/as-user --owner make --no-print-directory -s private-server
		rm -rf tmp/old
		cp -R tmp/pg[0-9][0-9] tmp/old
		ldd tmp/old/usr/lib/postgresql/*/bin/* 2>/dev/null | sed -n "s/.* => \(\/[^ ]*\) .*/\1/p" | sort -u >tmp/old.libraries'
}

# What the server consists of and the other root has no libraries for.
carry() {	# OLD NEW
	local from=$root/tmp/roots/$1 to=$root/tmp/roots/$2 library
	rm -rf "$to/root/actorstore/tmp/old"
	mkdir -p "$to/root/actorstore/tmp"
	cp -R "$from/root/actorstore/tmp/old" "$to/root/actorstore/tmp"
	in_root "$1" 'cat tmp/old.libraries' | while read -r library; do
		[ -e "$to$library" ] || cp -L "$from$library" "$to/usr/local/lib"
	done
	in_root "$2" ldconfig
}

[ $# -gt 0 ] || set -- bookworm trixie bookworm sid
[ $(($# % 2)) -eq 0 ] || die "usage: upgrade.sh [OLD NEW]..."
status=0
while [ $# -gt 0 ]; do
	prepare_root "$1"
	prepare_root "$2"
	build "$1"
	carry "$1" "$2"
	say "pg_upgrade from Debian $1 in $2"
	in_root "$2" 'KINDS=tap TESTS=test/t/002_pg_upgrade.pl ACTORSTORE_WITHOUT_NPM=1 ACTORSTORE_OLD_SERVER=$(echo "$PWD"/tmp/old/usr/lib/postgresql/*) make check' || status=1
	shift 2
done
exit $status
