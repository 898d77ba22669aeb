#!/bin/bash
# Not a claim: which of the natural ways to write a call is the fastest, for the README's advice.
. "$(dirname "$0")/lib.sh"
estimate $((7 * PAIRS))

begin 'Ways to write a call' <<END
The same call in several forms, one client pinned with its backend to one core, synchronous_commit off, pgbench \`-M prepared\`. \`FROM\` is the plainest form and
the base of the ratios. \`(actorstore.update(…)).version\` answers one column; two of them would call the function twice.
END

# forms STATEMENT…: one side each; the first is the base.
forms() {
	local side sides='' i=0 text ratios
	for text; do
		side=actorstore_$i
		sides="$sides $side"
		i=$((i + 1))
		printf '%s\n' '\set id random(1, :actors)' "$text;" | statement $side
	done
	rounds off 1p $sides
	i=0
	for text; do
		side=actorstore_$i
		i=$((i + 1))
		ratios=$(paste "$BENCH_WORK/$side.tps" "$BENCH_WORK/actorstore_0.tps" | awk '{printf "%.3f\n", $1 / $2}' | sort -g)
		write "| \`$text\` | $(thousands "$(median <"$BENCH_WORK/$side.tps")") |" \
			"$(printf '%s\n' "$ratios" | median) | $(printf '%s\n' "$ratios" | sed -n '1p;$p' | paste -s -d' ' | sed 's/ / – /') |"
	done
}

seed "$ACTORS"
write '| statement | calls/s | ratio to the first form | lowest and highest |'
write '|---|---|---|---|'
forms 'SELECT version, value FROM actorstore.get(:type, :id)' \
	'SELECT (a).version, (a).value FROM (SELECT actorstore.get(:type, :id) AS a OFFSET 0) AS s' \
	'SELECT actorstore.get(:type, :id)'
write ''
write '| statement | calls/s | ratio to the first form | lowest and highest |'
write '|---|---|---|---|'
forms 'SELECT version FROM actorstore.update(:type, :id, :value)' \
	'SELECT (actorstore.update(:type, :id, :value)).version' \
	'SELECT (a).version, (a).updated_at FROM (SELECT actorstore.update(:type, :id, :value) AS a OFFSET 0) AS s' \
	'SELECT actorstore.update(:type, :id, :value)'
finish
