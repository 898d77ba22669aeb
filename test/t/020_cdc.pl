# Clients of logical replication follow the changes: pg_recvlogical, also
# killed and started again, sees each change once by its sequence; a consumer
# of quiet types is carried along by the others' changes; a transaction larger
# than memory spills; and pgoutput brings the same states to another server.

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

my $node = new_node('source', preload => 0, streaming => 'logical', plugins => 'pgoutput, actorstore', settings => "logical_decoding_work_mem = 64kB\nwal_sender_timeout = 2s");
new_database($node, 'd');
my $directory = PostgreSQL::Test::Utils::tempdir;
my $json = 'value::text || \'|\' || version';

# The states of all actors, by SQL.
sub states
{
	my ($from) = @_;
	return { map { split /\t/, $_, 2 } split /\n/, $from->safe_psql('d', qq{SELECT actor_type || '/' || actor_id || E'\t' || $json FROM actorstore.actor}) };
}

# pg_recvlogical, running.
sub follow
{
	my ($slot, $file, @options) = @_;
	return IPC::Run::start(
		[ 'pg_recvlogical', '-d', $node->connstr('d'), '-S', $slot, '--start', '--no-loop', '-F', '1', '-s', '1', '-f', $file, (map { ('-o', $_) } @options) ],
		'<', \undef, '>', '/dev/null', '2>', "$directory/errors");
}

sub confirmed { my ($slot, $lsn) = @_;
	return $node->poll_query_until('d', "SELECT confirmed_flush_lsn >= '$lsn' FROM pg_replication_slots WHERE slot_name = '$slot'"); }

# A consumer that is killed again and again while eight clients write.
$node->command_ok([ 'pg_recvlogical', '-d', $node->connstr('d'), '-S', 'killed', '-P', 'actorstore', '--create-slot' ], 'pg_recvlogical makes a slot');
$node->safe_psql('d', q{SELECT actorstore.create_type('own'); CREATE TABLE written (n int)});
append_to_file("$directory/script", q{
\set id random(1, 20)
\set kind random(1, 6)
BEGIN;
SELECT CASE WHEN :kind < 4 THEN (actorstore.put(CASE :kind WHEN 1 THEN 'own' ELSE 'loose' END, :id::text, to_jsonb(random()))).version
	WHEN :kind = 4 THEN (actorstore.delete('own', :id::text)).version
	ELSE actorstore.put_many('many', ARRAY[:id::text, 'x' || :id], ARRAY[to_jsonb(:id), '{"a": [1, "two"]}']) END;
SAVEPOINT s;
SELECT actorstore.put('loose', 'never', '1');
ROLLBACK TO s;
COMMIT;
});
my $writers = IPC::Run::start([ 'pgbench', '-n', '-c', '8', '-t', '400', '-f', "$directory/script", $node->connstr('d') ], '<', \undef, '>', \my $written, '2>', \my $errors);
my $kills = 0;
while ($kills < 8)
{
	my $client = follow('killed', "$directory/killed.$kills");

	usleep(300_000);
	$client->kill_kill(grace => 0);
	$kills++;
	# the server must have noticed before somebody else may use the slot
	$node->poll_query_until('d', q{SELECT active_pid IS NULL FROM pg_replication_slots WHERE slot_name = 'killed'});
}
$writers->finish;
like($written, qr{number of transactions actually processed: 3200/3200}, 'all was written');
my $end = $node->safe_psql('d', 'SELECT pg_current_wal_lsn()');
my $client = follow('killed', "$directory/killed.$kills");
ok(confirmed('killed', $end), 'the last one comes to the end');
$client->kill_kill(grace => 0);

