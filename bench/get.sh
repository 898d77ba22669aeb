#!/bin/bash
# Claim: actorstore.get is no slower than the prepared SELECT by primary key.
. "$(dirname "$0")/lib.sh"
estimate $((2 * PAIRS * $(words $CLIENTS)))

begin 'get against the prepared SELECT' <<END
One actor by its key, chosen at random; both sides answer \`version\` and \`value\`. pgbench \`-M prepared\`. A read writes
nothing: synchronous_commit and the replica identity play no part, so there is one table of each side.
END

statement actorstore <<'END'
\set id random(1, :actors)
SELECT version, value FROM actorstore.get(:type, :id);
END
statement handmade <<'END'
\set id random(1, :actors)
SELECT version, value FROM handmade WHERE actor_type = :type AND actor_id = :id;
END

seed "$ACTORS"
table 'clients' 'reads/s'
for clients in $CLIENTS; do
	rounds on "$clients" actorstore handmade
	row "$(clients $clients)" actorstore handmade 'SELECT' 1.0
done
finish
