. "$(dirname "$0")/queue_lib.sh"
knob MESSAGES 600000		# a multiple of 60,000
knob EVENTS 1000
rate=50
queue_tables
fetch_node
"$bench/../scripts/npm-packages" clients/node "$bench/../tmp/node" >&2
"$bench/../scripts/node-home" "$queue_work/node"
cp "$bench/clients/actorstore.mjs" "$queue_work/node"
sides=${SIDES:-actorstore graphile}
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

load() { :; }
if [ -n "${HOOK:-}" ]; then . "$HOOK"; fi
for ((r = 1; r <= PAIRS; r++)); do for s in $sides; do echo "$s $(one_run $s)"; done; done
