#!/bin/bash
# Claim: changes are decoded faster than by the other output plugins, and nearly as fast as constant bytes are written.
. "$(dirname "$0")/lib.sh"

knob CHANGES 500000
types=100
rounds_are="$PAIRS rounds, each plugin once a round, the order reversed every other round (ABBA)"
# A round decodes the changes 36 times, and so does the look beforehand; then they are written four times.
estimate 1 $((CHANGES * ((PAIRS + 1) * 40 + 16) / 300000 + 60))

if ((CHANGES % types != 0)); then
	say "CHANGES must be a multiple of $types"
	exit 2
fi

# ---- the plugins ----------------------------------------------------------------------------------------------------

work=$(cd "$BENCH_WORK" && pwd -P)/cdc
mkdir -p "$work"
library_directory=$(sql -c "SELECT setting FROM pg_config WHERE name = 'PKGLIBDIR'")
programs=$(sql -c "SELECT setting FROM pg_config WHERE name = 'BINDIR'")
case $library_directory in
	"$(cd "$bench/.." && pwd -P)"/tmp/*) ;;
	*)
		say "not the private server's: $library_directory"
		exit 2
		;;
esac

build_constant() {
	local pg_config=${PG_CONFIG:-pg_config}
	$("$pg_config" --cc) $("$pg_config" --cflags) -fPIC -shared -I"$("$pg_config" --includedir-server)" \
		"$bench/plugin/constant.c" -o "$work/constant.so"
	cp --remove-destination "$work/constant.so" "$library_directory"
}

# unpack PACKAGE: fetches a Debian package and unpacks it under $work. Nothing is installed.
unpack() {
	compgen -G "$work/$1_*.deb" >/dev/null || (cd "$work" && apt-get -q download "$1") >"$work/apt.log" 2>&1 || return 1
	dpkg-deb -x "$work/$1"_*.deb "$work"
}

# fetch_peer PLUGIN [PACKAGE LIBRARY]: puts a peer into the private server, where its Debian package can be had. PACKAGE has
# a LIBRARY that it needs and that the server would not find: then the plugin is loaded by way of a library that consists
# of nothing but its dependencies, those two.
peers='' versions='' missing=''
fetch_peer() {
	local major package library
	major=$(($(sql -c 'SHOW server_version_num') / 10000))
	package=postgresql-$major-$1 library=$work/usr/lib/postgresql/$major/lib/$1.so
	if ! unpack "$package" || ! unpack "${2:-$package}"; then
		missing="$missing $package"
		return
	fi
	if [ $# -gt 1 ]; then
		gcc -shared -o "$work/$1.so" -Wl,--no-as-needed "$library" "$work"/usr/lib/*/"$3" \
			-Wl,--disable-new-dtags,-rpath,"$(dirname "$work"/usr/lib/*/"$3")"
		library=$work/$1.so
	fi
	cp --remove-destination "$library" "$library_directory"
	peers="$peers $1"
	versions="$versions, $1 $(basename "$work/$package"_*.deb | cut -d_ -f2)"
}

build_constant
fetch_peer decoderbufs libprotobuf-c1 libprotobuf-c.so.1
fetch_peer wal2json
plugins="actorstore constant pgoutput test_decoding$peers"
if [ "$(sql -c "SELECT count(*) FROM pg_settings WHERE name = 'output_plugin_libraries'")" = 1 ]; then
	sql -c "ALTER SYSTEM SET output_plugin_libraries = ${plugins// /, }" -c 'SELECT pg_reload_conf()' >/dev/null
fi

# Each side: its plugin, its options, text or binary, and what in its output is a change, in SQL.
declare -A plugin options format is_change
side() {
	plugin[$1]=$2 format[$1]=$3 options[$1]=$4 is_change[$1]=$5
}
side json actorstore text '' "data LIKE '{\"sequence\": %\"operation\": \"UPDATE\"%'"
side binary actorstore binary 'format=binary' "substr(data, 1, 1) = 'U'"
side pgoutput pgoutput binary 'proto_version=1 publication_names=bench' "substr(data, 1, 1) = 'U'"
side test_decoding test_decoding text '' "data LIKE 'table %: UPDATE: %'"
side decoderbufs decoderbufs binary '' "position('actor_' IN data) > 0"
side wal2json wal2json text 'format-version=2' "data LIKE '{\"action\":\"U\"%'"
side one_type actorstore text 'actor_types=t42' "${is_change[json]}"
# The constant sides get their lengths from ours.
constant_side() {
	side "constant_$1" constant "${format[$1]}" "length=$(((${bytes[$1]} + CHANGES / 2) / CHANGES)) $2" 'true'
}

