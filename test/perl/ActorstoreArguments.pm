# A good call of each function that users may call, and what to put in the place of each argument: what is
# missing, empty, too long, below zero, without end, of another shape.  Which functions there are, and what their
# arguments are, is asked of the catalog: a function that nobody has described here makes the tests die.

package ActorstoreArguments;

use strict;
use warnings;

use ActorstoreTest;
use Exporter 'import';

our @EXPORT = qw(good_calls bad_calls attempts prepare_attempts);

# Arguments of which all are right, as expressions; a function may stand here twice.
my @good = (
	[ 'insert', q{'t'}, q{'new'}, q{'1'} ],
	[ 'get', q{'t'}, q{'a'} ],
	[ 'get_many', q{'t'}, q{'{a,b}'}, q{'share'} ],
	[ 'get_all', q{'t'} ],
	[ 'list', q{'t'}, q{'a'}, q{''}, 5 ],
	[ 'update', q{'t'}, q{'a'}, q{'2'} ],
	[ 'update_versioned', q{'t'}, q{'a'}, q{'2'}, 0 ],
	[ 'compare_and_swap', q{'t'}, q{'a'}, 0, q{'2'} ],
	[ 'put', q{'t'}, q{'a'}, q{'2'} ],
	[ 'patch', q{'t'}, q{'a'}, q{'{"x": 1}'} ],
	[ 'delete', q{'t'}, q{'a'} ],
	[ 'delete_versioned', q{'t'}, q{'a'}, 0 ],
	[ 'insert_many', q{'t'}, q{'{x,y}'}, q{'{1,2}'} ],
	[ 'put_many', q{'t'}, q{'{a,y}'}, q{'{1,2}'} ],
	[ 'create_type', q{'new'}, q{'logged'}, 10, q{'error'}, 5, q{'1 s'}, q{'1 min'}, q{'30 s'}, q{'dead_letter'}, '1.5', 2, 'false' ],
	[ 'alter_type', q{'t'}, q{'logged'}, 10, q{'error'}, 5, q{'1 s'}, q{'1 min'}, q{'30 s'}, q{'dead_letter'}, '1.5', 2, 'false' ],
	[ 'drop_type', q{'t'}, 'true' ],
	[ 'type_table', q{'t'} ],
	[ 'set_handler', q{'t'}, q{'m'}, q{'nothing(jsonb, jsonb)'} ],
	[ 'grant_type', q{'t'}, q{'stranger'}, q{'{read}'} ],
	[ 'revoke_type', q{'t'}, q{'stranger'}, q{'{read}'} ],
	[ 'has_type_privilege', q{'t'}, q{'read'} ],
	[ 'send', q{'t'}, q{'a'}, q{'m'}, q{'1'}, 4, q{'1 h'}, 'NULL', q{'key'}, q{'{"h": 1}'}, q{'2200-01-01'} ],
	[ 'send', q{'t'}, q{'a'}, q{'m'}, 'NULL', 0, 'NULL', q{'2200-01-01'}, 'NULL', 'NULL', 'NULL' ],
	[ 'send_many', q{'t'}, q{'{a,b}'}, q{'m'}, q{'{1,2}'} ],
	[ 'cancel', 1 ],
	[ 'ask', q{'t'}, q{'a'}, q{'m'}, q{'1'}, q{'1 min'}, 'NULL' ],
	[ 'tell', q{'t'}, q{'a'}, q{'m'}, q{'1'} ],
	[ 'call', q{'t'}, q{'a'}, q{'m'}, q{'1'} ],
	[ 'set_timer', q{'t'}, q{'a'}, q{'n'}, q{'m'}, q{'1'}, q{'1 h'}, 'NULL', q{'1 day'}, q{'once'} ],
	[ 'set_timer', q{'t'}, q{'a'}, q{'n'}, q{'m'}, 'NULL', 'NULL', q{'2200-01-01'}, q{'1 mon'}, q{'all'} ],
	[ 'cancel_timer', q{'t'}, q{'a'}, q{'n'} ],
	['context'], [ 'reply', q{'1'} ], [ 'reject', q{'x'} ], [ 'retry_after', q{'1 s'} ], [ 'stop', q{'x'} ], [ 'spawn', q{'t'}, q{'s'}, q{'1'} ],
	[ 'link', q{'t'}, q{'b'} ], [ 'unlink', q{'t'}, q{'b'} ], [ 'monitor', q{'t'}, q{'b'} ], [ 'demonitor', q{'t'}, q{'b'} ],
	[ 'monitor_node', q{'one'} ], [ 'demonitor_node', q{'one'} ],
	[ 'join_group', q{'g'}, q{'t'}, q{'b'} ],
	[ 'leave_group', q{'g'}, q{'t'}, q{'a'} ],
	[ 'broadcast', q{'g'}, q{'m'}, q{'1'} ],
	[ 'checkout', q{'w'}, q{'{out}'}, 1, q{'1 s'}, q{'0'}, 10 ],
	[ 'complete', 1, 1, q{'1'}, q{'[]'}, q{'{}'} ],
	[ 'complete_many', q{'{1}'}, q{'{1}'}, q{'{1}'}, q{'{"[]"}'}, q{'{"{}"}'} ],
	[ 'fail', 1, 1, q{'x'}, q{'1 s'} ],
	[ 'extend_lease', 1, 1, q{'1 s'} ],
	[ 'outside', q{'1'}, q{'1'} ],
	[ 'subscribe', q{'other'}, q{'now'}, q{'{t}'}, q{'a'} ],
	[ 'fetch', q{'s'}, 10, q{'0'} ],
	[ 'ack', q{'s'}, q{'0000000000000001-00000000'} ],
	[ 'unsubscribe', q{'s'} ],
	['cdc_stats'],
	[ 'pause', q{'t'}, q{'a'} ],
	[ 'resume', q{'t'}, q{'a'} ],
	[ 'redrive', q{'t'}, q{'a'}, 10 ],
	[ 'purge_dead_letters', q{'t'}, q{'2001-01-01'} ],
	[ 'supervise', q{'t'}, q{'a'}, q{'t'}, q{'c'}, q{'one_for_one'}, 3, q{'5 s'}, 'false', q{'transient'} ],
	[ 'unsupervise', q{'t'}, q{'b'} ],
	[ 'purge_supervision_log', q{'t'}, q{'2001-01-01'} ],
	['unfence'], ['doctor'],
	[ 'init_node', q{'one'}, 'NULL' ],
	[ 'locate', q{'t'}, q{'a'} ],
	[ 'replicas', q{'t'}, q{'a'}, 2 ],
	[ 'slot_of', q{'t'}, q{'a'} ],
	[ 'add_node', q{'nine'}, q{'host=/nowhere dbname=d'}, 100 ],
	[ 'remove_node', q{'nine'}, 'false', 'false' ],
	[ 'set_node_weight', q{'nine'}, 100 ],
	[ 'set_node_location', q{'nine'}, q{'north'}, q{'r1'} ],
	[ 'rebalance', 'true' ],
	['stop_rebalance'],
	[ 'node_check', q{'one'} ],
	[ 'execute_on_nodes', q{'SELECT $1::text'}, q{'{x}'}, q{'{one}'} ],
	[ 'restore_point', q{'point'} ],
	['resolve_in_doubt'],
	[ 'resolve_in_doubt', q{'actorstore_00000000-0000-4000-8000-000000000000_1_1_1_1'}, 'true' ],
	[ 'merge', q{'{1:1}'}, q{'{2:1}'} ],
	[ 'increment', q{'{1:1}'}, 1 ],
	[ 'counter', q{'{1:1}'}, 1 ]);

