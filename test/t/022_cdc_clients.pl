# Clients as their makers ship them: pg-logical-replication for Node.js and
# psycopg2 follow the output plugin, pg for Node.js consumes subscriptions in
# SQL.  All are killed again and again while others write; in the end each has
# every change that its filter lets through, once by sequence, in order, and
# the events fold into the state.  The programs are in test/clients.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $kills = 3;            # of each client
my $before_kill = 150;    # lines that each prints at least before it is killed
my $programs = "$FindBin::RealBin/../clients";
my $modules = "$FindBin::RealBin/../../tmp/clients/node_modules";
my $directory = PostgreSQL::Test::Utils::tempdir;

# In /usr/bin if another Python comes first in PATH.
my ($python) = grep { IPC::Run::run([ $_, '-c', 'import psycopg2' ], '>&', '/dev/null') } 'python3', '/usr/bin/python3';
ok($python, 'psycopg2 is there (scripts/install-deps clients)') or $python = 'python3';
my $without_npm = $ENV{ACTORSTORE_WITHOUT_NPM};
ok(-d $modules, "npm's packages are there (scripts/npm-packages)") unless $without_npm;

# Node.js finds the packages by NODE_PATH.
my %clients = (
	psycopg2 => { follows => 'key_prefix=1', command => [ $python, "$programs/replication.py", 'psycopg2', 'key_prefix=1' ] });