# ---- a run ----------------------------------------------------------------------------------------------------------

# peek SIDE WHAT: WHAT of its output, in SQL, and on a second line the microseconds that it took.
peek() {
	local function=pg_logical_slot_peek_changes list='' option
	if [ "${format[$1]}" = binary ]; then function=pg_logical_slot_peek_binary_changes; fi
	for option in ${options[$1]}; do list="$list, '${option%%=*}', '${option#*=}'"; done
	sql -c '\timing on' -c "SELECT $2 FROM $function('bench_${plugin[$1]}', '$end', NULL$list)" |
		awk '/^Time: / {printf "%.0f\n", $2 * 1000; next} {print}'
}

# What each side has to write: messages and bytes in all, known from a run that is not measured and that looks at all of it.
declare -A messages bytes
look_at() {
	local changes
	IFS='|' read -r changes messages["$1"] bytes["$1"] < <(peek "$1" \
		"count(*) FILTER (WHERE ${is_change[$1]}), count(*), coalesce(sum(octet_length(data)), 0)")
	if [ "$changes" != "$2" ]; then
		say "$1: $changes changes, but $2 were written"
		return 1
	fi
}

# Everything that this shell and the programs it has waited for have written so far, in bytes.
written_bytes() {
	local name number
	while read -r name number; do
		if [ "$name" = wchar: ]; then wchar=$number; fi
	done <"/proc/$BASHPID/io"
}

# receive SIDE: how long pg_recvlogical takes. Each run has a copy of the slot, as that moves on.
receive() {
	local option list=() start wchar wrote
	for option in ${options[$1]}; do list+=(-o "$option"); done
	sql -c "SELECT pg_copy_logical_replication_slot('bench_${plugin[$1]}', 'bench_run')" >/dev/null
	written_bytes
	wrote=$wchar start=${EPOCHREALTIME/./}
	if ! "$programs/pg_recvlogical" -d "$PGDATABASE" --slot=bench_run --start --no-loop --endpos="$end" -f /dev/null \
		"${list[@]}" 2>"$work/messages"; then
		cat "$work/messages" >&2
		return 1
	fi
	microseconds=$((${EPOCHREALTIME/./} - start))
	written_bytes
	drop_slot bench_run
	wrote=$((wchar - wrote - $(stat -c %s "$work/messages")))
	if [ $wrote -ne $((bytes[$1] + messages[$1])) ]; then	# it ends each message with a newline
		say "$1: pg_recvlogical wrote $wrote bytes, not those of ${messages[$1]} messages with ${bytes[$1]} bytes"
		return 1
	fi
}

# one_run SIDE THROUGH ROWS: changes a second, those in the WAL, which a filter may leave out.
one_run() {
	local microseconds got
	if [ "$2" = pg_recvlogical ]; then
		receive "$1"
	else
		{ read -r got && read -r microseconds; } < <(peek "$1" 'count(*)')
		if [ "$got" != "${messages[$1]}" ]; then
			say "$1: $got messages, not ${messages[$1]}"
			return 1
		fi
	fi
	awk -v n="$CHANGES" -v us="$microseconds" 'BEGIN {print n / us * 1e6}'
}

run_is() {
	echo "$1, $2 rows a transaction"
}

# ---- the WAL --------------------------------------------------------------------------------------------------------

# write_changes ROWS TYPE ID PLUGIN...: makes the plugins' slots, then the changes, in transactions of so many rows. TYPE
# and ID are SQL, with i for the number of the change. Checkpoints stay outside, and with them full-page images.
write_changes() {
	local rows=$1 type=$2 id=$3 slot before
	shift 3
	before=$(sql -c 'SELECT sum(version) FROM actorstore.actor')
	for slot; do
		sql -c "SELECT pg_create_logical_replication_slot('bench_$slot', '$slot')" >/dev/null
	done
	say "  $claim: writing $CHANGES changes, $rows a transaction"
	PGOPTIONS='-c synchronous_commit=off' psql -X -q -v ON_ERROR_STOP=1 <<SQL
DO \$\$
BEGIN
	FOR i IN 1 .. $CHANGES LOOP
		PERFORM actorstore.update($type, $id, replace('$value', '1234.56', (i / 100.0)::numeric(10, 2)::text)::jsonb);
		IF i % $rows = 0 THEN
			COMMIT;
		END IF;
	END LOOP;
END \$\$;
SQL
	if [ "$(sql -c 'SELECT sum(version) FROM actorstore.actor')" != $((before + CHANGES)) ]; then
		say 'the versions do not show all changes'
		return 1
	fi
	end=$(sql -c 'SELECT pg_current_wal_insert_lsn()')
	sql -c 'VACUUM ANALYZE' -c 'CHECKPOINT'
}

