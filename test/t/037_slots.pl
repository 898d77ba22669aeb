# Shared memory that is far too small: many times more active actors than
# slots, queues for two.  Everything is handled, in the order of sends, and
# what waits for a time, a lock or resume() stands in nobody's way.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

# Handlers: one checks that the numbers it gets from each sender increase, and
# writes down what does not; others are slow, or count something.
my $handlers = q{
	CREATE TABLE violation (actor text, sender int, number bigint, last bigint);
	CREATE FUNCTION in_order(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	DECLARE
		sender text := body ->> 's';
		last bigint := coalesce((state ->> sender)::bigint, 0);
	BEGIN
		IF (body ->> 'n')::bigint <= last THEN
			INSERT INTO violation SELECT actor_id, sender::int, (body ->> 'n')::bigint, last FROM actorstore.context();
		END IF;
		RETURN coalesce(state, '{}') || jsonb_build_object(sender, (body ->> 'n')::bigint, 'count', coalesce((state ->> 'count')::int, 0) + 1);
	END$$;
	CREATE FUNCTION slow(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM pg_sleep((body #>> '{}')::float8);
		RETURN to_jsonb(coalesce(state #>> '{}', '0')::int + 1);
	END$$;
	CREATE FUNCTION failing(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		IF (SELECT attempt FROM actorstore.context()) < 3 THEN RAISE 'not yet'; END IF;
		RETURN body;
	END$$;
	SELECT actorstore.create_type('ordered'), actorstore.create_type('paused'), actorstore.create_type('slow'),
		actorstore.create_type('failing', backoff => '300 ms');
	SELECT actorstore.set_handler('ordered', 'm', 'in_order(jsonb, jsonb)'), actorstore.set_handler('paused', 'm', 'in_order(jsonb, jsonb)'),
		actorstore.set_handler('slow', 'm', 'slow(jsonb, jsonb)'), actorstore.set_handler('failing', 'm', 'failing(jsonb, jsonb)');
};

sub scheduler
{
	my ($node) = @_;
	my %now;
	@now{qw(used overflows sweeps steals swept)} =
	  split /\|/, $node->safe_psql('d', 'SELECT used_slots, overflows, sweeps, steals, swept FROM actorstore.stat_scheduler');
	return %now;
}

sub drained_ok
{
	my ($node, $name, $type) = @_;
	my $which = $type ? "actor_type = '$type'" : 'true';

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($node->poll_query_until('d', "SELECT NOT EXISTS (SELECT FROM actorstore.message WHERE $which)"), "$name: all is handled")
	  or note $node->safe_psql('d', 'SELECT actor_type, count(*), min(lane), max(lane) FROM actorstore.message GROUP BY 1; SELECT * FROM actorstore.stat_scheduler');
	return;
}

sub quiet_in_the_end
{
	my ($node, $name) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($node->poll_query_until('d', 'SELECT used_slots = 0 AND queued = 0 AND swept FROM actorstore.stat_scheduler'), "$name: no slot is left")
	  or note $node->safe_psql('d', 'SELECT * FROM actorstore.stat_scheduler');
	is($node->safe_psql('d', 'SELECT count(*) FROM actorstore.dead_letter'), 0, "$name: no dead letters")
	  or note $node->safe_psql('d', 'SELECT reason, error, count(*) FROM actorstore.dead_letter GROUP BY 1, 2 LIMIT 5');
	return;
}

# Processor time that the workers have taken, in seconds; undef where it cannot be seen.
sub worker_seconds
{
	my ($node) = @_;
	my $ticks = 0;

	foreach my $pid (rows($node, 'd', 'SELECT pid FROM actorstore.stat_workers WHERE pid IS NOT NULL'))
	{
		open(my $stat, '<', "/proc/$pid/stat") or return undef;
		my @field = split / /, <$stat> =~ s/.*\) //sr;
		$ticks += $field[11] + $field[12];
	}
	return $ticks / 100;
}

# ---- Too few slots, queues too short ----

my $node = new_node('slots',
	settings => "fsync = off\nautovacuum = on\nautovacuum_naptime = 1s\nmax_prepared_transactions = 10\n"
	  . "actorstore.workers = 3\nactorstore.max_active_actors = 64\nactorstore.worker_queue_capacity = 2\nactorstore.global_queue_capacity = 2");
new_database($node, 'd');
$node->safe_psql('d', $handlers);
is($node->safe_psql('d', 'SELECT slots FROM actorstore.stat_scheduler'), 64, 'there are 64 slots');

# Several clients send to 70 times as many actors, each to all of them, in small transactions, some of which roll back.
my ($clients, $actors, $rounds) = (4, 70 * 64, 4);
my $script = PostgreSQL::Test::Utils::tempdir . '/script';
append_to_file($script, qq{
DO \$\$
DECLARE
	client int := current_setting('storm.client')::int;
	i int := 0;
BEGIN
	FOR round IN 1 .. $rounds LOOP
		FOR part IN 0 .. 69 LOOP
			i := i + 1;
			PERFORM actorstore.send('ordered', a::text, 'm', jsonb_build_object('s', client, 'n', 2 * i)) FROM generate_series(part * 64, part * 64 + 63) AS a;
			IF random() < 0.1 THEN
				ROLLBACK;
				PERFORM actorstore.send('ordered', a::text, 'm', jsonb_build_object('s', client, 'n', 2 * i + 1)) FROM generate_series(part * 64, part * 64 + 63) AS a;
			END IF;
			COMMIT;
		END LOOP;
	END LOOP;
END\$\$;
});
my @run = map {
	my $err = '';
	{
		err => \$err,
		harness => IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-c', "SET storm.client = $_", '-f', $script, $node->connstr('d') ], '2>', \$err)
	}
} 1 .. $clients;
$_->{harness}->finish foreach @run;
is(join('', map { ${ $_->{err} } } @run), '', 'many clients: no errors');
drained_ok($node, '70 times as many actors as slots');
is($node->safe_psql('d', "SELECT count(*) || ' ' || sum((value ->> 'count')::int) FROM actorstore.actor_ordered"),
	$actors . ' ' . $clients * $rounds * $actors, '70 times as many actors as slots: each message is handled once');
is($node->safe_psql('d', 'SELECT count(*) FROM violation'), 0, '70 times as many actors as slots: in order')
  or note $node->safe_psql('d', 'SELECT * FROM violation LIMIT 10');
my %now = scheduler($node);
cmp_ok($now{overflows}, '>', 0, 'hints were dropped');
cmp_ok($now{sweeps}, '>', 0, 'the mailboxes were looked through');
quiet_in_the_end($node, '70 times as many actors as slots');

# ---- Those who wait take nobody's place ----

$node->safe_psql('d', q{
	SELECT actorstore.pause('paused');
	SELECT count(actorstore.send('paused', i::text, 'm', '{"s": 1, "n": 1}')) FROM generate_series(1, 500) AS i;
	SELECT count(actorstore.send('ordered', 'late ' || i, 'm', '{"s": 1, "n": 1}', delay => '4 s')) FROM generate_series(1, 500) AS i;
	SELECT count(actorstore.send('failing', i::text, 'm', '1')) FROM generate_series(1, 300) AS i;
	BEGIN; SELECT count(actorstore.send('ordered', 'never ' || i, 'm', '{"s": 1, "n": 1}')) FROM generate_series(1, 500) AS i; ROLLBACK;
	BEGIN; SELECT count(actorstore.send('ordered', 'prepared ' || i, 'm', '{"s": 1, "n": 1}')) FROM generate_series(1, 100) AS i; PREPARE TRANSACTION 'p';
	BEGIN; SAVEPOINT a; SELECT count(actorstore.send('ordered', 'never ' || i, 'm', '{"s": 1, "n": 1}')) FROM generate_series(1, 500) AS i; ROLLBACK TO a; COMMIT;
});
my $begun = time;
$node->safe_psql('d', q{SELECT count(actorstore.send('ordered', 'free ' || i, 'm', '{"s": 1, "n": 1}')) FROM generate_series(1, 500) AS i});
ok($node->poll_query_until('d', q{SELECT count(*) = 500 FROM actorstore.actor_ordered WHERE actor_id LIKE 'free %'}), 'others are handled while many wait');
note sprintf('after %.2f s', time - $begun);
ok($node->poll_query_until('d', q{SELECT count(*) = 500 FROM actorstore.actor_ordered WHERE actor_id LIKE 'late %'}), 'delayed messages are, in time');
drained_ok($node, 'what has failed twice', 'failing');
is($node->safe_psql('d', q{SELECT count(*) FROM actorstore.message WHERE actor_type = 'paused'}), 500, 'paused ones wait');
$node->safe_psql('d', q{SELECT count(actorstore.send('paused', i::text, 'm', '{"s": 1, "n": 2}')) FROM generate_series(1, 500) AS i; SELECT actorstore.resume('paused'); COMMIT PREPARED 'p'});
drained_ok($node, 'resumed, and prepared');
is($node->safe_psql('d', q{SELECT sum((value ->> 'count')::int) FROM actorstore.actor_paused}), 1000, 'resumed: each message is handled once');
is($node->safe_psql('d', q{SELECT count(*) FROM actorstore.actor_ordered WHERE actor_id LIKE 'prepared %'}), 100, 'prepared: each message is handled');
is($node->safe_psql('d', q{SELECT count(*) FROM actorstore.actor_ordered WHERE actor_id LIKE 'never %'}), 0, 'rolled back: none is');
is($node->safe_psql('d', 'SELECT count(*) FROM violation'), 0, 'those who had waited: in order');
quiet_in_the_end($node, 'those who had waited');

# ---- A hot actor and many cold ones ----

$node->safe_psql('d', q{
	SELECT actorstore.send_many('ordered', array_agg('hot'::text), 'm', array_agg(jsonb_build_object('s', 9, 'n', i))) FROM generate_series(1, 20000) AS i;
	SELECT count(actorstore.send('ordered', 'cold ' || i, 'm', '{"s": 1, "n": 1}')) FROM generate_series(1, 1000) AS i});
ok($node->poll_query_until('d', q{SELECT count(*) = 1000 FROM actorstore.actor_ordered WHERE actor_id LIKE 'cold %'}), 'cold actors beside a hot one are handled');
drained_ok($node, 'a hot actor');
is($node->safe_psql('d', q{SELECT value ->> 'count' FROM actorstore.get('ordered', 'hot')}), 20000, 'the hot one has handled its messages');
is($node->safe_psql('d', 'SELECT count(*) FROM violation'), 0, 'in order');
quiet_in_the_end($node, 'a hot actor');
$node->stop;

# ---- Actors that somebody has locked ----

$node = new_node('locks', settings => "fsync = off\nmax_prepared_transactions = 10\nactorstore.workers = 2");
new_database($node, 'd');
$node->safe_psql('d', $handlers);
$node->safe_psql('d', q{SELECT actorstore.put('slow', 'locked ' || i, '0') IS NULL FROM generate_series(1, 3) AS i});
my $holder = ActorstoreTest::Session->new($node, 'd');
$holder->query(q{BEGIN; SELECT count(*) FROM actorstore.get_many('slow', '{locked 1,locked 2,locked 3}', 'update')});
$node->safe_psql('d', q{SELECT count(actorstore.send('slow', 'locked ' || i, 'm', '0')) FROM generate_series(1, 3) AS i;
	SELECT count(actorstore.send('slow', 'other ' || i, 'm', '0')) FROM generate_series(1, 100) AS i});
ok($node->poll_query_until('d', q{SELECT count(*) = 100 FROM actorstore.actor_slow WHERE actor_id LIKE 'other %'}), 'beside locked actors the others go on');
my $before = worker_seconds($node);
usleep(1_500_000);
SKIP:
{
	skip 'no /proc here', 1 unless defined $before;
	cmp_ok(worker_seconds($node) - $before, '<', 0.75, 'workers do not spin on locked actors');
}
is($node->safe_psql('d', q{SELECT count(*) FROM actorstore.message}), 3, 'locked ones wait');
$holder->query('COMMIT');
drained_ok($node, 'once the lock is gone');
is($node->safe_psql('d', q{SELECT string_agg(value::text, ' ') FROM actorstore.get_many('slow', '{locked 1,locked 2,locked 3}')}), '1 1 1', 'the lock is gone: each message is handled once');
$holder->quit;

# ---- Others write the same actors ----

# Handlers count in one field; sessions in others, by reading and swapping, by
# patch of a field of their own, by update and put under the actor's lock.
$node->safe_psql('d', q{
	CREATE FUNCTION add(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql
		RETURN coalesce(state, '{}') || jsonb_build_object('handled', coalesce((state ->> 'handled')::int, 0) + 1);
	SELECT actorstore.create_type('shared'), actorstore.set_handler('shared', 'm', 'add(jsonb, jsonb)');
	SELECT actorstore.put('shared', i::text, '{}') IS NULL FROM generate_series(1, 5) AS i;
});
my ($transactions, $writers) = (300, 6);
my $bench = PostgreSQL::Test::Utils::tempdir . '/bench';
append_to_file($bench, q{
\set id random(1, 5)
\set n :n + 1
SELECT actorstore.send('shared', (:id)::text, 'm');
SELECT count(*) FROM (SELECT value, version FROM actorstore.get('shared', (:id)::text)) AS g, actorstore.compare_and_swap('shared', (:id)::text, g.version, g.value || jsonb_build_object('swapped', coalesce((g.value ->> 'swapped')::int, 0) + 1)) AS c WHERE c.swapped \gset won_
INSERT INTO won SELECT :won_count, (:id)::text;
BEGIN;
SELECT (actorstore.patch('shared', (:id)::text, jsonb_build_object('w' || (:client_id)::text, coalesce((g.value ->> ('w' || (:client_id)::text))::int, 0) + 1))).version FROM actorstore.get_many('shared', ARRAY[(:id)::text], 'update') AS g;
COMMIT;
BEGIN;
SELECT (actorstore.update('shared', (:id)::text, g.value || jsonb_build_object('updated', coalesce((g.value ->> 'updated')::int, 0) + 1))).version FROM actorstore.get_many('shared', ARRAY[(:id)::text], 'update') AS g;
COMMIT;
BEGIN;
SELECT (actorstore.put('shared', (:id)::text, g.value || jsonb_build_object('put', coalesce((g.value ->> 'put')::int, 0) + 1))).version FROM actorstore.get_many('shared', ARRAY[(:id)::text], 'update') AS g;
COMMIT;
});
$node->safe_psql('d', 'CREATE TABLE won (n int, id text)');
my ($stdout, $stderr) = ('', '');
IPC::Run::run([ 'pgbench', '-n', '-D', 'n=0', '-c', $writers, '-j', 2, '-t', $transactions, '-f', $bench, '-h', $node->host, '-p', $node->port, 'd' ], '>', \$stdout, '2>', \$stderr);
is(join("\n", grep { /error|aborted/i } split /\n/, $stderr), '', 'writers beside handlers: no call has failed');
drained_ok($node, 'writers beside handlers');
is($node->safe_psql('d', q{SELECT concat_ws(' ', sum((value ->> 'handled')::int), sum((value ->> 'updated')::int), sum((value ->> 'put')::int),
		sum((SELECT sum(v::int) FROM jsonb_each_text(value) AS f (k, v) WHERE k LIKE 'w%')), sum((value ->> 'swapped')::int) = (SELECT sum(n) FROM won))
	FROM actorstore.actor_shared}), join(' ', ($transactions * $writers) x 4, 't'), 'writers beside handlers: nothing is lost');
is($node->safe_psql('d', q{SELECT count(*) FROM actorstore.actor_shared AS a, LATERAL (SELECT sum(v::int) AS n FROM jsonb_each_text(value) AS f (k, v)) AS s WHERE version > n}),
	0, 'writers beside handlers: no version without a write');

# ---- Workers take from each other ----

$node->safe_psql('d', q{
	CREATE FUNCTION fan_out(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM actorstore.send('slow', 'fan ' || i, 'm', '0.005') FROM generate_series(1, 50) AS i;
		RETURN NULL;
	END$$;
	SELECT actorstore.set_handler('slow', 'fan out', 'fan_out(jsonb, jsonb)');
	SELECT actorstore.send('slow', 'fan', 'fan out')});
ok($node->poll_query_until('d', q{SELECT count(*) = 50 FROM actorstore.actor_slow WHERE actor_id LIKE 'fan %'}), 'one actor gives work to many');
%now = scheduler($node);
cmp_ok($now{steals}, '>', 0, 'workers steal from each other');

# ---- A worker that is stopped, and a shutdown ----

my ($stopped) = rows($node, 'd', 'SELECT pid FROM actorstore.stat_workers ORDER BY worker LIMIT 1');
kill 'STOP', $stopped;
$begun = time;
foreach my $i (1 .. 20)
{
	$node->safe_psql('d', "SELECT actorstore.send('slow', 'beside a stopped worker $i', 'm', '0')");
}
ok($node->poll_query_until('d', q{SELECT count(*) >= 19 FROM actorstore.actor_slow WHERE actor_id LIKE 'beside %'}), 'while a worker is stopped, another goes on');
note sprintf('after %.2f s', time - $begun);
kill 'CONT', $stopped;
drained_ok($node, 'a stopped worker goes on');
quiet_in_the_end($node, 'after all');

# A delayed message is in time although the worker that would wake for it is busy.
$node->safe_psql('d', q{SELECT actorstore.send('slow', 'soon', 'm', '0', delay => '1 s')});
$node->safe_psql('d', q{SELECT actorstore.send('slow', 'long', 'm', '6')});
$begun = time;
ok($node->poll_query_until('d', q{SELECT EXISTS (SELECT FROM actorstore.actor_slow WHERE actor_id = 'soon')}), 'a delayed message is handled');
cmp_ok(time - $begun, '<', 4, 'in time, beside a long turn');

# Now one worker is in the middle of a turn, and a sender waits for room.
$node->safe_psql('d', q{SELECT actorstore.alter_type('failing', mailbox_limit => 1, on_full => 'wait'), actorstore.pause('failing'); SELECT actorstore.send('failing', 'full', 'm')});
my $waiting = ActorstoreTest::Session->new($node, 'd');
$waiting->start(q{SELECT actorstore.send('failing', 'full', 'm')});
usleep(300_000);
ok(!$waiting->done, 'a sender waits for room');
$begun = time;
$node->stop('fast');
cmp_ok(time - $begun, '<', 2, 'a fast shutdown is fast, whatever runs');
eval { $waiting->quit };
$node->start;
$node->safe_psql('d', q{SELECT actorstore.resume('failing')});
drained_ok($node, 'after the shutdown');
is($node->safe_psql('d', q{SELECT value FROM actorstore.get('slow', 'long')}), 1, 'the turn that was cut off ran again');
$node->stop;

# ---- More active actors than the default number of slots ----

$node = new_node('many', settings => "fsync = off\nactorstore.workers = 2");
new_database($node, 'd');
$node->safe_psql('d', $handlers);
$node->safe_psql('d', q{SELECT actorstore.send_many('ordered', array_agg(i::text), 'm', array_agg('{"s": 1, "n": 1}'::jsonb)) FROM generate_series(1, 70000) AS i;
	SELECT actorstore.send_many('ordered', array_agg(i::text), 'm', array_agg('{"s": 1, "n": 2}'::jsonb)) FROM generate_series(1, 70000) AS i});
drained_ok($node, '70,000 actors');
is($node->safe_psql('d', "SELECT count(*) || ' ' || sum((value ->> 'count')::int) FROM actorstore.actor_ordered"), '70000 140000', '70,000 actors: each message is handled once');
is($node->safe_psql('d', 'SELECT count(*) FROM violation'), 0, '70,000 actors: in order');
%now = scheduler($node);
cmp_ok($now{overflows}, '>', 0, '70,000 actors: hints were dropped');
note "steals $now{steals}, sweeps $now{sweeps}, overflows $now{overflows}";
quiet_in_the_end($node, '70,000 actors');
$node->stop;
done_testing();
