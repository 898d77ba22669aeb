#!/bin/bash
# Claim: a million waiting messages are handled several times as fast as by PGQ.
. "$(dirname "$0")/queue_lib.sh"

knob MESSAGES 1000000
rounds_are="$PAIRS rounds, each side once a round, the order reversed every other round (ABBA)"
estimate 1 $((PAIRS * (MESSAGES / 1000 * 50 / 1000 + 20)))

queue_tables
fetch_pgq

begin 'Draining a full queue' <<END
$(thousands "$MESSAGES") messages wait; how fast are they handled? synchronous_commit on. $work_is
actorstore's type is paused while the mailboxes are filled; the time begins with \`resume\` and ends when the server has
counted all of them, looked at every 20 ms. PGQ has one consumer, as a queue of PGQ has, and a transaction
for each batch of 7,000 events, about what its producers make between ticks of 100 ms; event by event, or summed up per actor in one statement, which only a handler that can be written
so may do; so does a handler that gets the bodies of a turn at once, here in PL/pgSQL too. The table with SKIP LOCKED has two consumers, 100 messages a transaction, one UPDATE a message. The peers' consumers are
procedures in the server: no round trips.
$counted
$(peers_are)
END

one_run() {
	case $1 in
		actorstore_many) fresh "$1" "$actors" 'count_many(jsonb, jsonb[])' ;;
		*) fresh "$1" ;;
	esac
	fill "$1" "$MESSAGES"
	drain "$1" "$MESSAGES"
	check_counts "$1" "$MESSAGES"
	must_be "$1: handled" "$(counters "$1")" "$MESSAGES"
	rate_of "$1"
}

run_is() {
	echo 'messages a second'
}

load() { :; }

sides='actorstore actorstore_many handmade'
if have pgq; then sides="$sides pgq pgq_sets"; fi
rounds on 2 $sides
table 'messages' 'messages/s'
if have pgq; then
	row "$(thousands "$MESSAGES")" actorstore pgq 'PGQ, event by event' 4.0
	row "$(thousands "$MESSAGES")" actorstore pgq_sets 'PGQ, summed up' 2.0
	row "$(thousands "$MESSAGES"), as arrays" actorstore_many pgq_sets 'PGQ, summed up' 2.0
fi
row "$(thousands "$MESSAGES")" actorstore handmade 'SKIP LOCKED' -
row "$(thousands "$MESSAGES"), as arrays" actorstore_many actorstore 'one by one' -
finish
