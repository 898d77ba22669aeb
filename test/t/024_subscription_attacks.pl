# What went wrong with subscriptions once, found by attacking them on purpose:
# slots of others dropped by sweeps, copies of a database and transactions that
# failed; a slot of another plugin; events read without the right to; changes
# doubled after a crash; a commit that no snapshot shows; errors that are caught.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('source', streaming => 'logical', plugins => 'pgoutput, test_decoding, actorstore', settings => "max_prepared_transactions = 5");
new_database($node, 'd');
$node->safe_psql('d', q{SELECT actorstore.create_type('t')});

# The ids that a subscription returns.
sub ids
{
	my ($subscription, $database) = @_;
	return $node->safe_psql($database // 'd',
		qq{SELECT string_agg(operation || ' ' || actor_id, ', ' ORDER BY sequence COLLATE "C") FROM actorstore.fetch('$subscription')});
}

sub state_of
{
	my ($subscription) = @_;
	return $node->safe_psql('d', qq{SELECT state FROM actorstore.stat_subscriptions WHERE subscription = '$subscription'});
}

# A sweep in a transaction whose snapshot does not show the newest subscription.
my $old = $node->background_psql('d');
$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
$node->safe_psql('d', q{SELECT actorstore.subscribe('victim')});
$old->query_safe(q{SELECT actorstore.subscribe('other'); COMMIT});
is(state_of('victim'), 'streaming', 'a sweep with an old snapshot drops no slot in use');
$old->quit;

# A copy of the database has the rows, not the slots.
$node->safe_psql('d', q{SELECT actorstore.put('t', 'a', '1')});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = 'd' AND backend_type = 'client backend'}), 'all sessions have gone');
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE d');
is(sqlstate($node, 'copy', q{SELECT * FROM actorstore.fetch('victim')}), '55000', 'a copy cannot go on');
$node->safe_psql('copy', q{SELECT actorstore.unsubscribe('victim'), actorstore.unsubscribe('other')});
is(ids('victim'), 'INSERT a', 'and what it does is nothing to the original');
$node->safe_psql('postgres', 'DROP DATABASE copy');

# unsubscribe in a transaction that fails at its commit.
$node->safe_psql('d', q{CREATE TABLE a (n int); CREATE TABLE b (n int); INSERT INTO a VALUES (0); INSERT INTO b VALUES (0)});
my ($one, $two) = map { $node->background_psql('d', on_error_stop => 0) } 1 .. 2;
$_->query('BEGIN ISOLATION LEVEL SERIALIZABLE') foreach $one, $two;
$one->query('SELECT * FROM a');
$two->query('SELECT * FROM b');
$two->query('UPDATE a SET n = 1');
$one->query('UPDATE b SET n = 1');
$one->query(q{SELECT actorstore.unsubscribe('victim')});
$two->query('COMMIT');
$one->query('COMMIT');
$_->quit foreach $one, $two;
is($node->safe_psql('d', 'SELECT (SELECT n FROM a) || (SELECT n FROM b)::text'), '10', 'the transaction has failed');
is(ids('victim'), 'INSERT a', 'and the subscription goes on');

# Errors that are caught, or lie behind a savepoint.
my (undef, undef, $complaints) = $node->psql('d', q{BEGIN; SELECT actorstore.subscribe('x'); SAVEPOINT s;
SELECT 1 / 0;
ROLLBACK TO s;
COMMIT;}, on_error_stop => 0, extra_params => [ '-v', 'VERBOSITY=sqlstate' ]);
like($complaints, qr/ERROR:  22012\n.*ERROR:  55000/s, 'an error ends a subscription that is not committed');
my $writer = $node->background_psql('d');
$writer->query_safe(q{BEGIN; SELECT actorstore.put('t', 'b', '1')});
$node->safe_psql('d', q{
	SET lock_timeout = '100 ms';
	DO $$ BEGIN
		BEGIN PERFORM actorstore.subscribe('x'); EXCEPTION WHEN lock_not_available THEN NULL; END;
		PERFORM * FROM actorstore.fetch('victim');
	END $$;
	SELECT count(*) FROM pg_replication_slots WHERE temporary;});
