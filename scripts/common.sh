# Sourced by the scripts beside it: where things are.

set -euo pipefail
umask 022
export TMPDIR=/tmp	# a Unix socket's path is limited to some 107 bytes: no long private TMPDIR

# What libpq and the server's programs would take from the environment (PGHOST, PGDATA, ...) is not meant for us.
for name in ${!PG@}; do
	case $name in PG_*) ;; *) unset "$name" ;; esac
done

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

say() { printf 'actorstore: %s\n' "$*"; }
die() { printf 'actorstore: %s\n' "$*" >&2; exit 1; }

# The installed server that $PG_CONFIG names, and our private copy of it (made by scripts/private-server).
find_server() {
	pg_config=$(command -v "${PG_CONFIG:-pg_config}") || die "no ${PG_CONFIG:-pg_config} here: run scripts/install-deps"
	major=$("$pg_config" --version | sed 's/^PostgreSQL \([0-9]*\).*/\1/')
	tree=$root/tmp/pg$major
	bindir=$tree$("$pg_config" --bindir)
}

need_private_server() {
	find_server
	[ -x "$bindir/postgres" ] || die "no server in $tree: run make private-server first"
}

# Minor releases of 2026-08 and later let only listed libraries be output plugins; older ones do not know the setting
# and refuse to start with it.
plugin_setting() {
	local known
	known=$("$bindir/postgres" --describe-config | cut -f1)
	if [[ $'\n'$known$'\n' == *$'\noutput_plugin_libraries\n'* ]]; then
		echo "output_plugin_libraries = 'pgoutput, test_decoding, actorstore'"
	fi
}
