# Ask, tell and call with more than one session: what a read-only ask leaves
# behind, when an answer comes, who may go away in the middle, deadlocks, full
# pools, several databases.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;
use Time::HiRes qw(time usleep);

# What all of these tests' databases have: a type t, whose handlers add to a
# number, nap, note what they see, do what the body says.
sub fill_database
{
	my ($node, $database) = @_;

	new_database_with_actors($node, $database);
	$node->safe_psql($database, q{
		SELECT actorstore.create_type('t', backoff => '10 ms', backoff_max => '20 ms');
		CREATE FUNCTION add(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql
			RETURN to_jsonb(coalesce(state::int, 0) + coalesce(body::int, 1));
		CREATE FUNCTION look(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql RETURN NULL::jsonb;
		CREATE FUNCTION nap(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM pg_sleep(body::float);
			INSERT INTO public.seen (what) VALUES ('nap');
			RETURN to_jsonb(coalesce(state::int, 0) + 1);
		END $$;
		CREATE FUNCTION run(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
		DECLARE
			result text;
		BEGIN
			EXECUTE body ->> 'sql' INTO result;
			PERFORM actorstore.reply(to_jsonb(result));
			RETURN to_jsonb(coalesce(state::int, 0) + 1);
		END $$;
		SELECT actorstore.set_handler('t', name, ('public.' || name || '(jsonb, jsonb)')::regprocedure)
		FROM unnest('{add,look,nap,run,collect}'::text[]) AS name;
	});
	return;
}

sub nothing_is_left
{
	my ($node, $database, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok(comes_true($node, $database, '(SELECT used_cells = 0 FROM actorstore.stat_requests)'), "$what: all cells are back")
	  or note $node->safe_psql($database, 'TABLE actorstore.stat_requests');
	return;
}

# A server in which nothing happens by itself.
my $node = new_node('ask',
	settings => "wal_level = minimal\nmax_wal_senders = 0\nbgwriter_lru_maxpages = 0\ncheckpoint_timeout = 1h\nfsync = off\n"
	  . "deadlock_timeout = 100ms\nactorstore.workers = 2\nmax_worker_processes = 20\nlog_min_messages = log");
fill_database($node, 'd');
$node->safe_psql('d', q{
	CREATE TABLE account (id int PRIMARY KEY, amount int);
	INSERT INTO account VALUES (1, 0), (2, 0);
});
my $me = ActorstoreTest::Session->new($node, 'd');
my $other = ActorstoreTest::Session->new($node, 'd');
my $third = ActorstoreTest::Session->new($node, 'd');
my $looker = ActorstoreTest::Session->new($node, 'd');

sub worker_of
{
	my ($pids) = @_;
	return $looker->query(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'actorstore worker' AND wait_event = 'PgSleep'});
}

# Wait until a worker naps in a handler.
sub napping
{
	return comes_true($node, 'd', q{EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'actorstore worker' AND wait_event = 'PgSleep')});
}

# ---- A read-only ask ----
{
	is($me->query(q{SELECT actorstore.ask('t', 'read', 'add', '7')}), '7', 'an actor');
	$me->query(q{SELECT actorstore.ask('t', 'read', 'look')}) for 1 .. 20;
	my $sizes = q{SELECT pg_current_wal_insert_lsn(), pg_snapshot_xmax(pg_current_snapshot())};

	# nobody who looks into a catalog finds a page to tidy up
	$looker->query('VACUUM');
	my $before = $looker->query($sizes);
	my $answers = $me->query(q{SELECT count(*) || ' ' || count(DISTINCT answer) || ' ' || min(answer) FROM
		(SELECT actorstore.ask('t', 'read', 'look')::text AS answer FROM generate_series(1, 1000)) AS a});
	my $after = $looker->query($sizes);
	is($answers, '1000 1 7', 'a thousand are answered');
	is($after, $before, 'and leave no WAL and no xid');
	$before = $looker->query($sizes);
	is($me->query(q{SELECT count(actorstore.ask('t', 'nobody', 'look')) FROM generate_series(1, 100)}), '0', 'nor do those to an actor that there is not');
	is($looker->query($sizes), $before, 'no WAL and no xid');
	my ($lsn, $xid) = split /\|/, $before;
	is($me->query(q{SELECT actorstore.ask('t', 'read', 'add', '1')}), '8', 'one that writes');
	my ($lsn2, $xid2) = split /\|/, $looker->query($sizes);
	isnt($lsn2, $lsn, 'has WAL');
	cmp_ok($xid2, '>', $xid, 'and an xid');
	# Nor does a row that somebody has locked keep it waiting.
	$other->query(q{BEGIN; SELECT actorstore.put('t', 'read', '100') IS NULL});
	is($me->query(q{SELECT actorstore.ask('t', 'read', 'look', NULL, '10 s')}), '8', 'it waits for no lock, and sees what is committed');
	$other->query('ROLLBACK');
}

# ---- An answer is durable ----
{
	$node->safe_psql('d', q{
		CREATE TABLE late (what text);
		CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM pg_sleep(0.2);
			IF NEW.what = 'fail' THEN RAISE 'too late' USING ERRCODE = 'XX321'; END IF;
			RETURN NULL;
		END $$;
		CREATE CONSTRAINT TRIGGER late AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION late();
	});
	$me->start(q{SELECT actorstore.ask('t', 'late', 'run', '{"sql": "INSERT INTO public.late VALUES (''fine'') RETURNING what"}')});
	is($me->finish, '"fine"', 'a handler that has put something off to the commit answers');
	is($looker->query(q{SELECT (actorstore.get('t', 'late')).value, (SELECT count(*) FROM late)}), '1|1', 'once that is done');
	is($me->query(q{SELECT actorstore.ask('t', 'late', 'run', '{"sql": "INSERT INTO public.late VALUES (''fail'') RETURNING what"}')}), 'ERROR:  XX321', 'or gets its error');
	is($looker->query(q{SELECT (actorstore.get('t', 'late')).value, (SELECT count(*) FROM late)}), '1|1', 'and nothing of it stays');
	my @wrong = grep { $me->query("SELECT actorstore.ask('t', 'late', 'add')") ne $looker->query("SELECT (actorstore.get('t', 'late')).value") } 1 .. 100;
	is(scalar @wrong, 0, 'others see what was answered');
}

# ---- Who asks goes away ----
{
	my $asker = ActorstoreTest::Session->new($node, 'd');

	$me->start(q{SET statement_timeout = '100 ms'; SELECT actorstore.ask('t', 'gone', 'nap', '0.3', '1 min')});
	is($me->finish, 'ERROR:  57014', 'statement_timeout ends an ask');
	$me->query('RESET statement_timeout');
	ok(comes_true($node, 'd', q{(actorstore.get('t', 'gone')).value = '1'}), 'what was asked is handled');
	$me->start(q{SELECT actorstore.ask('t', 'gone', 'nap', '2', '1 min')});
	ok(napping(), 'the worker is at it');
	$looker->query("SELECT pg_cancel_backend($me->{pid})");
	is($me->finish, 'ERROR:  57014', 'so does a cancel');
	is($me->query(q{SELECT actorstore.ask('t', 'gone', 'look')}), '2', 'what was asked is handled, before the next');
	is($me->query(q{SELECT actorstore.ask('t', 'gone', 'nap', '0.3', '50 ms')}), 'ERROR:  VA002', 'out of time');
	is($me->query(q{SELECT actorstore.ask('t', 'gone', 'look')}), '3', 'the same');
	$asker->start(q{SELECT actorstore.ask('t', 'gone', 'nap', '2', '1 min')});
	ok(napping(), 'the worker is at it');
	is($looker->query("SELECT pg_terminate_backend($asker->{pid})"), 't', 'the asker is terminated');
	like($asker->finish, qr/57P01/, 'it has gone');
	is($me->query(q{SELECT actorstore.ask('t', 'gone', 'look')}), '4', 'what was asked is handled');
	# Those that no worker has come to yet.
	$other->query(q{BEGIN; SELECT actorstore.put('t', 'gone', '100') IS NULL});
	is($me->query(q{SELECT actorstore.ask('t', 'gone', 'add', '1', '50 ms')}), 'ERROR:  VA002', 'an actor that is locked: out of time');
	$me->start(q{SET statement_timeout = '500 ms'; SELECT actorstore.ask('t', 'gone', 'add', '1', '1 min')});
	is($me->finish, 'ERROR:  57014', 'statement_timeout, after the deadlock detector has looked');
	is($me->query(q{RESET statement_timeout; SELECT actorstore.ask('t', 'gone', 'add', '1', '500 ms')}), 'ERROR:  VA002', 'out of time, then');
	$me->start(q{SELECT actorstore.ask('t', 'gone', 'add', '1', '1 min')});
	ok(comes_true($node, 'd', "EXISTS (SELECT FROM pg_stat_activity WHERE pid = $me->{pid} AND wait_event_type = 'Lock')"), 'it waits as for a lock');
	$looker->query("SELECT pg_cancel_backend($me->{pid})");
	is($me->finish, 'ERROR:  57014', 'and is cancelled');
	$other->query('COMMIT');
	is($me->query(q{SELECT actorstore.ask('t', 'gone', 'look')}), '100', 'who has gone is not handled any more');
	nothing_is_left($node, 'd', 'askers have gone');
}

# ---- A worker goes away ----
{
	my ($first, $second, $third) = map { ActorstoreTest::Session->new($node, 'd') } 1 .. 3;

	$first->start(q{SELECT actorstore.ask('t', 'killed', 'nap', '5')});
	ok(napping(), 'a worker is at it');
	$looker->query("SELECT pg_terminate_backend(" . worker_of() . ")");
	is($first->finish, 'ERROR:  57P01', 'its end is told to who has asked');
	is($looker->query(q{SELECT actorstore.get('t', 'killed') IS NULL}), 't', 'and undoes what was done');
	# Several at once: where they were to commit together, nobody knows whose fault it was.
	$other->query(q{BEGIN; SELECT actorstore.insert('t', 'killed', '0') IS NULL});
	$_->start(q{SELECT actorstore.ask('t', 'killed', 'nap', '0.5', '1 min')}) foreach $first, $second, $third;
	ok(comes_true($node, 'd', '(SELECT used_cells = 3 FROM actorstore.stat_requests)'), 'three wait');
	$other->query('COMMIT');
	ok(napping(), 'a worker is at it');
	$looker->query("SELECT pg_terminate_backend(" . worker_of() . ")");
	my @answers = sort map { $_->finish } $first, $second, $third;
	like("@answers", qr/^1 2 (3|ERROR:  57P01)$/, 'all are answered in the end');
	is($me->query(q{SELECT actorstore.ask('t', 'killed', 'look')}), $answers[2] eq '3' ? '3' : '2', 'each was handled once');
	nothing_is_left($node, 'd', 'workers have gone');
	$_->quit foreach $first, $second, $third;
}

# ---- Deadlocks ----
{
	my $take = sub { "{\"sql\": \"UPDATE public.account SET amount = amount + 1 WHERE id = $_[0] RETURNING id\"}" };

	# Each of two holds what the other's handler wants.
	$me->query('BEGIN; UPDATE account SET amount = 10 WHERE id = 1');
	my $start = time;
	is($me->query("SELECT actorstore.ask('t', 'dead', 'run', '" . $take->(1) . "', '1 min')"), 'ERROR:  40P01', 'a handler wants the row that its asker has locked');
	cmp_ok(time - $start, '<', 30, 'it does not take the time of the ask');
	$me->query('ROLLBACK');
	is($me->query("SELECT actorstore.ask('t', 'dead', 'run', '" . $take->(1) . "', '1 min')"), '"1"', 'once it is free, it gets it');
	cmp_ok($looker->query('SELECT amount FROM account WHERE id = 1'), '<=', 2, 'once, or twice if the first was handled, too');

	# Two sessions, each with an actor that the other one asks: there, or about to be, or only its key.
	foreach my $kind ('there', 'inserted', 'missing')
	{
		my $lock = $kind eq 'inserted' ? "actorstore.insert('t', '%s $kind', '0') IS NULL" : $kind eq 'there' ? "actorstore.call('t', '%s $kind', 'add')" :
		  "actorstore.call('t', '%s $kind', 'look') IS NULL";
		$looker->query("SELECT actorstore.put('t', id || ' there', '0') FROM unnest('{a,b}'::text[]) AS id") if $kind eq 'there';
		$me->query('BEGIN; SELECT ' . sprintf $lock, 'a');
		$other->query('BEGIN; SELECT ' . sprintf $lock, 'b');
		$me->start("SELECT actorstore.ask('t', 'b $kind', 'add', '1', '1 min')");
		ok(comes_true($node, 'd', "EXISTS (SELECT FROM pg_stat_activity WHERE pid = $me->{pid} AND wait_event_type = 'Lock')"), "$kind: one waits");
		$other->start("SELECT actorstore.ask('t', 'a $kind', 'add', '1', '1 min')");
		like(join(' ', sort map { $_->finish } $me, $other), qr/^1 ERROR:  (40P01|VA003)$/, "$kind: of two that ask each other's actors one fails, and the other one is answered");
		$_->query('COMMIT') foreach $me, $other;
	}

	# Shared: one of those who hold it asks.
	$looker->query(q{SELECT actorstore.put('t', 'shared', '0')});
	$_->query(q{BEGIN; SELECT count(*) FROM actorstore.get_many('t', '{shared}', 'share')}) foreach $me, $other;
	is($me->query(q{SELECT actorstore.ask('t', 'shared', 'add', '1', '1 min')}), 'ERROR:  VA003', 'an actor that others have locked, too');
	$_->query('ROLLBACK') foreach $me, $other;

	# One who holds it does not matter, as his lock lets others write; the other one does, and lets go.
	$third->query(q{BEGIN; SELECT count(*) FROM (SELECT FROM actorstore.actor_t WHERE actor_id = 'shared' FOR KEY SHARE) AS s});
	$other->query(q{BEGIN; SELECT actorstore.put('t', 'shared', '10') IS NULL});
	$me->start(q{SELECT actorstore.ask('t', 'shared', 'add', '1', '20 s')});
	ok(comes_true($node, 'd', "EXISTS (SELECT FROM pg_stat_activity WHERE pid = $me->{pid} AND wait_event_type = 'Lock')"), 'one waits');
	$other->query('COMMIT');
	is($me->finish, '11', 'an answer is noticed, whatever it was that was waited for');
	$third->query('ROLLBACK');
	nothing_is_left($node, 'd', 'deadlocks');
}

# ---- The same dedup_key by two at once ----
{
	my @sessions = ($me, $other, $third);
	foreach my $i (1 .. 20)
	{
		$_->start("SELECT actorstore.ask('t', 'dedup $i', 'run', '{\"sql\": \"INSERT INTO public.seen (what) VALUES (''dedup $i'') RETURNING n\"}', '1 min', 'key')") foreach @sessions;
		my %answers = map { $_->finish => 1 } @sessions;
		my $count = $looker->query("SELECT count(*) FROM seen WHERE what = 'dedup $i'");
		next if keys %answers == 1 && $count == 1;
		fail("one effect and one answer: $count, " . join ' ', keys %answers);
		last;
	}
	is($looker->query(q{SELECT count(*) FROM seen WHERE what LIKE 'dedup%'}), '20', 'three that ask with one key: one effect, one answer');
	nothing_is_left($node, 'd', 'dedup_key');
}

# ---- A rival between look and lock ----
{
	# The handler, without a lock at first, is slow; meanwhile somebody writes, or makes, or replaces the actor.
	my %rival = (
		written => [ 'put', "SELECT actorstore.put('t', 'rival', '100') IS NULL", '101' ],
		made => [ 'delete', "SELECT actorstore.insert('t', 'rival', '200') IS NULL", '201' ],
		deleted => [ 'put', "SELECT actorstore.delete('t', 'rival') IS NULL", '1' ],
		'made anew' => [ 'put', "SELECT actorstore.delete('t', 'rival') IS NULL; SELECT actorstore.insert('t', 'rival', '300') IS NULL", '301' ]);
	foreach my $what (sort keys %rival)
	{
		my ($before, $sql, $expected) = @{ $rival{$what} };
		$looker->query($before eq 'put' ? "SELECT actorstore.put('t', 'rival', '5')" : "SELECT actorstore.delete('t', 'rival')");
		$me->start(q{SELECT actorstore.ask('t', 'rival', 'nap', '2', '1 min')});
		ok(napping(), "$what: the handler is at work");
		$other->query("BEGIN; $sql; COMMIT");
		is($me->finish, $expected, "$what: it is called again");
		is($looker->query("SELECT (actorstore.get('t', 'rival')).value"), $expected, "$what: and nothing is lost");
	}
}

# ---- Calls that meet others ----
{
	# One waits for the other's end, and sees what he has written, inserted, deleted, or not.
	my @cases = (
		[ 'written', "SELECT actorstore.put('t', 'met', '10') IS NULL", 'COMMIT', '11' ],
		[ 'undone', "SELECT actorstore.put('t', 'met', '10') IS NULL", 'ROLLBACK', '6' ],
		[ 'deleted', "SELECT actorstore.delete('t', 'met') IS NULL", 'COMMIT', '1' ],
		[ 'inserted', "SELECT actorstore.delete('t', 'met') IS NULL; COMMIT; BEGIN; SELECT actorstore.insert('t', 'met', '20') IS NULL", 'COMMIT', '21' ],
		[ 'not inserted', "SELECT actorstore.delete('t', 'met') IS NULL; COMMIT; BEGIN; SELECT actorstore.insert('t', 'met', '20') IS NULL", 'ROLLBACK', '1' ],
		[ 'called', "SELECT actorstore.call('t', 'met', 'add', '30')", 'COMMIT', '36' ],
		[ 'called anew', "SELECT actorstore.delete('t', 'met') IS NULL; COMMIT; BEGIN; SELECT actorstore.call('t', 'met', 'add', '30')", 'COMMIT', '31' ]);
	foreach my $case (@cases)
	{
		my ($what, $sql, $end, $expected) = @$case;
		$looker->query(q{SELECT actorstore.put('t', 'met', '5')});
		$other->query("BEGIN; $sql");
		$me->start(q{SELECT actorstore.call('t', 'met', 'add', '1')});
		ok($me->blocked($looker), "$what: a call waits");
		$other->query($end);
		is($me->finish, $expected, "$what: and goes on");
	}

	# Under REPEATABLE READ, what our snapshot does not show is a lost race.
	foreach my $sql ("SELECT actorstore.put('t', 'rr', '2')", "SELECT actorstore.delete('t', 'rr')", "SELECT actorstore.insert('t', 'rr', '3')")
	{
		$looker->query(q{SELECT actorstore.put('t', 'rr', '1')}) if $sql !~ /insert/;
		$me->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM seen');
		$other->query($sql);
		is($me->query(q{SELECT actorstore.call('t', 'rr', 'add', '1')}), 'ERROR:  40001', "REPEATABLE READ: $sql, then a call");
		$me->query('ROLLBACK');
	}
	$me->query(q{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM seen});
	is($me->query(q{SELECT actorstore.call('t', 'rr', 'add', '1'), actorstore.ask('t', 'another', 'add', '1')}), '4|1', 'where nobody was faster');
	$me->query('COMMIT');

	# Inserted while the handler is at work, which knows nothing of it.
	$other->query('SELECT pg_advisory_lock(77)');
	$me->start(q{SELECT actorstore.call('t', 'overtaken', 'run', '{"sql": "SELECT pg_advisory_xact_lock(77)"}')});
	ok($me->blocked($looker), 'a handler is at work');
	$other->query(q{SELECT actorstore.insert('t', 'overtaken', '100')});
	$other->query('SELECT pg_advisory_unlock(77)');
	is($me->finish, 'ERROR:  40001', 'the actor is inserted meanwhile');
	is($looker->query(q{SELECT (actorstore.get('t', 'overtaken')).value}), '100', 'and not overwritten');
}

# ---- Nothing is lost between those who ask, call and write ----
{
	$looker->query(q{SELECT actorstore.put('t', 'sum', '0')});
	my $swap = q{DO $$
		DECLARE
			tried record;
		BEGIN
			FOR i IN 1 .. 200 LOOP
				LOOP
					SELECT * INTO tried FROM actorstore.compare_and_swap('t', 'sum', (actorstore.get('t', 'sum')).version,
						to_jsonb((actorstore.get('t', 'sum')).value::int + 1));
					COMMIT;
					EXIT WHEN tried.swapped;
				END LOOP;
			END LOOP;
		END $$};
	$me->start(q{SELECT count(actorstore.ask('t', 'sum', 'add', '1', '1 min')) FROM generate_series(1, 400)});
	$third->start(q{DO $$ BEGIN FOR i IN 1 .. 200 LOOP PERFORM actorstore.call('t', 'sum', 'add', '1'); COMMIT; END LOOP; END $$});
	$other->start($swap);
	$_->finish foreach $me, $third, $other;
	is($looker->query(q{SELECT (actorstore.get('t', 'sum')).value}), '800', 'ask, call and compare_and_swap of one actor: nothing is lost');
	nothing_is_left($node, 'd', 'those who met');
}

# ---- kill -9 ----
{
	$node->safe_psql('postgres', q{ALTER SYSTEM SET restart_after_crash = on});
	$node->reload;
	my $asker = ActorstoreTest::Session->new($node, 'd');
	$me->query(q{SELECT actorstore.tell('t', 'crash', 'add', '1') FROM generate_series(1, 10)});
	is($me->query(q{SELECT actorstore.ask('t', 'crash', 'add', '1')}), '11', 'told, then asked');
	$asker->start(q{SELECT actorstore.ask('t', 'crash', 'nap', '30', '1 min')});
	ok(napping(), 'a worker is at it');
	kill 'KILL', worker_of();
	$asker->finish;
	ok($node->poll_query_until('d', 'SELECT true'), 'the server comes back');
	is($node->safe_psql('d', q{SELECT actorstore.ask('t', 'crash', 'look', NULL, '1 min')}), '11', 'what was answered is there');
	is($node->safe_psql('d', 'SELECT used_cells, told, lost FROM actorstore.stat_requests'), '0|0|0', 'the pool is a new one');
}

# ---- The extension goes ----
$me = ActorstoreTest::Session->new($node, 'd');
$other = ActorstoreTest::Session->new($node, 'd');
$looker = ActorstoreTest::Session->new($node, 'd');
{
	$me->start(q{SELECT actorstore.ask('t', 'dropped', 'nap', '1', '1 min')});
	ok(napping(), 'a worker is at it');
	$other->start(q{SELECT actorstore.ask('t', 'dropped', 'nap', '0', '3 s')});
	ok(comes_true($node, 'd', '(SELECT used_cells = 2 FROM actorstore.stat_requests)'), 'two wait');
	$looker->start('DROP EXTENSION actorstore CASCADE');
	is($me->finish, '1', 'the first is answered');
	like($other->finish, qr/^(2|ERROR:  (VA002|42704|42P01|42883|3F000))$/, 'the second is, or gets an error');
	$looker->finish;
	is($looker->query("SELECT count(*) FROM pg_extension WHERE extname = 'actorstore'"), '0', 'the extension is dropped');
	$_->quit foreach $me, $other, $looker;
	fill_database($node, 'd2');
	nothing_is_left($node, 'd2', 'DROP EXTENSION');

	my $asker = ActorstoreTest::Session->new($node, 'd2');
	$asker->start(q{SELECT actorstore.ask('t', 'dropped', 'nap', '1', '1 min')});
	ok(comes_true($node, 'd2', q{EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'actorstore worker' AND wait_event = 'PgSleep')}), 'a worker is at it');
	$node->safe_psql('postgres', 'DROP DATABASE d2 WITH (FORCE)');
	like($asker->finish, qr/57P01|^1?$/, 'DROP DATABASE ends who asks');
	fill_database($node, 'd2');
	nothing_is_left($node, 'd2', 'DROP DATABASE');
}
$node->stop;

# ---- Little room ----
my $small = new_node('small',
	settings => "fsync = off\ndeadlock_timeout = 100ms\nactorstore.workers = 1\nmax_worker_processes = 20\nactorstore.max_active_actors = 16\n"
	  . "actorstore.worker_queue_capacity = 2\nactorstore.global_queue_capacity = 2\nactorstore.message_pool_size = 16\nactorstore.arena_size = '1MB'");
fill_database($small, 'd');
$small->safe_psql('d', q{
	CREATE FUNCTION append(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql RETURN coalesce(state, '[]') || body;
	CREATE FUNCTION size(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql RETURN to_jsonb(length(body #>> '{}'));
	CREATE FUNCTION big(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql RETURN to_jsonb(repeat('x', body::int));
	SELECT actorstore.set_handler('t', name, ('public.' || name || '(jsonb, jsonb)')::regprocedure) FROM unnest('{append,size,big}'::text[]) AS name;

	-- Tell many actors in turn, as often as there is room, and ask each now and then: nothing may overtake.
	CREATE FUNCTION chatter(prefix text, actors int, rounds int) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		full_up int := 0;
		wrong int := 0;
		answers int := 0;
		answer jsonb;
	BEGIN
		FOR i IN 1 .. rounds LOOP
			FOR a IN 1 .. actors LOOP
				BEGIN
					PERFORM actorstore.tell('t', prefix || a, 'append', to_jsonb(i * 10));
					PERFORM actorstore.tell('t', prefix || a, 'append', to_jsonb(i * 10 + 1));
				EXCEPTION WHEN SQLSTATE 'VA001' THEN
					full_up := full_up + 1;
				END;
				IF (i + a) % 3 = 0 THEN
					BEGIN
						answer := actorstore.ask('t', prefix || a, 'append', to_jsonb(i * 10 + 2), '1 min');
						answers := answers + 1;
						wrong := wrong + (answer -> -1 <> to_jsonb(i * 10 + 2)
							OR answer <> (SELECT jsonb_agg(e ORDER BY e) FROM jsonb_array_elements(answer) AS e))::int;
					EXCEPTION WHEN SQLSTATE 'VA001' THEN
						full_up := full_up + 1;
					END;
				END IF;
			END LOOP;
		END LOOP;
		RETURN format('%s wrong, %s', wrong, CASE WHEN answers > 0 THEN 'some answers' END);
	END $$;
});
$me = ActorstoreTest::Session->new($small, 'd');
$other = ActorstoreTest::Session->new($small, 'd');
$looker = ActorstoreTest::Session->new($small, 'd');
{
	$me->start(q{SELECT chatter('mine ', 100, 6)});
	$other->start(q{SELECT chatter('yours ', 70, 8)});
	is($me->finish, '0 wrong, some answers', 'few slots, short queues: what one session tells and asks is handled in its order');
	is($other->finish, '0 wrong, some answers', "and the other one's");
	nothing_is_left($small, 'd', 'short queues');
	$me->start(q{SELECT chatter('shared ', 40, 6)});
	$other->start(q{SELECT chatter('theirs ', 40, 6)});
	is($me->finish . $other->finish, '0 wrong, some answers' x 2, 'once more');
	is($small->safe_psql('d', 'SELECT cells FROM actorstore.stat_requests'), '16', 'sixteen cells');

	# An actor that is locked: its requests fill the pool.
	$other->query(q{BEGIN; SELECT actorstore.put('t', 'full', '[]') IS NULL});
	is($me->query(q{SELECT count(actorstore.tell('t', 'full', 'append', to_jsonb(i))) FROM generate_series(1, 16) AS i}), '16', 'as many as there are cells can be told');
	is($me->query(q{SELECT actorstore.tell('t', 'full', 'append', '17')}), 'ERROR:  VA001', 'one more cannot');
	is($me->query(q{SELECT actorstore.ask('t', 'another', 'look', NULL, '1 min')}), 'ERROR:  VA001', 'nor can anybody be asked');
	is($me->query(q{SELECT actorstore.call('t', 'another', 'add', '1')}), '1', 'but called');
	$other->query('COMMIT');
	ok(comes_true($small, 'd', q{(SELECT value = (SELECT jsonb_agg(i ORDER BY i) FROM generate_series(1, 16) AS i) FROM actorstore.actor WHERE actor_id = 'full')}),
		'all that were told are handled, in order');
	nothing_is_left($small, 'd', 'a full pool');

	# Large bodies, and answers.
	$other->query(q{BEGIN; SELECT actorstore.put('t', 'large', '0') IS NULL});
	my $told = 0;
	$told++ while $told < 10 && $me->query(q{SELECT actorstore.tell('t', 'large', 'size', to_jsonb(repeat('b', 300000)))}) eq '';
	ok($told >= 1 && $told <= 3, "the arena is full with $told bodies of 300 kB");
	is($me->query(q{SELECT actorstore.tell('t', 'large', 'size', to_jsonb(repeat('b', 300000)))}), 'ERROR:  VA001', 'one more cannot be told');
	is($me->query(q{SELECT actorstore.ask('t', 'another', 'look', NULL, '1 min')}), '1', 'small ones can be asked');
	$other->query('COMMIT');
	is($me->query(q{SELECT count(*) FROM generate_series(1, 60) AS i WHERE actorstore.ask('t', 'large', 'size', to_jsonb(repeat('b', 290000 + i * 100)), '1 min') <> to_jsonb(290000 + i * 100)}),
		'0', 'many of them, one after the other');
	is($me->query(q{SELECT count(*) FROM generate_series(1, 60) AS i WHERE length(actorstore.ask('t', 'answers', 'big', to_jsonb(300000 + i), '1 min') #>> '{}') <> 300000 + i}),
		'0', 'and answers');
	is($me->query(q{SELECT actorstore.ask('t', 'answers', 'big', '5000000', '1 min')}), 'ERROR:  VA001', 'an answer above all');
	is($me->query(q{SELECT length((actorstore.get('t', 'answers')).value #>> '{}')}), '300060', 'undoes its turn');
	is($me->query(q{SELECT length(actorstore.ask('t', 'answers', 'big', '300000', '1 min') #>> '{}')}), '300000', 'and leaves nothing in the arena');
	nothing_is_left($small, 'd', 'a full arena');
}

# ---- Workers that are about to leave ----

# What is told goes to those who come after them: CREATE EXTENSION, and whatever else has the launcher look at a database again, sends
# away who is there.
{
	$me->query(q{SELECT actorstore.send('t', 'busy', 'nap', '0.5')});
	ok(comes_true($small, 'd', q{(SELECT count(*) FROM actorstore.stat_workers WHERE state = 'running') = 1}), 'a worker is at work');
	my $launched = $small->safe_psql('d', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'actorstore worker'});
	my $lost = $small->safe_psql('d', 'SELECT lost FROM actorstore.stat_requests');
	$small->safe_psql('d', 'UPDATE actorstore.identity SET era = era');
	usleep(200_000);
	is($small->safe_psql('d', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'actorstore worker'}), $launched, 'it is to leave, but not yet');
	is($me->query(q{SELECT actorstore.tell('t', 'left', 'add', '5')}), '', 'something is told meanwhile');
	ok(comes_true($small, 'd', q{(SELECT value = '5' FROM actorstore.get('t', 'left'))}), 'and handled by the next one');
	isnt($small->safe_psql('d', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'actorstore worker'}), $launched, 'which is another one');
	is($small->safe_psql('d', 'SELECT lost FROM actorstore.stat_requests'), $lost, 'nothing is lost');
}

# ---- Several databases, one worker ----
{
	fill_database($small, 'e');
	my %session = (d => $me, e => ActorstoreTest::Session->new($small, 'e'));
	$session{$_}->start("SELECT actorstore.ask('t', 'db', 'add', '1', '1 min')") foreach 'd', 'e';
	is($session{$_}->finish, '1', "database $_ has its turn with the only worker") foreach 'd', 'e';
	is($me->query(q{SELECT actorstore.ask('t', 'db', 'add', '1', '1 min')}), '2', 'and the first one again');
	nothing_is_left($small, 'd', 'databases');
}
$small->stop;

# ---- Not preloaded ----
my $plain = new_node('plain', preload => 0);
fill_database($plain, 'd');
is($plain->safe_psql('d', q{SELECT actorstore.call('t', 'a', 'add', '5')}), '5', 'not preloaded: call works');
is(sqlstate($plain, 'd', q{SELECT actorstore.ask('t', 'a', 'add', '5')}), '55000', 'ask does not');
is(sqlstate($plain, 'd', q{SELECT actorstore.tell('t', 'a', 'add', '5')}), '55000', 'nor does tell');
foreach my $call (q{ask('t', 'a', 'add', '5')}, q{tell('t', 'a', 'add', '5')}, q{checkout('w', '{t}')})
{
	my (undef, undef, $complaints) = $plain->psql('d', "SELECT actorstore.$call");
	like($complaints, qr/^HINT:  .*shared_preload_libraries = 'actorstore'$/m, "$call: with the line to add");
}
is($plain->safe_psql('d', q{SELECT count(*) FROM actorstore.stat_requests WHERE used_cells > 0}), '0', 'there are no requests');
$plain->stop;
done_testing();
