# Slots move that hold what is out of the ordinary: the pause of a whole type, a
# type that is declared in the middle, actors whose values are large, members of
# a group while somebody broadcasts.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;
use Time::HiRes qw(usleep);

my @nodes = new_cluster('one', 'two', { faults => 1, settings => join "\n",
	'actorstore.resolver_interval = 100ms', 'actorstore.rebalance_batch = 64', 'max_worker_processes = 16' });
my ($one, $two) = @nodes;

# All slots that may go from one to two, or back
sub rebalance_to
{
	my ($weight) = @_;

	$one->safe_psql('d', "SELECT actorstore.set_node_weight('two', $weight)");
	$one->safe_psql('d', 'SELECT FROM actorstore.rebalance(false)');
	return;
}

sub all_moved
{
	return 0 == grep {
		!comes_true($_, 'd', 'NOT EXISTS (SELECT FROM actorstore.moves_now()) AND NOT EXISTS (SELECT FROM actorstore.transit)')
	} @nodes, @nodes;
}

# The pause of a type belongs to no slot: every node has it, and keeps it.
$one->safe_psql('d', q{
	SELECT actorstore.set_node_weight('two', 0);
	SELECT actorstore.create_type('paused' || i) FROM generate_series(1, 8) AS i;
	SELECT actorstore.pause('paused' || i) FROM generate_series(1, 8) AS i});
declare_loosely($one, 'd', $_) foreach qw(thing late later);
$one->safe_psql('d', q{
	SELECT count(actorstore.put('thing', i::text, '1')) FROM generate_series(1, 40000) AS i
	WHERE actorstore.slot_of('thing', i::text) IN (SELECT actorstore.slot_of(actor_type, 'x') FROM actorstore.halted)});
is($one->safe_psql('d', q{SELECT count(DISTINCT actorstore.slot_of(a.actor_type, a.actor_id)) FROM actorstore.actor AS a}), '8', 'slots that are not empty');
rebalance_to(10000);
ok(all_moved(), 'they hold up no slot');
is($_->safe_psql('d', q{SELECT count(*) FROM actorstore.halted WHERE actor_id = ''}), '8', 'all types are paused on ' . $_->name) foreach @nodes;

# Actors and messages of 64 kB each travel a few at a time, and come as they were.
$one->safe_psql('d', q{
	SELECT actorstore.create_type('large');
	SELECT count(actorstore.put('large', i::text, jsonb_build_object('i', i, 'text', (SELECT string_agg(md5(j::text || i), '') FROM generate_series(1, 2000) AS j)))) FROM generate_series(1, 150) AS i;
	SELECT actorstore.pause('large');
	SELECT count(actorstore.send('large', i::text, 'm', a.value)) FROM generate_series(1, 150) AS i, actorstore.get('large', i::text) AS a});
my $large = q{SELECT md5(string_agg(actor_id || md5(value::text), ',' ORDER BY actor_id)) FROM actorstore.get_all('large')};
ok(comes_true($two, 'd', q{(SELECT count(*) = 150 FROM actorstore.message WHERE actor_type = 'large')}), 'large messages reach the other node');
ok(comes_true($one, 'd', q{NOT EXISTS (SELECT FROM actorstore.outbox)}), 'none is left here');
my $before = $one->safe_psql('d', $large);

# A broadcast reaches each member once, whoever moves between the looks at two nodes, and where to.
$one->safe_psql('d', q{SELECT actorstore.create_type('player'); SELECT count(actorstore.put('player', i::text, '1')), count(actorstore.join_group('all', 'player', i::text)) FROM generate_series(1, 500) AS i; SELECT actorstore.pause('player')});
foreach my $where ([ $one, 100 ], [ $one, 10000 ], [ $two, 100 ], [ $two, 10000 ])
{
	my ($looks, $weight) = @$where;
	my ($here) = rows($looks, 'd', q{SELECT count(*) FROM actorstore.group_member});
	my $client = ActorstoreTest::Session->new($looks, 'd');

	$client->query(q{SET actorstore.fault = 'route:wait'});
	unlink map { $looks->data_dir . "/fault.route.$_" } qw(reached go);
	$client->start(q{SELECT actorstore.broadcast('all', 'm')});
	reached($looks, 'route');
	rebalance_to($weight);
	ok(all_moved(), 'members move after ' . $looks->name . ' has looked');
	isnt($looks->safe_psql('d', q{SELECT count(*) FROM actorstore.group_member}), $here, 'not all are where they were');

	# it asks again if nodes know another epoch by then
	until ($client->done) { release($looks, 'route'); usleep(10_000); }
	is($client->finish, '500', 'all get the message');
	$client->quit;
}
ok(comes_true($_, 'd', q{NOT EXISTS (SELECT FROM actorstore.outbox)}), 'it has left') foreach @nodes;
is(eval join('+', map { $_->safe_psql('d', q{SELECT count(*) FROM actorstore.message WHERE actor_type = 'player'}) } @nodes), '2000', 'each of them four times');

# A type is declared while its actors are about to go.  That begins at one, and waits at the node that has a copy of them: at one
# itself; or, if they are to go from there, elsewhere, when it has locked the types at one: then the copy gives way.
$one->safe_psql('d', q{SELECT count(actorstore.put(t, i::text, '1')) FROM generate_series(1, 5000) AS i, unnest('{late,later}'::text[]) AS t});
foreach my $case ([ $two, $one, 100, 'late' ], [ $one, $two, 10000, 'later' ])
{
	my ($giver, $taker, $weight, $type) = @$case;
	my $session = ActorstoreTest::Session->new($two, 'd');

	unlink map { $giver->data_dir . "/fault.move_frozen.$_" } qw(reached go);
	$giver->append_conf('postgresql.conf', "actorstore.fault = 'move_frozen:wait'");
	$giver->reload;
	rebalance_to($weight);
	reached($giver, 'move_frozen');
	$session->query(q{BEGIN});
	$session->start("SELECT actorstore.create_type('$type')");
	ok(comes_true($taker, 'd', q{EXISTS (SELECT FROM pg_stat_activity WHERE query ~ '(local|create)_type\(' AND wait_event_type = 'Lock')}), "$type: who declares it waits for the copy");
	$giver->append_conf('postgresql.conf', "actorstore.fault = ''");
	$giver->reload;
	release($giver, 'move_frozen');
	my $answer = $session->finish;
	while ($answer eq 'ERROR:  VA007')	# slots have moved meanwhile
	{
		$session->query(q{ROLLBACK});
		$session->query(q{BEGIN});
		$answer = $session->query("SELECT actorstore.create_type('$type')");
	}
	is($answer, '', "$type: it is declared");
	is($session->query(q{COMMIT}), '', "$type: for good");
	$session->quit;
	ok(all_moved(), "$type: all moves where a type is declared meanwhile");
	is($one->safe_psql('d', "SELECT count(*) FROM actorstore.get_all('$type')"), '5000', "$type: all its actors are there");
}
foreach my $node (@nodes)
{
	is($node->safe_psql('d', sprintf q{SELECT count(*) FROM (SELECT actor_type, actor_id FROM actorstore.actor UNION ALL SELECT actor_type, actor_id FROM actorstore.message) AS a
		WHERE actorstore.locate(actor_type, actor_id) <> '%s'}, $node->name), '0', 'where they belong: ' . $node->name);
}
is($one->safe_psql('d', $large), $before, 'large actors are as they were');
is(eval join('+', map { $_->safe_psql('d', q{SELECT count(*) FROM actorstore.message WHERE actor_type = 'large'}) } @nodes), '150', 'and so are their messages');

done_testing();
