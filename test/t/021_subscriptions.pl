# Subscriptions through SQL: from the beginning while others write, with the
# events folded into a table in the transaction that acknowledges them, through
# crashes; waiting; two sessions on one subscription; no slot without a
# subscription, whatever is killed; the past that is kept; a consumer that
# falls behind; and the end of extension and database.

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

my $node = new_node('source', streaming => 'logical', plugins => 'pgoutput, actorstore', settings => "max_prepared_transactions = 5\nactorstore.workers = 2");
new_database($node, 'd');

# The slots of subscriptions, in all databases.
my $slots = q{SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'actorstore\_%' AND slot_name NOT LIKE '%keeper'};

sub crash
{
	$node->stop('immediate');
	$node->start;
	return;
}

# A psql that stays open; returns the process and references to what it says.
sub session
{
	my ($sql) = @_;
	my ($out, $err) = ('', '');
	my $file = PostgreSQL::Test::Utils::tempdir . '/sql';

	append_to_file($file, $sql);
	my $psql = IPC::Run::start([ 'psql', '-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('d'), '-f', $file ],
		'<', \undef, '>', \$out, '2>', \$err);

	return ($psql, \$out, \$err);
}

# A consumer in SQL: each event must fit to what the ones before it have left.
$node->safe_psql('d', q{
CREATE TABLE folded (actor_type text, actor_id text, value jsonb, version bigint, PRIMARY KEY (actor_type, actor_id));
CREATE TABLE problem (event text);
CREATE FUNCTION consume(subscription text, max_events int, acknowledge boolean DEFAULT true) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	e actorstore.change_event;
	n bigint := 0;
	last text := '';
BEGIN
	FOR e IN SELECT * FROM actorstore.fetch(subscription, max_events) LOOP
		n := n + 1;
		IF e.sequence COLLATE "C" <= last THEN INSERT INTO problem VALUES ('order: ' || e); END IF;
		last := e.sequence;
		CASE e.operation
			WHEN 'INSERT' THEN INSERT INTO folded VALUES (e.actor_type, e.actor_id, e.new_value, e.new_version) ON CONFLICT DO NOTHING;
			WHEN 'UPDATE' THEN UPDATE folded AS f SET value = e.new_value, version = e.new_version
				WHERE (f.actor_type, f.actor_id, f.version, f.value) = (e.actor_type, e.actor_id, e.previous_version, e.previous_value);
			WHEN 'DELETE' THEN DELETE FROM folded AS f
				WHERE (f.actor_type, f.actor_id, f.version, f.value) = (e.actor_type, e.actor_id, e.previous_version, e.previous_value);
		END CASE;
		IF NOT FOUND THEN INSERT INTO problem VALUES (e::text); END IF;
	END LOOP;
	IF acknowledge AND n > 0 THEN PERFORM actorstore.ack(subscription, last); END IF;
	RETURN n;
END $$;
SELECT actorstore.create_type('own'), actorstore.create_type('second');
SELECT actorstore.insert_many(t, array_agg(i::text), array_agg(to_jsonb(i)))
	FROM unnest('{own,loose,second,other loose}'::text[]) AS t, generate_series(1, 600) AS i GROUP BY t;
});

# From the beginning, three subscriptions at once, while six clients write,
# delete and insert the same actors again, and the server crashes.
my $directory = PostgreSQL::Test::Utils::tempdir;
append_to_file("$directory/script", q{
\set id random(1, 900)
\set kind random(1, 8)
BEGIN;
SELECT CASE WHEN :kind < 4 THEN (actorstore.put(CASE :kind WHEN 1 THEN 'own' ELSE 'loose' END, :id::text, to_jsonb(random()))).version
	WHEN :kind = 4 THEN (actorstore.delete('own', :id::text)).version
	WHEN :kind = 5 THEN (actorstore.delete('loose', :id::text)).version
	ELSE actorstore.put_many('second', ARRAY[:id::text, (:id + 1)::text], ARRAY[to_jsonb(random()), '{"a": 1}']) END;
SAVEPOINT s;
SELECT actorstore.delete('own', (:id + 1)::text), actorstore.put('loose', 'never', '1');
ROLLBACK TO s;
SELECT actorstore.put('own', (:id + 1)::text, '"same transaction"');
SELECT actorstore.delete('own', (:id + 1)::text);
COMMIT;
});
my $consumed = 0;
foreach my $round (1 .. 3)
{
	my $writers = IPC::Run::start([ 'pgbench', '-n', '-c', '6', '-T', '4', '-f', "$directory/script", $node->connstr('d') ], '<', \undef, '>', \my $out, '2>', \my $err);

	usleep(300_000);
	$node->safe_psql('d', "SELECT actorstore.subscribe('b', 'beginning')") if $round == 1;
	foreach (1 .. 12)
	{
		# what is not committed comes again
		$node->safe_psql('d', q{BEGIN; SELECT consume('b', 70); ROLLBACK});
		$consumed += $node->safe_psql('d', q{SELECT consume('b', 100)});
		$node->safe_psql('d', q{BEGIN; SELECT consume('b', 50, false); ROLLBACK});
		$node->safe_psql('d', q{SELECT actorstore.create_type('loose')}) if $round == 2 && $_ == 5;
	}
	crash() if $round < 3;
	$writers->finish;
}
while ((my $n = $node->safe_psql('d', q{SELECT consume('b', 1000)})) > 0)
{
	$consumed += $n;
}
cmp_ok($consumed, '>', 3000, 'events were consumed');
is($node->safe_psql('d', 'SELECT * FROM problem'), '', 'each event fits to the ones before it');
is($node->safe_psql('d', q{
	SELECT count(*) FROM (SELECT actor_type, actor_id, value, version FROM actorstore.actor) AS a FULL JOIN folded AS f
		USING (actor_type, actor_id, value, version) WHERE a.* IS NULL OR f.* IS NULL}), 0, 'and all of them together are the state');
is($node->safe_psql('d', q{SELECT state || ' ' || events FROM actorstore.stat_subscriptions}), "streaming $consumed", 'all were counted once');
is($node->safe_psql('d', q{SELECT (SELECT count(*) FROM actorstore.subscription_actor) + (SELECT count(*) FROM actorstore.subscription_page)}), 0,
	'nothing of the beginning is left behind');

# Waiting for an event; a second session is refused meanwhile.
my ($waiter, $said, $complaint) = session(q{SELECT operation, actor_id FROM actorstore.fetch('b', max_wait => '180 s')});
ok($node->poll_query_until('d', q{SELECT count(*) = 1 FROM pg_replication_slots WHERE active_pid IS NOT NULL AND slot_name LIKE 'actorstore%'}), 'a session waits');
is(sqlstate($node, 'd', q{SELECT * FROM actorstore.fetch('b')}), '55006', 'another one may not fetch');
is(sqlstate($node, 'd', q{SELECT actorstore.ack('b', '0000000000000001-00000000')}), '55006', 'nor acknowledge');
is(sqlstate($node, 'd', q{SELECT actorstore.unsubscribe('b')}), '55006', 'nor unsubscribe');
$node->safe_psql('d', q{SELECT actorstore.put('quiet', 'waited for', '1')});
$waiter->finish;
is($$said, "INSERT|waited for\n", 'the event ends the wait');

# A wait that is cancelled leaves the subscription usable, in the same session too.
is($node->safe_psql('d', q{
	DO $$ BEGIN
		FOR i IN 1 .. 20 LOOP
			BEGIN
				PERFORM * FROM actorstore.fetch('b', 1, '0 s');
				RAISE division_by_zero;
			EXCEPTION WHEN division_by_zero THEN NULL;
			END;
		END LOOP;
	END $$;
	SELECT consume('b', 10)}), 1, 'errors around fetch leave it usable');
($waiter, $said, $complaint) = session(q{\set ON_ERROR_STOP 0
SET statement_timeout = '200 ms';
SELECT * FROM actorstore.fetch('b', max_wait => '180 s');
SELECT * FROM actorstore.fetch('b', max_wait => '180 s');
RESET statement_timeout;
SELECT 'usable ' || count(*) FROM actorstore.fetch('b');
});
$waiter->finish;
is($$said, "usable 0\n", 'cancelled waits leave it usable');

# Prepared transactions appear when they are committed.
$node->safe_psql('d', q{BEGIN; SELECT actorstore.put('quiet', 'prepared', '1'); PREPARE TRANSACTION 'p'});
is($node->safe_psql('d', q{SELECT count(*) FROM actorstore.fetch('b')}), 0, 'a prepared transaction gives nothing');
$node->safe_psql('d', q{COMMIT PREPARED 'p'});
is($node->safe_psql('d', q{SELECT actor_id FROM actorstore.fetch('b')}), 'prepared', 'until it is committed');
$node->safe_psql('d', q{SELECT actorstore.unsubscribe('b')});
is($node->safe_psql('d', $slots), 0, 'unsubscribe drops the slot');

# Killed in the middle of subscribe: while it waits for an older transaction,
# and before its own transaction commits.
my ($writer) = session(q{BEGIN; SELECT actorstore.put('own', 'long', '1'); SELECT pg_sleep(180)});
ok($node->poll_query_until('d', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(180)' AND wait_event = 'PgSleep'}), 'somebody writes');
my ($subscriber) = session(q{SELECT actorstore.subscribe('killed')});
ok($node->poll_query_until('d', $slots =~ s/count\(\*\)/count(*) = 1/r), 'a slot is being made');
crash();
$_->finish foreach $writer, $subscriber;
is($node->safe_psql('d', $slots), 0, 'the crash leaves none');
($subscriber) = session(q{BEGIN; SELECT actorstore.subscribe('killed'); SELECT pg_sleep(180)});
ok($node->poll_query_until('d', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(180)' AND wait_event = 'PgSleep'}), 'a subscription is made');
$node->safe_psql('d', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(180)' AND pid <> pg_backend_pid()});
$subscriber->finish;
ok($node->poll_query_until('d', $slots =~ s/count\(\*\)/count(*) = 0/r), 'the session ends: no slot');
($subscriber) = session(q{BEGIN; SELECT actorstore.subscribe('killed'); SELECT pg_sleep(180)});
ok($node->poll_query_until('d', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(180)' AND wait_event = 'PgSleep'}), 'once more');
crash();
$subscriber->finish;
is($node->safe_psql('d', $slots), 0, 'the server crashes: no slot');

# A slot that a crash has left just before the commit goes by itself.
$node->safe_psql('d', q{SELECT pg_create_logical_replication_slot(format('actorstore_%s_0123456789abcdef', oid), 'actorstore') FROM pg_database WHERE datname = 'd'});
ok($node->poll_query_until('d', $slots =~ s/count\(\*\)/count(*) = 0/r), 'a slot without a subscription is dropped');

# The past that is kept.
is(sqlstate($node, 'd', q{SELECT actorstore.subscribe('past', now()::text)}), '22023', 'no past is kept by default');
$node->safe_psql('d', q{ALTER SYSTEM SET actorstore.cdc_retention = '1 h'; SELECT pg_reload_conf()});
ok($node->poll_query_until('d', q{SELECT count(*) > 0 FROM actorstore.cdc_mark}), 'the keeper has begun');
$node->safe_psql('d', q{SELECT actorstore.subscribe('live')});
$node->safe_psql('d', qq{SELECT actorstore.put('past', '$_', '$_')}) foreach 1 .. 5;
my @past = rows($node, 'd', q{SELECT sequence FROM actorstore.fetch('live')});
is(scalar @past, 5, 'five events');
my $middle = $node->safe_psql('d', q{SELECT clock_timestamp()});
$node->safe_psql('d', qq{SELECT actorstore.put('past', '$_', '$_')}) foreach 6 .. 8;
$node->safe_psql('d', qq{SELECT actorstore.subscribe('by sequence', '$past[2]')});
is($node->safe_psql('d', q{SELECT string_agg(actor_id, ' ' ORDER BY sequence COLLATE "C") FROM actorstore.fetch('by sequence')}), '4 5 6 7 8', 'from a sequence on');
$node->safe_psql('d', qq{SELECT actorstore.subscribe('by time', '$middle')});
is($node->safe_psql('d', q{SELECT string_agg(actor_id, ' ' ORDER BY sequence COLLATE "C") FROM actorstore.fetch('by time')}), '6 7 8', 'from a time on');
is($node->safe_psql('d', q{
	SELECT count(*) FROM actorstore.fetch('live') AS l JOIN actorstore.fetch('by sequence') AS s USING (sequence, actor_id)}), 5, 'under the same sequences');
is(sqlstate($node, 'd', q{SELECT actorstore.subscribe('too old', '0000000000000001-00000000')}), '22023', 'an older sequence is refused');
is(sqlstate($node, 'd', q{SELECT actorstore.subscribe('too old', '2001-01-01')}), '22023', 'and an older time');
is($node->safe_psql('d', $slots), 3, 'and nothing is left of them');
$node->safe_psql('d', q{SELECT actorstore.unsubscribe(subscription) FROM actorstore.stat_subscriptions});
$node->safe_psql('d', q{ALTER SYSTEM SET actorstore.cdc_retention = '1 s'; SELECT pg_reload_conf()});
my $marked = $node->safe_psql('d', q{SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name LIKE '%keeper'});
ok($node->poll_query_until('d', qq{SELECT confirmed_flush_lsn > '$marked' FROM pg_replication_slots WHERE slot_name LIKE '%keeper'}), 'the keeper moves on');
$node->safe_psql('d', q{ALTER SYSTEM RESET actorstore.cdc_retention; SELECT pg_reload_conf()});
ok($node->poll_query_until('d', q{SELECT count(*) = 0 FROM pg_replication_slots}), 'and goes');

# How far a consumer is behind.
$node->safe_psql('d', q{SELECT actorstore.subscribe('slow'); SELECT actorstore.put('own', 'unread', '1')});
my $behind = q{SELECT lag_bytes, lag > '0', retained_bytes >= lag_bytes FROM actorstore.stat_subscriptions WHERE subscription = 'slow'};
like($node->safe_psql('d', $behind), qr/^[1-9]\d*\|t\|t$/, 'it is behind');
$node->safe_psql('d', q{SELECT count(actorstore.put('own', 'unread', to_jsonb(i))) FROM generate_series(1, 10000) AS i});
cmp_ok((split /\|/, $node->safe_psql('d', $behind))[0], '>', 1_000_000, 'by more than before');
is($node->safe_psql('d', q{SELECT count(*) FROM actorstore.fetch('slow', 20000)}), '10001', 'what it has only fetched');
cmp_ok((split /\|/, $node->safe_psql('d', $behind))[0], '>', 1_000_000, 'changes nothing');
$node->safe_psql('d', q{SELECT actorstore.ack('slow', max(sequence COLLATE "C")) FROM actorstore.fetch('slow', 20000)});
is($node->safe_psql('d', q{SELECT count(*) FROM actorstore.fetch('slow')}), '0', 'what it has acknowledged does, once it asks for more');
cmp_ok((split /\|/, $node->safe_psql('d', $behind))[0], '<', 1_000_000, 'it is behind by less');

# A consumer that falls too far behind.
$node->safe_psql('d', q{SELECT actorstore.put('own', 'unread', '1')});
is($node->safe_psql('d', q{SELECT string_agg(item, ',') FROM actorstore.doctor() WHERE NOT ok AND item <> 'crash safety'}), 'max_slot_wal_keep_size', 'the doctor warns of the disk');
$node->safe_psql('d', q{ALTER SYSTEM SET max_slot_wal_keep_size = '1 MB'; SELECT pg_reload_conf()});
foreach (1 .. 5)
{
	$node->safe_psql('d', q{CREATE TABLE bulk AS SELECT repeat(md5(i::text), 20) FROM generate_series(1, 10000) AS i; DROP TABLE bulk; SELECT pg_switch_wal()});
}
$node->safe_psql('d', 'CHECKPOINT');
is(sqlstate($node, 'd', q{SELECT * FROM actorstore.fetch('slow')}), '55000', 'it cannot go on');
is($node->safe_psql('d', q{SELECT state FROM actorstore.stat_subscriptions}), 'lost', 'as the view says');
is($node->safe_psql('d', q{SELECT active_subscriptions || ' ' || events_dropped FROM actorstore.cdc_stats()}), '0 1', 'and the statistics');
is($node->safe_psql('d', q{SELECT string_agg(item, ',') FROM actorstore.doctor() WHERE NOT ok AND item <> 'crash safety'}), 'lost subscriptions', 'and the doctor');
$node->safe_psql('d', q{SELECT actorstore.unsubscribe('slow')});
$node->safe_psql('d', q{SELECT actorstore.subscribe('slow', 'beginning', '{own}')});
is($node->safe_psql('d', q{SELECT count(*) FROM actorstore.fetch('slow', 10000)}), $node->safe_psql('d', q{SELECT count(*) FROM actorstore.get_all('own')}), 'it can start over');

# No more slots.
$node->safe_psql('d', q{SELECT pg_create_physical_replication_slot('p' || i) FROM generate_series(1, current_setting('max_replication_slots')::int - 1) AS i});
is(sqlstate($node, 'd', q{SELECT actorstore.subscribe('one too many')}), '53400', 'no slot is free');
is($node->safe_psql('d', q{SELECT count(*) FROM actorstore.stat_subscriptions}), 1, 'nothing is left of the attempt');
is($node->safe_psql('d', q{SELECT string_agg(item, ',') FROM actorstore.doctor() WHERE NOT ok AND item <> 'crash safety'}), 'max_replication_slots', 'the doctor knows');
$node->safe_psql('d', q{SELECT pg_drop_replication_slot('p' || i) FROM generate_series(1, current_setting('max_replication_slots')::int - 1) AS i});

# The extension goes, and the database.
$node->safe_psql('d', 'DROP EXTENSION actorstore');
ok($node->poll_query_until('d', 'SELECT count(*) = 0 FROM pg_replication_slots'), 'no slot outlives the extension');
new_database($node, 'e');
$node->safe_psql('e', q{SELECT actorstore.subscribe('s')});
$node->safe_psql('postgres', 'DROP DATABASE e');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_replication_slots'), 0, 'nor the database');

# Without preloading, and without the plugin being allowed.
$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "''");
$node->restart;
new_database($node, 'f');
$node->safe_psql('f', q{SELECT actorstore.subscribe('s'); SELECT actorstore.put('t', 'a', '1')});
is($node->safe_psql('f', q{SELECT actor_id FROM actorstore.fetch('s', 1, '10 s')}), 'a', 'works without preloading');
is($node->safe_psql('f', q{SELECT string_agg(item, ',') FROM actorstore.doctor() WHERE NOT ok AND item <> 'crash safety'}), 'shared_preload_libraries', 'which the doctor sees');
SKIP:
{
	skip 'this server knows no output_plugin_libraries', 3
	  unless $node->safe_psql('f', q{SELECT count(*) FROM pg_settings WHERE name = 'output_plugin_libraries'});
	$node->adjust_conf('postgresql.conf', 'output_plugin_libraries', "'pgoutput'");
	$node->restart;
	isnt(sqlstate($node, 'f', q{SELECT actorstore.subscribe('t')}), '00000', 'the plugin must be allowed');
	is($node->safe_psql('f', $slots), 1, 'nothing is left of the attempt');
	is($node->safe_psql('f', q{SELECT string_agg(item, ',') FROM actorstore.doctor() WHERE NOT ok AND item <> 'crash safety'}), 'shared_preload_libraries,output_plugin_libraries', 'which the doctor sees');
}

done_testing();
