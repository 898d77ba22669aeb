#!/bin/bash
# Claim: sent one by one, messages are handled nearly as fast as the same clients can insert rows that nobody consumes.
. "$(dirname "$0")/queue_lib.sh"

SENDERS=4
estimate $((2 * PAIRS)) $((DURATION + 4))

queue_tables

begin 'Single sends' <<END
$SENDERS clients send one message at a time, a transaction each, synchronous_commit on; actorstore's workers handle them
meanwhile, on the same $cores cores. $work_is
Against: the same clients insert the same message into a table with a primary key (bench/queues.sql), and nobody consumes.
pgbench \`-M prepared\`; ids at random. Handled is what the counters show when the time is up, divided by the time.
$counted
END

statement actorstore <<'END'
\set id random(1, 1000)
SELECT actorstore.send(:type, :id, 'add', :body);
END
statement handmade <<'END'
\set id random(1, 1000)
INSERT INTO queue (actor_id, body) VALUES (:id, :body);
END

body='{"number": 123456, "customer": "e10adc3949ba59abbe56e057f20f883e", "note": "leave at the door"}'

one_run() {
	local start out sent handled seconds
	fresh "$1"
	start=${EPOCHREALTIME/./}
	if ! out=$(pgbench -n -M prepared -c "$SENDERS" -j $((SENDERS < cores ? SENDERS : cores)) -T "$DURATION" \
		-D type="$type" -D body="$body" -f "$BENCH_WORK/$1.pgbench" 2>&1) ||
		[ "$(field "$out" 'number of failed transactions: ')" != 0 ]; then
		say "$out"
		return 1
	fi
	sent=$(field "$out" 'number of transactions actually processed: ')
	if [ "$1" = actorstore ]; then handled=$(counters actorstore); else handled=$(waiting handmade); fi
	seconds=$(awk -v us=$((${EPOCHREALTIME/./} - start)) 'BEGIN {print us / 1e6}')
	if [ "$1" = actorstore ]; then
		settle
		echo $((sent - handled)) >>"$BENCH_WORK/left"
	fi
	check_counts "$1" "$sent"
	awk -v h="$handled" -v s="$seconds" 'BEGIN {print h / s}'
}

run_is() {
	echo 'messages a second'
}

load() { :; }

: >"$BENCH_WORK/left"
rounds on $SENDERS actorstore handmade
table 'clients' 'handled/s'
row $SENDERS actorstore handmade 'INSERT, nobody consumes' 0.8
write ''
write "- Waiting when the time was up, at most: $(sort -g "$BENCH_WORK/left" | tail -n 1)."
finish
