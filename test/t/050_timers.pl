# Timers fire: once each, at the times of their grid, through restarts, kills
# and rollbacks; by a steward, or by workers where there is none.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('timers', settings => "restart_after_crash = on\nmax_prepared_transactions = 5\nactorstore.workers = 2\nTimeZone = 'UTC'");
new_database_with_actors($node, 'd');

sub sql { my ($sql) = @_; return $node->safe_psql('d', $sql, kept => 1); }
sub value { my ($id) = @_; return sql("SELECT value FROM actorstore.get('t', '$id')"); }
sub becomes_true { my ($condition, $name) = @_; ok(comes_true($node, 'd', $condition, kept => 1), $name); return; }
sub steward { return sql(q{SELECT max(pid) FROM pg_stat_activity WHERE backend_type = 'actorstore steward' AND datname = 'd'}); }
sub there_is_a_steward { becomes_true(q{EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'actorstore steward' AND datname = 'd')}, shift); return; }

# count() counts messages, without a limit on the size of the state
sql(q{
CREATE FUNCTION count(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql RETURN to_jsonb(coalesce(state::bigint, 0) + 1);
SELECT actorstore.create_type('t'), actorstore.set_handler('t', 'add', 'collect(jsonb, jsonb)'), actorstore.set_handler('t', 'count', 'count(jsonb, jsonb)')});
there_is_a_steward('a steward comes');

# ---- Once ----

sql(q{SELECT actorstore.set_timer('t', 'once', 'n', 'add', '1', after => '100 ms'), actorstore.set_timer('t', 'past', 'n', 'add', '1', at => now() - interval '3 days', missed => 'skip'),
	actorstore.set_timer('t', 'now', 'n', 'add', '1', after => '0'), actorstore.set_timer('t', 'later', 'n', 'add', '1', after => '1 h')});
becomes_true(q{(SELECT count(*) = 3 FROM actorstore.actor_t)}, 'fired');
is(sql(q{SELECT actor_id, value, version FROM actorstore.actor_t ORDER BY 1}), "now|[1]|0\nonce|[1]|0\npast|[1]|0", 'one message each; what is over fires at once');
is(sql(q{SELECT actor_id FROM actorstore.timers}), 'later', 'timers that have fired are gone');
is(sql(q{SELECT count(*) FROM actorstore.dead_letter}), 0, 'no dead letters');

# An earlier one is noticed although the steward sleeps till a later one.
sql(q{SELECT pg_sleep(0.3)});
sql(q{SELECT actorstore.set_timer('t', 'later', 'n', 'add', '2', after => '50 ms')});
becomes_true(q{EXISTS (SELECT FROM actorstore.get('t', 'later') AS g WHERE g.value = '[2]')}, 'replaced by an earlier one: fires with the new body, and once');

# The message is no actor's; it has the usual priority.
sql(q{
CREATE FUNCTION context(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql BEGIN ATOMIC
	SELECT to_jsonb(c) - 'message_id' FROM actorstore.context() AS c;
END;
SELECT actorstore.set_handler('t', 'context', 'context(jsonb, jsonb)'), actorstore.set_timer('t', 'context', 'n', 'context', after => '0')});
becomes_true(q{EXISTS (SELECT FROM actorstore.actor_t WHERE actor_id = 'context')}, 'what the handler is told');
is(value('context'), '{"attempt": 1, "headers": null, "message": "context", "version": null, "actor_id": "context", "sender_id": null, "actor_type": "t", "sender_type": null}', 'a message without a sender');

# ---- With the transaction that sets them ----

sql(q{BEGIN; SELECT actorstore.set_timer('t', 'rolled back', 'n', 'add', after => '0'); ROLLBACK;
	BEGIN; SAVEPOINT s; SELECT actorstore.set_timer('t', 'rolled back', 'n', 'add', after => '0'); ROLLBACK TO s; SELECT actorstore.set_timer('t', 'kept', 'n', 'add', '1', after => '0'); COMMIT});
becomes_true(q{EXISTS (SELECT FROM actorstore.actor_t WHERE actor_id = 'kept')}, 'what was not rolled back fires');
is(sql(q{SELECT count(*) FROM actorstore.actor_t WHERE actor_id = 'rolled back'}), 0, 'and nothing else');

# One that becomes due while somebody is about to cancel it waits for what he does.
foreach my $end ('COMMIT', 'ROLLBACK', 'ROLLBACK TO s; SELECT pg_sleep(0.5); COMMIT', "PREPARE TRANSACTION 'p'")
{
	(my $id = lc $end) =~ s/\W.*//;
	$id .= ' to' if $end =~ /TO s/;
	sql(qq{SELECT actorstore.set_timer('t', '$id', 'n', 'add', '1', after => '300 ms');
		BEGIN; SAVEPOINT s; SELECT actorstore.cancel_timer('t', '$id', 'n'); SELECT pg_sleep(0.6); $end});
}
becomes_true(q{EXISTS (SELECT FROM actorstore.actor_t WHERE actor_id = 'rollback')}, 'rolled back: it fires');
becomes_true(q{EXISTS (SELECT FROM actorstore.actor_t WHERE actor_id = 'rollback to')}, 'rolled back to a savepoint: it fires');
is(sql(q{SELECT actor_id FROM actorstore.timers}), 'prepare', 'prepared: it waits');
sql(q{ROLLBACK PREPARED 'p'});
becomes_true(q{EXISTS (SELECT FROM actorstore.actor_t WHERE actor_id = 'prepare')}, 'rolled back in two phases: it fires');
is(sql(q{SELECT count(*) FROM actorstore.actor_t WHERE actor_id = 'commit'}), 0, 'cancelled: it does not');

sql(q{BEGIN; SELECT actorstore.set_timer('t', 'two phases', 'n', 'add', '1', after => '0'); PREPARE TRANSACTION 'p'});
sql(q{SELECT pg_sleep(0.3)});
is(sql(q{SELECT count(*) FROM actorstore.actor_t WHERE actor_id = 'two phases'}), 0, 'prepared: it is not set yet');
sql(q{COMMIT PREPARED 'p'});
becomes_true(q{EXISTS (SELECT FROM actorstore.actor_t WHERE actor_id = 'two phases')}, 'committed: it fires');

# In a handler they commit with the turn.
sql(q{
CREATE FUNCTION arm(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM actorstore.set_timer('t', 'armed by ' || (actorstore.context()).actor_id, 'n', 'add', '1', after => '0');
	IF body = '"fail"' THEN RAISE 'no'; END IF;
	RETURN '1';
END $$;
SELECT actorstore.set_handler('t', 'arm', 'arm(jsonb, jsonb)'), actorstore.alter_type('t', max_attempts => 1);
SELECT actorstore.send('t', 'failing', 'arm', '"fail"'), actorstore.send('t', 'willing', 'arm')});
becomes_true(q{EXISTS (SELECT FROM actorstore.actor_t WHERE actor_id = 'armed by willing')}, 'set in a handler');
ok(handled($node, 'd', 't'), 'all is handled');
is(sql(q{SELECT count(*) FROM actorstore.actor_t WHERE actor_id = 'armed by failing'}), 0, 'not by one that fails');
sql(q{SELECT actorstore.purge_dead_letters('t', now() + interval '1 h')});

# ---- Again and again ----

# The messages' times say nothing, but the grid does: due = start + n * every,
# and as many messages as there were times.
sql(q{SELECT actorstore.set_timer('t', 'drift', 'n', 'count', every => '30 ms', missed => 'all'), actorstore.set_timer('t', 'calendar', 'n', 'count', at => now() + interval '100 ms', every => '1 month')});
sql(q{CREATE TABLE grid AS SELECT start, every FROM actorstore.timer WHERE actor_id = 'drift'});
becomes_true(q{(SELECT value::bigint >= 50 FROM actorstore.actor_t WHERE actor_id = 'drift')}, 'fifty times');
is(sql(q{SELECT count(*), count(*) FILTER (WHERE t.due = grid.start + (nth - 1) * grid.every), count(*) FILTER (WHERE t.start = grid.start) FROM actorstore.timer AS t, grid WHERE actor_id = 'drift'}), '1|1|1', 'it stands on its grid');
sql(q{BEGIN; CREATE TABLE cancelled AS SELECT nth FROM actorstore.timer WHERE actor_id = 'drift' FOR UPDATE; SELECT actorstore.cancel_timer('t', 'drift', 'n'); COMMIT});
ok(handled($node, 'd', 't'), 'cancelled');
is(sql(q{SELECT nth - 1 - g.value::bigint FROM cancelled, actorstore.get('t', 'drift') AS g}), 0, 'one message for each time');
becomes_true(q{EXISTS (SELECT FROM actorstore.actor_t WHERE actor_id = 'calendar')}, 'a month begins');
is(sql(q{SELECT due = start + interval '1 month' FROM actorstore.timer WHERE actor_id = 'calendar'}), 't', 'and ends');
sql(q{SELECT actorstore.cancel_timer('t', 'calendar', 'n')});

# Months of different lengths, a day of 23 hours, and a grid from long ago.
sql(q{
SET timezone = 'Europe/Berlin';
SELECT actorstore.set_timer('t', 'ultimo', 'n', 'count', at => '2023-01-31 12:00', every => '1 month', missed => 'all');
SELECT actorstore.set_timer('t', 'summer', 'n', 'count', at => '2024-03-30 02:30', every => '1 day');
SELECT actorstore.set_timer('t', 'leap', 'n', 'count', at => '2020-02-29 00:00', every => '1 year')});
becomes_true(q{(SELECT count(*) = 3 FROM actorstore.actor_t WHERE actor_id IN ('ultimo', 'summer', 'leap'))}, 'a grid from the past fires at once');
is(sql(q{SELECT actor_id, value FROM actorstore.actor_t WHERE actor_id IN ('ultimo', 'summer', 'leap') ORDER BY 1}), "leap|1\nsummer|1\nultimo|1", 'and once');
is(sql(q{SELECT actor_id, to_char(due AT TIME ZONE 'Europe/Berlin', 'HH24:MI'), due > now(), time_zone,
		CASE actor_id WHEN 'ultimo' THEN (due AT TIME ZONE 'Europe/Berlin')::date = (date_trunc('month', due AT TIME ZONE 'Europe/Berlin') + interval '1 month - 1 day')::date
			WHEN 'leap' THEN to_char(due AT TIME ZONE 'Europe/Berlin', 'MM-DD') IN ('02-28', '02-29') ELSE due < now() + interval '25 h' END
	FROM actorstore.timers WHERE actor_id IN ('ultimo', 'summer', 'leap') ORDER BY 1}),
	"leap|00:00|t|Europe/Berlin|t\nsummer|02:30|t|Europe/Berlin|t\nultimo|12:00|t|Europe/Berlin|t", 'by the calendar of where it was set');
sql(q{SELECT count(actorstore.cancel_timer(actor_type, actor_id, name)) FROM actorstore.timers});

# ---- Missed ----

# Rows as they would stand if the server had been down for six hours and a half;
# nobody is told of them before it starts again.
foreach my $missed ('once', 'all', 'skip')
{
	sql(qq{SELECT actorstore.set_timer('t', 'missed $missed', 'n', 'count', after => '1 h', every => '1 h', missed => '$missed'),
		actorstore.set_timer('t', 'missed $missed, single', 'n', 'count', after => '1 h', missed => '$missed')});
}
sql(q{UPDATE actorstore.timer SET due = due - interval '6.5 h', start = start - interval '6.5 h'});
$node->restart;
becomes_true(q{NOT EXISTS (SELECT FROM actorstore.timers WHERE due < now())}, 'after downtime all are looked at');
ok(handled($node, 'd', 't'), 'and handled');
is(sql(q{SELECT actor_id, value FROM actorstore.actor_t WHERE actor_id LIKE 'missed%' ORDER BY 1}), "missed all|6\nmissed all, single|1\nmissed once|1\nmissed once, single|1", 'once: one for all; all: one each; skip: none');
is(sql(q{SELECT actor_id, nth, due = start + 6 * interval '1 h' FROM actorstore.timer ORDER BY 1}), "missed all|7|t\nmissed once|7|t\nmissed skip|7|t", 'all go on by their grid');
sql(q{SELECT count(actorstore.cancel_timer(actor_type, actor_id, name)) FROM actorstore.timers});

# More than a transaction sends: all of them.
sql(q{SELECT actorstore.set_timer('t', 'many missed', 'n', 'count', after => '1 h', every => '1 h', missed => 'all')});
sql(q{UPDATE actorstore.timer SET due = due - interval '10001.5 h', start = start - interval '10001.5 h'});
$node->restart;
becomes_true(q{NOT EXISTS (SELECT FROM actorstore.timers WHERE due < now())}, 'ten thousand are missed');
ok(handled($node, 'd', 't'), 'and sent');
is(value('many missed'), 10001, 'each of them');
sql(q{SELECT actorstore.cancel_timer('t', 'many missed', 'n')});

# In earnest.
sql(q{SELECT actorstore.set_timer('t', 'down ' || missed, 'n', 'count', after => '500 ms', every => '1 s', missed => missed) FROM unnest('{once,all,skip}'::text[]) AS missed});
$node->stop('immediate');
sleep(4);
$node->start;
becomes_true(q{EXISTS (SELECT FROM actorstore.actor_t WHERE actor_id = 'down skip')}, 'after a crash timers go on');
sql(q{BEGIN; CREATE TABLE down AS SELECT actor_id, nth FROM actorstore.timer FOR UPDATE; SELECT count(actorstore.cancel_timer(actor_type, actor_id, name)) FROM actorstore.timers; COMMIT});
ok(handled($node, 'd', 't'), 'what was sent is handled');
is(sql(q{SELECT d.nth - 1 - a.value::bigint FROM down AS d JOIN actorstore.actor_t AS a USING (actor_id) WHERE actor_id = 'down all'}), 0, 'all: one for each time');
is(sql(q{SELECT bool_and(d.nth - 1 - a.value::bigint >= 2) FROM down AS d JOIN actorstore.actor_t AS a USING (actor_id) WHERE actor_id <> 'down all'}), 't', 'once, skip: fewer');

# ---- What a timer finds ----

sql(q{
SELECT actorstore.create_type('full', mailbox_limit => 2), actorstore.create_type('waiting', mailbox_limit => 2, on_full => 'wait');
SELECT actorstore.set_handler(t, 'count', 'count(jsonb, jsonb)'), actorstore.pause(t), count(actorstore.set_timer(t, 'a', i::text, 'count', to_jsonb(i), after => '0'))
	FROM unnest('{full,waiting}'::text[]) AS t, generate_series(1, 5) AS i GROUP BY t});
becomes_true(q{NOT EXISTS (SELECT FROM actorstore.timers)}, 'mailboxes of actors that are paused fill');
is(sql(q{SELECT t, (SELECT count(*) FROM actorstore.message WHERE actor_type = t), (SELECT count(*) FROM actorstore.dead_letter WHERE actor_type = t AND reason = 'mailbox full' AND sqlstate = 'VA001')
	FROM unnest('{full,waiting}'::text[]) AS t}), "full|2|3\nwaiting|2|3", 'the rest are dead letters');
sql(q{SELECT actorstore.resume(t) FROM unnest('{full,waiting}'::text[]) AS t});
ok(handled($node, 'd', $_), "$_: resumed") foreach 'full', 'waiting';
is(sql(q{SELECT actorstore.alter_type(t, mailbox_limit => 100) FROM unnest('{full,waiting}'::text[]) AS t; SELECT actorstore.redrive(t) FROM unnest('{full,waiting}'::text[]) AS t}), "\n\n3\n3", 'sent once more');
becomes_true(q{(SELECT sum(value::bigint) + (SELECT count(*) FROM actorstore.dead_letter) = 10 FROM actorstore.actor WHERE actor_type IN ('full', 'waiting'))}, 'none is lost');

sql(q{SELECT actorstore.set_timer('t', 'large', 'n', 'large', jsonb_agg(md5(i::text)), after => '0') FROM generate_series(1, 20000) AS i;
CREATE FUNCTION large(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql RETURN to_jsonb(md5(body::text)); SELECT actorstore.set_handler('t', 'large', 'large(jsonb, jsonb)')});
becomes_true(q{EXISTS (SELECT FROM actorstore.actor_t WHERE actor_id = 'large')}, 'a large body');
is(value('large'), sql(q{SELECT to_jsonb(md5(jsonb_agg(md5(i::text))::text)) FROM generate_series(1, 20000) AS i}), 'arrives whole');

sql(q{SELECT actorstore.create_type('gone'), actorstore.set_timer('gone', 'a', 'n', 'm', after => '300 ms'), actorstore.set_timer('t', 'stays', 'n', 'add', '1', after => '400 ms'); SELECT actorstore.drop_type('gone')});
becomes_true(q{EXISTS (SELECT FROM actorstore.actor_t WHERE actor_id = 'stays')}, 'a type goes with its timers');
is(sql(q{SELECT count(*) FROM actorstore.dead_letter WHERE actor_type = 'gone'}), 0, 'which do not fire');

# ---- Death ----

# Thousands of timers while stewards and workers are killed, and the server is.
sub storm
{
	my ($how, $kill) = @_;
	my ($singles, $grids) = (4000, 200);

	sql(qq{SELECT count(actorstore.set_timer('t', '$how ' || i, 'n', 'count', after => random() * interval '2 s')) FROM generate_series(1, $singles) AS i;
		SELECT count(actorstore.set_timer('t', '$how grid ' || i, 'n', 'count', every => '20 ms' + random() * interval '20 ms', missed => 'all')) FROM generate_series(1, $grids) AS i});
	foreach (1 .. 5)
	{
		$kill->();
		select(undef, undef, undef, 0.3);
	}
	becomes_true(qq{NOT EXISTS (SELECT FROM actorstore.timers WHERE actor_id LIKE '$how %' AND every IS NULL)}, "$how: all have fired");
	sql(qq{BEGIN; CREATE TABLE "$how" AS SELECT actor_id, nth FROM actorstore.timer FOR UPDATE; SELECT count(actorstore.cancel_timer(actor_type, actor_id, name)) FROM actorstore.timers; COMMIT});
	ok(handled($node, 'd', 't'), "$how: all is handled");
	is(sql(qq{SELECT count(*), sum(value::bigint) FROM actorstore.actor_t WHERE actor_id LIKE '$how %' AND actor_id NOT LIKE '$how grid %'}), "$singles|$singles", "$how: each once");
	is(sql(qq{SELECT count(*), count(*) FILTER (WHERE nth - 1 <> coalesce(a.value, '0')::bigint) FROM "$how" LEFT JOIN actorstore.actor_t AS a USING (actor_id)}), "$grids|0", "$how: each time of each grid once");
	is(sql(q{SELECT count(*) FROM actorstore.dead_letter WHERE actor_type = 't'}), 0, "$how: no dead letters");
	return;
}
storm('terminated', sub { sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type IN ('actorstore steward', 'actorstore worker') AND datname = 'd' AND random() < 0.7}); });
there_is_a_steward('another steward comes');
storm('killed', sub {
	my $pid = steward();
	ok(!$pid || (kill('KILL', $pid) && is_up_without($node, 'd', $pid)), 'the server is there again');
});
storm('crashed', sub { $node->stop('immediate'); $node->start; });

# ---- Without a steward ----

$node->append_conf('postgresql.conf', "max_worker_processes = 4\nactorstore.workers = 1");
my $log = -s $node->logfile;
$node->restart;
becomes_true(q{EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'actorstore worker' AND datname = 'd')}, 'the worker takes the last process there is');
sql(q{SELECT actorstore.set_timer('t', 'nobody', 'n', 'count', every => '20 ms', missed => 'all'), actorstore.set_timer('t', 'nobody, once', 'n', 'count', after => '300 ms')});
becomes_true(q{(SELECT count(*) = 2 FROM actorstore.actor_t WHERE actor_id = 'nobody, once' OR (actor_id = 'nobody' AND value::bigint > 30))}, 'the worker fires timers');
is(steward(), '', 'as there is no steward');
is(sql(q{SELECT item, detail FROM actorstore.doctor() WHERE item = 'steward' AND NOT ok}), 'steward|0 running, which fires timers', 'the doctor knows');
is(() = slurp_file($node->logfile, $log) =~ /no background worker is free to fire timers/g, 1, 'the log says so once');
sql(q{BEGIN; CREATE TABLE nobody AS SELECT nth FROM actorstore.timer WHERE actor_id = 'nobody' FOR UPDATE; SELECT actorstore.cancel_timer('t', 'nobody', 'n'); COMMIT});
ok(handled($node, 'd', 't'), 'cancelled');
is(sql(q{SELECT nth - 1 - g.value::bigint FROM nobody, actorstore.get('t', 'nobody') AS g}), 0, 'each once');
$node->append_conf('postgresql.conf', "max_worker_processes = 16\nactorstore.workers = 2");
$node->restart;
there_is_a_steward('with more processes there is one');

# ---- Databases ----

sql(q{SELECT actorstore.set_timer('t', 'copied', 'n', 'count', after => '1 h'), actorstore.set_timer('t', 'busy', 'n', 'count', every => '1 ms')});
$node->end_kept;
is(sqlstate($node, 'postgres', 'CREATE DATABASE copy TEMPLATE d'), '00000', 'copied while timers fire');
there_is_a_steward('the steward comes back');
is($node->safe_psql('copy', q{SELECT count(*) FROM actorstore.timers}), 2, 'with its timers');
is($node->safe_psql('copy', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'actorstore steward' AND datname = 'copy'}), 0, 'the copy is fenced: they stand still');
is($node->safe_psql('copy', q{SELECT actorstore.cancel_timer('t', 'busy', 'n'), actorstore.set_timer('t', 'unfenced', 'n', 'count', after => '0'), actorstore.unfence()}), 't||t', 'unfenced');
ok(comes_true($node, 'copy', q{EXISTS (SELECT FROM actorstore.actor_t WHERE actor_id = 'unfenced')}), 'they fire');
is(sqlstate($node, 'postgres', 'DROP DATABASE copy'), '00000', 'dropped');
sql(q{CREATE FUNCTION slow(jsonb, jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	DECLARE r text; BEGIN PERFORM pg_sleep(1);
	FOR r IN SELECT format('SELECT FROM %s LIMIT 1', oid::regclass) FROM pg_class WHERE relnamespace = 'actorstore'::regnamespace AND relkind = 'v' AND has_table_privilege(oid, 'SELECT') ORDER BY random()
	LOOP EXECUTE r; END LOOP; RETURN NULL; END $$;
	SELECT actorstore.create_type('slow'), actorstore.set_handler('slow', 'm', 'slow(jsonb, jsonb)'), actorstore.send('slow', 'a', 'm')});
becomes_true(q{EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND backend_type = 'actorstore worker')}, 'a turn that will want more locks');
is(sqlstate($node, 'd', 'SET client_min_messages = warning; DROP EXTENSION actorstore CASCADE'), '00000', 'the extension is dropped while timers fire');
becomes_true(q{NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'actorstore steward')}, 'the steward goes');
sql(q{CREATE EXTENSION actorstore; SELECT actorstore.create_type('t'), actorstore.set_handler('t', '*', 'count(jsonb, jsonb)'), actorstore.set_timer('t', 'anew', 'n', 'count', after => '0'), actorstore.set_timer('t', 'busy', 'n', 'count', every => '1 ms')});
becomes_true(q{EXISTS (SELECT FROM actorstore.actor_t WHERE actor_id = 'anew')}, 'made anew: they fire');
$node->end_kept;
is(sqlstate($node, 'postgres', 'DROP DATABASE d'), '00000', 'the database is dropped while timers fire');
$node->stop;

