#!/bin/bash
# packages-inside.sh: called by packages.sh in a root of its own, with the checkout as working directory: installs what
# building needs, and tries the package of each server there.

set -euo pipefail
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

fail() { echo "packages: $*" >&2; exit 1; }
trap 'echo "packages: line $LINENO failed" >&2' ERR
must_be() {	# WHAT WANTED FOUND
	[ "$2" = "$3" ] || fail "$1: \"$3\", not \"$2\""
	echo "ok: $1"
}

install() { apt-get install -y -q --no-install-recommends "$@" >>/root/apt.log 2>&1 || fail "apt-get install $*: see /root/apt.log"; }

# Nothing that is installed starts a service, and no cluster is made.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
mkdir -p /etc/postgresql-common
echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf

{ dpkg --configure -a && apt-get update -q; } >/root/apt.log 2>&1
apt-get purge -y -q '?installed?name(^postgresql-[0-9]+-actorstore$)' >>/root/apt.log 2>&1
install build-essential debhelper libpq-dev libxxhash-dev postgresql postgresql-server-dev-all

# Packages of this version (1.0.0-1 …), left in /root.
build() {	# VERSION
	sed -i "1s/(.*)/($1)/" debian/changelog
	dpkg-buildpackage -us -uc -b -j2 >/root/build.log 2>&1 || fail "dpkg-buildpackage: see /root/build.log"
}

rm -f /root/*.deb
pg_buildext updatecontrol
build 1.0.0-1
build 1.0.0-2

psql() { (cd / && su postgres -c 'psql -X -q -A -t -v ON_ERROR_STOP=1'); }
eventually() {	# WHAT WANTED QUERY
	local found tries
	for ((tries = 0; tries < 600; tries++)); do
		found=$(psql <<<"$3")
		[ "$found" != "$2" ] || break
		sleep 0.1
	done
	must_be "$1" "$2" "$found"
}

majors=$(pg_buildext supported-versions)
[ -n "$majors" ] || fail 'no PostgreSQL here that the package is for'
for major in $majors; do
	package=postgresql-$major-actorstore
	install /root/"$package"_1.0.0-1_*.deb
	must_be "$package is installed" 1.0.0-1 "$(dpkg-query -W -f '${Version}' "$package")"
	dpkg -L "$package" | while read -r file; do [ -d "$file" ] || echo "$file"; done >/root/files
	must_be "the test that comes with it passes" 0 "$(bash debian/tests/smoke >/root/smoke.log 2>&1; echo $?)"

	# A cluster that has data when it is upgraded, and a message that waits.
	pg_createcluster "$major" upgrade -o shared_preload_libraries=actorstore -o max_worker_processes=16 >/dev/null
	export PGCLUSTER=$major/upgrade
	pg_ctlcluster "$major" upgrade start
	psql <<'SQL' >/dev/null
CREATE EXTENSION actorstore;
CREATE FUNCTION add(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT to_jsonb(coalesce(state::int, 0) + body::int)';
SELECT actorstore.create_type('counter'), actorstore.set_handler('counter', 'add', 'add(jsonb, jsonb)');
SELECT actorstore.send('counter', 'one', 'add', '1');
SQL
	eventually 'a message is handled' 1 "SELECT value FROM actorstore.get('counter', 'one')"
	psql <<<"SELECT actorstore.pause('counter'), actorstore.send('counter', 'one', 'add', '41')" >/dev/null
	install /root/"$package"_1.0.0-2_*.deb
	must_be 'the package is upgraded' 1.0.0-2 "$(dpkg-query -W -f '${Version}' "$package")"
	must_be 'a server that goes on with the library it has loaded works' 1 "$(psql <<<"SELECT value FROM actorstore.get('counter', 'one')")"
	pg_ctlcluster "$major" upgrade restart
	must_be 'the state is there after the restart' 1 "$(psql <<<"SELECT value FROM actorstore.get('counter', 'one')")"
	psql <<<"ALTER EXTENSION actorstore UPDATE; SELECT actorstore.resume('counter')" >/dev/null
	eventually 'so is the message, handled once' 42 "SELECT value FROM actorstore.get('counter', 'one')"
	psql <<<'SET client_min_messages = warning; DROP EXTENSION actorstore CASCADE'
	pg_dropcluster --stop "$major" upgrade

	apt-get purge -y -q "$package" >>/root/apt.log 2>&1
	left=$(while read -r file; do if [ -e "$file" ]; then echo "$file"; fi; done </root/files)
	must_be 'nothing is left of a removed package' '' "$left"
done
