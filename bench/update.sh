#!/bin/bash
# Claim: actorstore.update is no slower than the prepared UPDATE where commits wait for the disk, and faster where not.
. "$(dirname "$0")/lib.sh"
estimate $((3 * PAIRS * $(words $CLIENTS) * 2))

begin 'update against the prepared UPDATE' <<END
One actor chosen at random gets a new value; both sides answer the new version. pgbench \`-M prepared\`. After each run
the versions in the table are summed up and compared with the number of transactions.
END

statement actorstore <<'END'
\set id random(1, :actors)
SELECT (actorstore.update(:type, :id, :value)).version;
END
statement handmade <<'END'
\set id random(1, :actors)
UPDATE handmade SET value = :value, version = version + 1, updated_at = now() WHERE actor_type = :type AND actor_id = :id RETURNING version;
END

written() {
	sql -c "SELECT sum(version) FROM $table"
}

seed "$ACTORS"
writes_matrix 'updates/s'
finish
