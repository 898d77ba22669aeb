#!/bin/bash
# Claim: none; what one, two and three nodes do beside each other on one machine, and what a call of another node costs.
. "$(dirname "$0")/lib.sh"

knob SCALE_CLIENTS 6
knob SCALE_ACTORS 20000
estimate $((9 * PAIRS))

begin 'One, two and three nodes beside each other' <<END
$SCALE_CLIENTS clients of pgbench, shared equally by the nodes, change the state of random actors of $(thousands "$SCALE_ACTORS") (\`update\`): those that live on the
node that a client speaks to; those that live anywhere, so that with N nodes (N - 1) / N of the calls go to another one; or two that live
anywhere in one transaction, which for the most part commits in two phases. All nodes are servers on this machine, over Unix sockets: together they have no
more cores than one of them has alone. So this cannot show what more machines bring, only what working together costs: a node that spends as much on a change as it
would alone makes the ratio 1. After each run the actors' versions must have grown by as much as was done.
END

throwaway=$bench/../scripts/throwaway
names=(one two three)
trap '"$throwaway" bench_two stop; "$throwaway" bench_three stop' EXIT
declare -A host=([one]=$PGHOST)
for name in two three; do
	"$throwaway" bench_$name stop
	"$throwaway" bench_$name start "$BENCH_WORK/server.conf"
	host[$name]=$(eval "$("$throwaway" bench_$name env)" && echo "$PGHOST")
done

on() {	# NODE DATABASE COMMAND...
	local where="host=${host[$1]} user=postgres dbname=$2"
	shift 2
	sql -d "$where" "$@"
}

nodes_of() {	# SIDE, as one_home
	case ${1%%_*} in
		one) echo one ;;
		two) echo one two ;;
		three) echo one two three ;;
	esac
}

say "  $claim: making clusters"
for side in one two three; do
	for node in $(nodes_of $side); do
		on "$node" postgres -c "CREATE DATABASE n_$side" >/dev/null
		on "$node" n_$side -c 'CREATE EXTENSION actorstore'
		conninfo="host=${host[$node]} user=postgres dbname=n_$side"
		if [ "$node" = one ]; then
			on one n_$side -c "SELECT actorstore.init_node('one', '$conninfo')" -c "SELECT actorstore.create_type('item')" >/dev/null
		else
			on one n_$side -c "SELECT actorstore.add_node('$node', '$conninfo')" >/dev/null
		fi
	done
	on one n_$side -c "SELECT actorstore.put_many('item', array_agg(i::text), array_agg('$value'::jsonb)) FROM generate_series(1, $SCALE_ACTORS) AS i" >/dev/null
	for node in $(nodes_of $side); do
		on "$node" n_$side -c "CREATE TABLE home AS SELECT row_number() OVER () AS n, actor_id FROM actorstore.actor_item" \
			-c 'ALTER TABLE home ADD PRIMARY KEY (n)' -c 'VACUUM ANALYZE'
	done
done

load() { :; }

written() {	# SIDE: the sum of all versions
	local node sum=0
	for node in $(nodes_of "$1"); do
		sum=$((sum + $(on "$node" "n_${1%%_*}" -c 'SELECT sum(version) FROM actorstore.actor_item')))
	done
	echo "$sum"
}

statement_of() {	# SIDE NODE
	local change="SELECT (actorstore.update('item', :id::text, :value)).version;"
	case $1 in
		*_home)
			printf '\\set n random(1, %d)\n' "$(on "$2" "n_${1%%_*}" -c 'SELECT count(*) FROM home')"
			echo "SELECT (actorstore.update('item', (SELECT actor_id FROM home WHERE n = :n), :value)).version;"
			;;
		*_anywhere) printf '\\set id random(1, %d)\n%s\n' "$SCALE_ACTORS" "$change" ;;
		*_both)	# in the order of ids, so that no two wait for each other
			printf '\\set first random(1, %d - 1)\n\\set id :first\nBEGIN;\n%s\n\\set id random(:first + 1, %d)\n%s\nCOMMIT;\n' \
				"$SCALE_ACTORS" "$change" "$SCALE_ACTORS" "$change"
			;;
	esac
}

one_run() {	# SIDE SYNC CLIENTS
	local node nodes done=0 n before after expected pids=()
	read -ra nodes <<<"$(nodes_of "$1")"
	before=$(written "$1")
	for node in "${nodes[@]}"; do
		statement_of "$1" "$node" >"$BENCH_WORK/$node.pgbench"
		PGOPTIONS="-c synchronous_commit=$2" pgbench -n -M prepared -c $(($3 / ${#nodes[@]})) -j 1 -T "$DURATION" -f "$BENCH_WORK/$node.pgbench" \
			-D value="$value" "host=${host[$node]} user=postgres dbname=n_${1%%_*}" >"$BENCH_WORK/$node.out" 2>&1 &
		pids+=($!)
	done
	for n in "${pids[@]}"; do wait "$n" || { cat "$BENCH_WORK"/*.out >&2; return 1; }; done
	for node in "${nodes[@]}"; do
		n=$(field "$(cat "$BENCH_WORK/$node.out")" 'number of transactions actually processed: ')
		done=$((done + ${n%.*}))
	done
	after=$(written "$1")
	expected=$done
	case $1 in *_both) expected=$((2 * done)) ;; esac
	if [ $((after - before)) -ne "$expected" ]; then
		say "$1: $done transactions, but versions have grown by $((after - before))"
		return 1
	fi
	awk -v n="$done" -v s="$DURATION" 'BEGIN {print n / s}'
}

run_is() {
	echo "$2 clients"
}

table 'nodes | actors' 'transactions/s'
for what in home anywhere both; do
	rounds on "$SCALE_CLIENTS" one_$what two_$what three_$what
	case $what in
		home) where='of the node at hand' ;;
		anywhere) where='anywhere' ;;
		both) where='two, anywhere' ;;
	esac
	row "2 | $where" two_$what one_$what 'one node' -
	row "3 | $where" three_$what one_$what 'one node' -
done
finish
