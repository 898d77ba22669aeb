#!/bin/bash
# Claim: what the scheduler itself costs, beside queues that carry the same numbers and know nothing of actors.
. "$(dirname "$0")/lib.sh"

knob ITEMS 5000000
rounds_are="$PAIRS rounds of $ITEMS hints each, every side once a round, the order reversed every other round (ABBA)"
estimate $((PAIRS * 21)) 0

begin 'The scheduler alone' <<END
bench/scheduler/alone.c, a program linked with the product's scheduler (src/runtime/sched.c, slot.c, urgent.c) and no server around it. A
hint finds or claims the slot of one of 10,000 actors, lowers its position and queues it; who takes it runs the slot, calls a handler
that does nothing, and gives the slot back: a turn without a transaction. Beside it the bare queues, ours (src/lib) and those of other
libraries, all for 64-bit numbers: Concurrency Kit $(dpkg-query -W -f '${Version}' libck-dev 2>/dev/null)'s ck_ring, for many producers
and consumers (mpmc) or one producer and many consumers (spmc), and userspace RCU
$(dpkg-query -W -f '${Version}' liburcu-dev 2>/dev/null)'s wfcqueue, a linked list for many producers and one consumer.

Pushed, taken: one process, pinned, which puts 1,024 in and takes them out. Passed on: one process puts in what another one takes out,
each pinned to a core of its own, at most 2,048 under way; "stolen" is from the first one's deque, everything else from the queue of all.
After each run the number and the sum of what came out must be those of what went in, and no hint may have been dropped.
END

gcc -O2 -Wall -D_GNU_SOURCE -I"$bench/../src" -I"$("${PG_CONFIG:-pg_config}" --includedir-server)" "$bench/scheduler/alone.c" \
	"$bench"/../src/runtime/{sched,slot,urgent}.c -o "$BENCH_WORK/alone" -lck -lurcu-common

run_is() {
	echo "$part, a second"
}

load() { :; }

one_run() {
	"$BENCH_WORK/alone" "$1" "$part" "$ITEMS"
}

table 'what, by what' 'a second, thousands'
for part in put take flow; do
	case $part in
		put) what='pushed, by one process' own=own_hint owns='to its own deque' ;;
		take) what='taken, by one process' own=own_hint owns='from its own deque' ;;
		flow) what='passed on, to another process' own=stolen_hint owns='stolen' ;;
	esac
	rounds - "$cores" hint $own ring deque ck_mpmc ck_spmc wfcq
	row "hints $what" hint ck_mpmc 'ck_ring, mpmc' - 0.001
	row "hints $what, $owns" $own ck_spmc 'ck_ring, spmc' - 0.001
	row "numbers $what: ring.h" ring ck_mpmc 'ck_ring, mpmc' - 0.001
	row "numbers $what: ring.h" ring wfcq 'wfcqueue' - 0.001
	row "numbers $what: deque.h, by those who steal" deque ck_spmc 'ck_ring, spmc' - 0.001
done
finish
