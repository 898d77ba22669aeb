# Transactions of every kind in the stream of changes: prepared ones with slots
# made with and without two_phase, committed and rolled back, also across a
# crash; large ones, which take no more memory than small ones; TRUNCATE.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('source', streaming => 'logical', plugins => 'pgoutput, actorstore',
	settings => "max_prepared_transactions = 10\nlogical_decoding_work_mem = 1MB\nshared_buffers = 16MB");
new_database($node, 'd');
$node->safe_psql('d', q{
	SELECT actorstore.create_type('own');
	SELECT pg_create_logical_replication_slot('one', 'actorstore'), pg_create_logical_replication_slot('two', 'actorstore', false, true)});

# What a slot shows: the ids, in order; or what the options ask for.
sub shown
{
	my ($slot, @options) = @_;
	my $options = join '', map { ", '$_'" } @options;

	return $node->safe_psql('d', qq{SELECT string_agg(data::jsonb ->> 'actor_id', ' ' ORDER BY data::jsonb ->> 'sequence' COLLATE "C")
		FROM pg_logical_slot_peek_changes('$slot', NULL, NULL$options)});
}

sub both_show
{
	my ($ids, $name) = @_;

	is(shown('one'), $ids, $name);
	is(shown('two'), $ids, "$name; two_phase");
	is($node->safe_psql('d', q{
		SELECT count(*) FROM pg_logical_slot_peek_changes('one', NULL, NULL) AS a FULL JOIN pg_logical_slot_peek_changes('two', NULL, NULL) AS b USING (data)
		WHERE a.data IS NULL OR b.data IS NULL}), 0, "$name; the same to both");
	return;
}

# Prepared, with a subtransaction that is rolled back; another commits between.
$node->safe_psql('d', q{
	BEGIN;
	SELECT actorstore.put('own', 'p1', '1');
	SAVEPOINT s;
	SELECT actorstore.put('own', 'never', '1');
	ROLLBACK TO s;
	SELECT actorstore.put('loose', 'p2', '1');
	PREPARE TRANSACTION 'a'});
$node->safe_psql('d', q{BEGIN; SELECT actorstore.put('own', 'rolled back', '1'); PREPARE TRANSACTION 'b'});
both_show('', 'prepared transactions show nothing');
$node->safe_psql('d', q{SELECT actorstore.put('own', 'between', '1')});
$node->safe_psql('d', q{COMMIT PREPARED 'a'});
$node->safe_psql('d', q{ROLLBACK PREPARED 'b'});
both_show('between p1 p2', 'they appear when they are committed');

# Consumed to the middle of a prepared transaction's life, then a crash.
$node->safe_psql('d', q{BEGIN; SELECT actorstore.put('own', 'over the crash', '1'); PREPARE TRANSACTION 'c'});
$node->safe_psql('d', qq{SELECT count(*) FROM pg_logical_slot_get_changes('$_', NULL, NULL)}) foreach qw(one two);
$node->safe_psql('d', 'CHECKPOINT');
$node->stop('immediate');
$node->start;
$node->safe_psql('d', q{COMMIT PREPARED 'c'});
both_show('over the crash', 'prepared before the slot moved on, committed after a crash');
$node->safe_psql('d', qq{SELECT count(*) FROM pg_logical_slot_get_changes('$_', NULL, NULL)}) foreach qw(one two);

# BEGIN and COMMIT lines only around transactions that show something.
$node->safe_psql('d', q{CREATE TABLE other (n int); INSERT INTO other VALUES (1)});
$node->safe_psql('d', q{BEGIN; SELECT actorstore.put('own', 'x', '1'); PREPARE TRANSACTION 'd'});
$node->safe_psql('d', q{COMMIT PREPARED 'd'});
is($node->safe_psql('d', q{SELECT string_agg(coalesce(data::jsonb ->> 'transaction', data::jsonb ->> 'actor_id'), ' ')
	FROM pg_logical_slot_peek_changes('two', NULL, NULL, 'include_transaction', 'on')}), 'BEGIN x COMMIT', 'a prepared transaction has its BEGIN and COMMIT');
is($node->safe_psql('d', q{SELECT count(*) FROM pg_logical_slot_peek_changes('two', NULL, NULL, 'include_transaction', 'on', 'actor_types', 'nobody')}), 0,
	'but not where nothing of it is wanted');

# TRUNCATE by a superuser is no change of actors; what follows is.
$node->safe_psql('d', q{TRUNCATE actorstore.actor_own});
$node->safe_psql('d', q{SELECT actorstore.put('own', 'after', '1')});
both_show('x after', 'TRUNCATE gives no events');
$node->safe_psql('d', q{SELECT pg_drop_replication_slot('one'), pg_drop_replication_slot('two')});

# Memory: a walsender that has sent a transaction of 200,000 changes is not
# larger than one that has sent 2,000, give or take what malloc rounds up.
sub peak_of
{
	my ($slot) = @_;
	my ($out, $err) = ('', '');
	my $client = IPC::Run::start(
		[ 'pg_recvlogical', '-d', $node->connstr('d'), '-S', $slot, '--start', '--no-loop', '-F', '1', '-s', '1', '-f', '/dev/null' ],
		'<', \undef, '>', \$out, '2>', \$err);
	my $end = $node->safe_psql('d', 'SELECT pg_current_wal_flush_lsn()');

	ok($node->poll_query_until('d', "SELECT confirmed_flush_lsn >= '$end' FROM pg_replication_slots WHERE slot_name = '$slot'"), "$slot was sent");
	my $pid = $node->safe_psql('d', "SELECT active_pid FROM pg_replication_slots WHERE slot_name = '$slot'");
	my ($anonymous) = slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+) kB/m;
	$client->kill_kill(grace => 0);
	return $anonymous;
}

my %peak;
foreach my $n (2_000, 200_000)
{
	$node->safe_psql('d', "SELECT pg_create_logical_replication_slot('slot_$n', 'actorstore')");
	$node->safe_psql('d', qq{SELECT actorstore.put_many('own', array_agg(i::text), array_agg('{"owner": "somebody", "items": [1, 2, 3]}'::jsonb)) FROM generate_series(1, $n) AS i});
	$peak{$n} = peak_of("slot_$n");
	$node->safe_psql('d', "SELECT pg_drop_replication_slot('slot_$n')") if $node->poll_query_until('d', "SELECT active_pid IS NULL FROM pg_replication_slots WHERE slot_name = 'slot_$n'");
}
cmp_ok($peak{200_000}, '<', $peak{2_000} + 4096, 'a hundred times the changes take no more memory') or diag("kB: $peak{2000}, $peak{200000}");

done_testing();
