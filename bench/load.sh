#!/bin/bash
# Claim: with 10,000,000 actors and 1,000,000 waiting messages all goes on as with few: speed, memory, a restart.
. "$(dirname "$0")/lib.sh"

knob FEW 100000
knob MANY 10000000
knob WAITING 1000000
knob ROUNDS 3
knob RUN 10
PAIRS=$ROUNDS FULL_PAIRS=$ROUNDS DURATION=$RUN FULL_DURATION=$RUN
rounds_are="$PAIRS rounds, each side once a round for $DURATION s, the order reversed every other round (ABBA)"
operations='get update insert_delete get_many send_handled ask'
estimate $((6 * 4 * PAIRS + MANY / 500000)) $((DURATION + 2))

begin 'Ten million actors, a million waiting messages' <<END
Two databases of a server of its own, with the settings below but 8 GB of shared buffers: one has $(thousands "$FEW") actors and no messages, the other $(thousands "$MANY") actors
and $(thousands "$WAITING") messages that wait for actors of a paused type. 4 clients, actors at random, synchronous_commit on. Each operation is
timed in the one and in the other; beside it the same statements on a hand-written table of as many rows in the same
databases, as rows that are far apart cost everybody more: the processor's caches are smaller than ten million rows, a new connection's first look at each
64 KB of the buffers is a page fault, and the first change of a page after a checkpoint is written to the log as a page. The buffers have room for both
sides' tables and indexes, all vacuumed before; what was read into them while it was timed is counted. Then the private memory of all
the server's processes, before and after; then the server is killed with -9, and the paused type goes on when it is up again: how long
after the start are messages handled at 0.8 times the speed of the whole?
END

throwaway=$bench/../scripts/throwaway
"$throwaway" bench_load stop
trap '"$throwaway" bench_load stop' EXIT
printf '%s\nshared_buffers = 8GB\n' "$server_settings" >"$BENCH_WORK/load.conf"

start() {
	"$throwaway" bench_load start "$BENCH_WORK/load.conf"
	eval "$("$throwaway" bench_load env)"
}
start

on() {	# few | many, then sql's options
	sql -d "$1" "${@:2}"
}

actors_of() {
	if [ "$1" = few ]; then echo "$FEW"; else echo "$MANY"; fi
}

