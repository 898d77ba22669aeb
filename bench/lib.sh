# shellcheck shell=bash
# What the benchmarks share: the server's settings, the two sides' tables, runs in turn, medians, the result file.
# A claim script sources this file; `bench/run` starts the server and then the claim scripts.

set -euo pipefail
export LC_ALL=C PGTZ=UTC

bench=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
claim=$(basename "$0" .sh)

# A claim script started by hand goes through bench/run, which brings the server.
if [ "$claim" != run ] && [ -z "${BENCH_WORK:-}" ]; then
	exec "$bench/run" "$claim"
fi

# knob NAME FULL: a size that the environment may set; FULL makes a full run. Anything else is written into the result file.
knobs=''
knob() {
	knobs="$knobs $1"
	declare -g "FULL_$1=$2" "$1=${!1:-$2}"
}

# The result file's command line, as it would be typed.
overrides() {
	local name full
	for name in $knobs; do
		full=FULL_$name
		[ "${!name}" = "${!full}" ] || printf "$name='%s' " "${!name}"
	done
}

# "1p" is one client pinned with its backend to one core: what the call costs. Unpinned ("1"), they usually sit on two, and
# on a virtual machine waking the other core can take longer than the statement: that says how the machine wakes.
knob DURATION 10
knob PAIRS 5
knob CLIENTS '1p 4 16'
knob ACTORS 100000

# One place for the server's settings; synchronous_commit comes with each connection.
server_settings='
shared_preload_libraries = actorstore
shared_buffers = 2GB
fsync = on
wal_level = logical
max_wal_size = 8GB
checkpoint_timeout = 1h
jit = off
autovacuum = on
max_connections = 100
max_worker_processes = 32
'

# What every write writes: a jsonb value of some 150 bytes, parsed from text by both sides.
value='{"owner": "c4ca4238a0b923820dcc509a6f75849b", "items": [3, 14, 15, 92, 65], "total": 1234.56, "currency": "EUR", "open": true, "note": "leave at the door"}'

# The same for SQL that makes many, of their numbers i.
value_of_i="jsonb_build_object('owner', md5(i::text), 'items', jsonb_build_array(i, i % 7, i % 11, i % 13), 'total', i / 100.0,
	'currency', 'EUR', 'open', i % 2 = 0, 'note', 'leave at the door')"

sql() {
	PGOPTIONS='-c client_min_messages=warning' psql -X -q -A -t -v ON_ERROR_STOP=1 "$@"
}

say() {
	printf '%s\n' "$*" >&2
}

# ---- the two sides -------------------------------------------------------------------------------------------------

# load SIDE: its tables fresh, with the same actors. Both sides come by the same way to the same state: filled; every row
# written over once, a quarter of them at a time with a VACUUM after each, as a table in use has room on its pages (a
# freshly filled one has none, and no update would be HOT); vacuumed, analyzed. Each side writes as its users do: SQL
# there, functions here, as nobody but the extension may write its tables. Setting the variable `turnover` to 0 leaves the
# writing-over out. The checkpoint comes before, so that no side pays for full-page images of pages that the load has
# just written.
turnover=1

load() {
	local quarter
	case $1 in
		actorstore*) table=actorstore.actor_item ;;
		*) table=handmade ;;
	esac
	sql -c 'DROP TABLE IF EXISTS handmade CASCADE' \
		-c "SELECT actorstore.drop_type(name, events => false) FROM (SELECT 'item' AS name) AS t
			WHERE to_regclass('actorstore.actor_item') IS NOT NULL" \
		-c 'CHECKPOINT' >/dev/null
	if [ $table = handmade ]; then
		sql -f "$bench/handmade.sql"
		sql -c "INSERT INTO handmade (actor_type, actor_id, value) SELECT 'item', id, value FROM seed"
		case $1 in *full*) sql -c 'ALTER TABLE handmade REPLICA IDENTITY FULL' ;; esac
	else
		sql -c "SELECT actorstore.create_type('item')" \
			-c "SELECT actorstore.insert_many('item', coalesce(array_agg(id), '{}'), coalesce(array_agg(value), '{}')) FROM seed" >/dev/null
	fi
	if [ $turnover = 1 ]; then
		for quarter in 0 1 2 3; do
			case $table in
				handmade) sql -c "UPDATE $table SET value = value, version = version + 1 WHERE abs(hashtext(actor_id)) % 4 = $quarter" ;;
				*) sql -c "SELECT actorstore.put_many('item', coalesce(array_agg(actor_id), '{}'),
					coalesce(array_agg(value), '{}')) FROM $table WHERE abs(hashtext(actor_id)) % 4 = $quarter" >/dev/null ;;
			esac
			sql -c "VACUUM $table"
		done
	fi
	sql -c "VACUUM ANALYZE $table"
}

