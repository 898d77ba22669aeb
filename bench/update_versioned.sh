#!/bin/bash
# Claim: the compare-and-swap is no slower than its prepared UPDATE where commits wait for the disk, and faster where not.
. "$(dirname "$0")/lib.sh"
estimate $((3 * PAIRS * $(words $CLIENTS) * 2))

begin 'update_versioned against UPDATE … WHERE … AND version = $n RETURNING' <<END
A compare-and-swap that succeeds; both sides answer the new version. pgbench \`-M prepared\`. Each client has an equal
share of the actors and writes them in random order, each once a lap: the lap's number tells the version that it expects, so
that nothing has to be read first. After each run the versions are summed up and compared with the number of transactions.
END

statement actorstore <<'END'
\set n :n + 1
\set share :actors / :clients
\set id :client_id * :share + 1 + permute(:n % :share, :share, :n / :share)
\set expected :n / :share + 1
SELECT (actorstore.update_versioned(:type, :id, :value, :expected)).version;
END
statement handmade <<'END'
\set n :n + 1
\set share :actors / :clients
\set id :client_id * :share + 1 + permute(:n % :share, :share, :n / :share)
\set expected :n / :share + 1
UPDATE handmade SET value = :value, version = version + 1, updated_at = now() WHERE actor_type = :type AND actor_id = :id AND version = :expected RETURNING version;
END

written() {
	sql -c "SELECT sum(version) FROM $table"
}

seed "$ACTORS"
writes_matrix 'swaps/s'
finish
