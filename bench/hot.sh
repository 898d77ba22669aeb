#!/bin/bash
# Claim: one actor, updated 1,000,000 times while somebody holds an old snapshot, does not slow down.
. "$(dirname "$0")/lib.sh"

knob UPDATES 1000000
knob CAP 60
rounds_are=''
estimate $((2 * (PAIRS * UPDATES / 25000 + CAP))) -1

begin 'One hot actor under an old snapshot' <<END
One actor is updated $(thousands "$UPDATES") times, a transaction each, synchronous_commit off, while another session holds a REPEATABLE
READ transaction open that has read: no dead row can be removed. pgbench \`-M prepared\`; the times are those of its log.
actorstore: the median of $PAIRS runs, each a tenth longer than what is shown, so that all clients are busy to the end. The hand-written table, which collapses, gets one run, stopped after $CAP s.
"Pinned": client and backend on one core, so that the cost of an update is not hidden behind the waking of the other core.
Updates a second in each tenth:
END

statement actorstore <<'END'
SELECT (actorstore.update('item', '1', :value)).version;
END
statement handmade <<'END'
UPDATE handmade SET value = :value, version = version + 1, updated_at = now() WHERE actor_type = 'item' AND actor_id = '1' RETURNING version;
END

written() {
	sql -c "SELECT sum(version) FROM $table"
}

turnover=0
seed 1

# hot SIDE CLIENTS [pgbench options]: leaves $BENCH_WORK/SIDE.CLIENTS.tenths, the rates, as many as were reached, and
# $BENCH_WORK/SIDE.CLIENTS.end: updates done, the rate of the first hundredth of all updates, and the rate in the last
# tenth of the time.
hot() {
	local side=$1 clients=$2 out=$BENCH_WORK/$1.$2 log
	shift 2
	load "$side"
	log=$BENCH_WORK/log
	rm -f "$log".*
	coproc HOLDER { sql; }
	printf '%s\n' 'BEGIN ISOLATION LEVEL REPEATABLE READ;' 'SELECT count(*) FROM seed;' >&"${HOLDER[1]}"
	read -r _ <&"${HOLDER[0]}"
	pgbench_run "$side" off "$clients" --log --log-prefix="$log" "$@" >/dev/null
	printf '%s\n' 'ROLLBACK;' '\q' >&"${HOLDER[1]}"
	wait "$HOLDER_PID"
	# A line: client, number, latency in microseconds, script, and when it ended in seconds and microseconds.
	sort -k5,5n -k6,6n "$log".* | awk -v step=$((UPDATES / 10)) -v end="$out.end" '
		{now = ($5 - epoch) + $6 / 1e6}
		NR == 1 {epoch = $5; now = $6 / 1e6; begin = last = now - $3 / 1e6}
		{time[NR] = now}
		NR == int(step / 10) {first = NR / (now - begin)}
		NR % step == 0 && NR <= 10 * step {print step / (now - last); last = now}
		END {
			from = now - (now - begin) / 10
			for (i = NR; i > 0 && time[i] > from; i--);
			print NR, first + 0, (NR - i) / (now - from) >end
		}' >"$out.tenths"
	rm -f "$log".*
	say "  $claim: $side, $clients clients: $(tr '\n' ' ' <"$out.tenths")"
}

for clients in 1p 4; do
	for ((round = 1; round <= PAIRS; round++)); do
		# a tenth more than is looked at: at the very end, the clients that are done leave the others alone
		hot actorstore $clients -t $((UPDATES * 11 / 10 / ${clients%p}))
		cp "$BENCH_WORK/actorstore.$clients.tenths" "$BENCH_WORK/actorstore.$clients.round$round"
	done
	hot handmade $clients -T "$CAP"
done

# tenth FILE N: the rate, or a dash where the run did not come so far.
tenth() {
	local rate
	rate=$(sed -n "$2p" "$1")
	if [ -n "$rate" ]; then thousands "$rate"; else echo –; fi
}

# rates CLIENTS N: the rate of the Nth tenth, or with 10/1 their ratio, in each of actorstore's runs.
rates() {
	local round
	for ((round = 1; round <= PAIRS; round++)); do
		case $2 in
			10/1) awk 'NR == 1 {first = $1} END {print $1 / first}' "$BENCH_WORK/actorstore.$1.round$round" ;;
			*) sed -n "$2p" "$BENCH_WORK/actorstore.$1.round$round" ;;
		esac
	done
}

write '| tenth | actorstore, 1 client, pinned | hand-written, 1 client, pinned | actorstore, 4 clients | hand-written, 4 clients |'
write '|---|---|---|---|---|'
for n in 1 2 3 4 5 6 7 8 9 10; do
	write "| $n | $(thousands "$(rates 1p $n | median)") | $(tenth "$BENCH_WORK/handmade.1p.tenths" $n) |" \
		"$(thousands "$(rates 4 $n | median)") | $(tenth "$BENCH_WORK/handmade.4.tenths" $n) |"
done
write ''
for clients in 1p 4; do
	read -r came first rate <"$BENCH_WORK/handmade.$clients.end"
	ratio=$(rates $clients 10/1 | median)
	verdict=$(judge "$ratio" 0.9)
	count "$verdict"
	write "- Clients $(clients $clients): actorstore's last tenth ran at $(printf %.2f "$ratio") × the first" \
		"($(rates $clients 10/1 | sort -g | sed -n '1p;$p' | paste -s -d' ' | sed 's/ / – /')); target 0.9: $verdict." \
		"The hand-written table began at $(thousands "$first") a second (the first $(thousands $((UPDATES / 100))))," \
		"came to $(thousands "$came") updates in $CAP s, and ran at $(thousands "$rate") a second in the last tenth of that time."
done
finish
