# What is sent to a type whose messages are all handled outside is offered to
# clients by the sender, without a worker; and a worker sees all that is not a
# client's, also where that changes between send() and COMMIT.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('outside_sent', settings => "actorstore.workers = 2\nmax_worker_processes = 16");
new_database_with_actors($node, 'd');
my $outside = "'actorstore.outside(jsonb, jsonb)'";
my $wait = patience() . ' s';

sub sql { my ($sql) = @_; return $node->safe_psql('d', $sql, kept => 1); }
sub becomes_true { my ($condition, $name) = @_; ok(comes_true($node, 'd', $condition, kept => 1), $name); return; }
# Nobody has anything to look at.
sub quiet { comes_true($node, 'd', '(SELECT swept AND queued = 0 AND scheduled = 0 AND running = 0 FROM actorstore.stat_scheduler)', kept => 1) or die 'not quiet'; return; }
sub commits { return sql('SELECT sum(commits) FROM actorstore.stat_workers'); }
# Checks out what there is, and completes it: "actor: bodies", sorted.
sub work
{
	my ($type, $turns) = (@_, 100);
	return join ' ', sort(rows($node, 'd', qq{WITH t AS MATERIALIZED (SELECT * FROM actorstore.checkout('w', '{$type}', max_turns => $turns, max_wait => '$wait'))
		SELECT actor_id || ':' || (SELECT string_agg(m->>'body', '' ORDER BY n) FROM jsonb_array_elements(messages) WITH ORDINALITY AS m (m, n))
		FROM t, LATERAL (SELECT actorstore.complete(turn_id, token, '[]')) AS done}));
}

sql(qq{SELECT actorstore.create_type('out'), actorstore.set_handler('out', 'm', $outside);
	SELECT actorstore.create_type('stops', max_attempts => 1, on_exhausted => 'stop'), actorstore.set_handler('stops', 'm', $outside);
	SELECT actorstore.create_type('urgent', order_by_deadline => true), actorstore.set_handler('urgent', '*', $outside)});
becomes_true(q{(SELECT count(*) > 0 FROM actorstore.stat_workers WHERE database = 'd')}, 'the database is served');

# ---- No worker is needed ----

my $client = ActorstoreTest::Session->new($node, 'd');
quiet();
my $before = commits();
$client->start("SELECT actor_id, messages->0->>'body' FROM actorstore.checkout('c', '{out}', max_wait => '$wait')");
becomes_true("(SELECT count(*) = 1 FROM pg_stat_activity WHERE pid = $client->{pid} AND wait_event_type = 'Extension')", 'a client waits');
sql(q{SELECT actorstore.send('out', 'a', 'm', '1')});
is($client->finish, 'a|1', 'it is woken by who sends');
sql(q{SELECT actorstore.send('out', 'b' || n, 'm', to_jsonb(n)) FROM generate_series(1, 5) AS n;
	SELECT actorstore.send('out', 'b1', 'm', '6')});
is(work('out'), 'b1:16 b2:2 b3:3 b4:4 b5:5', 'what nobody waits for is kept for who comes');
is(commits(), $before, 'and no worker has looked at any of it');
$client->query(q{SELECT actorstore.fail(turn_id, (SELECT token FROM actorstore.lease), NULL, '0') FROM actorstore.lease});
is(work('out'), 'a:1', 'a turn that is given back comes again');

sql(q{SELECT actorstore.send('urgent', 'late', 'm', '1', expires_at => now() + interval '2 days');
	SELECT actorstore.send('urgent', 'soon', 'm', '2', expires_at => now() + interval '1 day');
	SELECT actorstore.send('urgent', 'late', 'm', '3', expires_at => now() + interval '1 hour')});
is(work('urgent', 1) . ' ' . work('urgent', 1), 'late:13 soon:2', 'the nearest deadline comes first, if it came last');

# ---- What a worker has to see ----

sql(q{SELECT actorstore.send('out', 'n', 'unknown')});
becomes_true(q{(SELECT count(*) = 1 FROM actorstore.dead_letter WHERE actor_type = 'out' AND actor_id = 'n')}, 'a message that nobody handles is given up, though no client comes');
sql(q{BEGIN; SELECT actorstore.send('out', 'n', 'm', '1'); SELECT actorstore.send('out', 'n', 'unknown', priority => 1); COMMIT});
becomes_true(q{(SELECT count(*) = 2 FROM actorstore.dead_letter WHERE actor_type = 'out' AND actor_id = 'n')}, 'also one that comes with another, and before it');
is(work('out'), 'n:1', 'and the other one is a client\'s');

sql(q{SELECT actorstore.send('stops', 's', 'm', '1')});
sql(qq{SELECT actorstore.fail(turn_id, token, 'no') FROM actorstore.checkout('w', '{stops}', max_wait => '$wait')});
becomes_true(q{(SELECT count(*) = 1 FROM actorstore.halted WHERE actor_type = 'stops')}, 'an actor is stopped');
sql(q{SELECT actorstore.send('stops', 's', 'm', '1')});
becomes_true(q{(SELECT count(*) = 2 FROM actorstore.dead_letter WHERE actor_type = 'stops')}, 'its mail is given up, though no client comes');

# ---- Handlers that change between send() and COMMIT ----

my $sender = ActorstoreTest::Session->new($node, 'd');
$sender->query('BEGIN');
$sender->query(q{SELECT actorstore.send('out', 'x', 'm', '1')});
sql(q{SELECT actorstore.set_handler('out', 'm', 'collect(jsonb, jsonb)')});
quiet();
$sender->query('COMMIT');
becomes_true(q{(SELECT value = '[1]' FROM actorstore.get('out', 'x'))}, 'it is handled inside, by who is set by then');
$sender->query('BEGIN');
$sender->query(q{SELECT actorstore.send('out', 'y', 'm', '1')});
sql(qq{SELECT actorstore.set_handler('out', 'm', $outside)});
quiet();
$sender->query('COMMIT');
is(work('out'), 'y:1', 'and outside again');
$sender->query("BEGIN; SELECT actorstore.send('out', 'z', 'm', '1'); SELECT actorstore.set_handler('out', 'm', 'collect(jsonb, jsonb)'); COMMIT");
becomes_true(q{(SELECT value = '[1]' FROM actorstore.get('out', 'z'))}, 'also if the sender himself has changed it');
is(sql('SELECT count(*) FROM actorstore.lease'), '0', 'no turn is open');

$node->stop;
done_testing();
