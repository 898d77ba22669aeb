# What an operator sees: how long questions take, what happens to messages, and who may look.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('watch', settings => "actorstore.workers = 1\nfsync = off");

sub sql { return $node->safe_psql('d', $_[0]); }

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
sql(q{SELECT actorstore.send('t', 'b', 'collect', '1') FROM generate_series(1, 30); SELECT actorstore.tell('u', 'b', 'collect', '1')});
ok(comes_true($node, 'd', q{(SELECT used_cells = 0 FROM actorstore.stat_requests) AND (SELECT min(handled) = 1 AND max(handled) >= 41 FROM actorstore.stat_types)}), 'all is handled');
is(sql(q{SELECT actor_type, answered, timed_out FROM actorstore.stat_types ORDER BY 1}), "t|11|1\nu|0|0", 'stat_types counts answers');
is(sql(q{SELECT ask_handling_p50 >= 20, round_trip_p50 >= ask_handling_p50, ask_waiting_p50 <= ask_waiting_p95, ask_waiting_p95 <= ask_waiting_p99,
		ask_handling_p50 <= ask_handling_p95, ask_handling_p95 <= ask_handling_p99, round_trip_p50 <= round_trip_p95, round_trip_p95 <= round_trip_p99,
		round_trip_p99 < 3600000, handling_p50 <= ask_handling_p50
	FROM actorstore.stat_latency WHERE actor_type = 't'}), 't|t|t|t|t|t|t|t|t|t', 'stat_latency: what was asked, apart');
is(sql(q{SELECT ask_waiting_p99, ask_handling_p99, round_trip_p99, handling_p50 >= 0 FROM actorstore.stat_latency WHERE actor_type = 'u'}), '0|0|0|t',
	'nothing was asked of the other type');

$node->stop;
done_testing();