# ---- Failover; a server that has not preloaded the library ----

my $primary = new_node('primary', streaming => 1, settings => "wal_level = replica\nactorstore.workers = 1");
$primary->backup('base');
new_database_with_actors($primary, 'd');
$primary->safe_psql('d', q{CREATE FUNCTION count(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql RETURN to_jsonb(coalesce(state::bigint, 0) + 1);
	SELECT actorstore.create_type('t'), actorstore.set_handler('t', '*', 'count(jsonb, jsonb)'),
	actorstore.set_timer('t', 'before', 'n', 'm', after => '0'), actorstore.set_timer('t', 'after', 'n', 'm', after => '3 s'), actorstore.set_timer('t', 'grid', 'n', 'm', every => '100 ms', missed => 'all')});
ok(comes_true($primary, 'd', q{EXISTS (SELECT FROM actorstore.actor_t WHERE actor_id = 'before')}), 'the primary fires');
my $standby = ActorstoreCluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
is($standby->safe_psql('d', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'actorstore steward'}), 0, 'a standby has no steward');
is(sqlstate($standby, 'd', q{SELECT actorstore.set_timer('t', 'a', 'n', 'm', after => '0')}), '25006', 'and sets no timers');
$primary->stop;
$standby->promote;
ok(comes_true($standby, 'd', q{EXISTS (SELECT FROM actorstore.actor_t WHERE actor_id = 'after')}), 'promoted, it fires');
$standby->safe_psql('d', q{BEGIN; CREATE TABLE grid AS SELECT nth FROM actorstore.timer WHERE actor_id = 'grid' FOR UPDATE; SELECT actorstore.cancel_timer('t', 'grid', 'n'); COMMIT});
ok(handled($standby, 'd', 't'), 'cancelled');
is($standby->safe_psql('d', q{SELECT nth - 1 - g.value::bigint FROM grid, actorstore.get('t', 'grid') AS g}), 0, 'each time once, on one server or the other');

$standby->adjust_conf('postgresql.conf', 'shared_preload_libraries', "''");
$standby->restart;
my ($status, $stdout, $stderr) = $standby->psql('d', q{SELECT actorstore.set_timer('t', 'unloaded', 'n', 'm', after => '0'), actorstore.set_timer('t', 'cancelled', 'n', 'm', after => '0'), actorstore.cancel_timer('t', 'cancelled', 'n')});
is("$status|$stdout", '0|||t', 'not preloaded: timers are set');
like($stderr, qr/WARNING:  timers wait until actorstore is preloaded/, 'with a warning');
$standby->adjust_conf('postgresql.conf', 'shared_preload_libraries', "'actorstore'");
$standby->restart;
ok(comes_true($standby, 'd', q{EXISTS (SELECT FROM actorstore.actor_t WHERE actor_id = 'unloaded')}), 'preloaded: they fire');
is($standby->safe_psql('d', q{SELECT count(*) FROM actorstore.actor_t WHERE actor_id = 'cancelled'}), 0, 'but for those cancelled');

done_testing();
