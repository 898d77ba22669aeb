#!/bin/bash
# Claim: to be watched costs nearly nothing: all views read once a second, and messages followed or not.
#
# What is compared is the processor time that the server's processes take for a message. The workers have something to do all the
# time, so the processors are the limit, and throughput is the inverse of that time. But throughput counts also what else the
# machine does: on a virtual machine it differs by a factor of two from one second to the next, and no number of rounds tells
# the 2 % in question. A process's time does not count what it waited for. What is left to chance (caches, the neighbour on the same
# core, how many messages a transaction has) changes within seconds, so the windows are short and many and each is compared with those
# just before and after it; the interval beside each ratio says what is left of chance then. The throughput stands beside it.
#
# A window with a look is half a second long and has one, so that what a look leaves behind for the workers counts, too; what it is of a second
# follows. Nobody who waits has a snapshot meanwhile, which would keep what is dead from being cleared away: the sessions that measure and
# look are idle, and it is psql that sleeps, or is told to look.
: "${DURATION:=0.1}"
: "${PAIRS:=320}"
. "$(dirname "$0")/lib.sh"
shopt -s inherit_errexit
# shellcheck disable=SC2034
FULL_DURATION=0.1 FULL_PAIRS=320
actors=1000 messages=2000
starts=4 settle=0.05 watched_for=0.5
windows=$(((PAIRS + 3) / 4))		# of hooks, each start
estimate "$(awk -v p="$PAIRS" -v d="$DURATION" -v s=$starts -v w="$windows" 'BEGIN {printf "%d", (p * (2.5 * d + 0.5) + s * (14 + w * 2 * (d + 0.1))) / 3}')" 1
# shellcheck disable=SC2034
rounds_are="$PAIRS rounds, each with a window of $DURATION s for 1 %, every fourth one with all and (for $watched_for s) with watched, too, and one of off as long before and after each; then
$starts starts, each with $windows windows of hooks, and one of bare before and after each"

begin 'What it costs to be watched' <<END
$(thousands $messages) messages go from actor to actor, of which there are $(thousands $actors): each turn's handler, in PL/pgSQL, adds 1 to a counter in the state and sends
one message to another actor by chance. Nobody else uses the server: its two workers have all $cores cores. In the end the counters in
the states must be what was handled, and as many messages wait as were sent first.

