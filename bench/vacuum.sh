#!/bin/bash
# Claim: vacuum keeps up with an hour of full load: the tables do not grow, and nothing gets slower.
. "$(dirname "$0")/queue_lib.sh"

knob MINUTES 60
rounds_are=''
estimate 1 $((MINUTES * 60 + 30))

queue_tables

begin 'Full load for an hour' <<END
All at once, with synchronous_commit on and autovacuum as it comes: two clients send messages as fast as they can, in batches of 100, to $(thousands $actors) actors
(\`on_full => 'wait'\`), two write states of 10,000 other actors, one sets timers that are due a second later; the workers handle it all. The server's settings are below, the
storage parameters those of the extension's own tables. Each minute: what was handled and written a second, and how large the tables are, with their indexes. In the end everything
sent must have been handled once, and nothing may be left in the mailboxes.

Tables are flat if they are never larger in the last quarter of the time than 1.1 times the largest size in the second; nothing has got slower if the last quarter
handled and wrote at 0.9 times the rate of the second, or more.
END

statement_of_batches vacuum_send
statement vacuum_write <<'END'
\set i random(1, 10000)
SELECT actorstore.update('item', :i::text, :value);
END
statement vacuum_time <<'END'
\set i random(1, 1000)
\set n random(1, 1000000000000)
SELECT actorstore.set_timer('bell', :i::text, 'timer ' || :n, 'ring', after => '1 s');
END

fresh actorstore
seed 10000
sql -c "SELECT actorstore.create_type('item'), actorstore.create_type('bell', mailbox_limit => 2000000000), actorstore.set_handler('bell', '*', 'count_plpgsql(jsonb, jsonb)')" \
	-c "SELECT actorstore.insert_many('item', array_agg(id), array_agg(value)) FROM seed" >/dev/null
sql -c "CREATE OR REPLACE FUNCTION size(tables text) RETURNS bigint LANGUAGE sql AS 'SELECT sum(pg_total_relation_size(oid))::bigint / 1024 FROM pg_class
	WHERE relnamespace = ''actorstore''::regnamespace AND relkind = ''r'' AND relname LIKE tables'" -c CHECKPOINT

# now_is: seconds since the load began; messages and timers handled, states written; kB of the mailboxes, of the states, of the timers, of all.
now_is() {
	sql -F' ' -c "SELECT round(extract(epoch FROM clock_timestamp()) - $began, 1), (SELECT sum(handled) FROM actorstore.stat_types),
		(SELECT n_tup_upd FROM pg_stat_all_tables WHERE relid = 'actorstore.actor_item'::regclass), size('message'), size('actor\_%'), size('timer'), size('%')"
}

# keep_doing SCRIPT CLIENTS
keep_doing() {
	pgbench -n -M prepared -c "$2" -j 1 -T $((MINUTES * 60)) -f "$BENCH_WORK/$1.pgbench" -D type="$type" -D value="$value" >"$BENCH_WORK/$1.out" 2>&1 &
	loads="$loads $!"
}

loads=''
trap 'if [ "$loads" ]; then kill $loads 2>/dev/null; fi' EXIT
began=$(date +%s.%N)
keep_doing vacuum_send 2
keep_doing vacuum_write 2
keep_doing vacuum_time 1
samples=$BENCH_WORK/$claim.samples
now_is >"$samples"
for ((minute = 1; minute < MINUTES; minute++)); do
	sleep "$(awk -v at=$((minute * 60)) -v began="$began" -v now="$(date +%s.%N)" 'BEGIN {s = began + at - now; print (s > 0 ? s : 0)}')"
	now_is >>"$samples"
	say "  $claim: minute $minute of $MINUTES: $(tail -n 1 "$samples")"
done
for pid in $loads; do
	if ! wait "$pid"; then
		cat "$BENCH_WORK"/vacuum_*.out >&2
		exit 1
	fi
done
loads=''

done_by() {
	local out
	out=$(cat "$BENCH_WORK/$1.out")
	if [ "$(field "$out" 'number of failed transactions: ')" != 0 ] || printf '%s\n' "$out" | grep -q aborted; then
		say "$out"
		return 1
	fi
	field "$out" 'number of transactions actually processed: '
}
sent=$(($(done_by vacuum_send) * 100)) timers=$(done_by vacuum_time)
until [ "$(sql -c "SELECT NOT EXISTS (SELECT FROM actorstore.timer) AND NOT EXISTS (SELECT FROM actorstore.message)")" = t ]; do sleep 0.1; done
check_counts actorstore "$sent"
must_be 'timers that have rung' "$(sql -c "SELECT handled FROM actorstore.stat_types WHERE actor_type = 'bell'")" "$timers"

# quarter K highest|rate COLUMN: of the samples: the highest value there, or what it grows by in a second.
quarter() {
	awk -v k="$1" -v what="$2" -v column="$3" '{t[NR] = $1; v[NR] = $column} END {
		from = int((k - 1) * NR / 4) + 1; to = int(k * NR / 4)
		if (what == "rate") {printf "%.0f", (v[to] - v[from - 1]) / (t[to] - t[from - 1]); exit}
		for (i = from; i <= to; i++) if (v[i] > highest) highest = v[i]
		print highest}' "$samples"
}

write '| minute | handled/s | states written/s | mailboxes, MB | states, MB | timers, MB | all tables, MB |'
write '|---|---|---|---|---|---|---|'
awk 'NR > 1 {printf "| %d | %d | %d | %.1f | %.1f | %.1f | %.1f |\n", NR - 1, ($2 - handled) / ($1 - t), ($3 - written) / ($1 - t), $4 / 1024, $5 / 1024, $6 / 1024, $7 / 1024}
	{t = $1; handled = $2; written = $3}' "$samples" >>"$result"
write ''
# compare COLUMN WHAT highest|rate UNIT PERCENT: the last quarter with the second: the highest may be at most, the rate must be at least so much of it.
compare() {
	local second last verdict
	second=$(quarter 2 "$3" "$1") last=$(quarter 4 "$3" "$1")
	if [ "$3" = highest ]; then
		verdict=$(judge $((second * $5)) $((last * 100)))
	else
		verdict=$(judge $((last * 100)) $((second * $5)))
	fi
	count "$verdict"
	write "- $2: $(thousands "$second") $4 in the second quarter, $(thousands "$last") in the last: $verdict."
	say "  $claim: $2: $second, then $last $4"
}
compare 7 'Flat, all tables' highest kB 110
compare 4 'Flat, mailboxes' highest kB 110
compare 5 'Flat, states' highest kB 110
compare 6 'Flat, timers' highest kB 110
compare 2 'Not slower, messages and timers handled' rate 'a second' 90
compare 3 'Not slower, states written' rate 'a second' 90
write "- $(thousands "$sent") messages and $(thousands "$timers") timers were handled once each, and nothing is left."
finish
