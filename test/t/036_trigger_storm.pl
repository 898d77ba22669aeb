# Messages sent by triggers on a user's table, by several clients at once:
# those of committed transactions are handled once, those of rolled-back ones
# never, be it to a savepoint, by PREPARE TRANSACTION and what follows, or by
# crashes in between.  In the end a standby takes over with mail of all kinds.
#
# ACTORSTORE_STORM_SECONDS says how long, ACTORSTORE_STORM_SEED replays what
# the clients do.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $clients = 5;
my $seconds = $ENV{ACTORSTORE_STORM_SECONDS} || 9;
my $seed = $ENV{ACTORSTORE_STORM_SEED} // int rand 1_000_000;
srand $seed;
note "ACTORSTORE_STORM_SEED=$seed ACTORSTORE_STORM_SECONDS=$seconds";

my $node = new_node('trigger', streaming => 1,
	settings => "restart_after_crash = on\nfsync = off\nautovacuum = on\nautovacuum_naptime = 1s\nwal_level = replica\nwal_keep_size = 1GB\n"
	  . "actorstore.workers = 2\nmax_worker_processes = 20\nmax_prepared_transactions = 200");
new_database($node, 'd');
$node->safe_psql('d', q{
	CREATE TABLE orders (id bigserial PRIMARY KEY, client int, n int);
	CREATE TABLE handled (id bigint, message_id bigint, event text);
	CREATE TABLE violation (actor text, number int, last int);

	-- Each order sends a message, each change another one.
	CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM actorstore.send('shop', (NEW.id % 50)::text, 'm', jsonb_build_object('id', NEW.id, 'event', TG_OP || coalesce(NEW.n::text, '')),
			delay => CASE WHEN NEW.id % 10 = 0 THEN interval '200 ms' END, priority => 3 + (NEW.id % 3)::int);
		RETURN NULL;
	END$$;
	CREATE TRIGGER tell AFTER INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION tell();

	CREATE FUNCTION note_order(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO handled SELECT (body ->> 'id')::bigint, message_id, body ->> 'event' FROM actorstore.context();
		RETURN to_jsonb(coalesce(state #>> '{}', '0')::int + 1);
	END$$;
	CREATE FUNCTION in_order(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		IF (body #>> '{}')::int <= coalesce(state #>> '{}', '0')::int THEN
			INSERT INTO violation SELECT actor_id, (body #>> '{}')::int, (state #>> '{}')::int FROM actorstore.context();
		END IF;
		RETURN body;
	END$$;
	CREATE FUNCTION flaky(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		IF (SELECT attempt FROM actorstore.context()) = 1 THEN RAISE 'not yet'; END IF;
		RETURN note_order(state, body);
	END$$;
	SELECT actorstore.create_type('shop'), actorstore.create_type('ordered'), actorstore.create_type('paused'),
		actorstore.create_type('flaky', backoff => '5 s');
	SELECT actorstore.set_handler('shop', 'm', 'note_order(jsonb, jsonb)'), actorstore.set_handler('ordered', 'm', 'in_order(jsonb, jsonb)'),
		actorstore.set_handler('paused', 'm', 'note_order(jsonb, jsonb)'), actorstore.set_handler('flaky', 'm', 'flaky(jsonb, jsonb)');
});

# ---- What clients do ----

# A session's statements: transactions with savepoints, some prepared and ended later, maybe by the next session.
my $prepared = 0;
sub transactions
{
	my ($client, $n) = @_;
	my ($script, @open) = ('');

	foreach my $i (1 .. $n)
	{
		my $insert = "INSERT INTO orders (client, n) SELECT $client, i FROM generate_series(1, @{[ 1 + int rand 4 ]}) AS i;\n";
		my $change = "UPDATE orders SET n = n + 100 WHERE id IN (SELECT id FROM orders WHERE client = $client AND n < 100 ORDER BY id DESC LIMIT 2 FOR UPDATE SKIP LOCKED);\n";

		$script .= "BEGIN;\n$insert";
		foreach my $depth (1 .. int rand 3)
		{
			my $savepoint = "s$depth";
			$script .= "SAVEPOINT $savepoint;\n" . (rand() < 0.5 ? $insert : $change);
			$script .= "SAVEPOINT inner_one;\n${insert}ROLLBACK TO inner_one;\n" if rand() < 0.3;
			$script .= "SAVEPOINT inner_two;\n${insert}RELEASE inner_two;\n" if rand() < 0.3;
			$script .= rand() < 0.5 ? "ROLLBACK TO $savepoint;\n" : rand() < 0.5 ? "RELEASE $savepoint;\n" : '';
		}
		$script .= $insert if rand() < 0.3;
		if (rand() < 0.15)
		{
			my $gid = "p$client-" . ++$prepared;
			$script .= "PREPARE TRANSACTION '$gid';\n";
			push @open, $gid;
		}
		else
		{
			$script .= rand() < 0.75 ? "COMMIT;\n" : "ROLLBACK;\n";
		}
		if (@open && (rand() < 0.12 || @open > 10))
		{
			my $gid = splice @open, int rand @open, 1;
			$script .= (rand() < 0.6 ? 'COMMIT' : 'ROLLBACK') . " PREPARED '$gid';\n";
		}
	}
	return $script;
}

my @session;

sub start_sessions
{
	foreach my $client (1 .. $clients)
	{
		my $session = { err => '', out => '' };
		my $file = PostgreSQL::Test::Utils::tempdir . '/script';
		append_to_file($file, transactions($client, 3000));
		$session->{harness} = IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-c', "SET application_name = 'client'", '-f', $file, $node->connstr('d') ],
			'>', \$session->{out}, '2>', \$session->{err});
		push @session, $session;
	}
	return;
}

sub end_sessions
{
	my $errors = '';

	$node->psql('d', "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'client'");
	foreach my $session (@session)
	{
		my $until = time + patience();
		$session->{harness}->pump_nb, usleep(5_000) while $session->{harness}->pumpable && time < $until;
		eval { $session->{harness}->finish };
		$errors .= join "\n", grep { /ERROR/ } split /\n/, $session->{err};
	}
	@session = ();
	is($errors, '', 'no statement has failed');
	return;
}

sub run_for
{
	my ($wanted) = @_;
	my $until = time + $wanted;
	while (time < $until)
	{
		$_->{harness}->pump_nb foreach grep { $_->{harness}->pumpable } @session;
		usleep(10_000);
	}
	return;
}

# End what is prepared, some of it, one way or the other.
sub end_prepared
{
	my ($on, $part) = @_;
	my %done = (COMMIT => 0, ROLLBACK => 0);

	foreach my $gid (rows($on, 'd', "SELECT gid FROM pg_prepared_xacts WHERE gid LIKE 'p%' ORDER BY gid"))
	{
		my ($now, $verb) = (rand() < $part, rand() < 0.6 ? 'COMMIT' : 'ROLLBACK');
		next unless $now;
		$on->safe_psql('d', "$verb PREPARED '$gid'");
		$done{$verb}++;
	}
	note "$done{COMMIT} prepared transactions committed, $done{ROLLBACK} rolled back";
	return;
}

# Each order that is there has been handled once for its insertion and once for each change; and no other.
sub exact
{
	my ($on, $name) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $drained = $on->poll_query_until('d', q{SELECT NOT EXISTS (SELECT FROM actorstore.message WHERE actor_type = 'shop')});
	ok($drained, "$name: nothing waits");
	note $on->safe_psql('d', 'SELECT * FROM actorstore.message LIMIT 5; SELECT * FROM actorstore.stat_scheduler') unless $drained;
	note $on->safe_psql('d', q{SELECT count(*) || ' orders, ' || (SELECT count(*) || ' messages handled' FROM handled) FROM orders});
	is($on->safe_psql('d', q{SELECT count(*) FROM (SELECT id, count(*) AS n FROM handled WHERE id > 0 GROUP BY id) AS h FULL JOIN
		(SELECT id, CASE WHEN n > 100 THEN 2 ELSE 1 END AS n FROM orders) AS o USING (id) WHERE h.n IS DISTINCT FROM o.n}), 0, "$name: each message is handled once, and no other");
	is($on->safe_psql('d', 'SELECT count(*) - count(DISTINCT message_id) FROM handled'), 0, "$name: none twice");
	is($on->safe_psql('d', q{SELECT sum(value::int) = (SELECT count(*) FROM handled WHERE id > 0) FROM actorstore.actor_shop}), 't', "$name: actors have counted them");
	is($on->safe_psql('d', 'SELECT count(*) FROM actorstore.dead_letter'), 0, "$name: no dead letters");
	return;
}

# ---- The storm ----

# A worker is killed, a client, the server shut down at once; each time other clients go on.
my @crash = (
	sub { $node->safe_psql('d', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'actorstore worker' LIMIT 1}) },
	sub { $node->safe_psql('d', q{SELECT pid FROM pg_stat_activity WHERE application_name = 'client' LIMIT 1}) });
foreach my $round (0 .. 2)
{
	start_sessions();
	run_for($seconds / 3);
	if ($round < 2)
	{
		my $pid = $crash[$round]->();
		ok($pid && kill('KILL', $pid) && is_up_without($node, 'd', $pid), 'a process is killed, and the server is there again');
	}
	else
	{
		$node->stop('immediate');
		$node->start;
	}
	end_sessions();
	end_prepared($node, 0.5);
}
end_prepared($node, 1);
exact($node, 'after the storm');
ok($node->poll_query_until('d', 'SELECT used_slots = 0 AND queued = 0 AND swept FROM actorstore.stat_scheduler'), 'no slot is left')
  or note $node->safe_psql('d', 'SELECT * FROM actorstore.stat_scheduler');

# ---- Two-phase commit keeps the order ----

# The actors have slots, as somebody is about to send to them; the prepared messages stand before those sent after the second phase.
my $other = ActorstoreTest::Session->new($node, 'd');
foreach my $round (1 .. 10)
{
	my ($first, $second) = (2 * $round - 1, 2 * $round);
	$other->query(q{BEGIN; SELECT count(actorstore.send('ordered', i::text, 'm', '0')) FROM generate_series(1, 100) AS i});
	$node->safe_psql('d', qq{
		BEGIN; SELECT count(actorstore.send('ordered', i::text, 'm', '$first')) FROM generate_series(1, 100) AS i; PREPARE TRANSACTION 'order';
		COMMIT PREPARED 'order'; SELECT count(actorstore.send('ordered', i::text, 'm', '$second')) FROM generate_series(1, 100) AS i;});
	$other->query('ROLLBACK');
}
$other->quit;
$node->poll_query_until('d', q{SELECT NOT EXISTS (SELECT FROM actorstore.message WHERE actor_type = 'ordered')});
is($node->safe_psql('d', q{SELECT count(*) || ' ' || sum(value::int) FROM actorstore.actor_ordered}), '100 2000', 'what was prepared and what came after is handled');
is($node->safe_psql('d', 'SELECT count(*) FROM violation'), 0, 'in this order') or note $node->safe_psql('d', 'SELECT * FROM violation LIMIT 5');

# A session whose transaction has taken back all it had sent goes on as if nothing had been.
my $again = ActorstoreTest::Session->new($node, 'd');
$again->query(q{BEGIN; SAVEPOINT a; SELECT count(actorstore.send('ordered', 'again', 'm', to_jsonb(i))) FROM generate_series(1, 50) AS i; ROLLBACK TO a; COMMIT;
	SELECT count(*) FROM pg_class AS a, pg_class AS b;
	BEGIN; SELECT count(actorstore.send('ordered', 'again ' || i % 7, 'm', to_jsonb(i))) FROM generate_series(1, 20) AS i;
	SAVEPOINT b; SELECT count(actorstore.send('ordered', 'again ' || i % 7, 'm', to_jsonb(i))) FROM generate_series(21, 40) AS i; COMMIT}) foreach 1 .. 20;
is($again->query('SELECT 1'), 1, 'a session that took back what it had sent');
$again->quit;

# A delayed message of a prepared transaction comes in time, also if its time is over by then.
$node->safe_psql('d', q{
	BEGIN; SELECT actorstore.send('shop', 'late', 'm', '{"id": -1}', delay => '500 ms'); SELECT actorstore.send('shop', 'late', 'm', '{"id": -2}', delay => '2 s'); PREPARE TRANSACTION 'late';
	SELECT pg_sleep(0.7); COMMIT PREPARED 'late'});
my $begun = time;
$node->poll_query_until('d', q{SELECT count(*) = 2 FROM handled WHERE id IN (-1, -2)});
cmp_ok(time - $begun, '<', 8, 'delayed messages of a prepared transaction are handled in time');

# ---- A standby takes over ----

$node->backup('copy');
my $standby = ActorstoreCluster->new('trigger_standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
my $holder = ActorstoreTest::Session->new($node, 'd');
$node->safe_psql('d', q{
	SELECT actorstore.put('shop', 'locked', '0') IS NULL;
	SELECT actorstore.pause('paused')});
$holder->query(q{BEGIN; SELECT count(*) FROM actorstore.get_many('shop', '{locked}', 'update')});
$node->safe_psql('d', q{
	SELECT actorstore.send('shop', 'locked', 'm', jsonb_build_object('id', -10 - i)) FROM generate_series(1, 5) AS i;
	SELECT actorstore.send('paused', 'p', 'm', jsonb_build_object('id', -20 - i)) FROM generate_series(1, 5) AS i;
	SELECT actorstore.send('shop', 'delayed', 'm', jsonb_build_object('id', -30 - i), delay => '6 s') FROM generate_series(1, 5) AS i;
	SELECT actorstore.send('flaky', 'f' || i, 'm', jsonb_build_object('id', -40 - i)) FROM generate_series(1, 5) AS i;
	BEGIN; SELECT actorstore.send('shop', 'prepared', 'm', jsonb_build_object('id', -50 - i)) FROM generate_series(1, 5) AS i; PREPARE TRANSACTION 'over';
	BEGIN; SELECT actorstore.send('shop', 'prepared', 'm', jsonb_build_object('id', -60 - i)) FROM generate_series(1, 5) AS i; PREPARE TRANSACTION 'undone'});
$node->poll_query_until('d', q{SELECT count(*) = 5 FROM actorstore.message WHERE actor_type = 'flaky' AND attempts = 1}) or die;
$node->wait_for_catchup($standby);
is($standby->safe_psql('d', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'actorstore worker'}), 0, 'no worker runs in a standby');
is($standby->safe_psql('d', q{SELECT count(*) FROM handled WHERE id < -2}), 0, 'these wait');

# In full flight.
start_sessions();
run_for(1);
$node->stop('immediate');
eval { $_->{harness}->finish } foreach @session;
eval { $holder->quit };
$standby->promote;
$standby->poll_query_until('d', 'SELECT NOT pg_is_in_recovery()');
$standby->safe_psql('d', q{SELECT actorstore.resume('paused'); COMMIT PREPARED 'over'});
$standby->safe_psql('d', q{ROLLBACK PREPARED 'undone'});
end_prepared($standby, 1);
exact_after($standby);

sub exact_after
{
	my ($on) = @_;

	ok($on->poll_query_until('d', 'SELECT NOT EXISTS (SELECT FROM actorstore.message)'), 'the new primary handles everything')
	  or note $on->safe_psql('d', 'SELECT * FROM actorstore.message LIMIT 5; SELECT * FROM actorstore.stat_scheduler');
	is($on->safe_psql('d', q{SELECT string_agg(id || 'x' || n, ' ' ORDER BY id DESC) FROM (SELECT id, count(*) AS n FROM handled WHERE id < -2 GROUP BY id) AS h}),
		join(' ', map { my $kind = $_; map { "-$kind${_}x1" } 1 .. 5 } 1 .. 5), 'what was locked, paused, delayed, put off and prepared, once each');
	is($on->safe_psql('d', q{SELECT value FROM actorstore.get('shop', 'locked')}), 5, 'one after another');
	$on->safe_psql('d', q{SELECT actorstore.delete('shop', id) IS NULL FROM unnest('{late,locked,delayed,prepared}'::text[]) AS id});
	exact($on, 'after the promotion');
	return;
}
$standby->stop;
done_testing();