my ($lines, $last, $disorder, $mismatches, %seen, %state) = (0, '', 0, 0);
foreach my $file (map { "$directory/killed.$_" } 0 .. $kills)
{
	$last = '';
	next unless -e $file;
	foreach my $line (split /\n/, slurp_file($file))
	{
		# the line that a killed client was writing
		next unless $line =~ m/^\{"sequence": "(.{25})", "operation": "(\w+)", "actor_type": "(\w+)", "actor_id": "(\w+)", "previous_value": (.*), "previous_version": (\w+), "new_value": (.*), "new_version": (\w+), "timestamp": "[^"]+"\}$/;
		my ($sequence, $operation, $actor, $previous, $new) = ($1, $2, "$3/$4", "$5|$6", "$7|$8");

		$lines++;
		$disorder++ if $sequence le $last;
		$last = $sequence;
		if (exists $seen{$sequence})
		{
			$mismatches++ if $seen{$sequence} ne $line;
			next;
		}
		$seen{$sequence} = $line;
		$mismatches++ if ($state{$actor} // 'null|null') ne $previous;
		if ($operation eq 'DELETE') { delete $state{$actor}; }
		else { $state{$actor} = $new; }
	}
}
is($disorder, 0, 'sequences ascend in what each client got');
is($mismatches, 0, 'what comes again is the same, and each change starts where the last one ended');
is_deeply(\%state, states($node), 'the events, folded, are the states');
cmp_ok(scalar(keys %seen), '>', 3000, 'of many events');
is(scalar(grep { /"never"/ } values %seen), 0, 'what was rolled back never came');
$node->safe_psql('d', q{SELECT pg_drop_replication_slot('killed')});

# A consumer of a quiet type moves on.
$node->safe_psql('d', q{SELECT actorstore.create_type('quiet'); SELECT pg_create_logical_replication_slot('quiet', 'actorstore')});
$client = follow('quiet', "$directory/quiet", 'actor_types=quiet', 'include_transaction=on');
$node->safe_psql('d', q{SELECT actorstore.put('loose', 'busy', to_jsonb(i)) FROM generate_series(1, 20000) AS i});
$node->safe_psql('d', q{SELECT actorstore.put('loose', 'busy', '1')}) for 1 .. 20;
$end = $node->safe_psql('d', 'SELECT pg_current_wal_lsn()');
$node->safe_psql('d', q{SELECT pg_switch_wal()});
ok(confirmed('quiet', $end), 'a consumer of a quiet type confirms what it does not see');
is(-s "$directory/quiet", 0, 'and gets not a line');
$client->kill_kill(grace => 0);
$node->poll_query_until('d', q{SELECT active_pid IS NULL FROM pg_replication_slots WHERE slot_name = 'quiet'});

# A large transaction spills to disk and comes whole.
$node->safe_psql('d', q{SELECT actorstore.insert_many('bulk', array_agg(i::text), array_agg(to_jsonb(i))) FROM generate_series(1, 100000) AS i});
is($node->safe_psql('d', q{SELECT count(*), count(DISTINCT left(data::jsonb ->> 'sequence', 16)), min(right(data::jsonb ->> 'sequence', 8)), max(right(data::jsonb ->> 'sequence', 8))
	FROM pg_logical_slot_get_changes('quiet', NULL, NULL, 'actor_types', 'bulk')}), '100000|1|00000000|0001869F', 'a hundred thousand changes of one transaction');
ok($node->poll_query_until('d', q{SELECT spill_txns > 0 FROM pg_stat_replication_slots WHERE slot_name = 'quiet'}), 'have spilled');
$node->safe_psql('d', q{SELECT pg_drop_replication_slot('quiet')});

# pgoutput, to the same extension on another server.
my $other = new_node('other', preload => 0);
new_database($other, 'd');
$node->safe_psql('d', q{CREATE PUBLICATION p FOR TABLE actorstore.actor WITH (publish_via_partition_root)});
$other->safe_psql('d', qq{CREATE SUBSCRIPTION s CONNECTION '@{[$node->connstr]} dbname=d' PUBLICATION p});
$other->wait_for_subscription_sync($node, 's', 'd') if $other->can('wait_for_subscription_sync');
$other->poll_query_until('d', q{SELECT count(*) = 0 FROM pg_subscription_rel WHERE srsubstate NOT IN ('r', 's')});
$node->safe_psql('d', q{SELECT actorstore.create_type('loose'); SELECT actorstore.put('loose', 'later', '1'); SELECT actorstore.update('loose', 'busy', '{"b": null}');
	SELECT actorstore.delete('own', (SELECT min(actor_id) FROM actorstore.actor_own)); SELECT actorstore.create_type('new'); SELECT actorstore.insert('new', 'n', '[]')});
$node->wait_for_catchup('s');
is_deeply(states($other), states($node), 'pgoutput brings the same states to another server');
$other->safe_psql('d', 'DROP SUBSCRIPTION s');

$other->stop;
$node->stop;
done_testing();
