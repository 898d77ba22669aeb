#!/bin/bash
# Claim: none; what a handler costs in PL/pgSQL, in SQL and in C.
. "$(dirname "$0")/queue_lib.sh"

knob MESSAGES 1000000
rounds_are="$PAIRS rounds, each form once a round, the order reversed every other round (ABBA)"
estimate 1 $((PAIRS * (MESSAGES / 1000 * 30 / 1000 + 12)))

queue_tables

begin 'Handlers in PL/pgSQL, SQL and C' <<END
$(thousands "$MESSAGES") messages for $(thousands $actors) actors wait and are handled, as in queue_drain; synchronous_commit on. The handlers
count in the state: in PL/pgSQL and in SQL by \`jsonb_build_object('count', coalesce((state->>'count')::bigint, 0) + 1)\`, in C by
bench/plugin/handler.c, which does the same.
$counted
END

one_run() {
	fresh "$1" $actors "count_${1#actorstore_}"
	fill "$1" "$MESSAGES"
	drain "$1" "$MESSAGES"
	check_counts "$1" "$MESSAGES"
	rate_of "$1"
}

run_is() {
	echo 'messages a second'
}

load() { :; }

rounds on 2 actorstore_plpgsql actorstore_sql actorstore_c
table 'handler' 'messages/s'
row 'SQL' actorstore_sql actorstore_plpgsql 'PL/pgSQL' -
row 'C' actorstore_c actorstore_plpgsql 'PL/pgSQL' -
finish
