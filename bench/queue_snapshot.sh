#!/bin/bash
# Claim: an old snapshot does not slow the handling of messages down.
. "$(dirname "$0")/queue_lib.sh"

knob MESSAGES 1000000
knob CAP 60
rounds_are="$PAIRS rounds, with and without the snapshot, the order reversed every other round (ABBA)"
estimate 1 $((2 * PAIRS * (MESSAGES / 1000 * 25 / 1000 + 12) + 6 * (CAP + MESSAGES / 1000 * 10 / 1000)))

queue_tables
fetch_pgq

begin 'Handling under an old snapshot' <<END
$(thousands "$MESSAGES") messages wait and are handled, as in queue_drain; synchronous_commit on. Another session holds a REPEATABLE
READ transaction open that has read before the mailboxes were filled: no dead row can be removed. With $(thousands $actors) actors in
turn, and with one. $work_is
actorstore: the median of $PAIRS runs, with the snapshot and without it. The peers, which slow down, get one run each with the snapshot,
stopped after $CAP s: a table with SKIP LOCKED, two consumers, 100 messages a transaction; PGQ event by event. (With one actor
their two consumers wait for each other.) $counted
$(peers_are)
Messages a second in each tenth:
END

holder=''
hold() {
	coproc HOLDER { sql; }
	holder=$HOLDER_PID
	printf '%s\n' 'BEGIN ISOLATION LEVEL REPEATABLE READ;' 'SELECT count(*) FROM batch;' >&"${HOLDER[1]}"
	read -r _ <&"${HOLDER[0]}"
}

release() {
	printf '%s\n' 'ROLLBACK;' '\q' >&"${HOLDER[1]}"
	wait "$holder"
}

# one_run SIDE: SIDE ends in _free without the snapshot.
one_run() {
	local side=${1%_free}
	fresh "$side" "$n"
	if [ "$side" = "$1" ]; then hold; fi
	fill "$side" "$MESSAGES" "$n"
	drain "$side" "$MESSAGES" "$CAP"
	if [ "$side" = "$1" ]; then release; fi
	check_counts "$side" "$MESSAGES"
	tenths "$side" "$MESSAGES" >"$BENCH_WORK/$1.$n.tenths"
	if [ "$side" = actorstore ]; then paste -s -d' ' "$BENCH_WORK/$1.$n.tenths" >>"$BENCH_WORK/$1.$n.all"; fi
	rate_of "$side" | tee "$BENCH_WORK/$1.$n.rate"
}

run_is() {
	echo "$n actors, messages a second"
}

load() { :; }

peers=handmade
if have pgq; then peers="$peers pgq"; fi
for n in $actors 1; do
	: >"$BENCH_WORK/actorstore.$n.all"
	: >"$BENCH_WORK/actorstore_free.$n.all"
	rounds on 2 actorstore actorstore_free
	cp "$BENCH_WORK/actorstore.tps" "$BENCH_WORK/actorstore.$n.tps"
	cp "$BENCH_WORK/actorstore_free.tps" "$BENCH_WORK/actorstore_free.$n.tps"
	for peer in $peers; do
		say "  $claim: $peer, $n actors: $(one_run "$peer")"
	done
done

# tenth SIDE N K: the rate in the Kth tenth, the median of ours; a dash where the run did not come so far.
tenth() {
	local rate
	case $1 in
		actorstore*) rate=$(awk -v k="$3" '{print $k}' "$BENCH_WORK/$1.$2.all" | median) ;;
		*) rate=$(sed -n "$3p" "$BENCH_WORK/$1.$2.tenths") ;;
	esac
	if [ -n "$rate" ]; then thousands "$rate"; else echo –; fi
}

head='| tenth |' rule='|---|'
for n in "$(thousands $actors) actors" '1 actor'; do
	for side in actorstore 'without the snapshot' $peers; do
		head="$head ${side/handmade/SKIP LOCKED}, $n |" rule="$rule---|"
	done
done
write "${head//pgq,/PGQ,}"
write "$rule"
for k in 1 2 3 4 5 6 7 8 9 10; do
	line="| $k |"
	for n in $actors 1; do
		for side in actorstore actorstore_free $peers; do line="$line $(tenth $side $n $k) |"; done
	done
	write "$line"
done
write ''
for n in $actors 1; do
	ratios=$(awk '{printf "%.3f\n", $10 / $1}' "$BENCH_WORK/actorstore.$n.all" | sort -g)
	verdict=$(judge "$(printf '%s\n' "$ratios" | median)" 0.95)
	count "$verdict"
	write "- $(thousands $n) actor(s): the last tenth ran at $(printf %.2f "$(printf '%s\n' "$ratios" | median)") × the first" \
		"($(printf '%s\n' "$ratios" | sed -n '1p;$p' | paste -s -d' ' | sed 's/ / – /')); target 0.95: $verdict."
	ratios=$(paste "$BENCH_WORK/actorstore.$n.tps" "$BENCH_WORK/actorstore_free.$n.tps" | awk '{printf "%.3f\n", $1 / $2}' | sort -g)
	verdict=$(judge "$(printf '%s\n' "$ratios" | median)" 0.9)
	count "$verdict"
	write "- $(thousands $n) actor(s): the whole ran at $(printf %.2f "$(printf '%s\n' "$ratios" | median)") × the speed without the snapshot" \
		"($(printf '%s\n' "$ratios" | sed -n '1p;$p' | paste -s -d' ' | sed 's/ / – /')); target 0.9: $verdict."
done
finish
