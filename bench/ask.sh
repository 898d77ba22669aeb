#!/bin/bash
# Claim: asking an actor costs little more than the bare statement that does the same, and calling one no more than a
# function by hand.
. "$(dirname "$0")/lib.sh"

actors=1000
estimate $((PAIRS * 17))

begin 'ask and call against SQL by hand' <<END
$(thousands $actors) actors; what changes a state is a handler in PL/pgSQL that adds 1 to a counter in it. Against: \`UPDATE … RETURNING\`
of the counter in a row of a table of jsonb values, a PL/pgSQL function that does this UPDATE, \`SELECT 1\`, and a request and its reply over
LISTEN and NOTIFY between two connections (bench/plugin/notify_echo.c). pgbench \`-M prepared\`; p50 is the median of all
transactions of a run, as the client saw them. synchronous_commit is set for the server, as the workers commit what is
asked. After each run that changes states the counters are summed up and must have grown by the number of transactions.
END

pg_config=${PG_CONFIG:-pg_config}
gcc -O2 -Wall -pthread -I"$("$pg_config" --includedir)" "$bench/plugin/notify_echo.c" -o "$BENCH_WORK/notify_echo" \
	-L"$("$pg_config" --libdir)" -lpq

sql >/dev/null <<SQL
DROP TABLE IF EXISTS by_hand;
CREATE TABLE by_hand (id text COLLATE "C" PRIMARY KEY, value jsonb NOT NULL, version bigint NOT NULL DEFAULT 0) WITH (fillfactor = 80);
INSERT INTO by_hand SELECT i::text, '{"count": 0}' FROM generate_series(1, $actors) AS i;
CREATE OR REPLACE FUNCTION count_one(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS \$\$
BEGIN
	RETURN jsonb_build_object('count', coalesce((state->>'count')::bigint, 0) + 1);
END \$\$;
CREATE OR REPLACE FUNCTION look(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS \$\$ BEGIN RETURN NULL; END \$\$;
CREATE OR REPLACE FUNCTION count_by_hand(which text) RETURNS jsonb LANGUAGE plpgsql AS \$\$
DECLARE
	result jsonb;
BEGIN
	UPDATE by_hand SET value = jsonb_build_object('count', coalesce((value->>'count')::bigint, 0) + 1), version = version + 1
		WHERE id = which RETURNING value INTO result;
	RETURN result;
END \$\$;
SELECT actorstore.create_type('bench_ask');
SELECT actorstore.set_handler('bench_ask', 'count', 'count_one(jsonb, jsonb)'), actorstore.set_handler('bench_ask', 'look', 'look(jsonb, jsonb)');
SELECT actorstore.put_many('bench_ask', array_agg(i::text), array_agg('{"count": 0}'::jsonb)) FROM generate_series(1, $actors) AS i;
VACUUM ANALYZE by_hand;
VACUUM ANALYZE actorstore.actor_bench_ask;
SQL

statement ask <<END
\\set id random(1, $actors)
SELECT actorstore.ask('bench_ask', :id::text, 'count');
END
statement call <<END
\\set id random(1, $actors)
SELECT actorstore.call('bench_ask', :id::text, 'count');
END
statement look <<END
\\set id random(1, $actors)
SELECT actorstore.ask('bench_ask', :id::text, 'look');
END
statement update <<END
\\set id random(1, $actors)
UPDATE by_hand SET value = jsonb_build_object('count', coalesce((value->>'count')::bigint, 0) + 1), version = version + 1
	WHERE id = :id::text RETURNING value;
END
statement plpgsql <<END
\\set id random(1, $actors)
SELECT count_by_hand(:id::text);
END
statement one <<END
SELECT 1;
END

load() { :; }

written() {
	case $1 in
		ask | call) sql -c "SELECT sum((value->>'count')::bigint) FROM actorstore.actor_bench_ask" ;;
		update | plpgsql) sql -c "SELECT sum((value->>'count')::bigint) FROM by_hand" ;;
		*) echo 0 ;;
	esac
}

server_sync() {
	sql -c "ALTER SYSTEM SET synchronous_commit = $1" -c 'SELECT pg_reload_conf()' >/dev/null
	sleep 0.2
}

# What a run is: transactions a second, or the median of their times in milliseconds.
measure=tps
one_run() {
	local log=$BENCH_WORK/ask_log tps before
	if [ "$1" = notify ]; then
		"$BENCH_WORK/notify_echo" "$DURATION"
		return
	fi
	rm -f "$log".*
	case $1 in
		look | one)	# nothing is written: no count to compare
			tps=$(counted_run "$1" "$2" "$3" "$log") ;;
		*)
			before=$(written "$1")
			tps=$(counted_run "$1" "$2" "$3" "$log")
			must_have_grown "$1" "$before" "$(cat "$log".* | wc -l)"
			;;
	esac
	if [ $measure = tps ]; then echo "$tps"; else cat "$log".* | awk '{print $3 / 1000}' | median; fi
}

counted_run() {	# SIDE SYNC CLIENTS LOG
	local out
	if ! out=$(PGOPTIONS="-c synchronous_commit=$2" pgbench -n -M prepared -c "$3" -j $(($3 < cores ? $3 : cores)) \
		-f "$BENCH_WORK/$1.pgbench" -T "$DURATION" -l --log-prefix="$4" 2>&1) || grep -q aborted <<<"$out"; then
		say "$out"
		return 1
	fi
	field "$out" 'tps = '
}

must_have_grown() {	# SIDE BEFORE TRANSACTIONS
	local after
	after=$(written "$1")
	if [ $((after - $2)) -ne "$3" ]; then
		say "$1: $3 transactions, but the counters have grown by $((after - $2))"
		return 1
	fi
}

run_is() {
	echo "sync $1, $2 clients, $measure"
}

server_sync on
measure=p50
table_at_most 'what | synchronous_commit' 'p50, ms'
for sync in on off; do
	server_sync $sync
	rounds $sync 1 ask update
	row_at_most "ask that changes the state | $sync" ask update 'UPDATE … RETURNING' "$([ $sync = on ] && echo 1.5 || echo 2.0)"
done
server_sync on
rounds on 1 look one notify
row_at_most 'read-only ask | on' look one 'SELECT 1' 2.0
row_at_most 'read-only ask | on' look notify 'LISTEN/NOTIFY, there and back' 0.65
write ''

measure=tps
table 'what | clients | synchronous_commit' 'a second'
for sync in on off; do
	server_sync $sync
	rounds $sync 16 ask update
	row "ask that changes the state | 16 | $sync" ask update 'UPDATE … RETURNING' "$([ $sync = on ] && echo 0.8 || echo 0.5)"
	rounds $sync 1 call plpgsql
	row "call | 1 | $sync" call plpgsql 'the UPDATE in a PL/pgSQL function' 0.9
done
server_sync on
finish
