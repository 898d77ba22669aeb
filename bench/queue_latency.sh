#!/bin/bash
# Claim: a message is handled sooner after its COMMIT than by a consumer who waits for NOTIFY.
. "$(dirname "$0")/queue_lib.sh"

knob EVENTS 1000
rate=50
rounds_are="$PAIRS rounds, each side once a round, the order reversed every other round (ABBA)"
estimate $((3 * PAIRS)) $((EVENTS / rate + 5))

queue_tables
fetch_node

begin 'From the COMMIT of a send to that of its handler' <<END
$rate messages a second are sent by one client, each in a transaction of its own, synchronous_commit on. $work_is
Against: a table and NOTIFY by hand, whose consumer, a program in C with a connection of its own, waits for the notification and
then deletes a message and counts it in one statement, prepared; and graphile-worker with its defaults and 4 jobs at a time.
Everything that sends or handles calls bench_mark (bench/plugin/handler.c), which writes down when its transaction has
committed, as the server's process sees it, by one clock. "From the answer" begins when the sender's client has the
answer to its COMMIT instead; that may be after the handler is done. A handler's own commit waits for the disk, as everybody's
does. $EVENTS messages a round, of which the first $rate do not count. Each message must be handled, and $(printf '%s' "$counted" | sed 's/^After/after/')
$(peers_are)
END

pg_config=${PG_CONFIG:-pg_config}
gcc -O2 -Wall -pthread -I"$("$pg_config" --includedir)" "$bench/plugin/queue_latency.c" -o "$BENCH_WORK/queue_latency" \
	-L"$("$pg_config" --libdir)" -lpq

sql <<'SQL'
CREATE FUNCTION count_and_mark(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM bench_mark((body->>'number')::bigint);
	RETURN jsonb_build_object('count', coalesce((state->>'count')::bigint, 0) + 1);
END $$;

-- Handles the oldest message; returns how many that were.
CREATE FUNCTION handle_and_mark() RETURNS int LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
	taken record;
BEGIN
	DELETE FROM queue WHERE id = ANY (ARRAY(SELECT id FROM queue ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED))
		RETURNING actor_id, body INTO taken;
	IF NOT FOUND THEN
		RETURN 0;
	END IF;
	UPDATE counter SET n = n + 1 WHERE id = taken.actor_id;
	PERFORM bench_mark((taken.body->>'number')::bigint);
	RETURN 1;
END $$;
SQL

worker=''
trap 'if [ "$worker" ]; then kill $worker 2>/dev/null; fi' EXIT

one_run() {
	fresh "$1" $actors count_and_mark
	case $1 in
		actorstore) "$BENCH_WORK/queue_latency" "$EVENTS" $rate $actors "SELECT actorstore.send('$type', \$1, 'add', \$2)" ;;
		handmade) "$BENCH_WORK/queue_latency" "$EVENTS" $rate $actors \
			"WITH sent AS (INSERT INTO queue (actor_id, body) VALUES (\$1, \$2) RETURNING id) SELECT pg_notify('bench', '') FROM sent" \
			'SELECT handle_and_mark()' ;;
		graphile)
			MARK=1 NODE_PATH=$node_modules node "$bench/clients/queues.js" graphile work &
			worker=$!
			sleep 2
			"$BENCH_WORK/queue_latency" "$EVENTS" $rate $actors \
				"SELECT graphile_worker.add_job('count', json_build_object('id', \$1::text, 'body', \$2::jsonb))"
			sleep 0.5
			kill $worker
			wait $worker
			worker=''
			;;
	esac
	check_counts "$1" "$EVENTS" >&2
	must_be "$1: handled" "$(counters "$1")" "$EVENTS" >&2
}

run_is() {
	echo 'ms from commit to commit (p50, p99), and from the answer'
}

load() { :; }

sides='actorstore handmade'
if have graphile; then sides="$sides graphile"; fi
rounds on 1 $sides

# part SIDE N: the Nth of the four figures of each round.
part() {
	awk -v n="$2" '{print $n}' "$BENCH_WORK/$1.tps"
}

# row_at_most NAME N PEER PEER-NAME TARGET: a line of the table, of the Nth figure.
row_at_most() {
	local ratios ratio verdict=no
	ratios=$(paste <(part actorstore "$2") <(part "$3" "$2") | awk '{printf "%.3f\n", $1 / $2}' | sort -g)
	ratio=$(printf '%s\n' "$ratios" | median)
	if [ "$5" = - ]; then verdict=-; elif at_least "$5" "$ratio"; then verdict=yes; fi
	write "| $1 | $(printf %.3f "$(part actorstore "$2" | median)") | $4 | $(printf %.3f "$(part "$3" "$2" | median)") |" \
		"$(printf %.2f "$ratio") | $(printf '%s\n' "$ratios" | sed -n '1p;$p' | paste -s -d' ' | sed 's/ / – /') | $5 | $verdict |"
	say "  $claim: $1 against $4: $(printf %.2f "$ratio") (target: at most $5)"
	count "$verdict"
}

write '| from COMMIT to COMMIT | actorstore, ms | against | its ms | ratio | lowest and highest | target: at most | reached |'
write '|---|---|---|---|---|---|---|---|'
for side in ${sides#* }; do
	name='LISTEN/NOTIFY' target=0.7
	if [ "$side" = graphile ]; then name=graphile-worker target=0.25; fi
	row_at_most p50 1 "$side" "$name" $target
	row_at_most p99 2 "$side" "$name" -
	row_at_most 'p50, from the answer' 3 "$side" "$name" -
	row_at_most 'p99, from the answer' 4 "$side" "$name" -
done
finish
