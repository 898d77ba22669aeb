# Some sessions ask, tell, send to and call the same few actors, while they are
# cancelled, run out of time and are terminated, workers are terminated, and the
# server crashes.  Each serial number is handled at most once; exactly once, if
# it was answered; and no cell of the pool is left behind.
#
# ACTORSTORE_STORM_SECONDS says how long; it goes on until enough was asked and
# answered, which takes a slow machine longer.  ACTORSTORE_STORM_SEED replays the
# events of a run.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my ($actors, $askers, $enough) = (20, 6, 101);
my $seconds = $ENV{ACTORSTORE_STORM_SECONDS} || 20;
my $seed = $ENV{ACTORSTORE_STORM_SEED} // int rand 1_000_000;
srand $seed;
note "ACTORSTORE_STORM_SEED=$seed ACTORSTORE_STORM_SECONDS=$seconds";

my $node = new_node('askstorm',
	settings => "restart_after_crash = on\nfsync = off\nlog_min_messages = log\nautovacuum = on\nautovacuum_naptime = 1s\ndeadlock_timeout = 20ms\n"
	  . "actorstore.workers = 3\nmax_worker_processes = 20\nmax_connections = 40\nactorstore.message_pool_size = 128\nactorstore.arena_size = '1MB'\n"
	  . "actorstore.max_active_actors = 32");
