#!/bin/bash
# assertions.sh SOURCE: `make check` with a server that checks itself, built with --enable-cassert from PostgreSQL's source in that
# directory, under tmp/assertions. Fails also if a server's log tells of an assertion that no test has noticed.
# SANITIZE=1: it and the extension are built with AddressSanitizer and UndefinedBehaviorSanitizer, too, under tmp/sanitized.
# MEMCHECK=1: instead, every server runs under valgrind, which it tells of its memory contexts; under tmp/memcheck. A test takes 20 to 50
# times as long, and some that wait for a while wait in vain: what counts is that valgrind has found nothing.
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
flags='-O1 -g -fno-omit-frame-pointer'
still=()
if [ "${SANITIZE-}" ]; then
	work=$root/tmp/sanitized
	flags+=' -fsanitize=address,undefined -fno-sanitize-recover=undefined'
	still=(setarch -R)	# it wants its memory where address space randomisation may have put something else
	# A process ends without freeing what it has; the libraries of tests are loaded before the sanitizer's; no memory is kept back for
	# long, so that a process does not seem to take more than it does.
	export ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0:verify_asan_link_order=0:abort_on_error=1:quarantine_size_mb=1
	export UBSAN_OPTIONS=print_stacktrace=1:abort_on_error=1
fi
if [ "${MEMCHECK-}" ]; then
	command -v valgrind >/dev/null || die "there is no valgrind here"
	work=$root/tmp/memcheck
	flags='-O1 -g -DUSE_VALGRIND -fno-omit-frame-pointer'
	export PG_TEST_TIMEOUT_DEFAULT=${PG_TEST_TIMEOUT_DEFAULT:-1800}
fi
checkout=$work/checkout		# objects for another server would be in the way of those here

build() {
	cd "$work/build" || return
	"${still[@]}" "$source/configure" --prefix="$work/server" --enable-cassert --enable-debug --enable-tap-tests --with-openssl --with-icu \
		--with-libxml --with-python PYTHON=/usr/bin/python3 CFLAGS="$flags" || return
	for target in all install "-C contrib install" "-C src/test/isolation install" "-C src/test/regress install" "-C src/test/perl install"; do
		# shellcheck disable=SC2086	# words
		"${still[@]}" make -s -j"$(getconf _NPROCESSORS_ONLN)" $target || return
	done
	[ -z "${MEMCHECK-}" ] || run_under_valgrind
}

# A server that is to serve, and all that it forks; initdb's are left alone.
run_under_valgrind() {
	mv "$work/server/bin/postgres" "$work/server/bin/postgres.bare" || return
	cat >"$work/server/bin/postgres" <<-END
		#!/bin/sh
		bare=\$0.bare	# make check has copies of both
		case \$1 in --boot | --single | --check | --version | --describe-config | -V | -C) exec "\$bare" "\$@" ;; esac
		exec valgrind --quiet --error-limit=no --error-markers=FOUND,END --suppressions=$source/src/tools/valgrind.supp \\
			--log-file=$work/found/%p.log "\$bare" "\$@"
	END
	chmod +x "$work/server/bin/postgres"
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
if [ "${SANITIZE-}${MEMCHECK-}" ]; then	# a process is larger than any worker may be
	echo 'actorstore.worker_memory_limit = 0' | tee "$work/conf" >>"$checkout/test/actorstore.conf"
	export TEMP_CONFIG=$work/conf
fi
if [ "${MEMCHECK-}" ]; then	# whoever tests writes what is found
	rm -rf "$work/found"
	mkdir -m 1777 "$work/found"
	PG_CONFIG=$work/server/bin/pg_config make -s -C "$checkout" private-server fault-server
	find "$checkout/tmp" -path '*/bin/postgres' -exec cp "$work/server/bin/postgres.bare" {}.bare ';'
fi

status=0
PG_CONFIG=$work/server/bin/pg_config "${still[@]}" make -C "$checkout" check || status=$?
if grep -rlE --include='*.log' 'TRAP:|AddressSanitizer|runtime error:' "$checkout/tmp/check"; then
	say "these logs tell of what failed"
	status=1
fi
if [ "${MEMCHECK-}" ] && grep -rlE '^==[0-9]+== FOUND$' "$work/found"; then
	say "valgrind has found errors: see these logs"
	status=1
fi
exit $status