# seed N: the N actors that both sides are loaded with, in no particular order.
seed() {
	sql -c 'DROP TABLE IF EXISTS seed' \
		-c "CREATE TABLE seed AS SELECT i::text AS id, $value_of_i AS value
			FROM generate_series(1, $1) AS i ORDER BY md5(i::text)" \
		-c 'VACUUM ANALYZE seed'
}

# ---- runs in turn --------------------------------------------------------------------------------------------------

# statement SIDE: what the side runs, from standard input, as a pgbench script.
statement() {
	cat >"$BENCH_WORK/$1.pgbench"
}

# field TEXT NAME: the number that follows NAME in pgbench's output; nothing where it is missing.
field() {
	printf '%s\n' "$1" | sed -n "s/^$2[^0-9]*\([0-9][0-9.]*\).*/\1/p" | head -n 1
}

# pgbench_run SIDE SYNC CLIENTS [pgbench options]: transactions a second on standard output. A failed transaction, an
# aborted client or, where the claim defines `written`, a count that does not match what the table says is an error.
pgbench_run() {
	local side=$1 sync=$2 clients=${3%p} pin='' out tps processed before=0 after
	if [ "$3" = 1p ]; then
		pin='taskset -c 0'
		pin_backend &
	fi
	shift 3
	if declare -F written >/dev/null; then before=$(written "$side"); fi
	if ! out=$(PGOPTIONS="-c synchronous_commit=$sync" $pin pgbench -n -M prepared -c "$clients" \
		-j $((clients < cores ? clients : cores)) -f "$BENCH_WORK/$side.pgbench" \
		-D type=item -D clients="$clients" -D actors="$ACTORS" -D value="$value" -D n=-1 "$@" 2>&1); then
		say "$out"
		return 1
	fi
	tps=$(field "$out" 'tps = ')
	processed=$(field "$out" 'number of transactions actually processed: ')
	if [ -z "$tps" ] || [ -z "$processed" ] || [ "$(field "$out" 'number of failed transactions: ')" != 0 ] ||
		printf '%s\n' "$out" | grep -q aborted; then
		say "$out"
		return 1
	fi
	if declare -F written >/dev/null; then
		after=$(written "$side")
		if [ $((after - before)) -ne "${processed%.*}" ]; then
			say "$side: $processed transactions, but the table shows $((after - before)) writes"
			return 1
		fi
	fi
	printf '%s\n' "$tps"
}

# pin_backend: puts pgbench's backend on core 0 as soon as it is there. pgbench makes a short connection first: the one
# that is meant is still there at the second look.
pin_backend() {
	local pid before='' tries
	for ((tries = 0; tries < 100; tries++)); do
		pid=$(sql -c "SELECT pid FROM pg_stat_activity WHERE application_name = 'pgbench'")
		if [ -n "$pid" ] && [ "$pid" = "$before" ]; then
			taskset -c -p 0 "$pid" >/dev/null
			return
		fi
		before=$pid
		sleep 0.02
	done
	say 'the backend of pgbench was not found'
}

# rounds SYNC CLIENTS SIDE...: PAIRS rounds of one run a side, the order reversed every other round (ABBA); each run
# starts from freshly loaded tables. Leaves $BENCH_WORK/SIDE.tps, one line a round.
rounds() {
	local sync=$1 clients=$2 round side sides order
	shift 2
	sides="$*"
	for side in $sides; do : >"$BENCH_WORK/$side.tps"; done
	for ((round = 1; round <= PAIRS; round++)); do
		order=$sides
		if ((round % 2 == 0)); then order=$(printf '%s\n' $sides | tac); fi
		for side in $order; do
			load "$side"
			one_run "$side" "$sync" "$clients" >>"$BENCH_WORK/$side.tps"
			say "  $claim: $(run_is "$sync" "$clients"), round $round of $PAIRS, $side: $(tail -n 1 "$BENCH_WORK/$side.tps")"
		done
	done
}