new_database($node, 'd');
$node->safe_psql('d', qq{
	CREATE TABLE ledger (n bigint GENERATED ALWAYS AS IDENTITY (CACHE 1), serial bigint, verb text, actor text, asker int);
	CREATE TABLE outcome (serial bigint, verb text, actor text, sqlstate text);
	CREATE TABLE kills (what text, n bigint);
	CREATE SEQUENCE serials CACHE 100;
	CREATE SEQUENCE askers;
	SELECT actorstore.create_type('t', max_attempts => 1000, backoff => '5 ms', backoff_max => '20 ms');

	-- Write it down and count it; now and then slowly, or for all to lock.
	CREATE FUNCTION work(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS \$\$
	BEGIN
		IF random() < 0.1 THEN PERFORM pg_sleep(random() * 0.003); END IF;
		INSERT INTO ledger (serial, verb, actor, asker)
			SELECT (body ->> 'serial')::bigint, body ->> 'verb', actor_id, (body ->> 'asker')::int FROM actorstore.context();
		IF random() < 0.2 THEN
			PERFORM actorstore.reply(jsonb_build_object('serial', body -> 'serial', 'pad', repeat('p', (random() * 3000)::int)));
		ELSE
			PERFORM actorstore.reply(body);
		END IF;
		RETURN to_jsonb(coalesce(state::int, 0) + 1);
	END\$\$;
	CREATE FUNCTION look(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql RETURN NULL::jsonb;
	SELECT actorstore.set_handler('t', 'work', 'work(jsonb, jsonb)'), actorstore.set_handler('t', 'look', 'look(jsonb, jsonb)');

	CREATE FUNCTION body(serial bigint, verb text, asker int) RETURNS jsonb LANGUAGE sql
	RETURN jsonb_build_object('serial', serial, 'verb', verb, 'asker', asker, 'pad', CASE WHEN random() < 0.3 THEN repeat('b', (random() * 2000)::int) END);

	-- How long somebody waits: mostly long enough.
	CREATE FUNCTION patience() RETURNS interval LANGUAGE sql
	RETURN CASE WHEN random() < 0.7 THEN interval '20 s' ELSE make_interval(secs => random() * 0.004) END;

	CREATE PROCEDURE storm(until timestamptz) LANGUAGE plpgsql AS \$\$
	DECLARE
		me int := nextval('askers');
		serial bigint;
		second bigint;
		actor text;
		verb text;
		result text;
		result2 text;
		answer jsonb;
		hasty int;
	BEGIN
		WHILE clock_timestamp() < until LOOP
			serial := nextval('serials');
			second := nextval('serials');
			actor := (random() * ($actors - 1))::int;
			verb := (ARRAY['ask', 'ask', 'ask', 'ask', 'dedup', 'tell', 'tell', 'send', 'call', 'both', 'look', 'hasty'])[1 + (random() * 11)::int];
			result := NULL;
			result2 := NULL;
			hasty := 0;
			BEGIN
				CASE verb
				WHEN 'ask' THEN
					answer := actorstore.ask('t', actor, 'work', body(serial, verb, me), patience());
					result := '00000';
					IF (answer ->> 'serial')::bigint IS DISTINCT FROM serial THEN result := 'wrong'; END IF;
				WHEN 'dedup' THEN
					answer := actorstore.ask('t', actor, 'work', body(serial, verb, me), patience(), 'k' || serial);
					result := '00000';
					IF (answer ->> 'serial')::bigint IS DISTINCT FROM serial THEN result := 'wrong'; END IF;
				WHEN 'tell' THEN
					PERFORM actorstore.tell('t', actor, 'work', body(serial, verb, me));
					result := 'told';
				WHEN 'send' THEN
					PERFORM actorstore.send('t', actor, 'work', body(serial, verb, me));
					result := '00000';
				WHEN 'call' THEN
					answer := actorstore.call('t', actor, 'work', body(serial, verb, me));
					IF random() < 0.3 THEN RAISE EXCEPTION 'undo'; END IF;
					result := '00000';
				WHEN 'both' THEN
					answer := actorstore.call('t', actor, 'work', body(serial, 'call', me));
					answer := actorstore.ask('t', ((random() * ($actors - 1))::int)::text, 'work', body(second, 'ask', me), patience());
					result2 := '00000';
					IF random() < 0.3 THEN RAISE EXCEPTION 'undo'; END IF;
					result := '00000';
				WHEN 'look' THEN
					PERFORM actorstore.ask('t', actor, 'look', NULL, patience());
				WHEN 'hasty' THEN
					FOR i IN 1 .. 30 LOOP
						BEGIN
							PERFORM actorstore.ask('t', actor, CASE WHEN i % 3 = 0 THEN 'look' ELSE 'work' END, body(nextval('serials'), 'hasty', me), make_interval(secs => random() * 0.0002));
						EXCEPTION WHEN SQLSTATE 'VA002' THEN
							hasty := hasty + 1;
						END;
					END LOOP;
				END CASE;
			EXCEPTION WHEN query_canceled OR OTHERS THEN
				IF verb = 'both' THEN
					result2 := coalesce(result2, SQLSTATE);
				END IF;
				result := SQLSTATE;
			END;
			IF verb = 'both' THEN
				INSERT INTO outcome VALUES (serial, 'call', actor, result), (second, 'ask', NULL, result2);
			ELSIF verb = 'dedup' AND result IN ('VA002', '57014', '57P01', '40P01', '40001') THEN
				-- Again, until there is an answer. (That there is no room now says nothing of the first try.)
				COMMIT;
				FOR i IN 1 .. 1000 LOOP
					BEGIN
						answer := actorstore.ask('t', actor, 'work', body(serial, verb, me), '20 s', 'k' || serial);
						result := '00000';
						IF (answer ->> 'serial')::bigint IS DISTINCT FROM serial THEN result := 'wrong'; END IF;
					EXCEPTION WHEN query_canceled OR OTHERS THEN
						result := SQLSTATE;
					END;
					EXIT WHEN result NOT IN ('VA001', 'VA002', '57014', '57P01', '40P01', '40001');
				END LOOP;
				INSERT INTO outcome VALUES (serial, verb, actor, result);
			ELSE
				INSERT INTO outcome VALUES (serial, verb, actor, result);
			END IF;
			IF hasty > 0 THEN INSERT INTO kills VALUES ('out of time in haste', hasty); END IF;
			COMMIT;
		END LOOP;
	END\$\$;

	-- Cancel askers all the time, terminate one now and then, and a worker.
	CREATE PROCEDURE reap(until timestamptz) LANGUAGE plpgsql AS \$\$
	DECLARE
		pids int[];
		pid int;
		asker_gone bigint := 0;
		worker_gone bigint := 0;
	BEGIN
		WHILE clock_timestamp() < until LOOP
			PERFORM pg_stat_clear_snapshot();
			SELECT array_agg(a.pid) INTO pids FROM pg_stat_activity AS a WHERE application_name = 'asker';
			FOR i IN 1 .. 20 LOOP
				pid := pids[1 + (random() * (cardinality(pids) - 1))::int];
				IF random() < 0.97 THEN
					PERFORM pg_cancel_backend(pid);
				ELSE
					asker_gone := asker_gone + coalesce(pg_terminate_backend(pid)::int, 0);
				END IF;
				PERFORM pg_sleep(random() * 0.003);
			END LOOP;
			IF random() < 0.5 THEN
				SELECT a.pid INTO pid FROM pg_stat_activity AS a WHERE backend_type = 'actorstore worker' ORDER BY random() LIMIT 1;
				worker_gone := worker_gone + coalesce(pg_terminate_backend(pid)::int, 0);
			END IF;
			COMMIT;
		END LOOP;
		INSERT INTO kills VALUES ('askers terminated', asker_gone), ('workers terminated', worker_gone);
	END\$\$;
});

# ---- Sessions, each replaced as soon as it has ended ----

my @session = ((map { { name => 'asker', call => 'storm' } } 1 .. $askers), { name => 'reaper', call => 'reap' });
my $end = time + $seconds;
my $crash_at = time + $seconds * (0.3 + rand 0.4);
my $answered = q{SELECT count(*) FROM outcome WHERE verb = 'ask' AND sqlstate = '00000'};

# One that ends just now makes IPC::Run die.
sub runs
{
	my ($session) = @_;
	eval { $session->{harness}->pump_nb };
	return $session->{harness}->pumpable;
}

sub keep_up
{
	foreach my $session (@session)
	{
		if ($session->{harness})
		{
			next if runs($session);
			eval { $session->{harness}->finish };
			$session->{harness} = undef;
		}
		my $left = $end - time;
		next if $left < 0.2;
		$session->{in} = $session->{out} = $session->{err} = '';
		$session->{harness} = IPC::Run::start(
			[ 'psql', '-XAtq', '-c', "SET application_name = '$session->{name}'", '-c', "SET synchronous_commit = off",
				'-c', "CALL $session->{call}(clock_timestamp() + interval '$left s')", $node->connstr('d') ],
			'<', \$session->{in}, '>', \$session->{out}, '2>', \$session->{err});
	}
	return;
}

my $crashed = 0;
my $latest = $end + patience();
sub is_enough { my ($status, $n) = $node->psql('d', $answered); return $status == 0 && $n >= $enough; }
while (1)
{
	if (time >= $end)
	{
		last if $end >= $latest || is_enough();
		$end += 5;
	}
	keep_up();
	usleep(5_000);
	next if $crashed || time < $crash_at;
	$crashed = 1;
	my ($status, $pid) = $node->psql('d', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'actorstore worker' ORDER BY random() LIMIT 1");
	kill 'KILL', $pid if $pid;
}
foreach my $session (grep { $_->{harness} } @session)
{
	my $until = time + patience();
	usleep(10_000) while runs($session) && time < $until;
	ok(!runs($session), "the $session->{name} has come to an end");
	eval { $session->{harness}->finish };
}

# ---- What is left ----

$node->poll_query_until('d', 'SELECT true') or die 'no recovery';
ok($node->poll_query_until('d', 'SELECT NOT EXISTS (SELECT FROM actorstore.message)'), 'no message waits');
ok($node->poll_query_until('d', 'SELECT used_cells = 0 FROM actorstore.stat_requests'), 'no cell is left')
  or note $node->safe_psql('d', 'TABLE actorstore.stat_requests');
ok($node->poll_query_until('d', 'SELECT used_slots = 0 AND queued = 0 FROM actorstore.stat_scheduler'), 'no slot is left')
  or note $node->safe_psql('d', 'TABLE actorstore.stat_scheduler');
note $_ foreach rows($node, 'd', "SELECT 'ended: ' || verb, sqlstate, count(*) FROM outcome GROUP BY 1, 2 ORDER BY 1, 2");
note $_ foreach rows($node, 'd', "SELECT 'killed: ' || what, sum(n) FROM kills GROUP BY 1 UNION ALL
	SELECT 'killed: ' || sqlstate, count(*) FROM outcome WHERE sqlstate IN ('57014', '57P01', 'VA002') GROUP BY 1 UNION ALL
	SELECT 'killed in all', (SELECT sum(n) FROM kills) + (SELECT count(*) FROM outcome WHERE sqlstate IN ('57014', '57P01', 'VA002'))");

my $none = sub {
	my ($sql, $what) = @_;
	my @rows = rows($node, 'd', "$sql LIMIT 5");
	is(scalar @rows, 0, $what) or note join "\n", @rows;
};
$none->('SELECT serial, count(*) FROM ledger GROUP BY serial HAVING count(*) > 1', 'nothing was handled twice');
$none->("SELECT * FROM outcome WHERE sqlstate = 'wrong'", 'nobody got an answer that was not his');
$none->("SELECT o.* FROM outcome AS o LEFT JOIN ledger AS l USING (serial) WHERE o.sqlstate = '00000' AND l.serial IS NULL",
	'what was answered, called or sent was handled');
$none->("SELECT o.* FROM outcome AS o JOIN ledger AS l USING (serial) WHERE o.verb IN ('call', 'send') AND o.sqlstate <> '00000'",
	'what was called or sent and undone was not');
$none->("SELECT o.* FROM outcome AS o JOIN ledger AS l USING (serial) WHERE o.sqlstate IN ('57P01', 'VA001')",
	'nor what a worker had to leave, or there was no room for');
$none->("SELECT * FROM outcome WHERE sqlstate NOT IN ('00000', 'told', '57014', '57P01', 'VA001', 'VA002', 'VA003', '40P01', '40001')
	AND NOT (verb = 'call' AND sqlstate = 'P0001')", 'no other error');
$none->("SELECT actor_id, a.n, l.n FROM (SELECT actor_id, value::int AS n FROM actorstore.actor_t) AS a
	FULL JOIN (SELECT actor AS actor_id, count(*) AS n FROM ledger GROUP BY actor) AS l USING (actor_id)
	WHERE a.n IS DISTINCT FROM l.n", 'each actor has counted what it did');
$none->("SELECT * FROM (SELECT l.*, lag(serial) OVER (PARTITION BY actor, asker ORDER BY n) AS before FROM ledger AS l
	WHERE verb IN ('ask', 'tell', 'dedup', 'hasty')) AS x WHERE before > serial", "each asker's requests to an actor were handled in their order");
cmp_ok($node->safe_psql('d', $answered), '>=', $enough, 'there was something to do');
cmp_ok($node->safe_psql('d', "SELECT count(DISTINCT verb) FROM ledger"), '>=', 6, 'of all kinds');
is($node->safe_psql('d', 'SELECT count(*) FROM actorstore.dead_letter'), '0', 'no dead letters');
unlike(slurp_file($node->logfile), qr/was terminated by signal (?!9)|PANIC|TRAP/, 'the server did not crash by itself');
$node->stop;
done_testing();
