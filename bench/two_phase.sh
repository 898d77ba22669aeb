#!/bin/bash
# Claim: a change on two servers at once costs no more than a client that drives both phases by hand, or than postgres_fdw without atomicity.
. "$(dirname "$0")/lib.sh"

knob ROWS 10000
estimate $((14 * PAIRS + 10))

begin 'A transaction on two servers: against two phases by hand, and against postgres_fdw' <<END
Two servers on this machine, both with the settings below and max_prepared_transactions = 100, over Unix sockets, each with a table
\`account (id int PRIMARY KEY, amount int)\` of $(thousands "$ROWS") rows. A transaction is \`$(sed -n 's/^#define UPDATE.*"\(.*\)"$/\1/p' "$bench/plugin/two_phase.c")\` on both of them;
a client's rows are its own. All sides are driven by one C program (bench/plugin/two_phase.c), a thread a client:

- ours: \`execute_on_nodes\` with that UPDATE, prepared, on the first server. It answers when both have committed (\`wait_for_phase_two = on\`,
  the default), or once the decision is safe on the first (\`off\`).
- by hand, parallel: a connection to each server; BEGIN with the UPDATE, PREPARE TRANSACTION, COMMIT PREPARED, each sent to both before an answer is
  awaited. By hand, last: PREPARE TRANSACTION on the second, COMMIT on the first, COMMIT PREPARED on the second. Ratios are against the better of the two. Neither keeps
  record of what it has decided: a client that dies in between leaves prepared transactions that nobody can end rightly.
- postgres_fdw: \`WITH there AS (UPDATE of the foreign table) UPDATE …\`, prepared, on the first server; not atomic: the second commits
  before the first has.

After each run the sums on both servers must have grown by as much as was done, and nothing may be prepared.
END

throwaway=$bench/../scripts/throwaway
"$throwaway" bench_two stop
trap '"$throwaway" bench_two stop' EXIT
printf '%s\nmax_prepared_transactions = 100\n' "$server_settings" >"$BENCH_WORK/two_phase.conf"
"$throwaway" bench_two start "$BENCH_WORK/two_phase.conf"
one="host=$PGHOST user=postgres dbname=two_phase"
two="$(eval "$("$throwaway" bench_two env)" && echo "host=$PGHOST user=postgres dbname=two_phase")"

program=$BENCH_WORK/two_phase
pg_config=${PG_CONFIG:-pg_config}
gcc -O2 -Wall -pthread -I"$("$pg_config" --includedir)" "$bench/plugin/two_phase.c" -o "$program" -L"$("$pg_config" --libdir)" -lpq

for where in "$one" "$two"; do
	sql -d "${where/dbname=two_phase/dbname=postgres}" -c 'DROP DATABASE IF EXISTS two_phase' -c 'CREATE DATABASE two_phase' >/dev/null
	sql -d "$where" -c 'CREATE EXTENSION actorstore' -c 'CREATE TABLE account (id int PRIMARY KEY, amount int NOT NULL) WITH (fillfactor = 50)' \
		-c "INSERT INTO account SELECT i, 0 FROM generate_series(1, $ROWS) AS i" -c 'VACUUM ANALYZE account'
done
sql -d "$one" -c "SELECT actorstore.init_node('one', '$one')" -c "SELECT actorstore.add_node('two', '$two')" >/dev/null
sql -d "$one" -c 'CREATE EXTENSION postgres_fdw' \
	-c "CREATE SERVER two FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$(sed 's/^host=\([^ ]*\).*/\1/' <<<"$two")', dbname 'two_phase')" \
	-c "CREATE USER MAPPING FOR postgres SERVER two OPTIONS (user 'postgres')" \
	-c "CREATE FOREIGN TABLE account_there (id int, amount int) SERVER two OPTIONS (table_name 'account')"

update='UPDATE account SET amount = amount + 1 WHERE id = $1'
ours="SELECT FROM actorstore.execute_on_nodes('$update', ARRAY[\$1])"
fdw="WITH there AS (UPDATE account_there SET amount = amount + 1 WHERE id = \$1) $update"

load() {
	local where
	for where in "$one" "$two"; do
		sql -d "$where" -c 'VACUUM account' -c 'VACUUM actorstore.decision' -c 'VACUUM actorstore.receipt' -c CHECKPOINT
	done
}

sums() {
	sql -d "$one" -c 'SELECT sum(amount) FROM account'
	sql -d "$two" -c 'SELECT sum(amount) FROM account'
}

# With wait_for_phase_two = off the second server may be a moment behind.
settled() {
	local tries where n
	for ((tries = 0; tries < 300; tries++)); do
		n=0
		for where in "$one" "$two"; do
			n=$((n + $(sql -d "$where" -c 'SELECT count(*) FROM pg_prepared_xacts')))
		done
		[ $n != 0 ] || return 0
		sleep 0.1
	done
	say "$n transactions are still prepared"
	return 1
}

one_run() {	# SIDE SYNC CLIENTS: transactions a second
	local out before after done
	local args=("$3" "$DURATION" "$ROWS" "$one" "$two")
	before=$(sums)
	case $1 in
		awaited) out=$("$program" statement "${args[@]}" "$ours") ;;
		decided) out=$(PGOPTIONS='-c actorstore.wait_for_phase_two=off' "$program" statement "${args[@]}" "$ours") ;;
		fdw) out=$("$program" statement "${args[@]}" "$fdw") ;;
		*) out=$("$program" "$1" "${args[@]}") ;;
	esac
	settled
	done=${out#* }
	after=$(sums)
	if [ "$(paste <(echo "$before") <(echo "$after") | awk '{print $2 - $1}' | paste -s -d' ')" != "$done $done" ]; then
		say "$1: $done transactions, but sums went from" $before to $after
		return 1
	fi
	echo "${out% *}"
}

run_is() {
	echo "$2 clients"
}

table 'answer | clients' 'transactions/s'
for clients in 1 8; do
	rounds on $clients awaited decided parallel last fdw
	hand=last
	if at_least "$(median <"$BENCH_WORK/parallel.tps")" "$(median <"$BENCH_WORK/last.tps")"; then hand=parallel; fi
	row "when both have committed | $clients" awaited $hand "by hand, $hand" 1.0
	row "once decided | $clients" decided $hand "by hand, $hand" 1.15
	row "when both have committed | $clients" awaited fdw 'postgres_fdw, not atomic' 1.0
done
for where in "$one" "$two"; do
	sql -d "${where/dbname=two_phase/dbname=postgres}" -c 'DROP DATABASE two_phase WITH (FORCE)' >/dev/null
done
finish
