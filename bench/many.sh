#!/bin/bash
# Claim: insert_many and put_many of 10,000 rows are 1.5 times as fast as INSERT … SELECT unnest(…) ON CONFLICT.
. "$(dirname "$0")/lib.sh"

knob CALLS 20
calls=$CALLS rows=10000
rounds_are="$PAIRS rounds, each side once a round, the order reversed every other round (ABBA)"
estimate $((9 * 2 * PAIRS)) 5

begin 'insert_many and put_many against INSERT … SELECT unnest(…) ON CONFLICT' <<END
$calls calls of $(thousands $rows) rows each, a transaction a call, one client, pgbench \`-M prepared\`. Both sides take the same two
arrays, \`text[]\` and \`jsonb[]\`, and answer the number of rows written. The arrays wait in a table of the server, so that neither
the network nor the client is measured: once as arrays; once as text, which is what most drivers send and what both sides
then parse. "New": every actor is inserted; "existing": every one gets a value as large as the one that it has. The ids
come in random order, or sorted. After each run the rows, and the sum of the versions, are compared with what the calls must have done.
END

# The arrays: call n has the ids (n, i) of a type that holds calls × rows actors in all.
sql -c 'DROP TABLE IF EXISTS batch' \
	-c 'CREATE TABLE batch (form text, n int, ids text[], new_values jsonb[], ids_text text, values_text text)' \
	-c 'ALTER TABLE batch ALTER ids SET STORAGE EXTERNAL, ALTER new_values SET STORAGE EXTERNAL,
		ALTER ids_text SET STORAGE EXTERNAL, ALTER values_text SET STORAGE EXTERNAL' \
	-c "INSERT INTO batch (form, n, ids, new_values)
		SELECT form, id % $calls, array_agg(name ORDER BY CASE form WHEN 'random' THEN md5(name || 'order') ELSE name END),
			array_agg(jsonb_build_object('owner', md5(name), 'items', jsonb_build_array(id % 5, id % 7, id % 11),
				'total', id / 100.0, 'currency', 'EUR', 'open', true, 'note', 'leave at the door'))
		FROM (SELECT i AS id, 'device-' || md5(i::text) AS name FROM generate_series(0, $calls * $rows - 1) AS i) AS t,
			unnest(ARRAY['random', 'sorted']) AS form
		GROUP BY form, id % $calls" \
	-c 'UPDATE batch SET ids_text = ids::text, values_text = new_values::text' \
	-c 'CREATE INDEX ON batch (form, n)' \
	-c 'VACUUM FULL ANALYZE batch' \
	-c 'DROP TABLE IF EXISTS seed' \
	-c "CREATE TABLE seed AS SELECT ids[i] AS id, new_values[i] - 'currency' || '{\"business\": \"EUR\"}' AS value
		FROM batch, generate_series(1, $rows) AS i WHERE form = 'random' ORDER BY i"

# scripts FUNCTION CONFLICT FORM IDS VALUES: both sides' statements.
scripts() {
	statement actorstore <<END
\\set n :n + 1
SELECT actorstore.$1('item', $4, $5) FROM batch WHERE form = '$3' AND n = :n;
END
	statement handmade <<END
\\set n :n + 1
INSERT INTO handmade (actor_type, actor_id, value) SELECT 'item', u.id, u.value FROM batch, unnest($4, $5) AS u (id, value) WHERE form = '$3' AND n = :n ON CONFLICT $2;
END
}

existing=no
load_again=$(declare -f load)
eval "load_full ${load_again#load }"

# The tables before a call: all actors, or none.
load() {
	if [ $existing = yes ]; then
		load_full "$1"
	else
		sql -c 'ALTER TABLE seed RENAME TO seed_aside' -c 'CREATE TABLE seed (LIKE seed_aside)'
		load_full "$1"
		sql -c 'DROP TABLE seed' -c 'ALTER TABLE seed_aside RENAME TO seed'
	fi
}

one_run() {
	local tps
	tps=$(pgbench_run "$@" -t "$calls")
	check
	printf '%s\n' "$tps"
}

check() {
	local want="$((calls * rows))|0" got
	if [ $existing = yes ]; then want="$((calls * rows))|$((2 * calls * rows))"; fi
	got=$(sql -c "SELECT count(*), sum(version) FROM $table WHERE value ? 'currency'")
	if [ "$got" != "$want" ]; then
		say "rows|sum of versions is $got, not $want"
		return 1
	fi
}

put='(actor_type, actor_id) DO UPDATE SET value = excluded.value, version = handmade.version + 1, updated_at = now()'

table 'call | ids | arrays' 'rows/s'
for source in 'random arrays' 'sorted arrays' 'random text'; do
	set -- $source
	ids=ids values=new_values
	if [ "$2" = text ]; then ids='ids_text::text[]' values='values_text::jsonb[]'; fi
	existing=no turnover=0
	scripts insert_many 'DO NOTHING' "$1" "$ids" "$values"
	rounds on 1 actorstore handmade
	row "insert_many, new | $1 | $2" actorstore handmade 'ON CONFLICT DO NOTHING' 1.5 $rows
	scripts put_many "$put" "$1" "$ids" "$values"
	rounds on 1 actorstore handmade
	row "put_many, new | $1 | $2" actorstore handmade 'ON CONFLICT DO UPDATE' 1.5 $rows
	existing=yes turnover=1
	rounds on 1 actorstore handmade
	row "put_many, existing | $1 | $2" actorstore handmade 'ON CONFLICT DO UPDATE' 1.5 $rows
done
finish
