# What holds for turns that are handled outside the database as it does inside:
# limits of types, deadlines, who is paused or stopped, what is given up; and
# that whoever waits is woken, and nobody waits for himself.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('outside_rules', settings => "actorstore.workers = 2\nmax_worker_processes = 16\ndeadlock_timeout = 50ms\nmax_prepared_transactions = 5\nactorstore.max_open_turns = 16");
new_database_with_actors($node, 'd');
my $outside = "'actorstore.outside(jsonb, jsonb)'";
my $wait = patience() . ' s';

sub sql { my ($sql) = @_; return $node->safe_psql('d', $sql, kept => 1); }
sub becomes_true { my ($condition, $name) = @_; ok(comes_true($node, 'd', $condition, kept => 1), $name); return; }
sub code { my ($sql) = @_; return sqlstate($node, 'd', $sql); }

# Turns: [turn_id, token, actor_id, bodies].  turns() waits for the first one.
sub turns_sql { my ($type, $more) = @_; return "SELECT turn_id, token, actor_id, (SELECT string_agg(m->>'body', ' ') FROM jsonb_array_elements(messages) AS m) FROM actorstore.checkout('test', '{$type}'$more)"; }
sub turns { my ($type, $max, %with) = @_; my $lease = $with{lease} // '1 h'; return map { [ split /\|/ ] } rows($node, 'd', turns_sql($type, ", $max, '$lease', '$wait'")); }
sub no_turn { my ($type) = @_; return sql('SELECT count(*) FROM (' . turns_sql($type, ", 5, '1 h', '200 ms'") . ') AS t') eq '0'; }
sub actors { return join ' ', map { $_->[2] } @_; }
sub complete { sql("SELECT actorstore.complete($_->[0], $_->[1], '0')") foreach @_; return; }
sub ready { my ($type, $n) = @_; becomes_true("(SELECT used_slots >= $n AND queued + scheduled + running = 0 FROM actorstore.stat_scheduler)", "$type: turns are ready"); return; }

becomes_true(q{(SELECT count(*) > 0 FROM actorstore.stat_workers WHERE database = 'd')}, 'the database is served');

# ---- How many actors at once, how many messages a second ----

sql(qq{SELECT actorstore.create_type('two', max_concurrency => 2), actorstore.set_handler('two', '*', $outside);
	SELECT actorstore.send('two', 'a' || n, 'm', to_jsonb(n)) FROM generate_series(1, 5) AS n});
my @open = turns('two', 1);
push @open, turns('two', 5);
is(scalar(@open), 2, 'two actors at once');
ok(no_turn('two'), 'and no more');
complete(shift @open);
push @open, turns('two', 5);
is(scalar(@open), 2, 'one ends, another one begins');
sql("SELECT actorstore.fail($open[0][0], $open[0][1], 'x')");
sql("SELECT actorstore.extend_lease($open[1][0], $open[1][1], '1 ms')");
my $n = 0;
while ($n++ < 20 && sql(q{SELECT count(*) FROM actorstore.message WHERE actor_type = 'two'}) ne '0') { complete(turns('two', 5)); }
is(sql(q{SELECT count(*) FROM actorstore.get_all('two')}), '5', 'places come back from turns that fail, and from leases that run out');

sql(qq{SELECT actorstore.create_type('slow', rate_limit => 20), actorstore.set_handler('slow', '*', $outside);
	SELECT actorstore.send('slow', 'a' || n % 3, 'm', to_jsonb(n)) FROM generate_series(1, 12) AS n});
my $began = sql('SELECT extract(epoch FROM clock_timestamp())');
while (sql(q{SELECT count(*) FROM actorstore.message WHERE actor_type = 'slow'}) ne '0') { complete(turns('slow', 5)); }
cmp_ok(sql('SELECT extract(epoch FROM clock_timestamp())') - $began, '>', (12 - 3) / 20, 'no more messages than the rate allows');

# ---- Deadlines ----

sql(qq{SELECT actorstore.create_type('near', order_by_deadline => true), actorstore.set_handler('near', '*', $outside);
	SELECT actorstore.send('near', v.id, 'm', expires_at => now() + v.hours * '1 h'::interval) FROM (VALUES ('d', 4), ('b', 2), ('e', 5), ('a', 1), ('c', 3)) AS v(id, hours)});
ready('near', 5);
@open = turns('near', 5);
is(actors(@open), 'a b c d e', 'the nearest deadline first');
complete(@open);
sql(qq{SELECT actorstore.create_type('out', max_attempts => 1, on_exhausted => 'pause'), actorstore.set_handler('out', '*', $outside);
	SELECT actorstore.send('out', 'a', 'm', '1', expires_at => now() - '1 s'::interval), actorstore.send('out', 'a', 'm', '2')});
@open = turns('out', 1);
is($open[0][3], '2', 'what has expired is not handed out');
is(sql(q{SELECT reason FROM actorstore.dead_letter WHERE actor_type = 'out'}), 'expired', 'but buried');

# ---- Pause, and what is given up ----

sql(q{SELECT actorstore.pause('out', 'a')});
complete(@open);
is(sql(q{SELECT value FROM actorstore.get('out', 'a')}), '0', 'what is open can be completed, though the actor is paused');
sql(q{SELECT actorstore.send('out', 'a', 'm', '3'), actorstore.send('out', 'b', 'm', '4')});
@open = turns('out', 5);
is(actors(@open), 'b', 'who is paused gets no turn');
sql(q{SELECT actorstore.resume('out', 'a')});
my @more = turns('out', 5);
is(actors(@more), 'a', 'until he goes on');
complete(@more);
sql("SELECT actorstore.fail($open[0][0], $open[0][1], 'bad')");
is(sql(q{SELECT state, reason FROM actorstore.halted_actor}), 'paused|38000: bad', 'on_exhausted is done');
is(sql(q{SELECT body, reason, sqlstate, error FROM actorstore.dead_letter WHERE actor_type = 'out' AND actor_id = 'b'}), '4|exhausted|38000|bad', 'and the message is a dead letter');
sql(q{SELECT actorstore.resume('out', 'b')});
sql(q{SELECT actorstore.send('out', 'c', 'm', '5')});
turns('out', 1, lease => '1 ms');
becomes_true(q{(SELECT reason = 'exhausted' AND sqlstate = 'VA006' FROM actorstore.dead_letter WHERE actor_id = 'c')}, 'a lease that runs out is a failure');
sql(q{SELECT actorstore.resume('out', 'c')});

# ---- Messages taken away, tables written anew ----

sql(q{SELECT actorstore.send('out', 'e', 'm', '6'), actorstore.send('out', 'e', 'm', '7')});
@open = turns('out', 1);
is($open[0][3], '6 7', 'two messages');
is(sql(q{SELECT actorstore.cancel(message_id) FROM actorstore.message WHERE actor_type = 'out' AND body = '6'}), 't', 'one is cancelled');
is(code("SELECT actorstore.complete($open[0][0], $open[0][1], '1')"), '40001', 'so its turn is refused');
@open = turns('out', 1);
is($open[0][3], '7', 'and comes again without it');
sql(q{VACUUM FULL actorstore.message});
is(sql("SELECT actorstore.complete_many('{$open[0][0]}', '{$open[0][1]}', '{1}')"), '{40001}', 'messages that were moved are found again');
@open = turns('out', 1);
complete(@open);
is(sql(q{SELECT count(*) FROM actorstore.message WHERE actor_type = 'out'}), '0', 'and handled');

# ---- Transactions ----

sql(q{SELECT actorstore.send('out', 't', 'm', '8')});
ready('out', 1);
sql('BEGIN; ' . turns_sql('out', ", 1, '1 h', '$wait'") . '; ROLLBACK');
@open = turns('out', 1);
is(actors(@open), 't', 'what was checked out goes back with the transaction');
complete(@open);
sql(q{SELECT actorstore.send('out', 't', 'm', '9')});
ready('out', 1);
is(code('BEGIN; ' . turns_sql('out', ", 1, '1 h', '$wait'") . q{; PREPARE TRANSACTION 'p'}), '0A000', 'it is not prepared');
sql('BEGIN; SAVEPOINT s; ' . turns_sql('out', ", 1, '1 h', '$wait'") . '; ROLLBACK TO s; COMMIT');
my $holder = ActorstoreTest::Session->new($node, 'd');
$holder->query('BEGIN');
$holder->query(turns_sql('out', ", 1, '1 h', '$wait'"));
sql("SELECT pg_terminate_backend($holder->{pid})");
@open = turns('out', 1);
is($open[0][3], '9', 'nor lost with a process that is terminated');
complete(@open);

# ---- Askers ----

my $asker = ActorstoreTest::Session->new($node, 'd');
sql(q{SELECT actorstore.put('two', 'locked', '0'), actorstore.put('out', 'x', '0')});
$asker->query(q{BEGIN});
$asker->query(q{SELECT actorstore.put('out', 'x', '1')});
$asker->start(qq{SELECT actorstore.ask('out', 'x', 'm', NULL, '$wait')});
@open = turns('out', 1);
my $completer = ActorstoreTest::Session->new($node, 'd');
$completer->start("SELECT actorstore.complete($open[0][0], $open[0][1], '2')");
my $completed = $completer->finish;
sql("SELECT pg_cancel_backend($asker->{pid})") if $completed =~ /40P01/;
like($completed . $asker->finish, qr/ERROR:  40P01/, 'an asker whose lock the client waits for is a deadlock');
$asker->query('ROLLBACK');
is(code("SELECT actorstore.complete($open[0][0], $open[0][1], '3')"), $completed =~ /40P01/ ? '00000' : 'VA006', 'then the turn can be completed');
$asker->quit;
$completer->quit;

my @askers = map { ActorstoreTest::Session->new($node, 'd') } 1 .. 3;
$_->start(qq{SELECT actorstore.ask('out', 'y', 'm', NULL, '$wait')}) foreach @askers;
becomes_true(q{(SELECT count(*) = 3 FROM pg_stat_activity WHERE query LIKE '%ask(''out'', ''y''%' AND pid <> pg_backend_pid() AND wait_event_type = 'Extension')}, 'three ask');
turns('out', 1, lease => '1 ms');
my %answer;
for (1 .. 3)
{
	@open = turns('out', 1);
	complete(@open);
}
is(join(' ', map { $_->finish } @askers), '0 0 0', 'a client dies with the questions of three; others answer them');
becomes_true('(SELECT used_cells = 0 FROM actorstore.stat_requests)', 'no cell is left');
my $again = ActorstoreTest::Session->new($node, 'd');
$askers[0]->start(qq{SELECT actorstore.ask('out', 'z', 'm', NULL, '$wait', 'key')});
@open = turns('out', 1);
$again->start(qq{SELECT actorstore.ask('out', 'z', 'm', NULL, '$wait', 'key')});
sql("SELECT actorstore.complete($open[0][0], $open[0][1], '5')");
is($askers[0]->finish . $again->finish, '55', 'who asks once more with the same key gets the same answer');
ok(no_turn('out'), 'without another turn');

# ---- Too many ----

sql(q{SELECT actorstore.send('near', 'many' || n, 'm') FROM generate_series(1, 20) AS n});
@open = ();
while (@open < 16) { push @open, turns('near', 16 - @open); }
is(code("SELECT actorstore.checkout('test', '{near}', 1, '1 h', '$wait')"), '53400', 'not more than max_open_turns');
complete(@open);
@open = ();
while (@open < 4) { push @open, turns('near', 5); }
complete(@open);
is(sql(q{SELECT count(*) FROM actorstore.message}), '0', 'all are handled');
becomes_true(q{(SELECT used_slots = 0 FROM actorstore.stat_scheduler)}, 'no slot is kept');

# ---- A copy is fenced ----

$_->quit foreach @askers, $again;
sql(q{SELECT actorstore.send('out', 'copied', 'm')});
@open = turns('out', 1);
$node->end_kept;
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE d');
is(sqlstate($node, 'copy', "SELECT actorstore.complete($open[0][0], $open[0][1], '1')"), '55000', 'what was checked out elsewhere is not completed in a copy');
$node->safe_psql('copy', 'SELECT actorstore.unfence()');
is(sqlstate($node, 'copy', "SELECT actorstore.complete($open[0][0], $open[0][1], '1')"), 'VA006', 'nor when that is let go');
complete(@open);
is(sql(q{SELECT value FROM actorstore.get('out', 'copied')}), '0', 'the original goes on');

$node->stop;
done_testing();