# Wrong ones, by type.
my %bad = (
	text => [ 'NULL', q{''}, q{repeat('x', 513)}, q{repeat('ä', 256) || 'x'}, q{'$'}, q{'*'}, q{E'two\nlines'}, q{' '}, q{'infinity'}, q{'-1'}, q{repeat('x', 100000)} ],
	'text[]' => [ 'NULL', q{'{}'}, q{'{NULL}'}, q{'{"",""}'}, q{'{{a,b},{c,d}}'}, q{'[7:8]={a,b}'}, q{ARRAY[repeat('x', 513), 'b']}, q{array_fill('t'::text, '{5000}')} ],
	jsonb => [ 'NULL', q{'null'}, q{'[]'}, q{'{}'}, q{'""'}, q{'1e1000'}, q{'[[]]'}, q{'{"": null}'}, q{to_jsonb(repeat('x', 11000000))}, q{(repeat('[', 500) || repeat(']', 500))::jsonb},
		q{'[{"actor_type": "t", "actor_id": "a", "message": "m", "priority": 1e1000}]'}, q{'{"9223372036854775808": 1}'} ],
	'jsonb[]' => [ 'NULL', q{'{}'}, q{'{NULL,NULL}'}, q{'{"null"}'}, q{'{{1,2},{3,4}}'}, q{'[7:8]={1,2}'}, q{ARRAY[to_jsonb(repeat('x', 11000000)), '1']} ],
	integer => [ 'NULL', '-2147483648', '-1', '0', '2147483647' ],
	bigint => [ 'NULL', q{'-9223372036854775808'}, '-1', '0', q{'9223372036854775807'} ],
	'bigint[]' => [ 'NULL', q{'{}'}, q{'{NULL}'}, q{'{{1}}'}, q{'[7:7]={1}'}, q{'{-9223372036854775808}'}, q{'{1,1}'} ],
	boolean => [ 'NULL', 'true', 'false' ],
	'double precision' => [ 'NULL', q{'NaN'}, q{'Infinity'}, q{'-Infinity'}, q{'-0'}, q{'1e308'}, q{'5e-324'}, '-1' ],
	interval => [ 'NULL', q{'0'}, q{'-1 us'}, q{'1 us'}, q{'-178000000 years'}, q{'178000000 years'}, q{'1 mon -31 days'}, q{'1000 years'} ],
	'timestamp with time zone' => [ 'NULL', q{'-infinity'}, q{'infinity'}, q{'294276-12-31 23:59:59.999999+00'}, q{'4713-01-01 00:00+00 BC'}, q{'2000-01-01 00:00+00'}, q{'1970-01-01'} ],
	regrole => [ 'NULL', '0', '4294967295', q{'pg_monitor'} ],
	regprocedure => [ 'NULL', '0', '4294967295', q{'now()'} ],
	'actorstore.vclock' => [ 'NULL', q{'{}'}, q{'{2147483647:9223372036854775807}'} ]);

