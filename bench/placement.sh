#!/bin/bash
# Claim: the node of an actor is found within 50 ns, and no slower than by a ring of virtual nodes.
. "$(dirname "$0")/lib.sh"

knob LOOKUPS 5000000
rounds_are="$PAIRS rounds of $(thousands "$LOOKUPS") look-ups on each side"
estimate $((3 * PAIRS)) 1

begin 'The node of an actor: the map of slots against a ring of virtual nodes' <<END
A million actors with ids of 12 bytes, one after the other, in an order of no pattern; one process (bench/plugin/placement.c), no SQL. Both sides hash
type and id (XXH64); ours then reads the map of 4,096 slots, the other one searches a sorted ring of 256 points a node.
Look-ups in nanoseconds, hash included.
END

program=$BENCH_WORK/placement
pg_config=${PG_CONFIG:-pg_config}
# shellcheck disable=SC2046
$("$pg_config" --cc) -O2 -I"$bench/../src" -I"$("$pg_config" --includedir-server)" $("$pg_config" --cppflags) \
	"$bench/plugin/placement.c" "$bench/../src/lib/slot_map.c" "$bench/../src/lib/key_hash.c" -o "$program" \
	-L"$("$pg_config" --pkglibdir)" -L"$("$pg_config" --libdir)" -lpgcommon -lpgport -lm

table_at_most 'nodes' 'ns'
for nodes in 3 16 256; do
	for side in map ring; do : >"$BENCH_WORK/$side.tps"; done
	for ((round = 1; round <= PAIRS; round++)); do
		read -r map ring < <("$program" $nodes "$LOOKUPS")
		echo "$map" >>"$BENCH_WORK/map.tps"
		echo "$ring" >>"$BENCH_WORK/ring.tps"
		for side in map ring; do
			say "  $claim: $nodes nodes, round $round of $PAIRS, $side: $(tail -n 1 "$BENCH_WORK/$side.tps") ns"
		done
	done
	row_at_most $nodes map ring 'ring of virtual nodes' 1.0
	ours=$(median <"$BENCH_WORK/map.tps")
	verdict=$(judge 50 "$ours")
	count "$verdict"
	worst="${worst:-}$nodes nodes: $ours ns, at most 50: $verdict. "
done
write ''
write "$worst"
finish
