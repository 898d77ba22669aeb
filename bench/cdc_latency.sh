#!/bin/bash
# Claim: an event reaches a streaming client no later after its COMMIT than pgoutput's does.
. "$(dirname "$0")/lib.sh"

knob EVENTS 3000
rate=100
rounds_are="$PAIRS rounds, each plugin once a round, the order reversed every other round (ABBA)"
estimate $((2 * PAIRS)) $((EVENTS / rate + 1))

begin 'From COMMIT to the event, against pgoutput' <<END
$rate actors a second are updated by one client, each in a transaction of its own, synchronous_commit on; a client of
streaming replication takes the changes from the plugin's slot. Both are threads of one program, bench/plugin/latency.c,
the same for both plugins: it takes the time just before it sends COMMIT and when it has the message with the new value,
by the same clock. $EVENTS updates a round, of which the first $rate do not count. Each event must come, and once. For
comparison: until the writer itself has the answer to its COMMIT, most of which is the wait for the disk.
END

pg_config=${PG_CONFIG:-pg_config}
gcc -O2 -Wall -pthread -I"$("$pg_config" --includedir)" "$bench/plugin/latency.c" -o "$BENCH_WORK/latency" \
	-L"$("$pg_config" --libdir)" -lpq

declare -A options=([actorstore]='' [pgoutput]="(proto_version '1', publication_names 'bench')")

one_run() {
	sql -c "SELECT pg_create_logical_replication_slot('bench_$1', '$1')" >/dev/null
	"$BENCH_WORK/latency" "bench_$1" "${options[$1]}" "$EVENTS" "$rate" "$ACTORS"
	drop_slot "bench_$1"
}

run_is() {
	echo 'ms to the event (p50, p99) and to the answer'
}

# part SIDE N: the Nth of the four figures of each round.
part() {
	awk -v n="$2" '{print $n}' "$BENCH_WORK/$1.tps"
}

# row_at_most NAME N TARGET: a line of the table, of the Nth figure.
row_at_most() {
	local ratios ratio verdict=no
	ratios=$(paste <(part actorstore "$2") <(part pgoutput "$2") | awk '{printf "%.3f\n", $1 / $2}' | sort -g)
	ratio=$(printf '%s\n' "$ratios" | median)
	if [ "$3" = - ]; then verdict=-; elif at_least "$3" "$ratio"; then verdict=yes; fi
	write "| $1 | $(printf %.3f "$(part actorstore "$2" | median)") | $(printf %.3f "$(part pgoutput "$2" | median)") |" \
		"$(printf %.2f "$ratio") | $(printf '%s\n' "$ratios" | sed -n '1p;$p' | paste -s -d' ' | sed 's/ / – /') | $3 | $verdict |"
	say "  $claim: $1: $(printf %.2f "$ratio") (target: at most $3)"
	count "$verdict"
}

seed "$ACTORS"
load actorstore
load() { :; }
sql -c 'DROP PUBLICATION IF EXISTS bench' -c 'CREATE PUBLICATION bench FOR TABLE actorstore.actor'
rounds on 1 actorstore pgoutput

write '| from COMMIT to | actorstore, ms | pgoutput, ms | ratio | lowest and highest | target: at most | reached |'
write '|---|---|---|---|---|---|---|'
row_at_most 'event, p50' 1 1.1
row_at_most 'event, p99' 2 1.1
row_at_most 'answer to the writer, p50' 3 -
row_at_most 'answer to the writer, p99' 4 -
finish
