#!/bin/bash
# Claim: actorstore.insert is no slower than the prepared INSERT.
. "$(dirname "$0")/lib.sh"
estimate $((2 * PAIRS * $(words $CLIENTS) * 2))

begin 'insert against the prepared INSERT' <<END
New actors with ids in no order, into a table that has some already; both sides answer the version. pgbench \`-M prepared\`.
An insert logs no old row: the replica identity plays no part. After each run the rows are counted and compared with the
number of transactions.
END

statement actorstore <<'END'
\set n :n + 1
\set id :actors + 1 + permute(:n * :clients + :client_id, 1000000000, 42)
SELECT (actorstore.insert(:type, :id, :value)).version;
END
statement handmade <<'END'
\set n :n + 1
\set id :actors + 1 + permute(:n * :clients + :client_id, 1000000000, 42)
INSERT INTO handmade (actor_type, actor_id, value) VALUES (:type, :id, :value) RETURNING version;
END

written() {
	sql -c "SELECT count(*) FROM $table"
}

turnover=0
seed "$ACTORS"
table 'synchronous_commit | clients' 'inserts/s'
for sync in on off; do
	for clients in $CLIENTS; do
		rounds $sync "$clients" actorstore handmade
		row "$sync | $(clients $clients)" actorstore handmade 'INSERT' 1.0
	done
done
finish
