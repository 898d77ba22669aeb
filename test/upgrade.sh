#!/bin/bash
# upgrade.sh: pg_upgrade from PostgreSQL 15, of Debian 12, to 17, of Debian 13: test/t/002_pg_upgrade.pl in the root of trixie, with the
# old server from that of bookworm.

. "$(dirname "$0")/roots.sh"

# What the server consists of and the other root has no libraries for.
carry() {	# SERVER
	local from=$root/tmp/roots/bookworm to=$root/tmp/roots/trixie library
	rm -rf "$to/root/actorstore/tmp/old"
	mkdir -p "$to/root/actorstore/tmp"
	cp -R "$from/root/actorstore/tmp/$1" "$to/root/actorstore/tmp/old"
	in_root bookworm "cat tmp/$1.libraries" | while read -r library; do
		[ -e "$to$library" ] || cp -L "$from$library" "$to/usr/local/lib"
	done
	in_root trixie ldconfig
}

prepare_root bookworm
prepare_root trixie
say 'PostgreSQL 15 in Debian bookworm'
in_root bookworm 'set -e
	scripts/install-deps
	scripts/as-user --owner make --no-print-directory -s private-server
	ldd tmp/pg15/usr/lib/postgresql/15/bin/* 2>/dev/null | sed -n "s/.* => \(\/[^ ]*\) .*/\1/p" | sort -u >tmp/pg15.libraries'
carry pg15
say 'pg_upgrade in Debian trixie'
in_root trixie 'KINDS=tap TESTS=test/t/002_pg_upgrade.pl ACTORSTORE_WITHOUT_NPM=1 ACTORSTORE_OLD_SERVER=$PWD/tmp/old/usr/lib/postgresql/15 make check'
