#!/bin/bash
# Claim: messages to another node are handled there almost as fast as here, several times as fast as through RabbitMQ, and soon.
: "${DURATION:=30}"
. "$(dirname "$0")/queue_lib.sh"
. "$bench/rabbitmq.sh"
FULL_DURATION=30

knob PRODUCERS 2
knob EVENTS 1000
rate=50
estimate $((PAIRS * 3)) $((DURATION + 8))

throwaway=$bench/../scripts/throwaway
consumer=''
trap 'if [ "$consumer" ]; then kill $consumer 2>/dev/null; fi; stop_rabbit; "$throwaway" bench_two stop' EXIT

# ---- two nodes ------------------------------------------------------------------------------------------------------

# The database bench is alone; the one called pair is a node on both servers, and all slots are the second one's.
"$throwaway" bench_two stop
"$throwaway" bench_two start "$BENCH_WORK/server.conf"
here=$PGHOST
there=$(eval "$("$throwaway" bench_two env)" && echo "$PGHOST")

at() {	# HOST DATABASE COMMAND...
	PGHOST=$1 PGDATABASE=$2 "${@:3}"
}

queue_tables
fetch_node
fetch_rabbit
for host in "$here" "$there"; do
	at "$host" postgres sql -c 'CREATE DATABASE pair'
	at "$host" pair sql -c 'CREATE EXTENSION actorstore'
	at "$host" pair queue_tables
done
at "$here" pair sql -c "SELECT actorstore.init_node('here', 'host=$here user=postgres dbname=pair')" \
	-c "SELECT actorstore.add_node('there', 'host=$there user=postgres dbname=pair')" \
	-c "SELECT actorstore.set_node_weight('here', 0)" >/dev/null
must_be 'slots that the other node has' "$(at "$here" pair sql -c "SELECT count(*) FROM actorstore.placement WHERE node_name = 'there'")" 4096

