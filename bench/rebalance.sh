#!/bin/bash
# Claim: actors move to a new node at 50,000 a second, and who writes them meanwhile hardly notices.
. "$(dirname "$0")/lib.sh"

knob ROUNDS 3
knob MOVED 1000000
knob WRITES 1000
knob WRITERS 8
estimate $((2 * ROUNDS)) $((25 + MOVED / 30000))

rounds_are="$ROUNDS rounds, each on new databases"
begin 'Rebalance: actors move to a new node' <<END
Two servers on this machine, both with the settings below, over Unix sockets. $(thousands "$MOVED") actors on the first one, a second one joins, half of the slots
move. Meanwhile $WRITERS clients write at the first server, $(thousands "$WRITES") times a second altogether, at the times of a Poisson process whether the
former write has come back or not: \`update\` of any actor, also those that have moved. A write's time counts from when it was due. Beside it the same
rows of a table without anything around it, under the same load of UPDATEs: one \`COPY … TO STDOUT\` piped into \`COPY … FROM STDIN\` on the second server,
then one DELETE; it loses what is written meanwhile, and nobody can ask for a row while it is neither here nor there. After each rebalance
both servers together must have all actors, each with as many versions as it was written, each on the node that \`locate\` names.
END

throwaway=$bench/../scripts/throwaway
"$throwaway" bench_two stop
trap '"$throwaway" bench_two stop' EXIT
printf '%s\nmax_prepared_transactions = 100\n' "$server_settings" >"$BENCH_WORK/rebalance.conf"
"$throwaway" bench_two start "$BENCH_WORK/rebalance.conf"

conninfo() {	# one | two
	if [ "$1" = one ]; then
		echo "host=$PGHOST user=postgres dbname=rebalance"
	else
		(eval "$("$throwaway" bench_two env)" && echo "host=$PGHOST user=postgres dbname=rebalance")
	fi
}

declare -A at
for node in one two; do at[$node]=$(conninfo $node); done

statement actors <<'END'
\set i random(1, :n)
SELECT actorstore.update('item', :i::text, :value);
END
statement bare <<'END'
\set i random(1, :n)
UPDATE bare SET value = :value, version = version + 1, updated_at = now() WHERE actor_type = 'item' AND actor_id = :i::text;
END

new_databases() {
	local node from
	for node in one two; do
		sql -d "${at[$node]/dbname=rebalance/dbname=postgres}" -c 'DROP DATABASE IF EXISTS rebalance WITH (FORCE)' -c 'CREATE DATABASE rebalance' >/dev/null
		sql -d "${at[$node]}" -c 'CREATE EXTENSION actorstore' -c "CREATE TABLE bare (actor_type text COLLATE \"C\", actor_id text COLLATE \"C\",
			value jsonb NOT NULL, version bigint NOT NULL DEFAULT 0, created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(),
			PRIMARY KEY (actor_type, actor_id))"
	done
	sql -d "${at[one]}" -c "SELECT actorstore.init_node('one', '${at[one]}')" -c "SELECT actorstore.create_type('item')" >/dev/null
	for ((from = 1; from <= MOVED; from += 50000)); do
		sql -d "${at[one]}" -c "SELECT actorstore.insert_many('item', array_agg(i::text), array_agg($value_of_i)) FROM generate_series($from, least($from + 49999, $MOVED)) AS i" >/dev/null
	done
	sql -d "${at[one]}" -c "INSERT INTO bare SELECT 'item', i::text, $value_of_i FROM generate_series(1, $MOVED) AS i" \
		-c "SELECT actorstore.add_node('two', '${at[two]}')" -c 'VACUUM ANALYZE' -c CHECKPOINT >/dev/null
	sql -d "${at[two]}" -c CHECKPOINT
}

# writers SIDE SECONDS: in the background until writers_end.
writers() {
	rm -f "$BENCH_WORK"/writes.*
	pgbench -n -M prepared -c "$WRITERS" -j "$cores" -R "$WRITES" -T "$2" -l --log-prefix="$BENCH_WORK/writes" -f "$BENCH_WORK/$1.pgbench" \
		-D n="$MOVED" -D value="$value" "${at[one]}" >"$BENCH_WORK/writers.out" 2>&1 &
	writers=$!
}

writers_end() {
	wait $writers || { say "$(cat "$BENCH_WORK/writers.out")"; return 1; }
	if [ "$(field "$(cat "$BENCH_WORK/writers.out")" 'number of failed transactions: ')" != 0 ] || grep -q aborted "$BENCH_WORK/writers.out"; then
		say "$(cat "$BENCH_WORK/writers.out")"
		return 1
	fi
	written=$((written + $(field "$(cat "$BENCH_WORK/writers.out")" 'number of transactions actually processed: ')))
}

# p99 FROM TO: milliseconds, of the writes that came back between these times (ns).
p99() {
	awk -v from="$1" -v to="$2" '{at = $5 * 1e9 + $6 * 1e3} at >= from && at <= to {print $3}' "$BENCH_WORK"/writes.* | sort -n |
		awk '{v[NR] = $1} END {printf "%.2f\n", v[int(NR * 0.99) + (NR * 0.99 > int(NR * 0.99))] / 1000}'
}

# Whoever looks whether all have moved connects once: psql's own start, ten times a second, took a fifth of a core.
move_actors() {
	sql -d "${at[one]}" -c 'SELECT FROM actorstore.rebalance(false)' >/dev/null
	sql -d "${at[one]}" -c 'DO $$ BEGIN WHILE EXISTS (SELECT FROM actorstore.stat_rebalance) LOOP COMMIT; PERFORM pg_sleep(0.1); END LOOP; END $$'
}

move_bare() {
	sql -d "${at[one]}" -c "COPY (SELECT * FROM bare WHERE actorstore.slot_of(actor_type, actor_id) % 2 = 0) TO STDOUT" | sql -d "${at[two]}" -c 'COPY bare FROM STDIN'
	sql -d "${at[one]}" -c 'DELETE FROM bare WHERE actorstore.slot_of(actor_type, actor_id) % 2 = 0'
}

# one_side SIDE TABLE: what is written before, then the move; figures to files.
one_side() {
	local began ended n
	written=0
	writers "$1" 10
	writers_end
	p99 0 9e18 >>"$BENCH_WORK/$1.before.tps"
	writers "$1" $((5 + MOVED / 40000))
	sleep 2
	began=$(date +%s%N)
	"move_$1"
	ended=$(date +%s%N)
	writers_end
	p99 "$began" "$ended" >>"$BENCH_WORK/$1.during.tps"
	n=$(sql -d "${at[two]}" -c "SELECT count(*) FROM $2")
	awk -v n="$n" -v t=$((ended - began)) 'BEGIN {printf "%.0f\n", n / t * 1e9}' >>"$BENCH_WORK/$1.tps"
	say "  $claim: $1: $n in $(((ended - began) / 1000000)) ms, $(tail -n 1 "$BENCH_WORK/$1.tps") a second; p99 $(tail -n 1 "$BENCH_WORK/$1.before.tps") ms before, $(tail -n 1 "$BENCH_WORK/$1.during.tps") meanwhile"
}

check() {
	local is
	is=$(for node in one two; do
		sql -d "${at[$node]}" -c "SELECT count(*), sum(version), count(*) FILTER (WHERE actorstore.locate(actor_type, actor_id) <> '$node') FROM actorstore.actor"
	done | awk -F '|' '{n += $1; v += $2; s += $3} END {print n, v, s}')
	if [ "$is" != "$MOVED $written 0" ]; then
		say "actors, versions, strays: $is, but should be $MOVED $written 0"
		return 1
	fi
}

rm -f "$BENCH_WORK"/{actors,bare}{,.before,.during}.tps
for ((round = 1; round <= ROUNDS; round++)); do
	new_databases
	one_side actors actorstore.actor
	check
	one_side bare bare
done

table 'what' 'rows a second'
row 'half of all rows' actors bare 'COPY and DELETE' -
write ''
speed=$(median <"$BENCH_WORK/actors.tps")
write "Actors a second: $(thousands "$speed"); target: at least 50,000; reached: $(judge "$speed" 50000)."
count "$(judge "$speed" 50000)"
write ''
table_at_most 'who writes' 'p99 meanwhile, ms'
row_at_most 'actors' actors.during actors.before 'p99 before' 3
row_at_most 'rows of the table' bare.during bare.before 'p99 before' -
finish
