# Several databases, copies of databases, an extension that comes and goes,
# commands that want a database for themselves, and a server that has not
# preloaded the library.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('databases', settings => 'actorstore.workers = 1');

sub sql { my ($database, $sql) = @_; return $node->safe_psql($database, $sql); }

sub actors
{
	my ($database) = @_;

	sql($database, q{SELECT actorstore.create_type('t'), actorstore.set_handler('t', '*', 'collect(jsonb, jsonb)')});
	return;
}

# ---- More databases than workers ----

foreach my $database ('one', 'two', 'three')
{
	new_database_with_actors($node, $database);
	actors($database);
	sql($database, qq{SELECT actorstore.send('t', 'a', 'm', '"$database"')});
}
ok(handled($node, $_, 't'), "$_: handled by the one worker") foreach 'one', 'two', 'three';
is(join(' ', map { sql($_, q{SELECT value FROM actorstore.get('t', 'a')}) } 'one', 'two', 'three'), '["one"] ["two"] ["three"]', 'each its own');
sql($_, qq{SELECT actorstore.send('t', 'a', 'm', '2')}) foreach 'three', 'one', 'two';
ok(handled($node, $_, 't'), "$_: and again") foreach 'one', 'two', 'three';
is(sql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'actorstore worker'}) <= 1, 1, 'never more workers than set');
$node->adjust_conf('postgresql.conf', 'actorstore.workers', '4');
$node->restart;

# ---- Commands that want a database for themselves ----

sub busy { my ($database) = @_; sql($database, q{SELECT actorstore.send('t', (i % 50)::text, 'm', '1') FROM generate_series(1, 3000) AS i}); return; }
busy('one');
is(sqlstate($node, 'postgres', 'ALTER DATABASE one RENAME TO uno'), '00000', 'renamed while it is busy');
ok(handled($node, 'uno', 't'), 'it goes on under its new name');
is(sql('uno', q{SELECT sum(jsonb_array_length(value)) FROM actorstore.get_all('t') WHERE actor_id <> 'a'}), 3000, 'nothing is lost');
ok(comes_true($node, 'uno', q{(SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'actorstore worker' AND datname = 'uno')}), 'workers are there');
busy('two');
is(sqlstate($node, 'postgres', 'DROP DATABASE two'), '00000', 'dropped while it is busy');
busy('three');
is(sqlstate($node, 'postgres', 'DROP DATABASE three WITH (FORCE)'), '00000', 'dropped by force');
is(sqlstate($node, 'postgres', 'CREATE DATABASE plain'), '00000', 'created');
is(sqlstate($node, 'postgres', 'DROP DATABASE plain'), '00000', 'and dropped');
is(sqlstate($node, 'postgres', 'DROP DATABASE nothing'), '3D000', 'an error');
is(sqlstate($node, 'postgres', 'BEGIN; DROP DATABASE uno'), '25001', 'another');
busy('uno');
ok(handled($node, 'uno', 't'), 'after errors the workers go on');

# ---- A new database while all workers are busy with another one ----

