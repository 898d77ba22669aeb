#!/bin/bash
# Claim: timers are set in bulk as fast as rows are inserted, nearly; fire when they are due, in great numbers; and cost
# nothing while they wait.
. "$(dirname "$0")/lib.sh"

knob TIMERS 1000000
knob RATE 10000
knob IDLE 30
fired=$((RATE * DURATION))
setting=$((TIMERS / 20000))
estimate $PAIRS $((3 * setting + 2 * (DURATION + fired / 20000 + 10) + IDLE / PAIRS))

rounds_are="$PAIRS rounds, each side once a round, the order reversed every other round (ABBA)"
begin 'Timers' <<END
**Setting**: \`SELECT count(actorstore.set_timer(…)) FROM generate_series(1, $TIMERS)\`, a timer for each of as many actors, and the same
once more, which replaces them all. Against: one INSERT … SELECT of such rows into a table by hand, with the same two indexes,
and one with ON CONFLICT DO UPDATE.
**Firing**: $(thousands $fired) timers of as many actors, due one after another, $(thousands "$RATE") a second; late is from the time that each was due
to the call of its handler, in PL/pgSQL, which keeps it as the actor's state. Against: a table by hand with an index by
time, and a session that polls it every 10 ms, and deletes and handles what is due, up to 1,000 rows a transaction.
After each run what has fired is counted.
**Idle**: processor time of the steward during $IDLE s while $(thousands "$TIMERS") timers wait, in the kernel's ticks of 10 ms.
synchronous_commit is on.
END

sql >/dev/null <<'SQL'
DROP TABLE IF EXISTS timer_by_hand, late_by_hand;
CREATE TABLE timer_by_hand (actor_type text COLLATE "C", actor_id text COLLATE "C", name text COLLATE "C", message text, body jsonb,
	due timestamptz NOT NULL, PRIMARY KEY (actor_type, actor_id, name));
CREATE INDEX ON timer_by_hand (due);
CREATE TABLE late_by_hand (actor_id text, late float8);
CREATE OR REPLACE FUNCTION keep_late(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	RETURN to_jsonb(extract(epoch FROM clock_timestamp() - (body #>> '{}')::timestamptz) * 1000);
END $$;
CREATE OR REPLACE PROCEDURE poll_by_hand(expected bigint) LANGUAGE plpgsql AS $$
DECLARE
	n bigint;
BEGIN
	WHILE expected > 0 LOOP
		WITH due AS (SELECT ctid FROM timer_by_hand WHERE due <= clock_timestamp() ORDER BY due LIMIT 1000 FOR UPDATE SKIP LOCKED),
			fired AS (DELETE FROM timer_by_hand AS t USING due WHERE t.ctid = due.ctid RETURNING actor_id, t.due)
		INSERT INTO late_by_hand SELECT actor_id, extract(epoch FROM clock_timestamp() - f.due) * 1000 FROM fired AS f;
		GET DIAGNOSTICS n = ROW_COUNT;
		COMMIT;
		expected := expected - n;
		IF n = 0 THEN PERFORM pg_sleep(0.01); END IF;
	END LOOP;
END $$;
SQL

fresh() {
	sql -c "SELECT actorstore.drop_type('bench_timers', events => false) FROM actorstore.type WHERE actor_type = 'bench_timers'" \
		-c "SELECT actorstore.create_type('bench_timers'), actorstore.set_handler('bench_timers', 'm', 'keep_late(jsonb, jsonb)')" \
		-c 'TRUNCATE timer_by_hand, late_by_hand' -c 'VACUUM actorstore.timer' -c CHECKPOINT >/dev/null
}

# must_be WHAT NUMBER EXPECTED
must_be() {
	if [ "$2" != "$3" ]; then
		say "$claim: $1: $2, not $3"
		return 1
	fi
}

microseconds_of() {	# SQL: how long it takes
	local started=${EPOCHREALTIME/./}
	sql -c "$1" >/dev/null
	echo $((${EPOCHREALTIME/./} - started))
}

# ---- Setting --------------------------------------------------------------------------------------------------------

# set_all SIDE: microseconds
set_all() {
	case $1 in
		actorstore*) microseconds_of "SELECT count(actorstore.set_timer('bench_timers', i::text, 'n', 'm', '{\"n\": 1}', at => '2200-01-01'::timestamptz + i * interval '1 s'))
			FROM generate_series(1, $TIMERS) AS i" ;;
		*) microseconds_of "INSERT INTO timer_by_hand SELECT 'bench_timers', i::text, 'n', 'm', '{\"n\": 1}', '2200-01-01'::timestamptz + i * interval '1 s'
			FROM generate_series(1, $TIMERS) AS i${2:+ ON CONFLICT (actor_type, actor_id, name) DO UPDATE SET message = excluded.message, body = excluded.body, due = excluded.due}" ;;
	esac
}

load() { fresh; }
run_is() { echo setting; }
one_run() {
	local first again
	first=$(set_all "$1")
	again=$(set_all "$1" replace)
	must_be timers "$(sql -c "SELECT count(*) FROM $(if [ "$1" = actorstore ]; then echo actorstore.timer; else echo timer_by_hand; fi)")" "$TIMERS"
	echo $((TIMERS * 1000000 / again)) >>"$BENCH_WORK/$1_again.tps"
	echo $((TIMERS * 1000000 / first))
}

: >"$BENCH_WORK/actorstore_again.tps"
: >"$BENCH_WORK/byhand_again.tps"
rounds on 1 actorstore byhand
write '| setting | actorstore, timers/s | target: at least | reached | by hand, rows/s | ratio |'
write '|---|---|---|---|---|---|'
for run in new replaced; do
	suffix=$(if [ $run = replaced ]; then echo _again; fi)
	ours=$(median <"$BENCH_WORK/actorstore$suffix.tps")
	peer=$(median <"$BENCH_WORK/byhand$suffix.tps")
	verdict=$(judge "$ours" 50000)
	count "$verdict"
	write "| $run | $(thousands "$ours") | 50,000 | $verdict | $(thousands "$peer") | $(awk -v a="$ours" -v b="$peer" 'BEGIN {printf "%.2f", a / b}') |"
done

# ---- Firing ---------------------------------------------------------------------------------------------------------

# fire SIDE: p50|p99|largest, in milliseconds
fire() {
	local start="now() + interval '$((fired / 20000 + 3)) s'"
	if [ "$1" = actorstore ]; then
		sql -c "SELECT count(actorstore.set_timer('bench_timers', i::text, 'n', 'm', to_jsonb(at), at => at))
			FROM (SELECT i, $start + i * interval '1 s' / $RATE AS at FROM generate_series(1, $fired) AS i) AS t" >/dev/null
		until [ "$(sql -c "SELECT NOT EXISTS (SELECT FROM actorstore.timer) AND NOT EXISTS (SELECT FROM actorstore.message)")" = t ]; do sleep 0.2; done
		must_be fired "$(sql -c 'SELECT count(*), count(*) FILTER (WHERE version = 0) FROM actorstore.actor_bench_timers')" "$fired|$fired" || return
		sql -c "SELECT round(a[1]::numeric, 2), round(a[2]::numeric, 2), round(a[3]::numeric, 2)
			FROM (SELECT percentile_cont(ARRAY[0.5, 0.99, 1]) WITHIN GROUP (ORDER BY value::float8) AS a FROM actorstore.actor_bench_timers) AS p"
	else
		sql -c "INSERT INTO timer_by_hand SELECT 'bench_timers', i::text, 'n', 'm', to_jsonb(at), at
			FROM (SELECT i, $start + i * interval '1 s' / $RATE AS at FROM generate_series(1, $fired) AS i) AS t" -c 'VACUUM ANALYZE timer_by_hand' \
			-c "CALL poll_by_hand($fired)"
		must_be fired "$(sql -c 'SELECT count(*) FROM late_by_hand')" "$fired" || return
		sql -c "SELECT round(a[1]::numeric, 2), round(a[2]::numeric, 2), round(a[3]::numeric, 2)
			FROM (SELECT percentile_cont(ARRAY[0.5, 0.99, 1]) WITHIN GROUP (ORDER BY late) AS a FROM late_by_hand) AS p"
	fi
}

run_is() { echo "firing, late by p50|p99|most, ms"; }
one_run() { fire "$1"; }
rounds on 1 actorstore byhand
write ''
write "| firing $(thousands "$RATE") a second | late p50, ms | p99, ms | most, ms | target: p99 less than | reached |"
write '|---|---|---|---|---|---|'
for side in actorstore byhand; do
	for column in 1 2 3; do
		cut -d'|' -f $column "$BENCH_WORK/$side.tps" | median >"$BENCH_WORK/late.$column"
	done
	verdict=-
	if [ $side = actorstore ]; then
		verdict=$(judge 50 "$(cat "$BENCH_WORK/late.2")")
		count "$verdict"
	fi
	write "| $(if [ $side = actorstore ]; then echo actorstore; else echo 'a table by hand, polled'; fi) | $(cat "$BENCH_WORK/late.1") | $(cat "$BENCH_WORK/late.2") | $(cat "$BENCH_WORK/late.3") | $(if [ $side = actorstore ]; then echo 50; else echo -; fi) | $verdict |"
done

# ---- Idle -----------------------------------------------------------------------------------------------------------

fresh
set_all actorstore >/dev/null
sleep 1
ticks() {
	awk '{sub(/.*\) /, ""); print $12 + $13}' "/proc/$(sql -c "SELECT pid FROM pg_stat_activity WHERE backend_type = 'actorstore steward' AND datname = current_database()")/stat"
}
before=$(ticks)
sleep "$IDLE"
used=$(($(ticks) - before))
verdict=$(judge 0 $used)
count "$verdict"
write ''
write "Idle: the steward used $used ticks of processor time in $IDLE s with $(thousands "$TIMERS") timers set; target: 0; reached: $verdict."
say "  $claim: idle: $used ticks"
fresh
finish
