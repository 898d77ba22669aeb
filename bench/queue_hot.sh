#!/bin/bash
# Claim: one actor handles its mail fast, and a million actors with one message each take no memory and little time.
. "$(dirname "$0")/queue_lib.sh"

knob MESSAGES 1000000
rounds_are="$PAIRS rounds, each of the four once a round, the order reversed every other round (ABBA)"
estimate 1 $((PAIRS * (MESSAGES / 1000 * 80 / 1000 + 15)))

queue_tables

begin 'One hot actor, and many with one message each' <<END
$(thousands "$MESSAGES") messages wait and are handled, as in queue_drain, with a handler in PL/pgSQL and synchronous_commit on: for one
actor, for $(thousands $actors), and for as many actors as there are messages, one each. All actors exist. \`max_active_actors\` is
65,536: of a million actors most are found by looking through the mailboxes.
$counted
Bare SQL is what the row of each actor and the message cost without us, as the floor of what many actors can cost: the same rows, of a
message and of a state, and one statement in each of two sessions, for half of the messages, that deletes them and updates the
states that they are joined to by the same function. It locks no actor ahead, keeps no order, waits for the disk once, and one that
fails would take all others with it.
Memory of the workers' own (RssAnon of /proc/PID/status, the sum of all workers) is taken before, every 0.1 s meanwhile, and after; slots
in use are those of stat_scheduler, a second after.
END

declare -A actors_of=([actorstore_one]=1 [actorstore_some]=$actors [actorstore_many]=$MESSAGES)

# own_memory PID...: of all workers, in kB.
own_memory() {
	local pid
	for pid; do
		sed -n 's/^RssAnon:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$pid/status"
	done | awk '{kb += $1} END {print kb + 0}'
}

watcher=''
trap 'if [ "$watcher" ]; then kill $watcher 2>/dev/null; fi' EXIT

watch_memory() {
	while own_memory "$@" && sleep 0.1; do :; done >"$BENCH_WORK/memory"
}

# The floor: two statements for all messages, and how many a second.
bare_run() {
	local start half pids=''
	sql -c 'DROP TABLE IF EXISTS bare_message, bare_actor' \
		-c 'CREATE TABLE bare_message (LIKE actorstore.message)' \
		-c 'CREATE TABLE bare_actor (LIKE actorstore.actor, PRIMARY KEY (actor_type, actor_id))' \
		-c "INSERT INTO bare_actor SELECT 'bare', i::text, '{\"count\": 0}', 0, now(), now() FROM generate_series(1, $MESSAGES) AS i" \
		-c "INSERT INTO bare_message (message_id, actor_type, actor_id, message, body, key_hash, position, priority, lane, attempts, sent_at)
			SELECT i, 'bare', i::text, 'add', body_of(i), i, i, 5, 5, 0, now() FROM generate_series(1, $MESSAGES) AS i" \
		-c 'VACUUM ANALYZE bare_message, bare_actor' -c CHECKPOINT
	start=${EPOCHREALTIME/./}
	for half in 0 1; do
		sql -c "WITH taken AS (DELETE FROM bare_message WHERE message_id % 2 = $half RETURNING actor_type, actor_id, body)
			UPDATE bare_actor AS a SET value = count_plpgsql(a.value, taken.body), version = a.version + 1, updated_at = now()
			FROM taken WHERE a.actor_type = taken.actor_type AND a.actor_id = taken.actor_id" &
		pids="$pids $!"
	done
	wait $pids
	awk -v n="$MESSAGES" -v us=$((${EPOCHREALTIME/./} - start)) 'BEGIN {print n / us * 1e6}'
	must_be 'bare SQL: handled, and left' "$(sql -c "SELECT sum((value->>'count')::bigint) FROM bare_actor")|$(sql -c 'SELECT count(*) FROM bare_message')" "$MESSAGES|0"
	sql -c 'DROP TABLE bare_message, bare_actor'
}

one_run() {
	if [ "$1" = bare ]; then
		bare_run
		return
	fi
	local n=${actors_of[$1]} before workers
	fresh "$1" "$n"
	fill "$1" "$MESSAGES" "$n"
	workers=$(sql -c 'SELECT pid FROM actorstore.stat_workers')
	before=$(own_memory $workers)
	watch_memory $workers &
	watcher=$!
	drain "$1" "$MESSAGES"
	kill $watcher
	wait $watcher 2>/dev/null || true
	watcher=''
	check_counts "$1" "$MESSAGES"
	sleep 1
	echo "$before $(sort -g "$BENCH_WORK/memory" | tail -n 1) $(own_memory $workers)" \
		"$(sql -F ' ' -c 'SELECT used_slots, sweeps FROM actorstore.stat_scheduler')" >>"$BENCH_WORK/$1.more"
	rate_of "$1"
}

run_is() {
	echo 'messages a second'
}

load() { :; }

sides='actorstore_one actorstore_some actorstore_many'
for side in $sides; do : >"$BENCH_WORK/$side.more"; done
rounds on 2 $sides bare

part() {
	awk -v n="$2" '{print $n}' "$BENCH_WORK/$1.more"
}

highest() {
	part "$1" "$2" | sort -g | tail -n 1
}

rate=$(median <"$BENCH_WORK/actorstore_one.tps")
verdict=$(judge "$rate" 150000)
count "$verdict"
write "One actor handles $(thousands "$rate") messages a second ($(sort -g "$BENCH_WORK/actorstore_one.tps" | sed -n '1p;$p' |
	while read -r n; do thousands "$n"; done | paste -s -d' ' | sed 's/ / – /')); target 150,000: $verdict."
write ''
table 'actors' 'messages/s'
row "$(thousands "$MESSAGES")" actorstore_many actorstore_some "$(thousands $actors) actors" 0.7
row "$(thousands "$MESSAGES")" actorstore_many bare 'bare SQL, as many rows' -
row 1 actorstore_one actorstore_some "$(thousands $actors) actors" -
write ''
floor=$(median <"$BENCH_WORK/bare.tps") some=$(median <"$BENCH_WORK/actorstore_some.tps")
write "Bare SQL does $(awk -v a="$floor" -v b="$some" 'BEGIN {printf "%.2f", a / b}') of our rate with $(thousands $actors) actors, where each message has a row of its own to update."
write ''
write '| actors | memory of the workers before, kB | highest meanwhile | a second after | slots in use then |'
write '|---|---|---|---|---|'
for side in $sides; do
	write "| $(thousands "${actors_of[$side]}") | $(thousands "$(part $side 1 | median)") | $(thousands "$(highest $side 2)") |" \
		"$(thousands "$(part $side 3 | median)") | $(highest $side 4) |"
done
write ''

# Flat: a million actors take no more than a thousand do, but for 8 MB.
extra=$(($(highest actorstore_many 2) - $(highest actorstore_some 2)))
verdict=$(judge 8192 $extra)
count "$verdict"
write "- $(thousands "$MESSAGES") actors take $(thousands $extra) kB more of the workers' memory than $(thousands $actors) do; target: at most 8,192: $verdict."
verdict=$(judge 0 "$(highest actorstore_many 4)")
count "$verdict"
write "- No slot is in use afterwards: $verdict."
finish
