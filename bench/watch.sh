#!/bin/bash
# Claim: to be watched costs nearly nothing: all views read once a second, and messages followed or not.
: "${DURATION:=1}"
: "${PAIRS:=61}"
. "$(dirname "$0")/lib.sh"
FULL_DURATION=1 FULL_PAIRS=61
actors=1000 messages=2000
starts=$(((PAIRS + 5) / 6)) windows=5
estimate $((PAIRS * 4 + starts * 2 * (windows + 2))) "$DURATION"
rounds_are="$PAIRS rounds of four, each of them once a round for $DURATION s, the order reversed every other round (ABBA); then $starts of two"

begin 'What it costs to be watched' <<END
$(thousands $messages) messages go from actor to actor, of which there are $(thousands $actors): each turn's handler, in PL/pgSQL, adds 1 to a counter in the state and sends
one message to another actor by chance. Nobody else uses the server: its two workers have all $cores cores. Counted is what stat_types
says was handled between two looks, $DURATION s apart; in the end the counters in the states must be what was handled, and as many messages
wait as were sent first. Off, 1 %, all and watched take turns on a server that goes on; for bare and hooks it is started again each time,
and what counts is the median of $windows windows of $DURATION s. The rounds are short and many, as what else a machine does changes slowly.

- bare: a library built without the hooks of \`trace_messages\` (-DAS_WITHOUT_TRACE)
- hooks, off: as it is installed, \`trace_messages = off\`; nobody looks
- 1 %, all: \`trace_messages\` = 0.01 and on
- watched: off, and one session, connected before, reads all of these once a second: stat_types, stat_queues, stat_actors, stat_latency, stat_workers, stat_scheduler,
  stat_requests, stat_subscriptions, stat_leases, trace, and the queries of metrics/queries.yaml but for the doctor's
END

work=$(cd "$BENCH_WORK" && pwd -P)/watch
library=$(sql -c "SELECT setting FROM pg_config WHERE name = 'PKGLIBDIR'")/actorstore.so
data=$(sql -c 'SHOW data_directory')
case $library in
	"$(cd "$bench/.." && pwd -P)"/tmp/*) ;;
	*) say "not the private server's: $library"; exit 2 ;;
esac

# ---- the libraries ---------------------------------------------------------------------------------------------------

rm -rf "$work"
mkdir -p "$work/source"
cp "$library" "$work/hooks.so"
cp -r "$bench/../Makefile" "$bench/../actorstore.control" "$bench/../src" "$bench/../sql" "$work/source"
find "$work/source" -name '*.[od]' -delete
make -s -C "$work/source" COPT="-DAS_WITHOUT_TRACE" actorstore.so >"$work/make.log" 2>&1 || { cat "$work/make.log" >&2; exit 1; }
cp "$work/source/actorstore.so" "$work/bare.so"
if cmp -s "$work/bare.so" "$work/hooks.so"; then say 'both libraries are the same'; exit 1; fi

trap 'cp --remove-destination "$work/hooks.so" "$library"' EXIT

# How long a look takes: the mean of nine.
look_ms() {
	local i
	for ((i = 0; i < 9; i++)); do
		cat "$work/views.sql"
	done | { echo '\timing on'; cat; } | sql | awk '/^Time:/ {n++; ms += $2} END {printf "%.0f", ms / 9}'
}

# ---- the work --------------------------------------------------------------------------------------------------------

sql >/dev/null <<SQL
DROP FUNCTION IF EXISTS hop;
CREATE FUNCTION hop(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS \$\$
BEGIN
	PERFORM actorstore.send((actorstore.context()).actor_type, (floor(random() * $actors) + 1)::int::text, 'hop', body);
	RETURN jsonb_build_object('count', coalesce((state->>'count')::bigint, 0) + 1);
END \$\$;
SQL

# What a watcher asks at each look.
{
	sed -n '/query: |/,/metrics:/p' "$bench/../metrics/queries.yaml" | awk '
		/query: \|/ {query = ""; next}
		/cache_seconds:/ {next}
		/metrics:/ {if (query !~ /doctor/) print query ";"; next}
		{query = query " " $0}'
	for view in stat_types stat_queues stat_actors stat_latency stat_workers stat_scheduler stat_requests stat_subscriptions stat_leases trace; do
		echo "TABLE actorstore.$view;"
	done
} >"$work/views.sql"

# A session that does what comes through descriptor 9.
watcher=''
connect_watcher() {
	rm -f "$work/looks"
	mkfifo "$work/looks"
	sql <"$work/looks" >/dev/null 2>"$work/watch.log" &
	watcher=$!
	exec 9>"$work/looks"
	cat "$work/views.sql" >&9
}

end_watcher() {
	exec 9>&-
	if ! wait $watcher || [ -s "$work/watch.log" ]; then
		cat "$work/watch.log" >&2
		return 1
	fi
}

# watch: DURATION looks, one a second.
watch() {
	local look
	for ((look = 0; look < DURATION; look++)); do
		{ cat "$work/views.sql"; echo 'INSERT INTO looks DEFAULT VALUES;'; } >&9
		sleep 1
	done
}

start_again() {
	cp --remove-destination "$1" "$library"
	if ! "$bench/../scripts/as-user" "$(command -v pg_ctl)" -D "$data" -s -w -m fast restart >"$work/restart.log" 2>&1 </dev/null; then
		cat "$work/restart.log" >&2
		return 1
	fi
}

# begin_work LIBRARY: a server with it, and messages that go round.
type='' runs=0
begin_work() {
	sql -c "SELECT actorstore.drop_type(actor_type, events => false) FROM actorstore.type" -c 'DROP TABLE IF EXISTS looks' \
		-c 'CREATE TABLE looks (at timestamptz DEFAULT clock_timestamp())' -c 'ALTER SYSTEM RESET actorstore.trace_messages' >/dev/null
	start_again "$work/$1.so"
	runs=$((runs + 1))
	type=watch_${runs}_$$
	sql -c CHECKPOINT -c "SELECT actorstore.create_type('$type')" -c "SELECT actorstore.set_handler('$type', 'hop', 'hop(jsonb, jsonb)')" \
		-c "SELECT actorstore.insert_many('$type', array_agg(i::text), array_agg('{\"count\": 0}'::jsonb)) FROM generate_series(1, $actors) AS i" \
		-c "SELECT actorstore.send_many('$type', array_agg((i % $actors + 1)::text), 'hop', array_agg('{\"lorem\": \"ipsum dolor sit amet\"}'::jsonb))
			FROM generate_series(1, $messages) AS i" >/dev/null
	sleep 2
}

# measure: messages handled a second.
measure() {
	sql <<-END | tail -n 1
		SELECT handled, extract(epoch FROM clock_timestamp()) AS at FROM actorstore.stat_types WHERE actor_type = '$type' \gset
		SELECT FROM pg_sleep($DURATION);
		SELECT round((handled - :handled) / (extract(epoch FROM clock_timestamp()) - :at)) FROM actorstore.stat_types WHERE actor_type = '$type';
	END
}

# follow FRACTION: from now on, and the workers know.
follow() {
	sql -c "ALTER SYSTEM SET actorstore.trace_messages = '$1'" -c 'SELECT pg_reload_conf()' >/dev/null
	sleep 0.3
}

# one_run SIDE: messages handled a second.
one_run() {
	local before looking window
	case $1 in
		bare | hooks)
			begin_work "$1" >&2
			for ((window = 0; window < windows; window++)); do measure; done | median
			end_work >&2
			;;
		off) measure ;;
		watched)
			before=$(sql -c 'SELECT count(*) FROM looks')
			watch &
			looking=$!
			measure
			wait $looking
			if [ "$(sql -c 'SELECT count(*) FROM looks')" -lt $((before + DURATION)) ]; then
				say 'nobody has looked'
				return 1
			fi
			;;
		sampled | all)
			before=$(traced)
			follow "$([ "$1" = all ] && echo on || echo 0.01)"
			measure
			follow off
			if [ "$(traced)" -le "$before" ]; then
				say "$1: no message was followed"
				return 1
			fi
			;;
	esac
}

# traced: how many events there were.
traced() {
	sql -c 'SELECT coalesce(max(entry), -1) FROM actorstore.trace'
}

# end_work: nothing was lost or doubled.
end_work() {
	local tries
	sql -c "SELECT actorstore.pause('$type')" >/dev/null
	for ((tries = 0; tries < 100; tries++)); do
		[ "$(sql -c 'SELECT queued + running FROM actorstore.stat_scheduler')" != 0 ] || break
		sleep 0.1
	done
	if [ "$(sql -c "SELECT sum((value->>'count')::bigint) = (SELECT handled FROM actorstore.stat_types WHERE actor_type = '$type')
		AND (SELECT count(*) = $messages FROM actorstore.message) FROM actorstore.actor_$type")" != t ]; then
		say 'the counters are not what was handled'
		return 1
	fi
}

run_is() {
	echo 'messages handled a second'
}

load() { :; }

table 'what' 'messages/s'
begin_work hooks
connect_watcher
rounds - 0 off sampled all watched
end_watcher
look=$(look_ms)
end_work
row 'watched: all views read once a second' watched off 'nobody looks' 0.98
row 'trace_messages = 0.01' sampled off 'off' 0.98
row 'trace_messages = on' all off 'off' -
PAIRS=$starts rounds - 0 hooks bare
row 'trace_messages = off' hooks bare 'a library without its hooks' 0.98
write ''
write "A look at all of it takes $look ms while both workers are busy, with $messages messages waiting."
sql -c 'ALTER SYSTEM RESET actorstore.trace_messages' -c 'DROP TABLE IF EXISTS looks' >/dev/null
start_again "$work/hooks.so"
finish