# What a run is; a claim may define its own.
one_run() {
	pgbench_run "$@" -T "$DURATION"
}

# How it is called while it goes; likewise.
run_is() {
	echo "sync $1, $2 clients"
}

# drop_slot NAME: once its consumer's server process has gone.
drop_slot() {
	local tries
	for ((tries = 0; tries < 100; tries++)); do
		[ "$(sql -c "SELECT active FROM pg_replication_slots WHERE slot_name = '$1'")" = f ] && break
		sleep 0.02
	done
	sql -c "SELECT pg_drop_replication_slot('$1')" >/dev/null
}

median() {
	sort -g | awk '{v[NR] = $1} END {print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'
}

thousands() {
	awk -v n="$1" 'BEGIN {s = sprintf("%.0f", n); while (s ~ /[0-9][0-9][0-9][0-9]/) sub(/[0-9][0-9][0-9](,|$)/, ",&", s); print s}'
}

at_least() {
	awk -v a="$1" -v b="$2" 'BEGIN {exit !(a >= b)}'
}

# ---- the result file -----------------------------------------------------------------------------------------------

cores=$(nproc)
targets=0 reached=0

# begin TITLE: starts the result file. What it says comes from standard input.
begin() {
	result=$BENCH_WORK/$claim.md
	{
		printf '# %s\n\n' "$1"
		cat
		printf '\n'
		machine
	} >"$result"
}

# What the rounds are, for the result file; a claim without rounds empties it.
rounds_are="$PAIRS rounds, each side once a round for $DURATION s, the order reversed every other round (ABBA)"

machine() {
	printf -- '- Command: `%sbench/run %s`%s\n' "$(overrides)" "$claim" "${rounds_are:+: $rounds_are}"
	if [ -n "$(overrides)" ]; then
		printf -- '- **Not a full run**: the size was set by hand. Take these figures for a quick look, not for a result.\n'
	fi
	printf -- '- When: %s; actorstore %s, commit %s\n' "$(date -u '+%Y-%m-%d %H:%M UTC')" \
		"$(sql -c "SELECT extversion FROM pg_extension WHERE extname = 'actorstore'")" "$(commit | paste -s -d' ')"
	printf -- '- Machine: %s cores, %s, %s MB; Linux %s; %s %% idle just before\n' "$cores" \
		"$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" \
		"$(awk '/^MemTotal/ {print int($2 / 1024)}' /proc/meminfo)" "$(uname -r)" "$(idle)"
	printf -- '- Server: PostgreSQL %s, locale %s; %s\n\n' "$(sql -c 'SHOW server_version')" \
		"$(sql -c "SELECT datcollate FROM pg_database WHERE datname = current_database()")" \
		"$(printf '%s' "$server_settings" | sed '/^$/d' | paste -s -d, | sed 's/,/, /g')"
}

commit() {
	local changes
	git -C "$bench" rev-parse --short HEAD 2>/dev/null || echo none
	changes=$(git -C "$bench/.." status --porcelain -- . ':!bench/results' 2>/dev/null)
	if [ -n "$changes" ]; then echo 'with uncommitted changes'; fi
}

# idle: how much of the processors nobody used during two seconds, in percent.
idle() {
	{ grep '^cpu ' /proc/stat; sleep 2; grep '^cpu ' /proc/stat; } | awk '
		{total = 0; for (i = 2; i <= 9; i++) total += $i}
		NR == 1 {idle = $5 + $6; before = total}
		NR == 2 {printf "%.0f", 100 * ($5 + $6 - idle) / (total - before)}'
}

write() {
	printf '%s\n' "$*" >>"$result"
}

# table FIRST-COLUMNS UNIT: the head of a table of ratios.
table() {
	write "| $1 | actorstore, $2 | against | its $2 | ratio | lowest and highest | target | reached |"
	write "|$(printf '%s' "$1" | sed 's/[^|]*/---/g')|---|---|---|---|---|---|---|"
}

# clients CLIENTS: how the table names them.
clients() {
	if [ "$1" = 1p ]; then echo '1, pinned'; else echo "$1"; fi
}

