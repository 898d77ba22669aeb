#!/bin/bash
# Claim: being followed takes no more than 15 % of the writers' speed.
. "$(dirname "$0")/lib.sh"
estimate $((2 * PAIRS * $(words $CLIENTS) * 2)) $((DURATION + 4))

begin 'What following costs the writers' <<END
\`actorstore.update_versioned\` that succeeds, as in the benchmark of that name, pgbench \`-M prepared\`. "actorstore" is followed: the
table is as the extension makes it, with REPLICA IDENTITY FULL, and a pg_recvlogical (\`-f /dev/null\`) streams its changes as
JSON. "alone" is the same table with REPLICA IDENTITY DEFAULT, and nobody decodes anything. Client, writers and consumer share
the $cores cores; "pinned" are the writer and its backend, the consumer is not. wal_level is logical for both. After each
run the versions are summed up, and the consumer must get all of the transactions: "behind" is how long that took after the
writers had stopped, at worst.
END

for side in followed alone; do
	statement actorstore_$side <<'END'
\set n :n + 1
\set share :actors / :clients
\set id :client_id * :share + 1 + permute(:n % :share, :share, :n / :share)
\set expected :n / :share + 1
SELECT (actorstore.update_versioned(:type, :id, :value, :expected)).version;
END
done

programs=$(sql -c "SELECT setting FROM pg_config WHERE name = 'BINDIR'")
load_again=$(declare -f load)
eval "load_full ${load_again#load }"

load() {
	load_full "$1"
	if [ "$1" = actorstore_alone ]; then
		sql -c 'ALTER TABLE actorstore.actor_item REPLICA IDENTITY DEFAULT'
	fi
}

written() {
	sql -c "SELECT sum(version) FROM $table"
}

one_run() {
	local before start consumer
	if [ "$1" = actorstore_alone ]; then
		pgbench_run "$@" -T "$DURATION"
		return
	fi
	before=$(written)
	sql -c "SELECT pg_create_logical_replication_slot('bench_follower', 'actorstore')" >/dev/null
	"$programs/pg_recvlogical" -d "$PGDATABASE" --slot=bench_follower --start --no-loop -f /dev/null 2>"$BENCH_WORK/messages" &
	consumer=$!
	wait_until "SELECT active FROM pg_replication_slots WHERE slot_name = 'bench_follower'"
	pgbench_run "$@" -T "$DURATION"
	start=${EPOCHREALTIME/./}
	wait_until "SELECT total_txns >= $(written) - $before FROM pg_stat_replication_slots WHERE slot_name = 'bench_follower'"
	echo $((${EPOCHREALTIME/./} - start)) >>"$BENCH_WORK/behind"
	kill -INT $consumer
	if ! wait $consumer; then
		cat "$BENCH_WORK/messages" >&2
		return 1
	fi
	drop_slot bench_follower
}

# wait_until QUERY: until it says t; a minute at most.
wait_until() {
	local tries
	for ((tries = 0; tries < 3000; tries++)); do
		if [ "$(sql -c "$1")" = t ]; then return; fi
		sleep 0.02
	done
	say "the consumer does not come so far: $1"
	return 1
}

seed "$ACTORS"
table 'synchronous_commit | clients | behind' 'swaps/s'
for sync in on off; do
	for clients in $CLIENTS; do
		: >"$BENCH_WORK/behind"
		rounds $sync "$clients" actorstore_followed actorstore_alone
		behind=$(sort -g "$BENCH_WORK/behind" | tail -n 1)
		row "$sync | $(clients "$clients") | $(awk -v us="$behind" 'BEGIN {printf "%.2f s", us / 1e6}')" \
			actorstore_followed actorstore_alone 'alone' 0.85
	done
done
finish
