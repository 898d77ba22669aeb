# Among actors that are ready, those with the nearest expires_at first, where a
# type asks for it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

# One worker, so that the order in which actors are taken is that of their work.
my $node = new_node('deadlines', settings => 'actorstore.workers = 1');
new_database_with_actors($node, 'd');

sub sql { my ($sql) = @_; return $node->safe_psql('d', $sql, kept => 1); }

# note() writes who was handled; block() keeps the worker busy until somebody
# lets it go.
sql(q{
CREATE TABLE let_go (n int);
GRANT ALL ON let_go TO PUBLIC;
CREATE FUNCTION note(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO seen (what) SELECT actor_id || coalesce(' ' || (body #>> '{}'), '') FROM actorstore.context();
	RETURN NULL;
END $$;
CREATE FUNCTION block(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	WHILE NOT EXISTS (SELECT FROM let_go) LOOP PERFORM pg_sleep(0.01); END LOOP;
	RETURN NULL;
END $$;
SELECT actorstore.create_type('edf', order_by_deadline => true), actorstore.create_type('fifo'), actorstore.create_type('blocker'), actorstore.set_handler('blocker', '*', 'block(jsonb, jsonb)');
SELECT actorstore.set_handler(t, '*', 'note(jsonb, jsonb)') FROM unnest('{edf,fifo}'::text[]) AS t});

sub seen { return join(',', rows($node, 'd', 'SELECT what FROM seen ORDER BY n')); }

# Send while the worker is busy with something else, each in a transaction of
# its own; then see in what order the actors have come.
sub sent_meanwhile
{
	my ($type, @sends) = @_;

	sql(q{TRUNCATE seen; TRUNCATE let_go; SELECT actorstore.send('blocker', 'b', 'm')});
	ok(comes_true($node, 'd', q{EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'actorstore worker' AND wait_event = 'PgSleep')}), 'the worker is busy');
	sql(join("\n", map { "SELECT actorstore.send('$type', $_);" } @sends));
	sql(q{INSERT INTO let_go VALUES (1)});
	ok(handled($node, 'd', $type), 'handled');
	return seen();
}

sub in { my ($seconds) = @_; return "expires_at => now() + interval '$seconds s'"; }
my @sends = ("'never', 'm'", map { "'in $_', 'm', " . in($_) } 600, 200, 400, 100, 500, 300);
is(sent_meanwhile('edf', @sends), 'in 100,in 200,in 300,in 400,in 500,in 600,never', 'the nearest first, those without one last');
is(sent_meanwhile('fifo', @sends), 'never,in 600,in 200,in 400,in 100,in 500,in 300', 'a type that does not ask: in the order of arrival');

# A message of an actor that waits already moves it up; its own messages keep
# their order.
is(sent_meanwhile('edf', "'a', 'm', '1', " . in(900), "'b', 'm', '1', " . in(500), "'a', 'm', '2', " . in(100), "'c', 'm', '1', " . in(300)), 'a 1,a 2,c 1,b 1', 'the nearest of an actor counts');

# After a turn what is left counts.
sql(q{ALTER SYSTEM SET actorstore.batch_size = 1; SELECT pg_reload_conf(); SELECT pg_sleep(0.2)});
is(sent_meanwhile('edf', "'a', 'm', '1', " . in(100), "'a', 'm', '2', " . in(600), "'b', 'm', '1', " . in(300), "'b', 'm', '2', " . in(400)), 'a 1,b 1,b 2,a 2', 'what is left after a turn waits for its own deadline');
sql(q{ALTER SYSTEM RESET actorstore.batch_size; SELECT pg_reload_conf()});

# Mail that waited for resume(), and for a restart: found by looking.
sql(q{TRUNCATE seen; SELECT actorstore.pause('edf')});
sql(join("\n", map { "SELECT actorstore.send('edf', $_);" } @sends));
ok(comes_true($node, 'd', q{(SELECT queued = 0 AND running = 0 AND swept FROM actorstore.scheduler_now())}), 'paused');
sql(q{SELECT actorstore.resume('edf')});
ok(handled($node, 'd', 'edf'), 'resumed');
is(seen(), 'in 100,in 200,in 300,in 400,in 500,in 600,never', 'in order');
sql(q{TRUNCATE seen; SELECT actorstore.pause('edf')});
sql(join("\n", map { "SELECT actorstore.send('edf', $_);" } @sends));
$node->restart;
sql(q{SELECT actorstore.resume('edf')});
ok(handled($node, 'd', 'edf'), 'after a restart');
is(seen(), 'in 100,in 200,in 300,in 400,in 500,in 600,never', 'in order');

# Others are not forgotten.
sql(q{TRUNCATE seen; TRUNCATE let_go; SELECT actorstore.send('blocker', 'b', 'm')});
sql(q{SELECT count(actorstore.send('edf', i::text, 'm', expires_at => now() + i * interval '1 min')), count(actorstore.send('fifo', 'f' || i, 'm')) FROM generate_series(1, 500) AS i;
	INSERT INTO let_go VALUES (1)});
ok(handled($node, 'd', $_), "$_: all are handled") foreach 'edf', 'fifo';
is(sql(q{SELECT count(*), count(DISTINCT what) FROM seen}), '1000|1000', 'each once');
cmp_ok(sql(q{SELECT count(*) FROM (SELECT what FROM seen ORDER BY n LIMIT 400) AS s WHERE what LIKE 'f%'}), '>', 20, 'those without deadlines get on, too');

# Many, with changes of the option, under workers that die.
$node->append_conf('postgresql.conf', 'actorstore.workers = 4');
$node->restart;
sql(q{TRUNCATE seen; SELECT count(actorstore.send('edf', (i % 700)::text, 'm', to_jsonb(i), expires_at => now() + interval '1 h' + random() * interval '1 h')) FROM generate_series(1, 5000) AS i});
foreach my $i (1 .. 6)
{
	sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'actorstore worker' AND random() < 0.4});
	sql("SELECT actorstore.alter_type('edf', order_by_deadline => " . ($i % 2 ? 'false' : 'true') . ')');
	sql(qq{SELECT count(actorstore.send('edf', (i % 700)::text, 'm', to_jsonb($i * 10000 + i), expires_at => now() + interval '1 h' + random() * interval '1 h')) FROM generate_series(1, 500) AS i});
}
ok(handled($node, 'd', 'edf'), 'workers are terminated: all are handled');
is(sql(q{SELECT count(*), count(DISTINCT what) FROM seen}), '8000|8000', 'each once');
ok(comes_true($node, 'd', q{(SELECT used_slots = 0 FROM actorstore.scheduler_now())}), 'nothing is left behind');

done_testing();
