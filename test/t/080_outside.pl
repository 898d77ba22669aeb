# Turns that are handled outside the database: who gets them when, what becomes
# of them when they are completed, fail, or are kept for too long, and that
# whoever asks gets his answer.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('outside', settings => "restart_after_crash = on\nactorstore.workers = 2\nmax_worker_processes = 16");
new_database_with_actors($node, 'd');
my $outside = "'actorstore.outside(jsonb, jsonb)'";
my $json = JSON::PP->new->canonical->allow_nonref;
my $wait = patience() . ' s';

sub sql { my ($sql) = @_; return $node->safe_psql('d', $sql, kept => 1); }
sub becomes_true { my ($condition, $name) = @_; ok(comes_true($node, 'd', $condition, kept => 1), $name); return; }

# Turns, as a list of hashes.
sub parse { return map { $json->decode($_) } grep { $_ ne '' } split /\n/, $_[0]; }

sub checkout_sql
{
	my ($types, %with) = @_;
	my $more = join '', map { ", $_ => '$with{$_}'" } sort keys %with;

	return "SELECT to_jsonb(c) FROM actorstore.checkout('test', '{$types}'$more) AS c";
}
sub checkout { return parse(sql(checkout_sql(@_))); }
# The first turn there is; waits for it.
sub turn { my ($types, %with) = @_; my ($turn) = checkout($types, max_wait => $wait, %with); return $turn; }

sub names { my ($turn) = @_; return join ' ', map { $_->{message} } @{ $turn->{messages} }; }
sub bodies { my ($turn) = @_; return join ' ', map { $json->encode($_->{body}) } @{ $turn->{messages} }; }
sub ids { my ($turn) = @_; return "$turn->{turn_id}, $turn->{token}"; }

sub complete
{
	my ($turn, @rest) = @_;
	return sql('SELECT actorstore.complete(' . join(', ', ids($turn), map { defined $_ ? "'$_'" : 'NULL' } @rest) . ')');
}
sub code { my ($sql) = @_; return sqlstate($node, 'd', $sql); }

sql(qq{SELECT actorstore.create_type('out', backoff => '10 ms', backoff_max => '10 ms', max_attempts => 2);
	SELECT actorstore.set_handler('out', '*', $outside);
	SELECT actorstore.create_type('target'), actorstore.set_handler('target', '*', 'collect(jsonb, jsonb)')});
sql(qq{CREATE FUNCTION turn_now() RETURNS boolean LANGUAGE sql STABLE AS 'SELECT count(*) > 0 FROM pg_class';
	CREATE FUNCTION out_of_a_function() RETURNS TABLE (turn_id bigint, token bigint) LANGUAGE plpgsql AS \$\$
	BEGIN RETURN QUERY SELECT c.turn_id, c.token FROM actorstore.checkout('test', '{out}', max_wait => '$wait') AS c; END \$\$});
becomes_true(q{(SELECT count(*) > 0 FROM actorstore.stat_workers WHERE database = 'd')}, 'the database is served');

# ---- What a turn has ----

is(checkout('out') + 0, 0, 'nothing to check out');
sql(q{SELECT actorstore.send('out', 'a', 'one', '1', headers => '{"h": 1}');
	SELECT actorstore.send('out', 'a', 'two', NULL);
	SELECT actorstore.send('out', 'a', 'urgent', '"x"', priority => 0)});
my $turn = turn('out');
is_deeply([ @{$turn}{qw(actor_type actor_id state version)} ], [ 'out', 'a', undef, undef ], 'an actor without a state');
is(names($turn), 'urgent one two', 'its messages, in their order');
is(bodies($turn), '"x" 1 null', 'their bodies');
is_deeply([ map { $_->{headers} } @{ $turn->{messages} } ], [ undef, { h => 1 }, undef ], 'their headers');
is(join(' ', map { "$_->{attempt}" . ($_->{ask} ? 'ask' : '') } @{ $turn->{messages} }), '1 1 1', 'their attempts');
is(join(',', sort map { $_->{message_id} } @{ $turn->{messages} }),
	join(',', sort(rows($node, 'd', q{SELECT message_id FROM actorstore.message WHERE actor_type = 'out'}))), 'their ids');