begin 'Messages to another node' <<END
$PRODUCERS producers send messages as fast as they can, in batches of 100, a transaction each, and they are handled at the same time; synchronous_commit on.
$work_is
Remote: two nodes, two servers on this machine over Unix sockets; who sends is connected to the one, all actors live on the other. Local: the same in a database
that is no node. All of this shares the same $cores cores: a remote message is stored twice, and there is nothing that would do that work besides.
A batch is a row of a table, made once: arrays of ids and bodies, uncompressed; \`send_many\` by pgbench \`-M prepared\`; \`on_full => 'wait'\`.
RabbitMQ: a broker of its own, one durable queue, persistent messages, $PRODUCERS producers with up to 1,000 messages not yet confirmed (Node.js, amqplib); one
consumer (prefetch 2,000) that sums up to 1,000 messages by actor, UPDATEs the counters in PostgreSQL by one statement, and acknowledges them after its COMMIT. A message that comes twice
would be counted twice there.
Handled is what the counters show when the time is up. $counted
$(peers_are)
END

statement_of_batches actorstore

# ---- a run ----------------------------------------------------------------------------------------------------------

produce() {
	local out
	out=$(pgbench -n -M prepared -c "$PRODUCERS" -j "$PRODUCERS" -T "$DURATION" -D type="$type" -f "$BENCH_WORK/actorstore.pgbench" 2>&1) &&
		[ "$(field "$out" 'number of failed transactions: ')" = 0 ] || { say "$out"; return 1; }
	echo $(($(field "$out" 'number of transactions actually processed: ') * 100))
}

produce_rabbit() {
	local producer pids=''
	for ((producer = 1; producer <= PRODUCERS; producer++)); do
		rabbit_client produce "$DURATION" >"$BENCH_WORK/produced.$producer" &
		pids="$pids $!"
	done
	wait $pids
	cat "$BENCH_WORK"/produced.[0-9] | awk '{n += $1} END {print n}'
	rm "$BENCH_WORK"/produced.[0-9]
}

on_its_way() { at "$here" pair sql -c 'SELECT coalesce(sum(on_their_way), 0) FROM actorstore.stat_outbox'; }

# await: until all is handled; two minutes at most.
await() {	# SIDE
	local tries
	for ((tries = 0; tries < 2400; tries++)); do
		if [ "$1" = remote ] && [ "$(on_its_way)" != 0 ]; then sleep 0.05; continue; fi
		if [ "$("where_$1" waiting actorstore)" = 0 ]; then return; fi
		sleep 0.05
	done
}

# Where a side's counters are.
where_local() { "$@"; }
where_remote() { at "$there" pair "$@"; }
where_rabbitmq() { at "$there" pair "$@"; }

# cpu_used: processor time, in ticks, of all processes of both servers, the broker, and what this script has started.
cpu_used() {
	local data roots=$$
	for data in bench bench_two; do
		roots="$roots,$(head -n 1 "$bench/../tmp/$data/data/postmaster.pid")"
	done
	cat /proc/[0-9]*/stat 2>/dev/null | sed 's/^\([0-9]*\) (.*) /\1 /' | awk -v roots="$roots" '
		{parent[$1] = $3; ticks[$1] = $13 + $14 + $15 + $16}
		END {
			n = split(roots, r, ",")
			for (i = 1; i <= n; i++) wanted[r[i]] = 1
			for (p in parent) {
				for (a = p; a in parent && !(a in wanted); a = parent[a]) ;
				if (a in wanted) sum += ticks[p]
			}
			print sum
		}'
}

# one_run SIDE: messages handled a second; and into $BENCH_WORK/SIDE.more: produced a second, what waits at the end, and
# microseconds of processor time a message, of all that takes part.
one_run() {
	local side=$1 start produced handled seconds cpu
	case $side in
		local) fresh actorstore ;;
		remote) fresh_pair count_plpgsql ;;
		rabbitmq)
			at "$there" pair fresh rabbitmq
			rabbit_client prepare
			PGHOST=$there PGDATABASE=pair NODE_PATH=$node_modules node "$bench/clients/rabbitmq.js" work &
			consumer=$!
			sleep 1
			;;
	esac
	cpu=$(cpu_used)
	start=${EPOCHREALTIME/./}
	case $side in
		local) produce ;;
		remote) at "$here" pair produce ;;
		rabbitmq) produce_rabbit ;;
	esac >"$BENCH_WORK/produced"
	handled=$("where_$side" counters "$(kind "$side")")
	cpu=$(($(cpu_used) - cpu))
	seconds=$(awk -v us=$((${EPOCHREALTIME/./} - start)) 'BEGIN {print us / 1e6}')
	read -r produced <"$BENCH_WORK/produced"
	if [ "$side" = rabbitmq ]; then
		kill "$consumer"
		wait "$consumer"
		consumer=''
		must_be 'handled and in the queue' $(($("where_$side" counters rabbitmq) + $(rabbit_client left))) "$produced" >&2
	else
		await "$side"
		"where_$side" check_counts actorstore "$produced" >&2
	fi
	echo "$(awk -v p="$produced" -v s="$seconds" 'BEGIN {print p / s}') $((produced - handled)) $(awk -v t="$cpu" -v h="$handled" -v hz="$(getconf CLK_TCK)" 'BEGIN {print t / hz * 1e6 / h}')" >>"$BENCH_WORK/$side.more"
	awk -v h="$handled" -v s="$seconds" 'BEGIN {print h / s}'
}

kind() { if [ "$1" = rabbitmq ]; then echo rabbitmq; else echo actorstore; fi; }

fresh_pair() {	# HANDLER
	at "$here" pair fresh_at actorstore $actors "$1"
	at "$there" pair sql -c 'VACUUM ANALYZE' -c CHECKPOINT
}
fresh_at() { fresh "$@"; }

run_is() {
	echo 'handled/s'
}

load() { :; }

sides='local remote'
if have rabbitmq; then
	sides="$sides rabbitmq"
	start_rabbit
fi
for side in $sides; do : >"$BENCH_WORK/$side.more"; done
rounds on "$PRODUCERS" $sides
stop_rabbit

# part SIDE N: the median of the Nth figure.
part() {
	awk -v n="$2" '{print $n}' "$BENCH_WORK/$1.more" | median
}

table 'producers' 'handled/s at the other node'
row "$PRODUCERS" remote local 'the same, local' 0.6
if have rabbitmq; then row "$PRODUCERS" remote rabbitmq RabbitMQ 3; fi
write ''
write '| side | produced/s | handled/s | left at the end | processor time a message, µs, of all that takes part |'
write '|---|---|---|---|---|'
for side in $sides; do
	write "| $side | $(thousands "$(part "$side" 1)") | $(thousands "$(median <"$BENCH_WORK/$side.tps")") | $(thousands "$(part "$side" 2)") |" \
		"$(printf %.1f "$(part "$side" 3)") |"
done

# ---- how soon -------------------------------------------------------------------------------------------------------

pg_config=${PG_CONFIG:-pg_config}
gcc -O2 -Wall -pthread -I"$("$pg_config" --includedir)" "$bench/plugin/queue_latency.c" -o "$BENCH_WORK/queue_latency" \
	-L"$("$pg_config" --libdir)" -lpq
for host in "$here" "$there"; do
	for database in bench pair; do
		if [ "$host $database" = "$there bench" ]; then continue; fi
		at "$host" $database sql <<'SQL'
CREATE FUNCTION count_and_mark(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM bench_mark((body->>'number')::bigint);
	RETURN jsonb_build_object('count', coalesce((state->>'count')::bigint, 0) + 1);
END $$;
SQL
	done
done

# The median and the 99th percentile, in ms, of one round.
one_run() {
	case $1 in
		local)
			fresh actorstore $actors count_and_mark
			"$BENCH_WORK/queue_latency" "$EVENTS" $rate $actors "SELECT actorstore.send('$type', \$1, 'add', \$2)"
			;;
		remote)
			fresh_pair count_and_mark
			HANDLED_AT="host=$there dbname=pair" at "$here" pair "$BENCH_WORK/queue_latency" "$EVENTS" $rate $actors "SELECT actorstore.send('$type', \$1, 'add', \$2)"
			;;
	esac
	must_be "$1: handled" "$("where_$1" counters actorstore)" "$EVENTS" >&2
}

run_is() {
	echo 'ms from commit to commit (p50, p99), and from the answer'
}

rounds on 1 local remote
for side in local remote; do
	awk '{print $2}' "$BENCH_WORK/$side.tps" >"$BENCH_WORK/${side}_p99.tps"
	awk '{print $1}' "$BENCH_WORK/$side.tps" >"$BENCH_WORK/${side}_p50.tps"
done
write ''
write "From the COMMIT of a send to that of its handler, $rate messages a second, $EVENTS a round, by one client:"
write ''
table_at_most 'what' 'ms'
row_at_most p50 remote_p50 local_p50 'the same, local' 2
row_at_most p99 remote_p99 local_p99 'the same, local' -
finish
