#!/bin/bash
# Claim: an actor of another node costs no more than a statement sent there, and one round trip to the node that was asked.
. "$(dirname "$0")/lib.sh"

knob ROWS 1000000
estimate $((8 * PAIRS + 20))

begin 'Actors of other nodes: compare_and_swap and get_all over several servers' <<END
Three servers on this machine, all with the settings below, over Unix sockets; one client, pgbench \`-M prepared\`. compare_and_swap is called on the first
server for an actor that the second one owns: there against the same UPDATE sent straight to the second server. Figures are milliseconds a call; a round
trip to the first server (\`SELECT 1\`) is taken off the routed one, so that the ratio is what routing adds to the UPDATE. After each run the second
server must show as many versions as there were calls. get_all: $(thousands "$ROWS") actors, a third on each server, counted on the first, against \`COPY … TO STDOUT\` of
each server's own, all three at once: rows a second.
END

throwaway=$bench/../scripts/throwaway
others='bench_two bench_three'
stop_others() {
	local node
	for node in $others; do "$throwaway" "$node" stop; done
}
stop_others
trap stop_others EXIT
printf '%s\nmax_prepared_transactions = 100\n' "$server_settings" >"$BENCH_WORK/routed.conf"
for node in $others; do "$throwaway" "$node" start "$BENCH_WORK/routed.conf"; done
if [ "$(sql -c 'SHOW max_prepared_transactions')" = 0 ]; then
	say 'the first server has max_prepared_transactions = 0'
	exit 1
fi

conninfo() {	# one | bench_two | bench_three
	if [ "$1" = one ]; then
		echo "host=$PGHOST user=postgres dbname=routed"
	else
		(eval "$("$throwaway" "$1" env)" && echo "host=$PGHOST user=postgres dbname=routed")
	fi
}

declare -A at
for node in one $others; do
	at[$node]=$(conninfo $node)
	sql -d "${at[$node]/dbname=routed/dbname=postgres}" -c 'DROP DATABASE IF EXISTS routed' -c 'CREATE DATABASE routed' >/dev/null
	sql -d "${at[$node]}" -c 'CREATE EXTENSION actorstore' -f "$bench/handmade.sql"
done
sql -d "${at[one]}" -c "SELECT actorstore.init_node('one', '${at[one]}')" >/dev/null
for node in $others; do
	sql -d "${at[one]}" -c "SELECT actorstore.add_node('${node#bench_}', '${at[$node]}')" >/dev/null
done
sql -d "${at[one]}" -c "SELECT actorstore.create_type('item')" -c "SELECT actorstore.create_type('many')" >/dev/null
id=$(sql -d "${at[one]}" -c "SELECT 'k' || i FROM generate_series(1, 1000) AS i WHERE actorstore.locate('item', 'k' || i) = 'two' LIMIT 1")

# ---- compare_and_swap ----

statement routed <<END
\set v :v + 1
SELECT swapped, version FROM actorstore.compare_and_swap('item', '$id', :v, :value);
END
statement straight <<END
\set v :v + 1
UPDATE handmade SET value = :value, version = version + 1, updated_at = now() WHERE actor_type = 'item' AND actor_id = '$id' AND version = :v RETURNING version;
END
echo 'SELECT 1;' | statement trip

load() {
	[ "$1" != trip ] || return 0
	sql -d "${at[bench_two]}" -c 'DELETE FROM handmade' -c "INSERT INTO handmade (actor_type, actor_id, value) VALUES ('item', '$id', '$value')" \
		-c "SELECT actorstore.delete('item', '$id')" -c "SELECT actorstore.insert('item', '$id', '$value')" \
		-c 'VACUUM handmade' -c 'VACUUM actorstore.actor_item' -c CHECKPOINT >/dev/null
}

version() {
	case $1 in
		routed) sql -d "${at[bench_two]}" -c "SELECT version FROM actorstore.actor_item WHERE actor_id = '$id'" ;;
		straight) sql -d "${at[bench_two]}" -c "SELECT version FROM handmade" ;;
	esac
}

# Milliseconds a call.
one_run() {	# SIDE SYNC
	local where=one out n
	if [ "$1" = straight ]; then where=bench_two; fi
	out=$(pgbench -n -M prepared -T "$DURATION" -f "$BENCH_WORK/$1.pgbench" -D v=-1 -D value="$value" "${at[$where]}" 2>&1)
	n=$(field "$out" 'number of transactions actually processed: ')
	if [ "$1" != trip ] && [ "$(version "$1")" != "$n" ]; then
		say "$1: $n transactions, but the version is $(version "$1")"
		return 1
	fi
	field "$out" 'latency average = '
}

run_is() {
	echo "synchronous_commit $1"
}

table_at_most 'synchronous_commit' 'ms a call'
for sync in on off; do
	for node in one $others; do
		sql -d "${at[$node]}" -c "ALTER DATABASE routed SET synchronous_commit = $sync"
	done
	rounds $sync 1 routed straight trip
	cp "$BENCH_WORK/routed.tps" "$BENCH_WORK/whole.tps"
	paste "$BENCH_WORK/whole.tps" "$BENCH_WORK/trip.tps" | awk '{print $1 - $2}' >"$BENCH_WORK/routed.tps"
	row_at_most "$sync | without the round trip" routed straight 'UPDATE sent straight to the owner' 1.15
	row_at_most "$sync | as the client sees it" whole straight 'UPDATE sent straight to the owner' -
done

# ---- get_all ----

for ((from = 1; from <= ROWS; from += 50000)); do
	sql -d "${at[one]}" -c "SELECT actorstore.insert_many('many', array_agg(i::text), array_agg($value_of_i))
		FROM generate_series($from, least($from + 49999, $ROWS)) AS i" >/dev/null
done
for node in one $others; do
	sql -d "${at[$node]}" -c 'VACUUM ANALYZE actorstore.actor_many' -c CHECKPOINT
done

load() {
	:
}

run_is() {
	echo 'all actors'
}

copy_all() {
	local node
	for node in one $others; do
		sql -d "${at[$node]}" -c 'COPY actorstore.actor_many TO STDOUT' >"$BENCH_WORK/$node.rows" &
	done
	wait
	cat "$BENCH_WORK"/{one,bench_two,bench_three}.rows | wc -l
	rm -f "$BENCH_WORK"/{one,bench_two,bench_three}.rows
}

one_run() {	# SIDE: rows a second
	local began ended n
	began=$(date +%s%N)
	if [ "$1" = copies ]; then
		n=$(copy_all)
	else
		n=$(sql -d "${at[one]}" -c "SELECT count(*) FROM actorstore.get_all('many')")
	fi
	ended=$(date +%s%N)
	if [ "$n" != "$ROWS" ]; then
		say "$1: $n rows"
		return 1
	fi
	awk -v n="$n" -v t=$((ended - began)) 'BEGIN {print n * 1e9 / t}'
}

write ''
table 'all actors' 'rows/s'
rounds - 1 get_all copies
row 'get_all, counted' get_all copies 'COPY on each, all at once' 0.5
sql -d postgres -c 'DROP DATABASE routed WITH (FORCE)' >/dev/null
finish