is(sql(q{SELECT actor_type, actor_id, worker, role = 'postgres'::regrole, messages, requests, lease_until > now() FROM actorstore.stat_leases}), 'out|a|test|t|3|0|t', 'the open turn is shown');

# ---- One turn of an actor at a time; complete ----

sql(q{SELECT actorstore.send('out', 'a', 'three', '3'), actorstore.send('out', 'b', 'four', '4')});
my $other = turn('out');
is("$other->{actor_id} " . names($other), 'b four', 'another actor is checked out meanwhile');
is(checkout('out', max_wait => '200 ms') + 0, 0, 'and the first one is not');
complete($turn, '{"n": 1}', '[{"actor_type": "target", "actor_id": "t", "message": "m", "body": {"from": "a"}}, {"actor_type": "target", "actor_id": "t", "message": "m", "body": 2}]');
is(sql(q{SELECT value, version FROM actorstore.get('out', 'a')}), '{"n": 1}|0', 'the state is written');
becomes_true(q{(SELECT value = '[{"from": "a"}, 2]' FROM actorstore.get('target', 't'))}, 'what it sends is sent, in order');
my $next = turn('out');
is(names($next) . $json->encode($next->{state}) . $next->{version}, 'three{"n":1}0', 'the next turn has what came meanwhile');
is(code('SELECT actorstore.complete(' . ids($turn) . q{, '{"n": 2}')}), 'VA006', 'a second complete');
is(code("SELECT actorstore.complete($next->{turn_id}, $other->{token}, '{}')"), 'VA006', 'the token of another turn');
complete($next);
complete($other, '{"b": 1}');
is(sql(q{SELECT value, version FROM actorstore.get('out', 'a')}), '{"n": 1}|0', 'no state leaves it as it was');
is(sql(q{SELECT count(*) FROM actorstore.message}), '0', 'the messages are handled');
is(sql(q{SELECT count(*) FROM actorstore.lease}), '0', 'no turn is open');
is(sql(q{SELECT handled, turns FROM actorstore.stat_types WHERE actor_type = 'out'}), '5|3', 'they are counted');

# ---- Somebody else changes the actor ----

sql(q{SELECT actorstore.send('out', 'a', 'five', '5')});
$turn = turn('out');
sql(q{SELECT actorstore.put('out', 'a', '{"n": 9}')});
is(code('SELECT actorstore.complete(' . ids($turn) . q{, '{"n": 2}', '[{"actor_type": "target", "actor_id": "no", "message": "m"}]')}), '40001', 'the version has changed');
is(code('SELECT actorstore.complete(' . ids($turn) . q{, '{"n": 2}')}), 'VA006', 'the turn is no more');
$next = turn('out');
is(names($next) . bodies($next) . $json->encode($next->{state}) . " $next->{messages}[0]{attempt}", 'five5{"n":9} 1', 'it is offered again, with the new state');
sql(q{SELECT actorstore.put('out', 'a', '{"n": 10}')});
complete($next);
is(sql(q{SELECT value FROM actorstore.get('out', 'a')}), '{"n": 10}', 'without a state nobody minds');

