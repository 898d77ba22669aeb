# shellcheck shell=bash
# What the benchmarks of queues share: the sides, how they are filled, who produces and who consumes, counting afterwards.
# A claim script sources this file instead of lib.sh.
#
# Sides: actorstore; handmade, a table with SKIP LOCKED; pgq and pgq_sets, PGQ handling event by event and summed up;
# graphile, graphile-worker; pgboss, pg-boss. The peers' work for a message is an UPDATE of its actor's row in the table
# counter; ours is a handler that counts in the actor's state.

. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

actors=1000

# What the result files say of the work.
work_is="Each message adds 1 to the counter of one of $(thousands $actors) actors; its body has some 100 bytes. actorstore: a handler in PL/pgSQL,
\`jsonb_build_object('count', coalesce((state->>'count')::bigint, 0) + 1)\`, and its own workers, one for each core. The
peers update a row of a table of $(thousands $actors) integers: less than a jsonb value with a version and a history."
counted='After each run the counters are summed up and must equal the messages handled, and what is left waiting the rest.'

# ---- the peers ------------------------------------------------------------------------------------------------------

queue_work=$(cd "$BENCH_WORK" && pwd -P)/queue
node_modules=$queue_work/clients/node_modules
missing='' versions=''
mkdir -p "$queue_work"

# have SIDE: can it be had?
have() {
	[[ " $missing " != *" ${1%%_*} "* ]]
}

# fetch_pgq: puts PGQ from its Debian package into the private server. Nothing is installed.
fetch_pgq() {
	local major package library_directory share
	major=$(($(sql -c 'SHOW server_version_num') / 10000))
	package=postgresql-$major-pgq3
	library_directory=$(sql -c "SELECT setting FROM pg_config WHERE name = 'PKGLIBDIR'")
	share=$(sql -c "SELECT setting FROM pg_config WHERE name = 'SHAREDIR'")
	need_private "$library_directory"
	if { ! compgen -G "$queue_work/${package}_*.deb" >/dev/null &&
		! (cd "$queue_work" && apt-get -q download "$package"); } >"$queue_work/apt.log" 2>&1; then
		missing="$missing pgq"
		return
	fi
	dpkg-deb -x "$queue_work/$package"_*.deb "$queue_work"
	cp --remove-destination "$queue_work/usr/lib/postgresql/$major/lib"/pgq_*.so "$library_directory"
	cp --remove-destination "$queue_work/usr/share/postgresql/$major/extension"/pgq* "$share/extension"
	versions="$versions, PGQ $(basename "$queue_work/$package"_*.deb | cut -d_ -f2)"
}

need_private() {
	case $1 in
		"$(cd "$bench/.." && pwd -P)"/tmp/*) ;;
		*)
			say "not the private server's: $1"
			exit 2
			;;
	esac
}

# fetch_node: graphile-worker and pg-boss, as bench/clients/package-lock.json names them.
fetch_node() {
	local name
	"$bench/../scripts/npm-packages" bench/clients "$queue_work/clients" >&2
	for name in graphile-worker pg-boss; do
		if [ -f "$node_modules/$name/package.json" ]; then
			versions="$versions, $name $(sed -n 's/^ *"version": "\(.*\)".*/\1/p' "$node_modules/$name/package.json" | head -n 1)"
		else
			missing="$missing $(side_of $name)"
		fi
	done
}

side_of() {
	case $1 in graphile-worker) echo graphile ;; pg-boss) echo pgboss ;; esac
}

client() {
	NODE_PATH=$node_modules node "$bench/clients/queues.js" "$@"
}

# peers_are: the versions, and what is missing, for the result file.
peers_are() {
	echo "${versions:+Peers: ${versions#, }, and SQL of our own (bench/queues.sql). }${missing:+Could not be had here, and are missing below:$missing.}"
}

build_handler() {
	local pg_config=${PG_CONFIG:-pg_config} library_directory
	library_directory=$(sql -c "SELECT setting FROM pg_config WHERE name = 'PKGLIBDIR'")
	need_private "$library_directory"
	$("$pg_config" --cc) $("$pg_config" --cflags) -fPIC -shared -I"$("$pg_config" --includedir-server)" \
		"$bench/plugin/handler.c" -o "$queue_work/handler.so"
	cp --remove-destination "$queue_work/handler.so" "$library_directory/actorstore_bench.so"
	sql <<'SQL'
CREATE FUNCTION count_c(state jsonb, body jsonb) RETURNS jsonb AS 'actorstore_bench', 'bench_count' LANGUAGE C;
CREATE FUNCTION bench_mark(n bigint) RETURNS void AS 'actorstore_bench' LANGUAGE C VOLATILE STRICT;
CREATE FUNCTION bench_mark_at(n bigint, us bigint) RETURNS void AS 'actorstore_bench' LANGUAGE C VOLATILE STRICT;
CREATE FUNCTION bench_marks(n int) RETURNS bigint[] AS 'actorstore_bench' LANGUAGE C VOLATILE STRICT;
CREATE FUNCTION bench_forget_marks() RETURNS void AS 'actorstore_bench' LANGUAGE C VOLATILE STRICT;
SQL
}

# ---- fresh tables ---------------------------------------------------------------------------------------------------

# queue_tables: what all claims need. Whatever another claim has left behind goes first.
queue_tables() {
	sql -c 'DROP EXTENSION IF EXISTS pgq CASCADE' -c 'DROP SCHEMA IF EXISTS graphile_worker, pgboss CASCADE' \
		-c "SELECT actorstore.drop_type(actor_type, events => false) FROM actorstore.type" \
		-c 'DROP TABLE IF EXISTS batch, counter, queue CASCADE' \
		-c "DO \$\$ DECLARE f regprocedure; BEGIN FOR f IN SELECT oid FROM pg_proc WHERE pronamespace = 'public'::regnamespace
			AND oid NOT IN (SELECT objid FROM pg_depend WHERE deptype = 'e') LOOP
			EXECUTE 'DROP ROUTINE ' || f || ' CASCADE'; END LOOP; END \$\$" >/dev/null
	sql -f "$bench/queues.sql"
	build_handler
}

# fresh SIDE [ACTORS [HANDLER]]: its tables empty, all counters 0. Each run of ours has a type of a new name, so that what
# the server counts of it begins at 0: $type.
type='' runs=0
fresh() {
	local side=$1 n=${2:-$actors} handler=${3:-count_plpgsql}
	case $handler in *'('*) ;; *) handler="$handler(jsonb, jsonb)" ;; esac
	runs=$((runs + 1))
	sql -c "SELECT actorstore.drop_type(actor_type, events => false) FROM actorstore.type" \
		-c 'DROP EXTENSION IF EXISTS pgq CASCADE' -c 'DROP SCHEMA IF EXISTS graphile_worker, pgboss CASCADE' \
		-c 'DROP FUNCTION IF EXISTS pgq_handle' -c 'DROP PROCEDURE IF EXISTS drain_pgq' \
		-c 'TRUNCATE counter, queue' >/dev/null
	if [ "${side%%_*}" = actorstore ]; then
		type=${claim}_${runs}_$$
		sql -c "SELECT actorstore.create_type('$type', mailbox_limit => 2000000000, on_full => 'wait')" \
			-c "SELECT actorstore.set_handler('$type', '*', '$handler')" \
			-c "SELECT actorstore.insert_many('$type', array_agg(i::text), array_agg('{\"count\": 0}'::jsonb)) FROM generate_series(1, $n) AS i" \
			-c "VACUUM ANALYZE actorstore.actor_$type" -c 'VACUUM ANALYZE actorstore.message' >/dev/null
	else
		sql -c "INSERT INTO counter SELECT i::text, 0 FROM generate_series(1, $n) AS i" -c 'VACUUM ANALYZE counter, queue'
	fi
	case $side in
		pgq*) sql -f "$bench/queues_pgq.sql" >/dev/null ;;
		graphile | pgboss) client "$side" prepare ;;
	esac
	sql -c CHECKPOINT
}

# counters SIDE: how many messages the counters show; waiting SIDE: how many wait.
counters() {
	case $1 in
		actorstore*) sql -c "SELECT coalesce(sum((value->>'count')::bigint), 0) FROM actorstore.actor_$type" ;;
		*) sql -c 'SELECT coalesce(sum(n), 0) FROM counter' ;;
	esac
}

waiting() {
	case $1 in
		actorstore*) sql -c "SELECT count(*) FROM actorstore.message WHERE actor_type = '$type'" ;;
		handmade) sql -c 'SELECT count(*) FROM queue' ;;
		graphile) sql -c 'SELECT count(*) FROM graphile_worker._private_jobs' ;;
		pgboss) sql -c "SELECT count(*) FROM pgboss.job WHERE name = 'bench' AND state < 'completed'" ;;
	esac
}

# settle: until nothing of ours waits; ten seconds at most.
settle() {
	local tries
	for ((tries = 0; tries < 500; tries++)); do
		if [ "$(waiting actorstore)" = 0 ]; then return; fi
		sleep 0.02
	done
}

# must_be WHAT NUMBER EXPECTED
must_be() {
	if [ "$2" != "$3" ]; then
		say "$claim: $1: $2, not $3"
		return 1
	fi
}

# check_counts SIDE SENT: nothing is lost or doubled. Of ours all must be handled by now, none given up.
check_counts() {
	local handled left
	handled=$(counters "$1")
	case $1 in
		actorstore*)
			must_be 'handled according to the states' "$handled" "$2"
			must_be 'handled according to stat_types, and dead' "$(sql -c "SELECT handled, dead FROM actorstore.stat_types WHERE actor_type = '$type'")" "$2|0"
			;;
	esac
	if [[ $1 = pgq* ]]; then return; fi		# what its consumer has finished stays in its tables until they rotate
	left=$(waiting "$1")
	must_be "$1: handled and waiting" $((handled + left)) "$2"
}

# ---- filling and emptying -------------------------------------------------------------------------------------------

# statement_of_batches NAME: a hundred messages, the arrays made before.
statement_of_batches() {
	statement "$1" <<'END'
\set n random(0, 99)
SELECT actorstore.send_many(:type, ids, 'add', bodies) FROM batch WHERE n = :n;
END
}

# fill SIDE MESSAGES [ACTORS]: so many messages, 1,000 a transaction, for all actors in turn; they wait. PGQ ticks after
# 7,000 of them: what its producers make in 100 ms.
fill() {
	local statement after=''
	local bodies="generate_series(c * 1000::bigint, c * 1000::bigint + 999) AS m" actor="(1 + m % ${3:-$actors})::text"
	case $1 in
		actorstore*)
			statement="PERFORM actorstore.send_many('$type', array_agg($actor ORDER BY m), 'add', array_agg(body_of(m) ORDER BY m)) FROM $bodies"
			sql -c "SELECT actorstore.pause('$type')" >/dev/null
			;;
		handmade) statement="INSERT INTO queue (actor_id, body) SELECT $actor, body_of(m) FROM $bodies" ;;
		pgq*)
			statement="PERFORM pgq.insert_event('bench', 'add', body_of(m)::text, $actor, NULL, NULL, NULL) FROM $bodies"
			after="IF c % 7 = 6 THEN PERFORM pgq.ticker('bench'); END IF;"
			;;
	esac
	if (($2 % 1000 != 0)); then
		say "$2 is no multiple of 1000"
		return 1
	fi
	PGOPTIONS='-c synchronous_commit=off' psql -X -q -v ON_ERROR_STOP=1 <<SQL
DO \$\$
BEGIN
	FOR c IN 0 .. $2 / 1000 - 1 LOOP
		$statement;
		COMMIT;
		$after
	END LOOP;
END \$\$;
SQL
	case $1 in
		pgq*) sql -c 'SELECT pg_sleep(0.2)' -c "SELECT pgq.ticker('bench')" >/dev/null ;;
		actorstore*) sql -c 'VACUUM ANALYZE actorstore.message' ;;
		handmade) sql -c 'VACUUM ANALYZE queue' ;;
	esac
	sql -c CHECKPOINT
}

# drain SIDE MESSAGES [CAP]: handles what waits, with two consumers where the side allows it, and leaves what was done when
# in $BENCH_WORK/SIDE.steps: seconds since the start, messages since the line before. The start is when the first consumer
# begins, and for us when the type goes on. Peers stop after CAP seconds.
drain() {
	local side=$1 out=$BENCH_WORK/$1.steps consumers=2 consumer pids='' call until
	until=$(sql -c "SELECT now() + interval '${3:-3600} s'")
	case $side in
		handmade) call="CALL drain_handmade('$until')" ;;
		pgq) call="CALL drain_pgq(true, '$until')" consumers=1 ;;
		pgq_sets) call="CALL drain_pgq(false, '$until')" consumers=1 ;;
	esac
	if [ "${side%%_*}" = actorstore ]; then
		sql -c "SELECT actorstore.resume('$type')" -c "CALL progress('$type', $2)" 2>&1 >/dev/null | sed 's/^INFO: *//' >"$out.raw"
		if grep -v '^[0-9.]*|[0-9]*$' "$out.raw"; then return 1; fi
		awk -F'|' '!start {start = $1} $2 > last {print $1 - start, $2 - last; last = $2}' "$out.raw" >"$out"
		return
	fi
	for ((consumer = 1; consumer <= consumers; consumer++)); do
		sql -c "$call" 2>"$out.$consumer" &
		pids="$pids $!"
	done
	wait $pids
	if grep -v -h '^INFO: ' "$out".[0-9]; then return 1; fi
	sort -m -k2,2g "$out".[0-9] | awk '!start {start = $2} $3 > 0 {print $2 - start, $3}' >"$out"
	rm "$out".[0-9]
}

# rate_of SIDE: messages a second of the whole drain.
rate_of() {
	awk '{n += $2; t = $1} END {print n / t}' "$BENCH_WORK/$1.steps"
}

# tenths SIDE MESSAGES: the rate in each tenth of so many messages, as many as were reached; in between, evenly.
tenths() {
	awk -v step=$(($2 / 10)) '
		{
			for (; k < 10 && n + $2 >= (k + 1) * step; k++) {
				at = before + ($1 - before) * ((k + 1) * step - n) / $2
				print step / (at - from)
				from = at
			}
			n += $2
			before = $1
		}' "$BENCH_WORK/$1.steps"
}