is($node->safe_psql('d', q{SELECT count(*) FROM pg_replication_slots}), 2, 'a subscribe that gives up leaves nothing');
$writer->query_safe('COMMIT');
$writer->quit;
$node->safe_psql('d', q{SELECT actorstore.unsubscribe('victim'), actorstore.unsubscribe('other')});

# A commit that lies before the slot, but still counts as running: it waits for
# a standby.  subscribe must wait for it.
$node->safe_psql('d', q{ALTER SYSTEM SET synchronous_standby_names = 'nobody'; SELECT pg_reload_conf()});
my ($first, $third, $hanging, $subscriber) = map { $node->background_psql('d') } 1 .. 4;
$_->query_safe(q{SET synchronous_commit = local}) foreach $first, $third, $subscriber;
$first->query_safe('BEGIN; SELECT pg_current_xact_id()');
$subscriber->query_until(qr/subscribing/, "\\echo subscribing\nSELECT actorstore.subscribe('from start', 'beginning', '{t}');\n\\echo subscribed\n");
my $blocked = q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%subscribe(''from start''%' AND pid <> pg_backend_pid() AND wait_event = 'transactionid'};
ok($node->poll_query_until('d', $blocked), 'subscribe waits for a transaction');
$third->query_safe('BEGIN; SELECT pg_current_xact_id()');
$first->query_safe('COMMIT');
ok($node->poll_query_until('d', $blocked), 'and for one that began meanwhile');
$hanging->query_until(qr/inserting/, "\\echo inserting\nSELECT actorstore.put('t', 'not to be lost', '1');\n");
ok($node->poll_query_until('d', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'}), 'a commit waits for a standby');
$third->query_safe('COMMIT');
$node->safe_psql('d', q{SET synchronous_commit = local; ALTER SYSTEM RESET synchronous_standby_names; SELECT pg_reload_conf()});
$subscriber->query_until(qr/subscribed/, '');
like(ids('from start'), qr/INSERT not to be lost/, 'it is among the present actors');
$_->quit foreach $first, $third, $hanging, $subscriber;

# What a page has shown does not come again after a crash.
$node->safe_psql('d', q{SELECT actorstore.ack('from start', max(sequence COLLATE "C")) FROM actorstore.fetch('from start')});
$node->safe_psql('d', q{SELECT actorstore.unsubscribe('from start')});
$node->safe_psql('d', q{SELECT actorstore.subscribe('from start', 'beginning', '{t}')});
$node->safe_psql('d', q{SELECT actorstore.put('t', 'seen by its page', '1')});
$node->safe_psql('d', q{SELECT actorstore.ack('from start', max(sequence COLLATE "C")) FROM actorstore.fetch('from start')});
is(ids('from start'), '', 'the page has shown all') foreach 1 .. 3;
is($node->safe_psql('d', 'SELECT count(*) FROM actorstore.subscription_page'), 0, 'the page is forgotten');
$node->stop('immediate');
$node->start;
is(ids('from start'), '', 'nothing comes again after a crash');
$node->safe_psql('d', q{SELECT actorstore.unsubscribe('from start')});

# A slot of another plugin under a subscription's name.
$node->safe_psql('d', q{SELECT actorstore.subscribe('swapped')});
my $slot = $node->safe_psql('d', q{SELECT slot FROM actorstore.subscription});
$node->safe_psql('d', qq{SELECT pg_drop_replication_slot('$slot'); SELECT pg_create_logical_replication_slot('$slot', 'test_decoding')});
is(sqlstate($node, 'd', q{SELECT * FROM actorstore.fetch('swapped')}), '55000', 'it is not read');
$node->safe_psql('d', q{SELECT actorstore.unsubscribe('swapped')});
is($node->safe_psql('d', "SELECT plugin FROM pg_replication_slots WHERE slot_name = '$slot'"), 'test_decoding', 'and not dropped');
$node->safe_psql('d', "SELECT pg_drop_replication_slot('$slot')");

# Rights when a type is dropped.
$node->safe_psql('d', q{
	CREATE ROLE reader LOGIN; CREATE ROLE owner LOGIN; CREATE ROLE faithful LOGIN;
	GRANT CREATE ON DATABASE d TO owner;
	SELECT actorstore.create_type('secret');
	SELECT actorstore.grant_type('secret', 'reader', '{read}'), actorstore.grant_type('secret', 'faithful', '{read}')});
$node->safe_psql('d', qq{SELECT actorstore.subscribe('$_', 'now', '{secret}')}, extra_params => [ '-U', $_ ]) foreach qw(reader faithful);
$node->safe_psql('d', q{SELECT actorstore.revoke_type('secret', 'reader', '{read}')});
$node->safe_psql('d', q{SELECT actorstore.put('secret', 's', '1')});
$node->safe_psql('d', q{SELECT actorstore.drop_type('secret')});
is(sqlstate($node, 'd', q{SELECT * FROM actorstore.fetch('reader')}, extra_params => [ '-v', 'VERBOSITY=sqlstate', '-U', 'reader' ]), '42501', 'who had lost the right reads nothing');
is($node->safe_psql('d', q{SELECT string_agg(operation, ' ') FROM actorstore.fetch('faithful')}, extra_params => [ '-U', 'faithful' ]), 'INSERT DELETE', 'who had it reads the end');
$node->safe_psql('d', q{SELECT actorstore.unsubscribe('reader'), actorstore.unsubscribe('faithful')});
new_database($node, 'empty');
$node->safe_psql('empty', q{GRANT CREATE ON DATABASE empty TO owner});
is(sqlstate($node, 'empty', q{SELECT actorstore.subscribe('all')}, extra_params => [ '-v', 'VERBOSITY=sqlstate', '-U', 'owner' ]), '42501', 'who owns no type does not own all');
$node->safe_psql('empty', q{SELECT actorstore.create_type('mine'); SELECT actorstore.subscribe('all')}, extra_params => [ '-U', 'owner' ]);
$node->safe_psql('empty', q{SELECT actorstore.create_type('foreign'); SELECT actorstore.put('foreign', 'f', '1'); SELECT actorstore.drop_type('foreign')});
is(sqlstate($node, 'empty', q{SELECT * FROM actorstore.fetch('all')}, extra_params => [ '-v', 'VERBOSITY=sqlstate', '-U', 'owner' ]), '42501', 'a type of another, also a dropped one, ends the right to all');

# The keeper is held up by nobody, and holds up nobody.
$writer = $node->background_psql('d');
$writer->query_safe(q{BEGIN; SELECT actorstore.put('t', 'long', '1')});
$node->safe_psql('empty', q{ALTER DATABASE empty SET default_transaction_read_only = on});
$node->safe_psql('postgres', q{ALTER SYSTEM SET actorstore.cdc_retention = '1 h'; SELECT pg_reload_conf()});
ok($node->poll_query_until('d', q{SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'actorstore keeper'}), 'a keeper comes by');
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE template0');
$node->safe_psql('postgres', 'DROP DATABASE copy');
$writer->query_safe('COMMIT');
$writer->quit;
ok($node->poll_query_until($_, q{SELECT count(*) > 0 FROM actorstore.cdc_mark}), "the past is kept in $_") foreach qw(d empty);

# A sequence whose transaction ends where the kept WAL begins is no start: what
# that transaction still has would be left out.
$node->safe_psql('d', q{SELECT actorstore.subscribe('reference', 'now', '{t}')});
$node->safe_psql('d', q{SELECT actorstore.put_many('t', '{m1,m2,m3}', '{1,2,3}')});
$node->safe_psql('d', q{SELECT actorstore.put('t', 'm4', '4')});
my $sequence = $node->safe_psql('d', q{SELECT min(sequence COLLATE "C") FROM actorstore.fetch('reference')});
my $end = substr($sequence, 0, 8) . '/' . substr($sequence, 8, 8);
$node->safe_psql('d', qq{SELECT pg_replication_slot_advance(slot_name, '$end') FROM pg_replication_slots WHERE slot_name LIKE '%keeper' AND database = 'd'});
is(sqlstate($node, 'd', "SELECT actorstore.subscribe('late', '$sequence', '{t}')"), '22023', 'the beginning of a transaction that is not kept is refused');
$node->safe_psql('d', q{SELECT actorstore.subscribe('late', '} . substr($sequence, 0, 17) . q{FFFFFFFF', '{t}')});
is(ids('late'), 'INSERT m4', 'its end is not');
$node->safe_psql('postgres', q{ALTER SYSTEM RESET actorstore.cdc_retention; SELECT pg_reload_conf()});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_replication_slots WHERE slot_name LIKE '%keeper'}), 'what is kept is let go');

done_testing();