# Always: 20 times that is nobody's fault, then each time is an attempt.
sub lost_race
{
	my ($complete) = @_;
	return "SELECT turn_id, token, actor_id FROM actorstore.checkout('test', '{out}', max_wait => '$wait') \\gset\n" .
		"SELECT actorstore.put('out', :'actor_id', '{}') \\g /dev/null\n$complete;\n";
}
my $many = "SELECT actorstore.complete_many(ARRAY[:turn_id], ARRAY[:token], ARRAY['1'::jsonb])";
sql(q{SELECT actorstore.put('out', 'race', '{}'); SELECT actorstore.send('out', 'race', 'm')});
is(sql(join '', map { lost_race($many) } 1 .. 20), join("\n", ('{40001}') x 20), 'the actor changes in all turns');
is(sql(q{SELECT attempts FROM actorstore.message}), '0', 'which are no attempts');
$turn = turn('out');
sql(q{SELECT actorstore.put('out', 'race', '{}')});
is(code('SELECT actorstore.complete(' . ids($turn) . q{, '1')}), '40001', 'nor does the next one succeed');
becomes_true(q{(SELECT attempts = 1 FROM actorstore.message)}, 'but that is one');
is(sql(lost_race($many)), '{40001}', 'nor the last one');
is(sql(q{SELECT actor_id, attempts, reason, sqlstate, error FROM actorstore.dead_letter}),
	'race|2|exhausted|40001|the actor has changed during each of the last turns', 'which was one, too');
is(sql(q{SELECT failed, retried, dead FROM actorstore.stat_types WHERE actor_type = 'out'}), '2|1|1', 'and counted');
sql(q{SELECT actorstore.redrive('out')});
is(sql(lost_race($many)), '{40001}', 'again');
is(sql(q{SELECT attempts FROM actorstore.message}), '0', 'another message has all of them before it');
complete(turn('out'));
sql(q{SELECT actorstore.delete('out', 'race')});

# ---- Leases run out, turns fail ----

sql(q{SELECT actorstore.send('out', 'c', 'm', '1')});
$turn = turn('out', lease => '100 ms');
$next = turn('out');
is("$next->{actor_id} $next->{messages}[0]{attempt}", 'c 2', 'a turn that was kept too long is offered again, and that is counted');
ok($next->{token} > $turn->{token}, 'with a higher token');
is(code('SELECT actorstore.complete(' . ids($turn) . q{, '{}')}), 'VA006', 'who kept it is too late');
is(code('SELECT actorstore.extend_lease(' . ids($turn) . q{, '1 min')}), 'VA006', 'to extend it, too');
is(sql("SELECT actorstore.extend_lease(" . ids($next) . ", '1 h') > now() + '59 min'"), 't', 'a lease is extended');
sql('SELECT actorstore.fail(' . ids($next) . q{, 'no luck')});
is(sql(q{SELECT actor_id, attempts, reason, sqlstate, error FROM actorstore.dead_letter WHERE actor_type = 'out'}), 'c|2|exhausted|38000|no luck', 'it fails once more: a dead letter');

sql(q{SELECT actorstore.send('out', 'd', 'm', to_jsonb(n)) FROM generate_series(1, 3) AS n});
$turn = turn('out');
is(bodies($turn), '1 2 3', 'three messages');
sql('SELECT actorstore.fail(' . ids($turn) . q{, 'one of them is bad')});
$turn = turn('out');
is(bodies($turn) . " $turn->{messages}[0]{attempt}", '1 1', 'they come again, one a turn, and nothing is counted');
complete($turn, '1');
$turn = turn('out');
is(bodies($turn), '2', 'the bad one');
sql('SELECT actorstore.fail(' . ids($turn) . q{, 'bad')});
$turn = turn('out');
is(bodies($turn) . " $turn->{messages}[0]{attempt}", '2 2', 'failed, and tried again alone');
complete($turn, '2');
complete(turn('out'), '3');
sql(q{SELECT actorstore.send('out', 'd', 'm', '4')});
sql('SELECT actorstore.fail(' . ids(turn('out')) . q{, NULL, '50 ms')});
$turn = turn('out');
is(bodies($turn) . " $turn->{messages}[0]{attempt}", '4 1', 'put off, which is not counted');
sql('SELECT actorstore.fail(' . ids($turn) . q{, 'bad', '50 ms')});
$turn = turn('out');
is(bodies($turn) . " $turn->{messages}[0]{attempt}", '4 2', 'failed, and tried again after that time');
complete($turn, '4');
is(sql(q{SELECT count(*) FROM actorstore.message}), '0', 'all are handled');