# row CELLS OURS PEER NAME TARGET [SCALE]: one line of it, from the last rounds. TARGET may be `-`.
row() {
	local ours peer ratios ratio verdict=-
	ours=$(median <"$BENCH_WORK/$2.tps")
	peer=$(median <"$BENCH_WORK/$3.tps")
	ratios=$(paste "$BENCH_WORK/$2.tps" "$BENCH_WORK/$3.tps" | awk '{printf "%.3f\n", $1 / $2}' | sort -g)
	ratio=$(printf '%s\n' "$ratios" | median)
	if [ "$5" != - ]; then verdict=$(judge "$ratio" "$5"); fi
	write "| $1 | $(scaled "$ours" "${6:-1}") | $4 | $(scaled "$peer" "${6:-1}") | $(printf %.2f "$ratio") |" \
		"$(printf '%s\n' "$ratios" | head -n 1) – $(printf '%s\n' "$ratios" | tail -n 1) | $5 | $verdict |"
	say "  $claim: $1 against $4: $(printf %.2f "$ratio") (target $5)"
	count "$verdict"
}

# table_at_most and row_at_most: the same where less is better.
table_at_most() {
	write "| $1 | actorstore, $2 | against | its $2 | ratio | lowest and highest | target: at most | reached |"
	write "|$(printf '%s' "$1" | sed 's/[^|]*/---/g')|---|---|---|---|---|---|---|"
}

row_at_most() {
	local ours peer ratios ratio verdict=-
	ours=$(median <"$BENCH_WORK/$2.tps")
	peer=$(median <"$BENCH_WORK/$3.tps")
	ratios=$(paste "$BENCH_WORK/$2.tps" "$BENCH_WORK/$3.tps" | awk '{printf "%.3f\n", $1 / $2}' | sort -g)
	ratio=$(printf '%s\n' "$ratios" | median)
	if [ "$5" != - ]; then verdict=$(judge "$5" "$ratio"); fi
	write "| $1 | $(printf %.3f "$ours") | $4 | $(printf %.3f "$peer") | $(printf %.2f "$ratio") |" \
		"$(printf '%s\n' "$ratios" | head -n 1) – $(printf '%s\n' "$ratios" | tail -n 1) | $5 | $verdict |"
	say "  $claim: $1 against $4: $(printf %.2f "$ratio") (target: at most $5)"
	count "$verdict"
}

scaled() {
	thousands "$(awk -v v="$1" -v s="$2" 'BEGIN {print v * s}')"
}

judge() {
	if at_least "$1" "$2"; then echo yes; else echo no; fi
}

count() {
	case $1 in
		yes) targets=$((targets + 1)) reached=$((reached + 1)) ;;
		no) targets=$((targets + 1)) ;;
	esac
}

# writes_matrix UNIT: a write that both sides check with `written`, with and without waiting for the disk, against the
# hand-written table without and with full replica identity.
writes_matrix() {
	local sync target clients
	cp "$BENCH_WORK/handmade.pgbench" "$BENCH_WORK/handmade_full.pgbench"
	table 'synchronous_commit | clients' "$1"
	for sync in on off; do
		target=1.0
		if [ $sync = off ]; then target=1.15; fi
		for clients in $CLIENTS; do
			rounds $sync "$clients" actorstore handmade handmade_full
			row "$sync | $(clients "$clients")" actorstore handmade 'UPDATE' $target
			row "$sync | $(clients "$clients")" actorstore handmade_full 'UPDATE, replica identity full' $target
		done
	done
}

# finish: the verdict, and the file goes where it belongs; an interrupted run leaves the old one.
finish() {
	local verdict=''
	if [ $targets -gt 0 ]; then
		verdict="targets reached: $reached of $targets"
		write ''
		write "T${verdict#t}."
	fi
	mkdir -p "$bench/results"
	cp "$result" "$bench/results/$claim.md"
	say "bench: $claim: ${verdict:+$verdict; }see bench/results/$claim.md"
}

# estimate RUNS [SECONDS]: where bench/run asks how long the claim takes, answers and ends.
estimate() {
	if [ -n "${BENCH_ESTIMATE:-}" ]; then
		echo $(($1 * (${2:-$DURATION} + 2)))
		exit 0
	fi
}

words() {
	echo $#
}