make_database() {
	local n from
	n=$(actors_of "$1")
	sql -d postgres -c "CREATE DATABASE $1"
	on "$1" -c 'CREATE EXTENSION actorstore' \
		-c "SELECT actorstore.create_type('item'), actorstore.create_type('waits', mailbox_limit => 2000000000)" \
		-c "CREATE FUNCTION tick(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS \$\$BEGIN
			PERFORM actorstore.reply('1'); RETURN jsonb_set(state, '{count}', to_jsonb(coalesce((state->>'count')::bigint, 0) + 1)); END\$\$" \
		-c "CREATE FUNCTION tally(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql AS \$\$SELECT to_jsonb(coalesce(state::bigint, 0) + 1)\$\$" \
		-c "SELECT actorstore.set_handler('item', '*', 'tick(jsonb, jsonb)'), actorstore.set_handler('waits', '*', 'tally(jsonb, jsonb)')" >/dev/null
	on "$1" -f "$bench/handmade.sql"
	for ((from = 1; from <= n; from += 50000)); do
		on "$1" -c "SELECT actorstore.insert_many('item', array_agg(i::text), array_agg($value_of_i)) FROM generate_series($from, least($from + 49999, $n)) AS i" \
			-c "INSERT INTO handmade (actor_type, actor_id, value) SELECT 'item', i::text, $value_of_i FROM generate_series($from, least($from + 49999, $n)) AS i" >/dev/null
		if ((from % 1000000 == 1)); then say "  $claim: $1: $((from - 1)) of $n actors"; fi
	done
}

make_mail() {
	local from
	on many -c "SELECT actorstore.pause('waits')" >/dev/null
	for ((from = 1; from <= WAITING; from += 10000)); do
		on many -c "SELECT actorstore.send_many('waits', array_agg((i % 100000)::text), 'add', array_agg('{}'::jsonb)) FROM generate_series($from, least($from + 9999, $WAITING)) AS i" >/dev/null
	done
}

for database in few many; do make_database $database; done
make_mail
for database in few many; do on $database -c 'VACUUM ANALYZE'; done

# ---- what is timed ----

statement actorstore_get <<'END'
\set i random(1, :actors)
SELECT value FROM actorstore.get('item', :i::text);
END
statement bare_get <<'END'
\set i random(1, :actors)
SELECT value FROM handmade WHERE actor_type = 'item' AND actor_id = :i::text;
END
statement actorstore_update <<'END'
\set i random(1, :actors)
SELECT actorstore.update('item', :i::text, :value);
END
statement bare_update <<'END'
\set i random(1, :actors)
UPDATE handmade SET value = :value, version = version + 1, updated_at = now() WHERE actor_type = 'item' AND actor_id = :i::text;
END
statement actorstore_insert_delete <<'END'
\set i random(1, 1000000000)
SELECT actorstore.put('item', 'new' || :i, :value);
SELECT actorstore.delete('item', 'new' || :i);
END
statement bare_insert_delete <<'END'
\set i random(1, 1000000000)
INSERT INTO handmade (actor_type, actor_id, value) VALUES ('item', 'new' || :i, :value) ON CONFLICT (actor_type, actor_id) DO UPDATE SET value = excluded.value;
DELETE FROM handmade WHERE actor_type = 'item' AND actor_id = 'new' || :i;
END
statement actorstore_get_many <<'END'
\set i random(1, :actors - 100)
SELECT count(value) FROM actorstore.get_many('item', ARRAY(SELECT (:i + g)::text FROM generate_series(1, 100) AS g));
END
statement bare_get_many <<'END'
\set i random(1, :actors - 100)
SELECT count(value) FROM handmade WHERE actor_type = 'item' AND actor_id = ANY (ARRAY(SELECT (:i + g)::text FROM generate_series(1, 100) AS g));
END
statement actorstore_send_handled <<'END'
\set i random(1, :actors)
SELECT actorstore.send('item', :i::text, 'add');
END
statement actorstore_ask <<'END'
\set i random(1, :actors)
SELECT actorstore.ask('item', :i::text, 'add');
END

# handled DATABASE: once none of item's wait.
handled() {
	until [ "$(on "$1" -c "SELECT NOT EXISTS (SELECT FROM actorstore.message WHERE actor_type = 'item')")" = t ]; do sleep 0.05; done
	on "$1" -c "SELECT handled FROM actorstore.stat_types WHERE actor_type = 'item'"
}

# one_run SIDE_DATABASE_OPERATION: statements a second; of send_handled, what was handled a second till all was.
one_run() {
	local side=${1%%_*} rest=${1#*_} database operation before began rate after
	database=${rest%%_*} operation=${rest#*_}
	before=$(handled "$database")
	began=$(date +%s%N)
	cp "$BENCH_WORK/${side}_$operation.pgbench" "$BENCH_WORK/$1.pgbench"
	rate=$(PGDATABASE=$database ACTORS=$(actors_of "$database") pgbench_run "$1" "$2" "$3" -T "$DURATION")
	if [ "$operation" = send_handled ]; then
		after=$(handled "$database")
		awk -v n=$((after - before)) -v ns=$(($(date +%s%N) - began)) 'BEGIN {print n / ns * 1e9}'
	else
		printf '%s\n' "$rate"
	fi
}

load() { :; }

# Of what is handled the server's count must show each.
written_is_handled() {
	written() {
		local rest=${1#*_}
		handled "${rest%%_*}"
	}
}

memory() {	# private memory of all processes of the server, kB
	local pid sum=0
	for pid in $(on many -c "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()"); do
		sum=$((sum + $(awk '/^RssAnon/ {print $2}' "/proc/$pid/status" 2>/dev/null || echo 0)))
	done
	echo $sum
}

# pages TABLE: how many pages of it and its indexes were read into the buffers, and how many were looked at in all.
pages() {
	on many -c "SELECT heap_blks_read + idx_blks_read, heap_blks_read + idx_blks_read + heap_blks_hit + idx_blks_hit FROM pg_statio_all_tables WHERE relid = '$1'::regclass"
}

# pages_since BEFORE TABLE: the same since then, in words.
pages_since() {
	local now
	now=$(pages "$2")
	echo "$(thousands $((${now%|*} - ${1%|*}))) of $(thousands $((${now#*|} - ${1#*|})))"
}

# megabytes TABLE: of its rows and of its index.
megabytes() {
	on many -c "SELECT pg_table_size('$1') / 1048576 || ' MB and ' || pg_indexes_size('$1') / 1048576 || ' MB of index'"
}

ours_before=$(pages actorstore.actor_item)
theirs_before=$(pages handmade)
memory_before=$(memory)
write '| operation, a second | actorstore, many | actorstore, few | ratio | lowest and highest | table, many | table, few | ratio | target | reached |'
write '|---|---|---|---|---|---|---|---|---|---|'
for operation in $operations; do
	sides="actorstore_few_$operation actorstore_many_$operation"
	if [ -f "$BENCH_WORK/bare_$operation.pgbench" ]; then sides="$sides bare_few_$operation bare_many_$operation"; fi
	unset -f written
	case $operation in send_handled | ask) written_is_handled ;; esac
	sql -d postgres -c CHECKPOINT
	rounds on 4 $sides
	ours=$(paste "$BENCH_WORK/actorstore_many_$operation.tps" "$BENCH_WORK/actorstore_few_$operation.tps" | awk '{printf "%.3f\n", $1 / $2}' | sort -g)
	ratio=$(printf '%s\n' "$ours" | median)
	verdict=$(judge "$ratio" 0.8)
	count "$verdict"
	theirs='| - | - | - |'
	if [[ $sides == *bare* ]]; then
		theirs="| $(scaled "$(median <"$BENCH_WORK/bare_many_$operation.tps")" 1) | $(scaled "$(median <"$BENCH_WORK/bare_few_$operation.tps")" 1) | $(
			paste "$BENCH_WORK/bare_many_$operation.tps" "$BENCH_WORK/bare_few_$operation.tps" | awk '{printf "%.3f\n", $1 / $2}' | median) |"
	fi
	write "| $operation | $(scaled "$(median <"$BENCH_WORK/actorstore_many_$operation.tps")" 1) | $(scaled "$(median <"$BENCH_WORK/actorstore_few_$operation.tps")" 1) | $(
		printf %.2f "$ratio") | $(printf '%s\n' "$ours" | head -n 1) – $(printf '%s\n' "$ours" | tail -n 1) $theirs 0.8 | $verdict |"
	say "  $claim: $operation: many against few $(printf %.2f "$ratio") (target 0.8)"
done
memory_after=$(memory)

write ''
write "With many, ours has $(megabytes actorstore.actor_item) (a fifth of each page is left free for the rows' next versions), the hand-written table
$(megabytes handmade). Pages that had to be read into the buffers, of those looked at: ours $(pages_since "$ours_before" actorstore.actor_item), the other's $(pages_since "$theirs_before" handmade)."
write ''
write "Private memory of all processes: $(thousands "$memory_before") kB before, $(thousands "$memory_after") kB after all that."
verdict=$(judge $((memory_before + memory_before / 10)) "$memory_after")
count "$verdict"
write "Target: within 10 %; reached: $verdict."

# ---- a restart ----

# tallied: how many of the waiting messages have been handled.
tallied() {
	on many -c "SELECT coalesce(sum(value::bigint), 0) FROM actorstore.actor_waits"
}

"$throwaway" bench_load kill
began=$(date +%s%N)
start
up=$(date +%s%N)
on many -c "SELECT actorstore.resume('waits')" >/dev/null
: >"$BENCH_WORK/restart"
while done_so_far=$(tallied) && [ "$done_so_far" -lt "$WAITING" ]; do
	echo "$(($(date +%s%N) - began)) $done_so_far" >>"$BENCH_WORK/restart"
	sleep 0.5
done
echo "$(($(date +%s%N) - began)) $done_so_far" >>"$BENCH_WORK/restart"
if [ "$done_so_far" != "$WAITING" ]; then
	say "$claim: $done_so_far messages handled, not $WAITING"
	exit 1
fi

# The rate between two looks; full speed: the median of those. When was it reached first?
full=$(awk 'NR > 1 && $1 > t {print ($2 - n) / ($1 - t) * 1e9} {t = $1; n = $2}' "$BENCH_WORK/restart" | median)
reached_at=$(awk -v full="$full" 'NR > 1 && $1 > t && ($2 - n) / ($1 - t) * 1e9 >= 0.8 * full {printf "%.1f\n", $1 / 1e9; exit} {t = $1; n = $2}' "$BENCH_WORK/restart")
verdict=$(judge 30 "$reached_at")
count "$verdict"
write ''
write "After kill -9 the server took $(awk -v ns=$((up - began)) 'BEGIN {printf "%.1f", ns / 1e9}') s to be up; $reached_at s after it was started again, messages were handled at 0.8 times the median of the whole
time, $(thousands "$full") a second. All $(thousands "$WAITING") were handled once. Target: under 30 s; reached: $verdict."
say "  $claim: full speed $reached_at s after the start (target: under 30)"
finish