# ---- Waiting for turns ----

my @clients = map { ActorstoreTest::Session->new($node, 'd') } 1 .. 3;
foreach my $client (@clients)
{
	$client->start(checkout_sql('out', max_wait => $client == $clients[2] ? '1000 years' : $wait));
	becomes_true("(SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $client->{pid})", 'a client waits');
}
$clients[0]->pump(0);
sql("SELECT pg_cancel_backend($clients[1]->{pid})");
is($clients[1]->finish, 'ERROR:  57014', 'one is cancelled');
sql(q{SELECT actorstore.send('out', 'w' || n, 'm', to_jsonb(n)) FROM generate_series(1, 2) AS n});
my @turns = sort { $a->{actor_id} cmp $b->{actor_id} } map { parse($_->finish) } @clients[ 0, 2 ];
is(join(' ', map { $_->{actor_id} } @turns), 'w1 w2', 'each of the others gets one');
complete($_, '1') foreach @turns;

# Who only waits holds back nobody's vacuum.
my $client = $clients[0];
my $checkout = "actorstore.checkout('test', '{out}', max_wait => '$wait')";
foreach (
	[ "SELECT turn_id, token, state::text FROM $checkout WHERE actor_id <> 'y'", 't', 'has no snapshot' ],
	[ "SELECT turn_id, token, (SELECT count(*) FROM pg_class) > 0 FROM $checkout", 'f', 'has one if the statement reads something else' ],
	[ "SELECT turn_id, token, true FROM $checkout, pg_database WHERE datname = 'd'", 'f', 'or joins it' ],
	[ "SELECT turn_id, token, turn_now() FROM $checkout", 'f', 'or calls what might' ],
	[ "SELECT turn_id, token, true FROM out_of_a_function()", 'f', 'or is called by it' ],
	[ "BEGIN; DECLARE c CURSOR FOR SELECT 1 FROM pg_class; SELECT turn_id, token, true FROM $checkout", 'f', 'or is in a transaction with another' ])
{
	my ($statement, $without, $name) = @$_;
	$client->start($statement);
	becomes_true("(SELECT wait_event_type = 'Extension' AND (backend_xmin IS NULL) = '$without' FROM pg_stat_activity WHERE pid = $client->{pid})", "who waits $name");
	sql(q{SELECT actorstore.put('out', 'x', '"new"'), actorstore.send('out', 'x', 'm')});
	my ($id, $token, $seen) = split /\|/, $client->finish;
	is($seen, $name eq 'has no snapshot' ? '"new"' : 't', 'and gets a turn');
	if ($statement =~ /^BEGIN/) { $client->start('COMMIT'); $client->finish; }
	sql("SELECT actorstore.complete($id, $token)");
}
$client->start("SELECT turn_id, token, state::text FROM actorstore.checkout('test', '{out}', max_wait => '10 ms')");
is($client->finish, '', 'or none');

# ---- Requests ----

