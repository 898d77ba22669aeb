#!/bin/bash
# Claim: what one session tells is handled at the rate at which messages pass between processes elsewhere.
. "$(dirname "$0")/queue_lib.sh"

knob MESSAGES 2000000
rounds_are="$PAIRS rounds, each side once a round, the order reversed every other round (ABBA)"
estimate $((3 * PAIRS)) $((MESSAGES / 500000 + 2))

queue_tables
sql -c "CREATE FUNCTION nothing(state jsonb, body jsonb) RETURNS jsonb AS 'actorstore_bench', 'bench_nothing' LANGUAGE C"

# fetch_erlang: from its Debian package, beside the server. Nothing is installed.
erlang=$queue_work/erlang
fetch_erlang() {
	mkdir -p "$erlang"
	if { ! compgen -G "$erlang/erlang-base_*.deb" >/dev/null && ! (cd "$erlang" && apt-get -q download erlang-base); } \
		>"$erlang/apt.log" 2>&1; then
		missing="$missing erlang"
		return
	fi
	dpkg-deb -x "$erlang"/erlang-base_*.deb "$erlang"
	sed -i "s,ROOTDIR=/usr/lib/erlang,ROOTDIR=$erlang/usr/lib/erlang," "$erlang/usr/lib/erlang/bin/erl"
	cp "$bench/plugin/pass.erl" "$erlang"
	(cd "$erlang" && ./usr/lib/erlang/bin/erl -noshell -eval 'compile:file("pass"), halt().')
	versions="$versions, Erlang/OTP $(basename "$erlang"/erlang-base_*.deb | sed 's/^[^_]*_//; s/_.*//; s/%3a/:/')"
}
fetch_erlang

begin 'tell against messages between Erlang processes' <<END
One session tells $(thousands "$MESSAGES") messages without a body, \`SELECT count(actorstore.tell(…)) FROM generate_series(…)\`, to an actor whose handler, in C, does
nothing; only one worker can be at work for one actor. The time is from the first message until an \`ask\` behind them is answered, so that
all have been handled; as many must have been counted. With $(thousands $actors) actors, each in turn, two workers share them. In Erlang, a
process sends as many messages to another one, which counts them (bench/plugin/pass.erl, compiled, two schedulers).
$(peers_are)
END

# Handled a second.
tell_run() {	# ACTORS
	local before started ended
	fresh actorstore "$1" nothing
	before=$(sql -c 'SELECT told FROM actorstore.stat_requests')
	started=$(date +%s%N)
	sql -c "SELECT count(actorstore.tell('$type', (1 + i % $1)::text, 'add')) FROM generate_series(1, $MESSAGES) AS i" \
		-c "SELECT count(actorstore.ask('$type', i::text, 'add', timeout => '1 min')) FROM generate_series(1, $1) AS i" >/dev/null
	ended=$(date +%s%N)
	must_be 'told and handled' "$(sql -c "SELECT told - $before FROM actorstore.stat_requests")" "$MESSAGES" >&2
	awk -v n="$MESSAGES" -v ns=$((ended - started)) 'BEGIN {printf "%.1f\n", n * 1e9 / ns}'
}

one_run() {
	case $1 in
		one) tell_run 1 ;;
		many) tell_run $actors ;;
		erlang) (cd "$erlang" && ./usr/lib/erlang/bin/erl +S 2:2 -noshell -run pass main "$MESSAGES") ;;
	esac
}

run_is() {
	echo 'messages a second'
}

load() { :; }

sides='one many'
if have erlang; then sides="$sides erlang"; fi
rounds on 1 $sides

write '| told to | handled a second | lowest and highest | target: at least | reached |'
write '|---|---|---|---|---|'
for side in one many; do
	rate=$(median <"$BENCH_WORK/$side.tps")
	verdict=- target=-
	if [ $side = one ]; then target=500000 verdict=$(judge "$rate" 500000); fi
	write "| $([ $side = one ] && echo 'one actor' || echo "$(thousands $actors) actors") | $(thousands "$rate") |" \
		"$(sort -g "$BENCH_WORK/$side.tps" | head -n 1) – $(sort -g "$BENCH_WORK/$side.tps" | tail -n 1) | $([ $target = - ] && echo - || thousands $target) | $verdict |"
	count "$verdict"
done
write ''
if have erlang; then
	table 'told to' 'messages/s'
	row 'one actor' one erlang 'Erlang, process to process' -
	row "$(thousands $actors) actors" many erlang 'Erlang, process to process' -
fi
finish
