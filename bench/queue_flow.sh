#!/bin/bash
# Claim: producing and handling together, messages are handled several times as fast as by other queues, and none pile up.
: "${DURATION:=30}"
. "$(dirname "$0")/queue_lib.sh"
FULL_DURATION=30

knob PRODUCERS 2
estimate $((PAIRS * 5)) $((DURATION + 8))

queue_tables
fetch_pgq
fetch_node

begin 'Producing and handling together' <<END
$PRODUCERS producers send messages as fast as they can, in batches of 100, a transaction each, and the consumers handle them at the
same time, all on the same $cores cores; synchronous_commit on. $work_is
A batch is a row of a table, made once: arrays of ids and bodies, uncompressed. Producing is reading it and
\`send_many\`, \`INSERT … SELECT … FROM unnest\`, \`pgq.insert_event\` for each element, \`graphile_worker.add_jobs\`, by pgbench
\`-M prepared\`; pg-boss's \`insert\` needs Node.js. actorstore: \`on_full => 'wait'\`, the other options as they are.
SKIP LOCKED: two consumers, 100 messages a transaction, one UPDATE a message. PGQ: ticks of 100 ms, one consumer, event by event;
its look for a new batch every 2 ms. graphile-worker: the preset of its own performance test (24 concurrent jobs, 500 fetched at a time, completions
batched). pg-boss: fetched and completed in batches of 100 without a pause, updates over 10 connections.
Handled is what the counters show when the time is up. $counted
$(peers_are)
END

# ---- who produces ---------------------------------------------------------------------------------------------------

statement_of_batches actorstore
statement handmade <<'END'
\set n random(0, 99)
INSERT INTO queue (actor_id, body) SELECT id, body FROM batch, unnest(ids, bodies) AS u (id, body) WHERE n = :n;
END
statement pgq <<'END'
\set n random(0, 99)
SELECT count(pgq.insert_event('bench', 'add', body, id, NULL, NULL, NULL)) FROM batch, unnest(ids, texts) AS u (id, body) WHERE n = :n;
END
statement graphile <<'END'
\set n random(0, 99)
SELECT count(*) FROM job_batch, graphile_worker.add_jobs(specs) WHERE n = :n;
END

# produce SIDE: for $DURATION seconds; how many messages on standard output.
produce() {
	local out producer
	if [ "$1" = pgboss ]; then
		for ((producer = 1; producer <= PRODUCERS; producer++)); do
			client pgboss produce "$DURATION" >"$BENCH_WORK/produced.$producer" &
		done
		wait $(jobs -p | tail -n "$PRODUCERS")
		cat "$BENCH_WORK"/produced.[0-9] | awk '{n += $1} END {print n}'
		rm "$BENCH_WORK"/produced.[0-9]
		return
	fi
	if ! out=$(pgbench -n -M prepared -c "$PRODUCERS" -j "$PRODUCERS" -T "$DURATION" -D type="$type" -f "$BENCH_WORK/$1.pgbench" 2>&1) ||
		[ "$(field "$out" 'number of failed transactions: ')" != 0 ]; then
		say "$out"
		return 1
	fi
	echo $(($(field "$out" 'number of transactions actually processed: ') * 100))
}

# ---- who consumes ---------------------------------------------------------------------------------------------------

statement handmade_consumer <<'END'
SELECT handle_some(100) AS n \gset
\if :n = 0
\sleep 1 ms
\endif
END
statement pgq_consumer <<'END'
SELECT pgq_handle(true) AS n \gset
\if :n < 0
\sleep 2 ms
\endif
END
statement pgq_ticker <<'END'
SELECT pgq.ticker();
\sleep 100 ms
END

consumers=''
trap 'if [ "$consumers" ]; then kill $consumers 2>/dev/null; fi' EXIT

start_consumers() {
	consumers=''
	case $1 in
		handmade) consumer handmade_consumer 2 ;;
		pgq)
			consumer pgq_ticker 1
			consumer pgq_consumer 1
			;;
		graphile | pgboss)
			NODE_PATH=$node_modules node "$bench/clients/queues.js" "$1" work &
			consumers="$consumers $!"
			sleep 1
			;;
	esac
}

# consumer SCRIPT N: a little longer than there are messages, as they start first.
consumer() {
	pgbench -n -M prepared -c "$2" -j "$2" -T $((DURATION + 1)) -f "$BENCH_WORK/$1.pgbench" >"$BENCH_WORK/$1.out" 2>&1 &
	consumers="$consumers $!"
}

stop_consumers() {
	local pid
	case $1 in graphile | pgboss) kill $consumers ;; esac
	for pid in $consumers; do
		if ! wait "$pid"; then
			cat "$BENCH_WORK"/*_consumer.out >&2
			return 1
		fi
	done
	consumers=''
}

# ---- a run ----------------------------------------------------------------------------------------------------------

# one_run SIDE: messages handled a second; and into $BENCH_WORK/SIDE.more: produced a second, what waits at the end, and of
# ours how long messages have waited, in ms.
one_run() {
	local start produced handled seconds
	fresh "$1"
	if [ "$1" = graphile ]; then
		sql -c 'DROP TABLE IF EXISTS job_batch' -c "CREATE TABLE job_batch AS SELECT n, array_agg(
			('count', json_build_object('id', id, 'body', body), NULL, NULL, NULL, NULL, NULL, NULL)::graphile_worker.job_spec) AS specs
			FROM batch, unnest(ids, bodies) AS u (id, body) GROUP BY n" -c 'ALTER TABLE job_batch ADD PRIMARY KEY (n)'
	fi
	start_consumers "$1"
	start=${EPOCHREALTIME/./}
	produce "$1" >"$BENCH_WORK/produced"
	handled=$(counters "$1")
	seconds=$(awk -v us=$((${EPOCHREALTIME/./} - start)) 'BEGIN {print us / 1e6}')
	read -r produced <"$BENCH_WORK/produced"
	stop_consumers "$1"
	if [ "$1" = actorstore ]; then settle; fi
	check_counts "$1" "$produced"
	echo "$(awk -v p="$produced" -v s="$seconds" 'BEGIN {print p / s}') $((produced - handled)) $(wait_of "$1")" >>"$BENCH_WORK/$1.more"
	awk -v h="$handled" -v s="$seconds" 'BEGIN {print h / s}'
}

wait_of() {
	if [ "$1" = actorstore ]; then
		sql -F ' ' -c "SELECT waiting_p50, waiting_p99 FROM actorstore.stat_latency WHERE actor_type = '$type'"
	else
		echo - -
	fi
}

run_is() {
	echo 'handled/s'
}

load() { :; }

sides='actorstore handmade'
for side in pgq graphile pgboss; do
	if have $side; then sides="$sides $side"; fi
done
for side in $sides; do : >"$BENCH_WORK/$side.more"; done
rounds on "$PRODUCERS" $sides

name_of() {
	case $1 in
		actorstore) echo actorstore ;;
		handmade) echo 'SKIP LOCKED' ;;
		pgq) echo PGQ ;;
		graphile) echo graphile-worker ;;
		pgboss) echo pg-boss ;;
	esac
}

# part SIDE N: the median of the Nth figure.
part() {
	awk -v n="$2" '{print $n}' "$BENCH_WORK/$1.more" | median
}

handled() {
	median <"$BENCH_WORK/$1.tps"
}

table 'producers' 'handled/s'
for side in ${sides#* }; do
	row "$PRODUCERS" actorstore "$side" "$(name_of "$side")" 2.5
done
row "$PRODUCERS" actorstore handmade 'SKIP LOCKED (pgmq, which is not to be had as a package, did 0.64 × as much where both were measured: 6 × that)' 3.86
write ''
write '| side | produced/s | handled/s | left at the end | that many seconds of handling | waiting, p50, ms | p99, ms |'
write '|---|---|---|---|---|---|---|'
for side in $sides; do
	waits='- | -'
	if [ "$side" = actorstore ]; then waits="$(part actorstore 3) | $(part actorstore 4)"; fi
	write "| $(name_of "$side") | $(thousands "$(part "$side" 1)") | $(thousands "$(handled "$side")") | $(thousands "$(part "$side" 2)") |" \
		"$(awk -v l="$(part "$side" 2)" -v h="$(handled "$side")" 'BEGIN {printf "%.2f", l / h}') | $waits |"
done
write ''
verdict=$(judge "$(handled actorstore)" "$(part actorstore 2)")
count "$verdict"
write "- Nothing of ours piles up: less than one second's work is left at the end: $verdict."
verdict=$(judge 5 "$(part actorstore 3)")
count "$verdict"
write "- The median wait of ours, from \`send\` to the beginning of the turn, is at most 5 ms: $verdict."
finish