my $asker = ActorstoreTest::Session->new($node, 'd');
my $asker2 = ActorstoreTest::Session->new($node, 'd');
$asker->start("SELECT actorstore.ask('out', 'q', 'what', '1', '$wait')");
$turn = turn('out');
is(names($turn) . ($turn->{messages}[0]{ask} ? ' ask' : ''), 'what ask', 'a request is checked out');
$asker2->start("SELECT actorstore.ask('out', 'q', 'again', '2', '$wait')");
complete($turn, '{"q": 1}', undef, qq({"$turn->{messages}[0]{message_id}": {"answer": 42}}));
is($asker->finish, '{"answer": 42}', 'and answered');
$turn = turn('out');
complete($turn);
is($asker2->finish, '{"q": 1}', 'without a reply by the state');
$asker->start("SELECT actorstore.ask('out', 'q', 'bad', '1', '$wait')");
sql('SELECT actorstore.fail(' . ids(turn('out')) . q{, 'cannot')});
is($asker->finish, 'ERROR:  38000', 'that it failed is an answer');
# whose time is over before the client comes is not there any more: so it gets more of it, until the client is in time
my $answer;
for (my $time = 100; $time < 1000 * patience(); $time *= 2)
{
	$asker->start("SELECT actorstore.ask('out', 'q', 'late', '1', '$time ms')");
	($turn) = checkout('out', max_wait => "$time ms");
	$answer = $asker->finish;
	last if $turn;
}
is($answer, 'ERROR:  VA002', 'nobody answers in time');
complete($turn, '{"q": 2}');
becomes_true('(SELECT used_cells = 0 FROM actorstore.stat_requests)', 'no cell is left');
is(code(q{SELECT actorstore.ask('out', 'q', 'm', NULL, '100 ms')}), 'VA002', 'no client comes');
becomes_true('(SELECT used_cells = 0 FROM actorstore.stat_requests)', 'nor is a cell left by who does not wait for one any longer');
is(code(q{SELECT actorstore.call('out', 'q', 'm')}), 'VA004', 'nobody answers call()');

# ---- Inside and outside, by the message's name ----

sql(qq{SELECT actorstore.create_type('both'), actorstore.set_handler('both', 'in', 'collect(jsonb, jsonb)'), actorstore.set_handler('both', 'out', $outside);
	SELECT actorstore.send('both', 'x', name, to_jsonb(n)) FROM unnest('{in,in,out,out,in,out}'::text[]) WITH ORDINALITY AS u(name, n)});
$turn = turn('both');
is($json->encode($turn->{state}) . ' ' . bodies($turn), '[1,2] 3 4', 'what came before was handled inside; what comes behind waits');
is(sql(q{SELECT actorstore.ask('both', 'y', 'in', '7')}), '[7]', 'others are handled meanwhile');
complete($turn, '[1, 2, 3, 4]');
$turn = turn('both');
is($json->encode($turn->{state}) . ' ' . bodies($turn), '[1,2,3,4,5] 6', 'and so on');
complete($turn, '[1, 2, 3, 4, 5, 6]');
sql(q{SELECT actorstore.send('both', 'z', 'out')});
becomes_true(q{(SELECT used_slots > 0 AND scheduled = 0 AND running = 0 FROM actorstore.stat_scheduler)}, 'a turn is offered');
is(sql(q{SELECT actorstore.ask('both', 'z', 'in', '8')}), '[8]', 'who asks does not wait for a client');
complete(turn('both'));

# ---- Handlers change ----

sql(q{SELECT actorstore.send('out', 'h' || n, 'm', to_jsonb(n)) FROM generate_series(1, 3) AS n});
$turn = turn('out');
sql(q{SELECT actorstore.send('out', $$} . $turn->{actor_id} . q{$$, 'm', '9')});
sql(q{SELECT actorstore.set_handler('out', '*', 'collect(jsonb, jsonb)')});
becomes_true(q{(SELECT count(*) = 2 FROM actorstore.get_all('out') WHERE actor_id LIKE 'h%')}, 'what waited for a client is handled inside, by who is set to');
complete($turn, '["done"]');
becomes_true(q{(SELECT count(*) = 0 FROM actorstore.message)}, 'what was open is completed, and what came after it is handled inside');
is(sql("SELECT value FROM actorstore.get('out', '$turn->{actor_id}')"), '["done", 9]', 'in this order');
sql(qq{SELECT actorstore.send('out', 'h1', 'm', '5'), actorstore.set_handler('out', '*', $outside)});
is(names(turn('out')), 'm', 'and outside again');

$node->stop;
done_testing();