# Who waits for something that does not come is not asked to do so for ever.
my %waits = map { $_ => 1 } 'fetch max_wait', 'checkout max_wait';

# What is not for users by itself: it stands behind a view, a trigger, an operator, or is for other nodes.
my $internal = q{obj_description(p.oid, 'pg_proc') ~ '^(internal: |for other nodes: |implementation of |input$|output$|binary |hash$|less than, equal)'};

my %signature;

sub signatures
{
	my ($node, $database) = @_;
	my %described = map { ($_->[0] . '/' . (@$_ - 1)) => 1 } @good;

	foreach my $row (rows($node, $database, qq{SELECT p.proname || '/' || p.pronargs,
			(SELECT string_agg(format('%s %s', coalesce(p.proargnames[n], '?'), format_type(p.proargtypes[n - 1], NULL)), ', ' ORDER BY n) FROM generate_series(1, p.pronargs) AS n)
		FROM pg_proc AS p WHERE p.pronamespace = 'actorstore'::regnamespace AND p.prokind = 'f' AND NOT $internal ORDER BY 1}))
	{
		my ($name, $arguments) = split /\|/, $row, 2;
		die "$name is not described" unless delete $described{$name};
		$signature{$name} = [ map { [ split / /, $_, 2 ] } split /, /, $arguments ];
	}
	die 'there are no such functions: ' . join ', ', keys %described if %described;
	$bad{interval} = [ @{ $bad{interval} }, q{'infinity'}, q{'-infinity'} ] if $node->pg_version >= 17 && !grep { $_ eq q{'infinity'} } @{ $bad{interval} };
	return;
}

sub call_of
{
	my ($name, @arguments) = @_;
	my $types = $signature{ $name . '/' . @arguments };
	return "actorstore.$name(" . join(', ', map { "($arguments[$_])::$types->[$_][1]" } 0 .. $#arguments) . ')';
}

# Each as { name, call }.
sub good_calls
{
	my ($node, $database) = @_;

	signatures($node, $database) unless %signature;
	return map { { name => $_->[0], call => call_of(@$_) } } @good;
}

# Each as { name, argument, type, value, call }: one argument is wrong, or only odd.
sub bad_calls
{
	my ($node, $database) = @_;
	my @calls;

	signatures($node, $database) unless %signature;
	foreach my $good (@good)
	{
		my ($name, @arguments) = @$good;
		foreach my $n (0 .. $#arguments)
		{
			my ($argument, $type) = @{ $signature{ $name . '/' . @arguments }[$n] };
			foreach my $value (@{ $bad{$type} // die "$name: no bad $type" })
			{
				next if $waits{"$name $argument"} && $value =~ /years|'infinity'/;
				my @bad = @arguments;
				$bad[$n] = $value;
				push @calls, { name => $name, argument => $argument, type => $type, value => $value, call => call_of($name, @bad) };
			}
		}
	}
	return @calls;
}

# attempt(statement): '00000', or SQLSTATE, message, detail and hint in one line; what it did is undone.
sub prepare_attempts
{
	my ($node, $database) = @_;

	$node->safe_psql($database, q{
		CREATE FUNCTION attempt(statement text) RETURNS text LANGUAGE plpgsql AS $$
		DECLARE
			state text; message text; detail text; hint text; answer text;
		BEGIN
			EXECUTE statement INTO answer;
			RAISE EXCEPTION USING ERRCODE = '00ZZZ', MESSAGE = 'undone';
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
			RETURN CASE state WHEN '00ZZZ' THEN '00000'
				ELSE pg_catalog.translate(pg_catalog.concat_ws('|', state, pg_catalog.left(message, 300), nullif(detail, ''), nullif(hint, '')), E'\n', ' ') END;
		END $$});
	return;
}

# What a session answers to each of these statements, in their order, each in a transaction of its own.
sub attempts
{
	my ($session, @statements) = @_;
	my @answers;

	while (my @some = splice @statements, 0, 100)
	{
		$session->start(join ";\n", map { "SELECT '$_ ' || public.attempt(\$truth\$$some[$_]\$truth\$)" } 0 .. $#some);
		my @lines = split /\n/, $session->finish;
		foreach my $n (0 .. $#some)
		{
			my ($answer) = map { /^$n (.*)$/ ? $1 : () } @lines;
			push @answers, $answer // "no answer: $some[$n]: @lines";
		}
	}
	return @answers;
}

1;
