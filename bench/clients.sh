#!/bin/bash
# Claim: handlers in Node.js get several times as much done as jobs of graphile-worker and pg-boss, and begin sooner.
. "$(dirname "$0")/queue_lib.sh"

knob MESSAGES 600000		# a multiple of 60,000
knob EVENTS 1000
rate=50
rounds_are="$PAIRS rounds, each side once a round, for $DURATION s or until all is handled, the order reversed every other round (ABBA)"
estimate $((6 * PAIRS)) $((DURATION + 15))

queue_tables
fetch_node
"$bench/../scripts/npm-packages" clients/node "$bench/../tmp/node" >&2
"$bench/../scripts/node-home" "$queue_work/node"
cp "$bench/clients/actorstore.mjs" "$queue_work/node"

begin 'Handlers in Node.js' <<END
Messages wait; how fast does one process of Node.js handle them, with the server on the same $cores cores? synchronous_commit on. Each
message adds 1 to the counter of one of $(thousands $actors) actors; its body has some 100 bytes. actorstore: the client of clients/node, a
handler in JavaScript that returns the new state, up to \`batch_size\` messages in a turn, or one. The peers update a row of a table of
$(thousands $actors) integers for each job: graphile-worker with the preset of its own performance test, pg-boss fetching and completing 100 at a
time. $(thousands "$MESSAGES") messages wait for actorstore, $(thousands $((MESSAGES / 10))) for graphile-worker and $(thousands $((MESSAGES / 60))) for pg-boss, which is slower with more. Counted from the first to the last look at the counters, every 0.2 s.

From waiting to started: $rate messages a second are sent by one client, each in a transaction of its own; from its COMMIT, as the server's
process sees it (bench/plugin/handler.c), to the handler's first line, by one clock. graphile-worker with its defaults and 4
jobs at a time. $EVENTS messages a round, of which the first $rate do not count.
$counted
$(peers_are)
END

pg_config=${PG_CONFIG:-pg_config}
gcc -O2 -Wall -pthread -I"$("$pg_config" --includedir)" "$bench/plugin/queue_latency.c" -o "$BENCH_WORK/queue_latency" \
	-L"$("$pg_config" --libdir)" -lpq

worker=''
trap 'if [ "$worker" ]; then kill $worker 2>/dev/null; fi' EXIT

# start_worker SIDE [MARK]
start_worker() {
	case $1 in
		actorstore) MARK=${2:+1} node "$queue_work/node/actorstore.mjs" "$type" & ;;
		actorstore_one) MARK=${2:+1} node "$queue_work/node/actorstore.mjs" "$type" 1 & ;;
		*) MARK=${2:-} NODE_PATH=$node_modules node "$bench/clients/queues.js" "$1" work & ;;
	esac
	worker=$!
}

stop_worker() {
	kill $worker
	wait $worker
	worker=''
}

# prepare_side SIDE: fresh tables; the handler of ours is outside.
prepare_side() {
	case $1 in
		actorstore*)
			fresh "$1" $actors
			sql -c "SELECT actorstore.set_handler('$type', '*', 'actorstore.outside(jsonb, jsonb)')" >/dev/null
			;;
		*) fresh "$1" ;;
	esac
}

# fill_side SIDE MESSAGES: they wait.
fill_side() {
	case $1 in
		actorstore*) fill "$1" "$2" ;;
		pgboss) client pgboss fill "$2" && sql -c 'VACUUM ANALYZE' -c CHECKPOINT ;;
		graphile)
			sql -c "SELECT count(*) FROM generate_series(0, $2 / 1000 - 1) AS c, LATERAL (SELECT array_agg(
				('count', json_build_object('id', (1 + m % $actors)::text, 'body', body_of(m)), NULL, NULL, NULL, NULL, NULL, NULL)::graphile_worker.job_spec) AS specs
				FROM generate_series(c * 1000, c * 1000 + 999) AS m) AS s, graphile_worker.add_jobs(specs)" >/dev/null
			sql -c 'VACUUM ANALYZE' -c CHECKPOINT
			;;
	esac
}

# looks SIDE MESSAGES: lines of time and messages handled, until all are or DURATION has gone since the first one.
looks() {
	local n start=''
	while :; do
		n=$(counters "$1")
		printf '%s %s\n' "$EPOCHREALTIME" "$n"
		if [ -z "$start" ] && [ "$n" -gt 0 ]; then start=$SECONDS; fi
		if [ "$n" -ge "$2" ] || { [ "$start" ] && ((SECONDS - start >= DURATION)); }; then return; fi
		sleep 0.2
	done
}

one_run() {
	local side=$1 messages=$MESSAGES
	case $side in
		graphile) messages=$((MESSAGES / 10)) ;;
		pgboss) messages=$((MESSAGES / 60)) ;;
	esac
	prepare_side "$side"
	fill_side "$side" "$messages"
	start_worker "$side"
	if [[ $side = actorstore* ]]; then sql -c "SELECT actorstore.resume('$type')" >/dev/null; fi
	looks "$side" "$messages" >"$BENCH_WORK/$side.looks"
	stop_worker >&2
	must_be "$side: handled and waiting" $(($(counters "$side") + $(waiting "$side"))) "$messages" >&2
	awk '$2 > 0 && !t {t = $1; n = $2} {last_t = $1; last_n = $2} END {print (last_n - n) / (last_t - t)}' "$BENCH_WORK/$side.looks"
}

run_is() {
	echo 'messages a second'
}

load() { :; }

peers=''
if have graphile; then peers="$peers graphile"; fi
if have pgboss; then peers="$peers pgboss"; fi
rounds on 1 actorstore actorstore_one $peers
table 'a turn carries' 'messages/s'
for side in $peers; do
	case $side in graphile) name=graphile-worker ;; pgboss) name=pg-boss ;; esac
	row 'up to `batch_size` messages' actorstore $side $name 4.0
	row 'one message' actorstore_one $side $name 1.5
done
write ''

# ---- From waiting to started ----

one_run() {
	prepare_side "$1"
	start_worker "$1" start
	sleep 2
	case $1 in
		actorstore) "$BENCH_WORK/queue_latency" "$EVENTS" $rate $actors "SELECT actorstore.send('$type', \$1, 'add', \$2)" ;;
		graphile) "$BENCH_WORK/queue_latency" "$EVENTS" $rate $actors \
			"SELECT graphile_worker.add_job('count', json_build_object('id', \$1::text, 'body', \$2::jsonb))" ;;
	esac
	sleep 0.5
	stop_worker >&2
	must_be "$1: handled" "$(counters "$1")" "$EVENTS" >&2
}

run_is() {
	echo 'ms from commit to start (p50, p99), and from the answer'
}

if have graphile; then
	rounds on 1 actorstore graphile
	for side in actorstore graphile; do cp "$BENCH_WORK/$side.tps" "$BENCH_WORK/$side.latency"; done
	table_at_most 'from waiting to started' ms
	for column in 1 2; do
		for side in actorstore graphile; do awk -v n=$column '{print $n}' "$BENCH_WORK/$side.latency" >"$BENCH_WORK/$side.tps"; done
		case $column in
			1) row_at_most p50 actorstore graphile graphile-worker 0.5 ;;
			2) row_at_most p99 actorstore graphile graphile-worker - ;;
		esac
	done
fi
finish