Compared is the processor time of all the server's processes, as the kernel counts it (/proc/PID/schedstat), for each message that was handled: it limits
the throughput, and is what can be measured on a machine that is never quiet. A window is compared with the mean of those just before
and after it. The ratio is the other's time by ours: 0.98 says 2 % less throughput. It is the mean of the middle three fifths (all means are
geometric), and the true value is in the interval in 95 of 100 cases (Yuen's, of a trimmed mean). Beside them are the medians of the messages a second in
the same windows.

- bare: a library built without the hooks of \`trace_messages\` (-DAS_WITHOUT_TRACE), in a second server: one works while the other one pauses. Both are
  started $starts times, and the libraries change places each time
- hooks, off: as it is installed, \`trace_messages = off\`; nobody looks
- 1 %, all: \`trace_messages\` = 0.01 and on
- watched: off, and a session reads all of these, once in each window: stat_types, stat_queues, stat_actors, stat_latency, stat_workers, stat_scheduler, stat_requests,
  stat_subscriptions, stat_leases, trace (which is full), and the queries of metrics/queries.yaml but for the doctor's. The time per message is that.
  What one look costs is the time of all processes in the window, less what its messages take when nobody looks, by the looks; the ratio is
  what one look a second leaves of the $cores seconds that the processors have

END

work=$(cd "$BENCH_WORK" && pwd -P)/watch
library=$(sql -c "SELECT setting FROM pg_config WHERE name = 'PKGLIBDIR'")/actorstore.so
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

throwaway=$bench/../scripts/throwaway
reader=''
trap '[ -z "$reader" ] || kill $reader 2>/dev/null; cp --remove-destination "$work/hooks.so" "$library"; "$throwaway" bench_bare stop' EXIT

# ---- the work --------------------------------------------------------------------------------------------------------

# make_functions: the handler, and what is measured: a look at clock, messages and processes, and what is between two of them.
# Marks come in pairs, of the window with that number.
make_functions() {
	sql >/dev/null <<-SQL
		DROP FUNCTION IF EXISTS hop, mark;
		DROP VIEW IF EXISTS measured;
		DROP TABLE IF EXISTS mark;
		DROP SEQUENCE IF EXISTS look;
		CREATE SEQUENCE look;
		CREATE UNLOGGED TABLE mark (n int, side text, at numeric, handled numeric, ran jsonb, looks bigint);

		CREATE FUNCTION hop(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS \$\$
		BEGIN
			PERFORM actorstore.send((actorstore.context()).actor_type, (floor(random() * $actors) + 1)::int::text, 'hop', body);
			RETURN jsonb_build_object('count', coalesce((state->>'count')::bigint, 0) + 1);
		END \$\$;

		CREATE FUNCTION mark(n int, side text) RETURNS void LANGUAGE sql AS \$\$
			INSERT INTO mark SELECT n, side, extract(epoch FROM clock_timestamp()), (SELECT sum(handled) FROM actorstore.stat_types),
				(SELECT jsonb_object_agg(pid, split_part(pg_read_file('/proc/' || pid || '/schedstat', 0, 100, true), ' ', 1)::bigint)
					FROM (SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()
						UNION ALL SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1)::int) AS p),
				last_value FROM look
		\$\$;

		-- milliseconds of processor time, messages, seconds, looks
		CREATE VIEW measured AS
			SELECT a.n, a.side, b.handled - a.handled AS handled, b.at - a.at AS took, b.looks - a.looks AS looks,
				(SELECT sum(value::numeric - coalesce(a.ran->>key, '0')::numeric) / 1e6 FROM jsonb_each_text(b.ran)) AS ran
			FROM mark AS a JOIN mark AS b ON b.n = a.n AND b.at > a.at WHERE b.handled > a.handled;
	SQL
}

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

# serve HOME LIBRARY: starts the server of that name again with that library, and lets the following commands go to it.
serve() {
	eval "$("$throwaway" "$1" env)"
	cp --remove-destination "$work/$2.so" "$library"
	if ! "$bench/../scripts/as-user" "$(command -v pg_ctl)" -D "$(sql -c 'SHOW data_directory')" -s -w -m fast restart >"$work/restart.log" 2>&1 </dev/null; then
		cat "$work/restart.log" >&2
		return 1
	fi
}

# begin_work: messages that go round.
begin_work() {
	sql -c "SELECT actorstore.drop_type(actor_type, events => false) FROM actorstore.type" -c CHECKPOINT -c "SELECT actorstore.create_type('watch')" \
		-c "SELECT actorstore.set_handler('watch', 'hop', 'hop(jsonb, jsonb)')" \
		-c "SELECT actorstore.insert_many('watch', array_agg(i::text), array_agg('{\"count\": 0}'::jsonb)) FROM generate_series(1, $actors) AS i" \
		-c "SELECT actorstore.send_many('watch', array_agg((i % $actors + 1)::text), 'hop', array_agg('{\"lorem\": \"ipsum dolor sit amet\"}'::jsonb))
			FROM generate_series(1, $messages) AS i" >/dev/null
	sleep 2
}

# pauses: SQL that ends when nothing is handled any more.
pauses() {
	cat <<-SQL
		SELECT actorstore.pause('watch');
		DO \$\$ BEGIN WHILE (SELECT running FROM actorstore.stat_scheduler) > 0 LOOP PERFORM pg_sleep(0.002); END LOOP; END \$\$;
	SQL
}

# end_work: nothing was lost or doubled.
end_work() {
	pauses | sql >/dev/null
	if [ "$(sql -c "SELECT sum((value->>'count')::bigint) = (SELECT handled FROM actorstore.stat_types WHERE actor_type = 'watch')
		AND (SELECT count(*) = $messages FROM actorstore.message) FROM actorstore.actor_watch")" != t ]; then
		say 'the counters are not what was handled'
		return 1
	fi
}

# follows FRACTION: SQL that lets so many be followed from now on, when the workers know.
follows() {
	printf '%s\n' "ALTER SYSTEM SET actorstore.trace_messages = '$1'; SELECT pg_reload_conf();" "\\! sleep $settle"
}

# is_followed FRACTION: whether messages are.
is_followed() {
	{
		echo 'SELECT coalesce(max(entry), -1) AS before FROM actorstore.trace \gset'
		follows "$1"
		printf '%s\n' '\! sleep 0.5'
		follows off
		echo "SELECT coalesce(max(entry), -1) > :before FROM actorstore.trace;"
	} | sql | tail -n 1 | grep -q t
}

# ---- the windows -----------------------------------------------------------------------------------------------------

# measures N SIDE [SECONDS]: SQL that measures a window, and lets the reader look once in one that is watched.
measures() {
	case $2 in
		sampled) follows 0.01 ;;
		all) follows on ;;
	esac
	echo "SELECT mark($1, '$2');"
	if [ "$2" = watched ]; then printf '%s\n' "\\! cat '$work/look.sql' >'$work/looks'"; fi
	printf '%s\n' "\\! sleep ${3:-$DURATION}"
	echo "SELECT mark($1, '$2');"
	case $2 in
		sampled | all) follows off ;;
	esac
}

# all_windows: SQL for all of them but those of bare and hooks.
all_windows() {
	local round sides side n=0
	measures 0 off
	for ((round = 1; round <= PAIRS; round++)); do
		sides=sampled
		if ((round % 4 == 0)); then
			sides='all sampled'
			measures $((++n)) off $watched_for
			measures $((++n)) watched $watched_for
			measures $((++n)) off $watched_for
			measures $((++n)) off
		fi
		for side in $sides; do
			measures $((++n)) "$side"
			measures $((++n)) off
		done
		if ((round % 16 == 0)); then echo "\\warn '  $claim: round $round of $PAIRS'"; fi
	done
}

# open_reader: a session that looks when its pipe gets what it is to ask.
open_reader() {
	{ cat "$work/views.sql"; echo "SELECT nextval('look');"; } >"$work/look.sql"
	rm -f "$work/looks"
	mkfifo "$work/looks"
	sql <"$work/looks" >/dev/null 2>"$work/look.log" &
	reader=$!
	exec 9>"$work/looks"
}

close_reader() {
	exec 9>&-
	if ! wait $reader || [ -s "$work/look.log" ]; then
		cat "$work/look.log" >&2
		return 1
	fi
	reader=''
}

# paired SIDE: a line for each window of that side: the ratio's logarithm (of ratios, noise would seem to be gain), microseconds a message and the other's, messages a second and
# the other's, how busy the processors were, and milliseconds a look.
paired() {
	sql -F ' ' <<-SQL
		SELECT CASE WHEN m.looks > 0 THEN ln(1 - cost / (1000.0 * $cores)) ELSE o.log_us - ln(m.ran * 1000 / m.handled) END, m.ran * 1000 / m.handled, o.us,
			m.handled / m.took, o.rate, m.ran / m.took / 1000 / $cores, cost
		FROM measured AS m
			JOIN LATERAL (SELECT avg(ran * 1000 / handled) AS us, avg(ln(ran * 1000 / handled)) AS log_us, avg(handled / took) AS rate FROM measured
				WHERE n IN (m.n - 1, m.n + 1) HAVING count(*) = 2) AS o ON true,
			LATERAL (SELECT CASE WHEN m.looks > 0 THEN (m.ran - o.us * m.handled / 1000) / m.looks END AS cost) AS c
		WHERE m.side = '$1' AND (m.side <> 'watched' OR m.looks > 0) ORDER BY m.n
	SQL
}

# open_session HOME: a session with that server, which does what ask says.
declare -A to from
open_session() {
	local in out
	rm -f "$work/$1.in" "$work/$1.out"
	mkfifo "$work/$1.in" "$work/$1.out"
	(eval "$("$throwaway" "$1" env)"; sql) <"$work/$1.in" >"$work/$1.out" &
	exec {in}>"$work/$1.in" {out}<"$work/$1.out"
	to[$1]=$in from[$1]=$out
}

close_session() {
	local in=${to[$1]} out=${from[$1]}
	exec {in}>&- {out}<&-
}

# ask HOME: it does what comes from standard input.
ask() {
	local line=''
	{ cat; printf '\\echo ready\n'; } >&"${to[$1]}"
	while [ "$line" != ready ]; do
		read -r line <&"${from[$1]}"
	done
}

# works HOME N SIDE: a window in which that server works, and only it.
works() {
	{
		printf '%s\n' "SELECT actorstore.resume('watch');" "\\! sleep $settle"
		measures "$2" "$3"
		pauses
	} | ask "$1"
}

# ---- the figures -----------------------------------------------------------------------------------------------------

# middle: the mean of the middle three fifths of the numbers read, and the bounds of its 95 % interval.
middle() {
	sort -g | awk '{v[NR] = $1} END {
		cut = int(NR / 5); left = NR - 2 * cut
		for (i = 1; i <= NR; i++) {
			w = v[i <= cut ? cut + 1 : i > NR - cut ? NR - cut : i]
			sum += w; squares += w * w
			if (i > cut && i <= NR - cut) mean += v[i] / left
		}
		error = left > 1 ? sqrt((squares - sum * sum / NR) / (left * (left - 1))) : 0
		t = 1.96 + 2.4 / (left > 1 ? left - 1 : 1) * (1 + 1.2 / (left > 1 ? left - 1 : 1))	# of Student, 97.5 %
		printf "%.6f %.6f %.6f\n", mean, mean - t * error, mean + t * error
	}'
}

# column N SIDE: that of its pairs.
column() {
	awk -v n="$1" '{print $n}' "$work/$2.pairs"
}

# compared CELL SIDE NAME TARGET: a line of the table. TARGET may be `-`.
compared() {
	local time verdict=-
	read -ra time < <(column 1 "$2" | middle | awk '{printf "%.3f %.3f %.3f\n", exp($1), exp($2), exp($3)}')
	if [ "$4" != - ]; then verdict=$(judge "${time[0]}" "$4"); fi
	write "| $1 | $(column 2 "$2" | median | rounded) | $3 | $(column 3 "$2" | median | rounded) | ${time[0]} | ${time[1]} – ${time[2]} | $4 | $verdict |" \
		"$(thousands "$(column 4 "$2" | median)") | $(thousands "$(column 5 "$2" | median)") | $(column 6 "$2" | median | awk '{printf "%.0f %%", $1 * 100}') |"
	say "  $claim: $1 against $3: ${time[0]} (${time[1]} - ${time[2]}; target $4)"
	count "$verdict"
}

rounded() {
	awk '{printf "%.1f", $1}'
}

write "| what | µs a message | against | its µs | ratio | 95 % | target | reached | messages/s | against | processors busy |"
write '|---|---|---|---|---|---|---|---|---|---|---|'

make_functions
begin_work
if ! is_followed on || ! is_followed 0.01; then
	say 'no message was followed'
	exit 1
fi
open_reader
all_windows | sql >/dev/null
close_reader
end_work
for side in watched sampled all; do paired $side >"$work/$side.pairs"; done
compared 'watched: all views read once a second' watched 'nobody looks' 0.98
compared 'trace_messages = 0.01' sampled off 0.98
compared 'trace_messages = on' all off -

"$throwaway" bench_bare start "$BENCH_WORK/server.conf"
declare -A home=([bare]=bench [hooks]=bench_bare)
(eval "$("$throwaway" bench_bare env)"; sql -c 'CREATE EXTENSION IF NOT EXISTS actorstore'; make_functions)
: >"$work/hooks.pairs"
for ((start = 1; start <= starts; start++)); do
	home=([bare]=${home[hooks]} [hooks]=${home[bare]})
	for side in bare hooks; do
		serve "${home[$side]}" $side
		begin_work
		if is_followed on; then was=hooks; else was=bare; fi
		if [ $was != $side ]; then
			say "that is not the library: $side"
			exit 1
		fi
		sql -c 'TRUNCATE mark'
		pauses | sql >/dev/null
		open_session "${home[$side]}"
	done
	works "${home[bare]}" 0 bare
	for ((round = 1; round <= windows; round++)); do
		works "${home[hooks]}" $((2 * round - 1)) hooks
		works "${home[bare]}" $((2 * round)) bare
	done
	for side in bare hooks; do
		close_session "${home[$side]}"
		eval "$("$throwaway" "${home[$side]}" env)"
		end_work
		sql -c 'COPY mark TO STDOUT' >"$work/$side.marks"
	done
	sql -c '\copy mark FROM '"$work/bare.marks"	# hooks' server has both now
	paired hooks >>"$work/hooks.pairs"
	say "  $claim: hooks and bare, start $start of $starts"
done
compared 'trace_messages = off' hooks 'a library without its hooks' 0.98
write ''
write "A look at all of it costs $(column 7 watched | middle | awk '{printf "%.1f ms of processor time (95 %%: %.1f – %.1f)", $1, $2, $3}')," \
	"with $messages messages waiting and $(sql -c 'SHOW actorstore.trace_size') events in the trace; \`trace_messages = on\` costs a message" \
	"$(awk '{print $2 - $3}' "$work/all.pairs" | middle | awk '{printf "%.1f", $1}') µs."
serve bench hooks
sql -c 'ALTER SYSTEM RESET actorstore.trace_messages' -c 'DROP VIEW measured' -c 'DROP TABLE mark' -c 'DROP SEQUENCE look' \
	-c "SELECT actorstore.drop_type('watch', events => false)" -c 'DROP FUNCTION hop, mark' >/dev/null
finish