drop_slots() {
	sql -c "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name LIKE 'bench\\_%'" >/dev/null
}

# compare THROUGH ROWS OURS PEER TARGET: a line of the table. A constant plugin's target is a limit on our time.
compare() {
	local name=$4
	if [ -z "${messages[$4]:-}" ]; then return; fi
	case $4 in
		constant_*) name='constant bytes' ;;
		json) name='all types' ;;
	esac
	row "$2 | $1 | $(title "$3")" "$3" "$4" "$name, $(per_change "$4")" "$5"
}

title() {
	case $1 in
		one_type) echo "JSON, 1 type of $types, $(per_change "$1")" ;;
		json) echo "JSON, $(per_change "$1")" ;;
		binary) echo "binary, $(per_change "$1")" ;;
	esac
}

per_change() {
	awk -v n="$CHANGES" -v b="${bytes[$1]}" 'BEGIN {printf "%.0f B", b / n}'
}

# ---- the figures ----------------------------------------------------------------------------------------------------

begin 'Decoding against the other output plugins' <<END
$(thousands "$CHANGES") updates of single actors chosen at random, values of some 150 bytes, in transactions of 1 row and of 100; the table is
as the extension makes it, with REPLICA IDENTITY FULL. All plugins decode the same WAL, each from a slot of its own made
before the writes: through pg_recvlogical (\`-f /dev/null\`, a fresh copy of the slot each run, ended at an LSN) and through
\`SELECT count(*) FROM pg_logical_slot_peek_changes\` (\`…_binary_changes\` for binary formats). Changes a
second, and bytes a change, with what the plugin says at BEGIN and COMMIT. "Constant bytes" is bench/plugin/constant.c, which writes as many bytes a change as we do and works out
nothing; our time may be at most 1.5 × its time, which is 0.667 × its rate. With a filter, the rate is that of the changes
that are in the WAL, of $types types in turn.
After each run the number of messages (SQL) or bytes (pg_recvlogical) is compared with that of a run beforehand which looks at
each message and counts the changes.
Plugins, with their defaults but wal2json's \`format-version=2\` and pgoutput's \`proto_version=1\`: those of the server$versions.${missing:+
Could not be had here, and are missing below:$missing.}
END

turnover=1
seed "$ACTORS"
load actorstore
load() { :; }
sql -c 'DROP PUBLICATION IF EXISTS bench' -c 'CREATE PUBLICATION bench FOR TABLE actorstore.actor'

table 'rows a transaction | through | output' 'changes/s'
for rows in 1 100; do
	write_changes $rows "'item'" "(1 + floor(random() * $ACTORS))::int::text" $plugins
	for name in json binary pgoutput test_decoding $peers; do look_at $name "$CHANGES"; done
	constant_side json ''
	constant_side binary 'binary=on'
	for name in constant_json constant_binary; do look_at $name "$CHANGES"; done
	for through in pg_recvlogical SQL; do
		rounds $through $rows json binary constant_json constant_binary pgoutput test_decoding $peers
		if [ $rows = 1 ]; then
			lines='json-pgoutput-1.1 json-test_decoding-1.7 json-decoderbufs json-wal2json-1.8 json-constant_json-0.667
				binary-pgoutput binary-decoderbufs binary-constant_binary-0.667'
		else
			lines='json-pgoutput-0.9 json-test_decoding-1.4 json-decoderbufs-1.4 json-wal2json-1.6 json-constant_json-0.667
				binary-pgoutput-1.0 binary-decoderbufs-1.4 binary-constant_binary-0.667'
		fi
		for line in $lines; do
			IFS=- read -r ours peer target <<<"$line"
			compare $through $rows "$ours" "$peer" "${target:--}"
		done
	done
	drop_slots
done

# A filter: types with as many actors each, written in turn.
each=$((ACTORS / types))
sql -c "SELECT actorstore.drop_type('item', events => false)" \
	-c "SELECT actorstore.insert_many('t' || t, array_agg(i::text), array_agg('$value'::jsonb))
		FROM generate_series(0, $types - 1) AS t, generate_series(1, $each) AS i GROUP BY t" >/dev/null
for rows in 1 100; do
	write_changes $rows "'t' || i % $types" "(1 + floor(random() * $each))::int::text" actorstore
	look_at json "$CHANGES"
	look_at one_type $((CHANGES / types))
	for through in pg_recvlogical SQL; do
		rounds $through $rows one_type json
		compare $through $rows one_type json 1.5
	done
	drop_slots
done
finish