sql('uno', q{CREATE FUNCTION nap(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(body::float); RETURN '"rested"'; END $$;
	SELECT actorstore.set_handler('t', 'nap', 'nap(jsonb, jsonb)');
	SELECT actorstore.send('t', 'nap ' || i, 'nap', '3') FROM generate_series(1, 4) AS i});
ok(comes_true($node, 'uno', q{(SELECT count(*) = 4 FROM actorstore.stat_workers WHERE state = 'running')}), 'all four nap');
new_database_with_actors($node, 'late');
actors('late');
is(sqlstate($node, 'late', q{SELECT actorstore.tell('t', 'a', 'm', '"told"')}), '00000', 'something is told in a new database');
is(sql('uno', q{SELECT count(*) FROM actorstore.stat_workers WHERE state = 'running'}), 4, 'to which no worker can come yet');
ok(comes_true($node, 'late', q{(SELECT value = '["told"]' FROM actorstore.get('t', 'a'))}), 'it waits for one');
ok(handled($node, 'uno', 't'), 'nobody else minds');
is(sql('late', 'SELECT lost FROM actorstore.stat_requests'), 0, 'nothing that was told is lost');
is(sqlstate($node, 'postgres', 'DROP DATABASE late'), '00000', 'dropped');

# ---- A copy ----

sql('uno', q{SELECT actorstore.create_type('paused'), actorstore.set_handler('paused', '*', 'collect(jsonb, jsonb)'), actorstore.pause('paused', 'b'), actorstore.create_type('empty', on_full => 'drop', mailbox_limit => 1);
	SELECT actorstore.send('paused', 'b', 'm', '1'), actorstore.send('t', 'later', 'm', '"later"', delay => '1 h', headers => '{"h": 1}', priority => 7, dedup_key => 'k'), actorstore.send('empty', 'nobody', 'm', '1')});
ok(handled($node, 'uno', 'empty'), 'a dead letter');
sql('uno', q{SELECT actorstore.pause('t'); SELECT actorstore.send('t', 'waiting', 'm', to_jsonb(i)) FROM generate_series(1, 10) AS i});
my $everything = q{SELECT 'message', to_jsonb(m)::text FROM actorstore.message AS m UNION ALL SELECT 'letter', to_jsonb(d)::text FROM actorstore.dead_message AS d UNION ALL SELECT 'dedup', to_jsonb(d)::text FROM actorstore.dedup AS d
	UNION ALL SELECT 'halted', to_jsonb(h)::text FROM actorstore.halted AS h UNION ALL SELECT 'actor', to_jsonb(a)::text FROM actorstore.actor AS a ORDER BY 1, 2};
my $original = sql('uno', "SET timezone = 'UTC'; $everything");
is(sql('uno', q{SELECT (SELECT count(*) FROM actorstore.message), (SELECT count(*) FROM actorstore.dead_message), (SELECT count(*) FROM actorstore.halted)}), '12|1|2', 'what there is to be copied');

my @server = ('-h', $node->host, '-p', $node->port);
my $directory = PostgreSQL::Test::Utils::tempdir;
my %copy = (
	template => sub { $node->end_kept; return sqlstate($node, 'postgres', 'CREATE DATABASE template TEMPLATE uno'); },
	dump => sub {
		quiet_ok('pg_dump', 'pg_dump', @server, '-Fc', '-f', "$directory/dump", 'uno');
		sql('postgres', q{CREATE DATABASE dump TEMPLATE template0 ENCODING 'UTF8'});
		quiet_ok('pg_restore', 'pg_restore', @server, '-d', 'dump', "$directory/dump");
		return '00000';
	});
foreach my $how (sort keys %copy)
{
	is($copy{$how}->(), '00000', "$how: copied");
	is(sql($how, "SET timezone = 'UTC'; $everything"), $original, "$how: all of it");
	sql($how, q{SELECT actorstore.resume('t')});
	my $last = sql($how, q{SELECT actorstore.send('t', 'waiting', 'm', '11')});
	is(sql($how, qq{SELECT $last > max(message_id) FROM actorstore.message WHERE message_id <> $last}), 't', "$how: ids go on");

	# The launcher has been there and left: it has served the original meanwhile.
	sql('uno', q{SELECT actorstore.send('paused', 'c', 'm', '1')});
	ok(comes_true($node, 'uno', q{EXISTS (SELECT FROM actorstore.get('paused', 'c') AS g WHERE g.value IS NOT NULL)}), "$how: the original goes on");
	sql('uno', q{SELECT actorstore.delete('paused', 'c')});
	sql('postgres', 'SELECT pg_sleep(1)');
	is(sql($how, q{SELECT count(*) FROM actorstore.message WHERE actor_id = 'waiting'}), 11, "$how: fenced, nothing is handled");
	is(sqlstate($node, $how, q{CREATE ROLE nobody; SET ROLE nobody; SELECT actorstore.unfence()}), '42501', "$how: not everybody may unfence") if $how eq 'dump';
	is(sql($how, q{SELECT actorstore.unfence(), actorstore.unfence()}), 't|f', "$how: unfenced");
	ok(comes_true($node, $how, q{NOT EXISTS (SELECT FROM actorstore.message WHERE actor_id = 'waiting')}), "$how: handled");
	is(sql($how, q{SELECT value FROM actorstore.get('t', 'waiting')}), '[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]', "$how: in order");
	is(sql($how, q{SELECT actor_id FROM actorstore.message ORDER BY 1}), "b\nlater", "$how: the delayed and the paused wait");
	is(sql($how, q{SELECT actorstore.resume('paused', 'b'), actorstore.send('t', 'later', 'm', dedup_key => 'k') = (SELECT message_id FROM actorstore.message WHERE actor_id = 'later')}), 't|t', "$how: a dedup_key is known");
	ok(handled($node, $how, 'paused'), "$how: resumed");
}
is(sql('uno', "SET timezone = 'UTC'; $everything"), $original, 'the original has not changed');
$node->end_kept;
is(sqlstate($node, 'postgres', "DROP DATABASE $_"), '00000', "$_: dropped") foreach sort keys %copy;

# ---- The extension goes and comes ----

sql('uno', q{SELECT actorstore.resume('t')});
busy('uno');
is(sqlstate($node, 'uno', 'SET client_min_messages = warning; DROP EXTENSION actorstore CASCADE'), '00000', 'dropped while it is busy');
ok(comes_true($node, 'uno', q{NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'actorstore worker' AND datname = 'uno')}), 'the workers go');
sql('uno', 'CREATE EXTENSION actorstore');
actors('uno');
sql('uno', q{SELECT actorstore.send('t', 'a', 'm', '"anew"')});
ok(handled($node, 'uno', 't'), 'made anew: handled');
is(sql('uno', q{SELECT version, value FROM actorstore.get('t', 'a')}), '0|["anew"]', 'made anew: without what was before');
# In one transaction, with mail: the ids and the order are those of the new one.
sql('uno', q{SET client_min_messages = warning; BEGIN; DROP EXTENSION actorstore CASCADE; CREATE EXTENSION actorstore; SELECT actorstore.create_type('t'), actorstore.set_handler('t', '*', 'collect(jsonb, jsonb)'), actorstore.pause('t');
	SELECT actorstore.send('t', 'a', 'm', to_jsonb(i)) FROM generate_series(1, 3) AS i; COMMIT});
