#!/bin/bash
# Claim: one actor handles its mail fast, and a million actors with one message each take no memory and little time.
. "$(dirname "$0")/queue_lib.sh"

knob MESSAGES 1000000
rounds_are="$PAIRS rounds, each of the three once a round, the order reversed every other round (ABBA)"
estimate 1 $((PAIRS * (MESSAGES / 1000 * 60 / 1000 + 12)))

queue_tables

begin 'One hot actor, and many with one message each' <<END
$(thousands "$MESSAGES") messages wait and are handled, as in queue_drain, with a handler in PL/pgSQL and synchronous_commit on: for one
actor, for $(thousands $actors), and for as many actors as there are messages, one each. All actors exist. \`max_active_actors\` is
65,536: of a million actors most are found by looking through the mailboxes.
$counted
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

one_run() {
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
rounds on 2 $sides

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
row 1 actorstore_one actorstore_some "$(thousands $actors) actors" -
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
