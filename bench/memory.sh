#!/bin/bash
# Claim: a backend that has touched 1,000,000 actors is no larger than one that has touched 1,000.
. "$(dirname "$0")/lib.sh"

knob TOUCHED 1000000
many=$TOUCHED few=1000
rounds_are=''
estimate 1 200

begin 'Memory of a backend' <<END
Three sessions over a type of $(thousands "$many") actors, each actor once read by \`get\` and once written by \`update\`, from a PL/pgSQL loop:
the first session touches $(thousands $few) actors, the second all of them in transactions of 1,000, the third all of them in
one transaction. Then each reports on itself: the sum of pg_backend_memory_contexts, and its private memory (RssAnon,
what it has beside shared memory). The target: no more than 5 % above the first session's.
END

seed "$many"
turnover=0
load actorstore

# touch_actors COUNT COMMIT-EVERY: contexts|RssAnon in kB, of a session that has touched COUNT actors.
touch_actors() {
	sql <<SQL | grep '|' || { say 'the session reported nothing'; return 1; }
DO \$\$
DECLARE
	value jsonb := '$value';
BEGIN
	FOR i IN 1 .. $1 LOOP
		PERFORM actorstore.get('item', i::text);
		PERFORM actorstore.update('item', i::text, value);
		IF i % $2 = 0 THEN
			COMMIT;
		END IF;
	END LOOP;
END \$\$;
SELECT (SELECT sum(total_bytes) / 1024 FROM pg_backend_memory_contexts)::bigint,
	substring(pg_read_file('/proc/self/status') FROM 'RssAnon:\s*(\d+) kB');
SQL
}

first=$(touch_actors $few 1000)
second=$(touch_actors "$many" 1000)
third=$(touch_actors "$many" $((many + 1)))

write '| session | memory contexts, kB | private memory, kB | within 5 % of the first |'
write '|---|---|---|---|'
write "| $(thousands $few) actors | $(thousands "${first%|*}") | $(thousands "${first#*|}") | |"
for session in "$second, transactions of 1,000" "$third, one transaction"; do
	figures=${session%%,*}
	verdict=no
	if at_least $((${first%|*} * 105)) $((${figures%|*} * 100)) &&
		at_least $((${first#*|} * 105)) $((${figures#*|} * 100)); then verdict=yes; fi
	count $verdict
	write "| $(thousands "$many") actors,${session#*,} | $(thousands "${figures%|*}") | $(thousands "${figures#*|}") | $verdict |"
	say "  $claim:${session#*,}: $figures kB, $(thousands $few) actors: $first kB"
done
finish