if (!$without_npm)
{
	my $types = q{cart,"it's ""odd"", ü"};

	$clients{node} = { follows => "actor_types=$types", command => [ 'node', "$programs/replication.js", 'node', "actor_types=$types" ] };
	$clients{now} = { subscribes => 1, command => [ 'node', "$programs/subscription.js", 'now', 'now', 'cart' ] };
	$clients{beginning} = { subscribes => 1, command => [ 'node', "$programs/subscription.js", 'beginning', 'beginning', 'cart', q{it's "odd", ü} ] };
}

my $node = new_node('source', streaming => 'logical', plugins => 'pgoutput, actorstore');
new_database($node, 'd');
@ENV{qw(PGHOST PGPORT PGDATABASE PGUSER NODE_PATH)} = ($node->host, $node->port, 'd', $node->safe_psql('d', 'SELECT current_user'), $modules);

sub output { my ($name, $run) = @_; return "$directory/$name.$run"; }

sub start
{
	my ($name, $run) = @_;
	local $ENV{PGAPPNAME} = $name;

	$clients{$name}{running} =
	  IPC::Run::start($clients{$name}{command}, '<', '/dev/null', '>', output($name, $run), '2>>', "$directory/$name.errors");
	return;
}

# Wait until the client's output is as wanted; dies with what it has complained of if it has ended before that.
sub wait_for
{
	my ($name, $run, $wanted) = @_;
	my $until = time + ActorstoreTest::patience();

	until ($wanted->(slurp_file(output($name, $run))))
	{
		die "$name: " . slurp_file("$directory/$name.errors") . (time > $until ? 'gave up waiting' : 'ended early')
		  if time > $until || !$clients{$name}{running}->pumpable;
		usleep(10_000);
	}
	return;
}

sub kill_client
{
	my ($name) = @_;

	$clients{$name}{running}->signal('KILL');
	$clients{$name}{running}->finish;
	# the server must have noticed before somebody else may use the slot
	$node->poll_query_until('d', "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = '$name'")
	  or die "$name is still connected";
	return;
}

# What is there before.
$node->safe_psql('d', q{
CREATE TABLE seen (subscription text, LIKE actorstore.change_event, PRIMARY KEY (subscription, sequence));
SELECT actorstore.create_type('cart');
SELECT actorstore.insert_many(t, array_agg(i::text), array_agg(to_jsonb('old ' || i)))
	FROM unnest(ARRAY['cart', 'it''s "odd", ü', 'other']) AS t, generate_series(1, 150) AS i GROUP BY t;
});
my %state_before = states();
$node->safe_psql('d', "SELECT pg_create_logical_replication_slot('$_', 'actorstore')")
  foreach 'reference', grep { $clients{$_}{follows} } sort keys %clients;

# Writers until the last kill; transactions of one change and of a hundred, and what is rolled back.
append_to_file("$directory/script", q{
\set id random(1, 30)
\set n random(101, 199)
\set kind random(1, 12)
BEGIN;
SELECT CASE
	WHEN :kind < 4 THEN (actorstore.put('cart', :id::text, jsonb_build_object('n', :n, 'text', E'ü "quoted" \\\\ \n 日本 😀'))).version
	WHEN :kind = 4 THEN (actorstore.delete('cart', :id::text)).version
	WHEN :kind < 7 THEN (actorstore.put('it''s "odd", ü', :id::text, to_jsonb(repeat('long', 1000) || :n))).version
	WHEN :kind = 7 THEN (actorstore.delete('it''s "odd", ü', :id::text)).version
	WHEN :kind < 10 THEN (SELECT count((actorstore.put('cart', i::text, '[1, "two", {"three": 4.25}]')).version) FROM generate_series(101, :n) AS i)
	WHEN :kind = 10 THEN (SELECT count((actorstore.delete('cart', i::text)).version) FROM generate_series(101, :n) AS i)
	ELSE (actorstore.put('other', :id::text, to_jsonb(:n))).version END;
SAVEPOINT s;
SELECT actorstore.put('cart', '1', '"never"');
ROLLBACK TO s;
COMMIT;
\sleep 20 ms
});
my $writers = IPC::Run::start([ 'pgbench', '-n', '-c', '3', '-T', '600', '-f', "$directory/script", 'd' ], '<', '/dev/null', '>&', "$directory/pgbench");
foreach my $run (0 .. $kills - 1)
{
	start($_, $run) foreach sort keys %clients;
	foreach my $name (sort keys %clients)
	{
		wait_for($name, $run, sub { ($_[0] =~ tr/\n//) >= $before_kill });
		kill_client($name);
	}
}
ok($writers->pumpable, 'others wrote all the time');
$writers->signal('KILL');
$writers->finish;
$node->poll_query_until('d', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'pgbench'}) or die 'pgbench is still connected';
$node->safe_psql('d', q{SELECT actorstore.put('cart', '1 and last', '"the end"')});

# The last run comes to the end.
start($_, $kills) foreach sort keys %clients;
foreach my $name (grep { $clients{$_}{follows} } sort keys %clients)
{
	wait_for($name, $kills, sub { $_[0] =~ /"the end".*\n/ });
}
foreach my $name (grep { $clients{$_}{subscribes} } sort keys %clients)
{
	ok($clients{$name}{running}->finish, "$name: ends by itself");
}

# All changes, unfiltered, from the server itself.
my @reference = rows($node, 'd', q{SELECT lsn || ' ' || data FROM pg_logical_slot_peek_changes('reference', NULL, NULL)});
my %event = map { event($_) } @reference;
is(scalar(grep { /"never"/ } @reference), 0, 'what was rolled back is in no event');
is(scalar(grep { $_->{lsn_number} >= hex substr($_->{sequence}, 0, 16) } values %event), 0,
	'no event has an LSN whose acknowledgement would skip the rest of its transaction');

# The states of all actors, by SQL: "type"/"id" => value|version.
sub states
{
	return map { split /\t/, $_, 2 }
	  rows($node, 'd', q{SELECT concat(to_jsonb(actor_type), '/', to_jsonb(actor_id), E'\t') || value || '|' || version FROM actorstore.actor});
}

# A line of a client taken apart: sequence => event.
sub event
{
	my ($line) = @_;

	$line =~ m/^(\w+)\/(\w+) \{"sequence": "(.{25})", "operation": "(\w+)", "actor_type": (".*"), "actor_id": ("[^"]+"), "previous_value": (.*), "previous_version": (\w+), "new_value": (.*), "new_version": (\w+), "timestamp": "[^"]+"\}$/
	  or die "not an event: $line";
	return ($3 => { line => $line, lsn_number => hex($1) << 32 | hex($2), sequence => $3, operation => $4, type => $5, id => $6,
		previous => "$7|$8", new => "$9|$10" });
}

# Put events upon a state; returns the number of those that do not start where the last one has ended.
sub fold
{
	my ($state, @events) = @_;
	my $misfits = 0;

	foreach my $event (@events)
	{
		my $actor = "$event->{type}/$event->{id}";

		$misfits++ if ($state->{$actor} // 'null|null') ne $event->{previous};
		if ($event->{operation} eq 'DELETE') { delete $state->{$actor}; }
		else { $state->{$actor} = $event->{new}; }
	}
	return $misfits;
}

my %wanted = (
	psycopg2 => sub { $_[0] =~ m{/"1} },
	node => sub { $_[0] =~ m{^"(?:cart|it's \\"odd\\", ü)"/} });
my %state = states();

foreach my $name (grep { $clients{$_}{follows} } sort keys %clients)
{
	my $wanted = $wanted{$name};
	my ($lines, $disorder, $changed, %seen) = (0, 0, 0);

	foreach my $run (0 .. $kills)
	{
		my $last = '';

		# not the line that a killed client was writing
		foreach my $line (slurp_file(output($name, $run)) =~ /^(.*)\n/mg)
		{
			my ($sequence, $event) = event($line);

			$lines++;
			$disorder++ if $sequence le $last;
			$last = $sequence;
			$changed++ if exists $seen{$sequence} && $seen{$sequence}{line} ne $line;
			$seen{$sequence} = $event;
		}
	}
	my @seen = map { $seen{$_} } sort keys %seen;
	my @expected = map { $event{$_} } grep { $wanted->("$event{$_}{type}/$event{$_}{id}") } sort keys %event;

	is($disorder, 0, "$name: in the order of the sequences, whatever was killed");
	is($changed, 0, "$name: what comes again is the same");
	cmp_ok(scalar(@seen), '>=', $kills * $before_kill / 2, "$name: many events (@{[scalar @seen]} of @{[scalar keys %event]}, $lines lines)");
	is_deeply([ map { $_->{line} } @seen ], [ map { $_->{line} } @expected ], "$name: every change that the filter wants, and no other, byte by byte");
	cmp_ok($lines, '<', ($kills + 1) * @seen, "$name: what was acknowledged does not come again");

	my %folded = map { $_ => $state_before{$_} } grep { $wanted->($_) } keys %state_before;
	is(fold(\%folded, @seen), 0, "$name: each change starts where the last one ended");
	is_deeply(\%folded, { map { $_ => $state{$_} } grep { $wanted->($_) } keys %state }, "$name: the events, folded, are the states");
	ok($node->poll_query_until('d', "SELECT confirmed_flush_lsn >= '" . ($seen[-1]{line} =~ s/ .*//sr) . "' FROM pg_replication_slots WHERE slot_name = '$name'"),
		"$name: the slot has moved on to the end");
	kill_client($name);
}

foreach my $name (grep { $clients{$_}{subscribes} } sort keys %clients)
{
	my ($disorder, %printed) = (0);

	foreach my $run (0 .. $kills)
	{
		my $last = '';

		foreach my $sequence (slurp_file(output($name, $run)) =~ /^(.{25})\n/mg)
		{
			$disorder++ if $sequence le $last;
			$last = $sequence;
			$printed{$sequence} = 1;
		}
	}
	is($disorder, 0, "$name: in the order of the sequences, whatever was killed");

	# A page of present actors whose transaction was killed is read anew, under the same numbers, and may be shorter now.
	my @kept = rows($node, 'd', qq{SELECT sequence FROM seen WHERE subscription = '$name' ORDER BY sequence COLLATE "C"});
	my %kept = map { $_ => 1 } @kept;
	is_deeply([ grep { $kept{$_} || $name ne 'beginning' } sort keys %printed ], \@kept, "$name: each event took effect once");

	my @seen = map { (event($_))[1] } rows($node, 'd', qq{
		SELECT format('0/0 {"sequence": "%s", "operation": "%s", "actor_type": %s, "actor_id": %s, "previous_value": %s, "previous_version": %s, "new_value": %s, "new_version": %s, "timestamp": "?"}',
			sequence, operation, to_jsonb(actor_type), to_jsonb(actor_id), coalesce(previous_value::text, 'null'), coalesce(previous_version::text, 'null'),
			coalesce(new_value::text, 'null'), coalesce(new_version::text, 'null'))
		FROM seen WHERE subscription = '$name' ORDER BY sequence COLLATE "C"});
	my $types = $name eq 'now' ? qr{^"cart"/} : qr{^"(?:cart|it's \\"odd\\", ü)"/};
	my %folded = $name eq 'now' ? map { $_ => $state_before{$_} } grep { $_ =~ $types } keys %state_before : ();

	cmp_ok(scalar(@seen), '>=', $kills * $before_kill / 2, "$name: many events (@{[scalar @seen]})");
	if ($name eq 'now')
	{
		# it subscribed while others wrote: the state then is what the changes before have left
		fold(\%folded, map { $event{$_} } grep { $_ lt $seen[0]{sequence} && "$event{$_}{type}/" =~ $types } sort keys %event);
		is_deeply([ map { $_->{sequence} } @seen ],
			[ grep { $_ ge $seen[0]{sequence} && "$event{$_}{type}/" =~ $types } sort keys %event ], 'now: every change since, and no other');
	}
	else
	{
		cmp_ok(scalar(grep { $_->{operation} eq 'INSERT' } @seen), '>=', 200, 'beginning: the actors that were there are among them');
	}
	is(fold(\%folded, @seen), 0, "$name: each change starts where the last one ended");
	is_deeply(\%folded, { map { $_ => $state{$_} } grep { $_ =~ $types } keys %state }, "$name: the events, folded, are the states");
}
is($node->safe_psql('d', 'SELECT count(*) FROM actorstore.stat_subscriptions'), 0, 'the subscriptions have ended');
is($node->safe_psql('d', q{SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'actorstore%'}), 0, 'with their slots');
is(slurp_file("$directory/$_.errors"), '', "$_: no complaints") foreach sort keys %clients;

SKIP:
{
	skip 'ACTORSTORE_WITHOUT_NPM is set: the clients for Node.js were not tried', 1 if $without_npm;
	is(scalar(keys %clients), 4, 'no client was left out');
}

$node->stop;
done_testing();