ok(comes_true($node, 'uno', q{(SELECT count(*) > 0 FROM actorstore.stat_scheduler WHERE swept)}), 'at once: workers are there');
sql('uno', q{SELECT actorstore.send('t', 'a', 'm', to_jsonb(i)) FROM generate_series(4, 6) AS i; SELECT actorstore.resume('t')});
ok(handled($node, 'uno', 't'), 'at once: handled');
is(sql('uno', q{SELECT value FROM actorstore.get('t', 'a')}), '[1, 2, 3, 4, 5, 6]', 'at once: in order');
sql('uno', q{BEGIN; DROP EXTENSION actorstore CASCADE; ROLLBACK; SELECT actorstore.send('t', 'a', 'm', '7')});
ok(handled($node, 'uno', 't'), 'dropped and rolled back: handled');

# ---- Not preloaded ----

$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "''");
$node->adjust_conf('postgresql.conf', 'actorstore.workers', undef);
$node->restart;
my ($status, $out, $err) = $node->psql('uno', q{SELECT actorstore.send('t', 'quiet', 'm', '1') > 0, actorstore.send_many('t', '{quiet,quiet}', 'm', '{2,3}')});
is($out, 't|2', 'not preloaded: sent');
like($err, qr/WARNING:  messages wait until actorstore is preloaded/, 'not preloaded: with a warning');
sql('uno', q{SET client_min_messages = error; SELECT actorstore.cancel(actorstore.send('t', 'quiet', 'm', '"cancelled"')), actorstore.send('t', 'quiet', 'm', '4', delay => '1 ms'); SELECT actorstore.alter_type('t', mailbox_limit => 4)});
is(sqlstate($node, 'uno', q{SELECT actorstore.send('t', 'quiet', 'm', '5')}), '00000', 'not preloaded: without a limit');
is(sql('uno', q{SELECT count(*) FROM actorstore.mailbox}), 5, 'not preloaded: they wait');
($status, $out, $err) = $node->psql('uno', q{SELECT actorstore.set_timer('t', 'quiet', 'n', 'm', at => '2200-01-01'); SELECT actorstore.cancel_timer('t', 'quiet', 'n'), actorstore.cancel_timer('t', 'quiet', 'n')});
is($out, "\nt|f", 'not preloaded: timers are set and cancelled');
like($err, qr/WARNING:  timers wait until actorstore is preloaded/, 'not preloaded: with a warning, too');
my $waiting = q{SELECT ok, detail FROM actorstore.doctor() WHERE item = 'waiting mail'};
is(sql('uno', $waiting), 't|0 messages have waited for more than a minute for actors that may run', 'not preloaded: not for long');
sql('uno', q{UPDATE actorstore.message SET sent_at = sent_at - interval '2 min', due = due - interval '2 min'});
is(sql('uno', $waiting), 'f|5 messages have waited for more than a minute for actors that may run', 'not preloaded: doctor() says so when they do');
is(sql('uno', q{SELECT actorstore.pause('t', 'quiet'); } . $waiting), "\nt|0 messages have waited for more than a minute for actors that may run", 'not preloaded: but not of who is paused');
is(sql('uno', q{SELECT actorstore.resume('t', 'quiet')}), 't', 'not preloaded: resumed');
is(sql('uno', q{SELECT (SELECT count(*) FROM actorstore.stat_workers) + (SELECT count(*) FROM actorstore.stat_scheduler) + (SELECT count(*) FROM actorstore.stat_types WHERE handled > 0)}), 0, 'not preloaded: the views are empty');
$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "'actorstore'");
$node->restart;
ok(handled($node, 'uno', 't'), 'preloaded: handled');
is(sql('uno', q{SELECT (SELECT string_agg(e, ' ' ORDER BY e) FROM jsonb_array_elements_text(value) AS e) FROM actorstore.get('t', 'quiet')}), '1 2 3 4 5', 'preloaded: all of them');

$node->stop;
done_testing();
