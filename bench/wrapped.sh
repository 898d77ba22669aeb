#!/bin/bash
# Claim: the compare-and-swap that one would wrap into a function by hand is slower, in PL/pgSQL and more so in SQL.
. "$(dirname "$0")/lib.sh"
estimate $((3 * PAIRS * $(words $CLIENTS)))

begin 'update_versioned against the same compare-and-swap wrapped in a function' <<END
As in update_versioned.md, but the hand-written UPDATE stands in a function (bench/handmade.sql), once in PL/pgSQL and once
in SQL. pgbench \`-M prepared\`, synchronous_commit off. The versions are summed up and compared with the number of
transactions.
END

for side in actorstore plpgsql sql; do
	case $side in
		actorstore) call='(actorstore.update_versioned(:type, :id, :value, :expected)).version' ;;
		*) call="cas_$side(:type, :id, :value, :expected)" ;;
	esac
	statement $side <<END
\\set n :n + 1
\\set share :actors / :clients
\\set id :client_id * :share + 1 + permute(:n % :share, :share, :n / :share)
\\set expected :n / :share + 1
SELECT $call;
END
done

written() {
	sql -c "SELECT sum(version) FROM $table"
}

seed "$ACTORS"
table 'clients' 'swaps/s'
for clients in $CLIENTS; do
	rounds off "$clients" actorstore plpgsql sql
	row "$(clients $clients)" actorstore plpgsql 'PL/pgSQL function' 1.2
	row "$(clients $clients)" actorstore sql 'SQL function' 1.8
done
finish
