# What an operator sees: how long questions take, what happens to messages, and who may look.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('watch', settings => "actorstore.workers = 1\nfsync = off");

sub sql { return $node->safe_psql('d', $_[0], kept => 1); }

new_database_with_actors($node, 'd');
sql(q{
	CREATE FUNCTION nap(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM pg_sleep((body #>> '{}')::float8);
		RETURN NULL;
	END $$;
	CREATE FUNCTION fail(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'failed' USING ERRCODE = '22012'; END $$;
	SELECT actorstore.create_type(name, backoff => '10 ms', max_attempts => 3) FROM unnest('{t,u}'::text[]) AS name;
	SELECT actorstore.set_handler(type, name, ('public.' || name || '(jsonb, jsonb)')::regprocedure)
	FROM unnest('{nap,fail,collect}'::text[]) AS name, unnest('{t,u}'::text[]) AS type;
});

# ---- How long questions take ----

sql(q{SELECT actorstore.ask('t', 'a', 'nap', '0.02', timeout => '1 min') FROM generate_series(1, 10)});
is($node->psql('d', q{SELECT actorstore.ask('t', 'a', 'fail', timeout => '1 min')}), 3, 'an error is an answer, too');
is(sqlstate($node, 'd', q{SELECT actorstore.ask('t', 'a', 'nap', '0.1', timeout => '10 ms')}), 'VA002', 'one time-out');
sql(q{SELECT actorstore.send('t', 'b', 'collect', '1') FROM generate_series(1, 30); SELECT actorstore.send('u', 'b', 'collect', '1') FROM generate_series(1, 100);
	SELECT actorstore.tell('u', 'b', 'collect', '1')});
ok(comes_true($node, 'd', q{(SELECT used_cells = 0 FROM actorstore.stat_requests) AND NOT EXISTS (SELECT FROM actorstore.message) AND (SELECT sum(handled) >= 142 FROM actorstore.stat_types)}), 'all is handled');
is(sql(q{SELECT actor_type, answered, timed_out FROM actorstore.stat_types ORDER BY 1}), "t|11|1\nu|0|0", 'stat_types counts answers');
is(sql(q{SELECT ask_handling_p50 >= 20, round_trip_p50 >= ask_handling_p50, ask_waiting_p50 <= ask_waiting_p95, ask_waiting_p95 <= ask_waiting_p99,
		ask_handling_p50 <= ask_handling_p95, ask_handling_p95 <= ask_handling_p99, round_trip_p50 <= round_trip_p95, round_trip_p95 <= round_trip_p99,
		round_trip_p99 < 3600000, handling_p50 <= ask_handling_p50
	FROM actorstore.stat_latency WHERE actor_type = 't'}), 't|t|t|t|t|t|t|t|t|t', 'stat_latency: what was asked, apart');
is(sql(q{SELECT ask_waiting_p99, ask_handling_p99, round_trip_p99, handling_p50 >= 0 FROM actorstore.stat_latency WHERE actor_type = 'u'}), '0|0|0|t',
	'nothing was asked of the other type');
is(sql(q{SELECT l.actor_type, t.handling_time >= CASE l.actor_type WHEN 't' THEN 200 ELSE 0 END, t.waiting_time > 0,
		abs(l.handling_mean * t.handled - t.handling_time) < 0.001, abs(l.waiting_mean * t.handled - t.waiting_time) < 0.001
	FROM actorstore.stat_latency AS l JOIN actorstore.stat_types AS t USING (actor_type) ORDER BY 1}), "t|t|t|t|t\nu|t|t|t|t", 'sums and means');

# ---- What is waited for ----

# 17 knows the names of extensions' waits.
my $named = sql('SHOW server_version_num') >= 170000;
foreach ([ 'actorstore worker' => 'ActorstoreWorkerMain' ], [ 'actorstore launcher' => 'ActorstoreLauncherMain' ], [ 'actorstore keeper launcher' => 'ActorstoreKeeperMain' ])
{
	my ($process, $wait) = @$_;
	my $event = $named ? $wait : 'Extension';

	ok(comes_true($node, 'd', "(SELECT bool_and(wait_event_type = 'Extension' AND wait_event = '$event') FROM pg_stat_activity WHERE backend_type = '$process')"), "$process: $event")
		or note sql("SELECT wait_event FROM pg_stat_activity WHERE backend_type = '$process'");
}

# ---- What happens to messages ----

# The events of a message, in the order of entries.
sub events
{
	my ($where) = @_;
	return sql("SELECT string_agg(event, ' ' ORDER BY entry) FROM actorstore.trace WHERE $where");
}

sub settled
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok(comes_true($node, 'd', q{NOT EXISTS (SELECT FROM actorstore.message) AND (SELECT used_slots = 0 FROM actorstore.stat_scheduler)}), $_[0]);
	return;
}

is(sql('SELECT count(*) FROM actorstore.trace'), 0, 'tracing is off at first');
foreach my $value ('abc', '1.5', '-0.1', '', '0.5x', 'NaN')
{
	is(sqlstate($node, 'd', "ALTER SYSTEM SET actorstore.trace_messages = '$value'"), '22023', "not '$value'");
}
ok(set_everywhere($node, 'd', 'actorstore.trace_messages', 'on'), 'it is on');

my $id = sql(q{SELECT actorstore.send('t', 'traced', 'collect', '"a secret"')});
settled('a message');
is(events("message_id = $id"), 'sent taken handled', 'is followed');
is(sql(qq{SELECT DISTINCT verb, actor_type, actor_id, message, attempts, sqlstate FROM actorstore.trace WHERE message_id = $id}),
	'send|t|traced|collect|0|', 'what it was');
is(sql(qq{SELECT count(DISTINCT pid), count(DISTINCT worker), count(DISTINCT turn), count(DISTINCT sent_at), bool_and(happened_at >= sent_at),
		bool_and((worker IS NULL) = (event = 'sent')), bool_and((turn IS NULL) = (event = 'sent'))
	FROM actorstore.trace WHERE message_id = $id}), '2|1|1|1|t|t|t', 'who sent it, and who handled it');
is(sql(q{SELECT count(*) FROM actorstore.trace AS t WHERE t::text LIKE '%secret%'}), 0, 'but not what it said');

$id = sql(q{SELECT actorstore.send('t', 'f', 'fail')});
settled('one that fails');
is(events("message_id = $id"), 'sent taken failed retried taken failed retried taken dead failed', 'has attempts');
is(sql(qq{SELECT string_agg(attempts || coalesce(':' || sqlstate, ''), ' ' ORDER BY entry) FROM actorstore.trace WHERE message_id = $id AND event IN ('taken', 'failed', 'dead')}),
	'0 1:22012 1 2:22012 2 3:22012 3:22012', 'and what went wrong');

sql(q{BEGIN; SELECT actorstore.send('t', 'no', 'collect', '1'); ROLLBACK;
	BEGIN; SAVEPOINT s; SELECT actorstore.send('t', 'no', 'collect', '2'); ROLLBACK TO s;
	SAVEPOINT s2; SELECT actorstore.send('t', 'yes', 'collect', '3'); RELEASE s2; COMMIT});
sql(q{SELECT actorstore.cancel(actorstore.send('t', 'later', 'collect', '1', delay => '1 hour'))});
sql(q{SELECT actorstore.send('t', 'unheard', 'unheard')});
settled('others');
is(events(q{actor_id = 'no'}), '', 'what is rolled back was not sent');
is(events(q{actor_id = 'yes'}), 'sent taken handled', 'what is released was');
is(events(q{actor_id = 'later'}), 'sent cancelled', 'one is cancelled');
is(events(q{actor_id = 'unheard'}), 'sent taken dead', 'one has no handler');

sql(q{SELECT actorstore.ask('t', 'asked', 'collect', '1', timeout => '1 min')});
is($node->psql('d', q{SELECT actorstore.ask('t', 'asked', 'fail', timeout => '1 min')}), 3, 'one fails');
sql(q{SELECT actorstore.tell('t', 'told', 'collect', '1')});
settled('all is answered');
ok(comes_true($node, 'd', q{(SELECT count(*) = 9 FROM actorstore.trace WHERE actor_id IN ('asked', 'told'))}), 'nine events');
is(sql(q{SELECT actor_id, message, verb, message_id, string_agg(DISTINCT event, ' ' ORDER BY event) FROM actorstore.trace WHERE actor_id IN ('asked', 'told')
	GROUP BY 1, 2, 3, 4 ORDER BY 1, 2}), "asked|collect|ask||handled sent taken\nasked|fail|ask||failed sent taken\ntold|collect|tell||handled sent taken", 'asked and told');

# Long names are cut, between characters.
my $long = "\xc3\xb6" x 200;
sql("SELECT actorstore.send('t', '$long', 'collect', '1')");
settled('a long name');
is(sql(q{SELECT octet_length(actor_id), length(actor_id) FROM actorstore.trace WHERE length(actor_id) > 50 AND event = 'sent'}), '184|92', 'is cut');

# ---- Who may look ----

sql(q{CREATE ROLE reader LOGIN; CREATE ROLE nobody LOGIN; CREATE ROLE monitor LOGIN IN ROLE pg_monitor; CREATE ROLE other LOGIN; GRANT CREATE ON DATABASE d TO other;
	SELECT actorstore.grant_type('t', 'reader', ARRAY['read']); SELECT actorstore.send('u', 'u', 'collect', '1')});
settled('another type');
sub types_seen { return $node->safe_psql('d', q{SELECT string_agg(DISTINCT actor_type, ' ') FROM actorstore.trace}, extra_params => [ '-U', $_[0] ]); }
is(sql(q{SELECT string_agg(DISTINCT actor_type, ' ') FROM actorstore.trace}), 't u', 'superusers see all');
is(types_seen('reader'), 't', 'others what they may read');
is(types_seen('nobody'), '', 'or nothing');
is(types_seen('monitor'), '', 'no names for pg_monitor');
sql(q{SELECT actorstore.drop_type('u'); SELECT actorstore.grant_type('t', 'other', ARRAY['send'])});
$node->safe_psql('d', q{SELECT actorstore.create_type('u')}, extra_params => [ '-U', 'other' ]);
is(types_seen('other'), '', 'a type of the same name is not the same type');
new_database($node, 'e');
is($node->safe_psql('e', 'SELECT count(*) FROM actorstore.trace'), 0, 'nothing of other databases');
$node->safe_psql('postgres', 'DROP DATABASE e');

# ---- A part of them ----

ok(set_everywhere($node, 'd', 'actorstore.trace_messages', '0.25'), 'one in four');
my $first = sql(q{SELECT max(entry) + 1 FROM actorstore.trace});
sql(q{SELECT actorstore.send_many('t', array_agg((i % 10)::text), 'collect', array_agg('1'::jsonb)) FROM generate_series(1, 2000) AS i});
settled('2000 messages');
is(sql(qq{SELECT count(*) BETWEEN 400 AND 600 FROM actorstore.trace WHERE entry >= $first AND event = 'sent'}), 't', 'some of them are followed');
is(sql(qq{SELECT count(*) FROM (SELECT message_id FROM actorstore.trace WHERE entry >= $first GROUP BY 1
	HAVING count(*) FILTER (WHERE event = 'sent') <> 1 OR count(*) FILTER (WHERE event = 'handled') <> 1 OR count(*) FILTER (WHERE event = 'taken') < 1) AS x}), 0,
	'from the beginning to the end');

# ---- As many as are set ----

$node->append_conf('postgresql.conf', "actorstore.trace_size = 60");
$node->safe_psql('d', q{ALTER SYSTEM SET actorstore.trace_messages = 'on'});
$node->restart;
is(sql('SELECT count(*) FROM actorstore.trace'), 0, 'a restart forgets all');
ok(comes_true($node, 'd', 'EXISTS (SELECT FROM actorstore.stat_workers)'), 'a worker is there');
sql(q{SELECT actorstore.send('t', 'many', 'collect', i::text::jsonb) FROM generate_series(1, 100) AS i});
settled('100 messages');
is(sql('SELECT count(*), max(entry) - min(entry) FROM actorstore.trace'), '64|63', 'the last ones are kept');
is(sql(q{SELECT string_agg(DISTINCT event, ' ') FROM actorstore.trace WHERE entry > (SELECT max(entry) - 20 FROM actorstore.trace)}), 'handled', 'the last of all');

$node->stop;
done_testing();
