# What a rebalance does when it may not go on: turns that are checked out once it
# is announced, the throttle, off and on again, weights that change back in the
# middle.  And no trigger fires.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

my @nodes = new_cluster('one', 'two', 'three', { faults => 1, settings => join "\n",
	'actorstore.resolver_interval = 100ms', 'actorstore.rebalance_batch = 1024', 'max_worker_processes = 16' });
my ($one, $two, $three) = @nodes;

sub weigh
{
	my (%weights) = @_;

	$one->safe_psql('d', "SELECT actorstore.set_node_weight('$_', $weights{$_})") foreach sort keys %weights;
	return;
}

sub set
{
	my ($setting, @where) = @_;

	foreach my $node (@where)
	{
		$node->append_conf('postgresql.conf', $setting);
		$node->reload;
	}
	return;
}

sub all_moved
{
	return 0 == grep {
		!comes_true($_, 'd', 'NOT EXISTS (SELECT FROM actorstore.moves_now()) AND NOT EXISTS (SELECT FROM actorstore.transit)')
	} @nodes, @nodes;
}

# All actors, and messages, by what they are; and how many are not where they belong
sub everything
{
	return join "\n", sort map {
		rows($_, 'd', q{SELECT actor_type || ' ' || actor_id || value::text || version FROM actorstore.actor
			UNION ALL SELECT message_id || ' ' || actor_id || message FROM actorstore.message})
	} @nodes;
}

sub strays
{
	return join ' ', map { $_->safe_psql('d', sprintf q{SELECT count(*) FROM (SELECT actor_type, actor_id FROM actorstore.actor UNION ALL SELECT actor_type, actor_id FROM actorstore.message) AS a
		WHERE actorstore.locate(actor_type, actor_id) <> '%s'}, $_->name) } @nodes;
}

weigh(two => 0, three => 0);
$one->safe_psql('d', q{
	SELECT actorstore.create_type('thing');
	SELECT actorstore.create_type('job');
	SELECT actorstore.set_handler('job', '*', 'actorstore.outside(jsonb,jsonb)');
	SELECT count(actorstore.insert('thing', i::text, jsonb_build_object('i', i))) FROM generate_series(1, 1000) AS i;
	SELECT actorstore.send('job', i::text, 'm' || i) FROM generate_series(1, 40) AS i});
$_->safe_psql('d', q{
	CREATE TABLE fired (what text);
	CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.fired VALUES (TG_OP); RETURN NULL; END $$;
	CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON actorstore.actor_thing FOR EACH ROW EXECUTE FUNCTION note()}) foreach @nodes;
my $before = everything();

# Turns are checked out when their slots are announced already: these stay, and hold up no others.
set("actorstore.fault = 'move_drained:wait'", $one);
weigh(two => 100, three => 100);
$three->safe_psql('d', 'SELECT FROM actorstore.rebalance(false)');
reached($one, 'move_drained');
is($one->safe_psql('d', q{SELECT count(*) FROM actorstore.checkout('w', '{job}', 40, lease => '1 day')}), '40', 'turns are checked out');
set("actorstore.fault = ''", $one);
release($one, 'move_drained');
ok(comes_true($one, 'd', q{(SELECT sum(slots) = sum(kept) AND sum(moving) = 0 FROM actorstore.moves_now())}), 'all slots move but those of turns that are checked out');
is($one->safe_psql('d', q{SELECT count(*) FROM actorstore.lease}), '40', 'no turn is lost');
is($one->safe_psql('d', q{SELECT DISTINCT reason FROM actorstore.stat_rebalance}), 'a turn is checked out', 'they say why');
is(everything(), $before, 'all is there');
is(strays(), '0 0 0', 'where it belongs');

# They go once the turns are over, when somebody asks for it again.
$one->safe_psql('d', q{SELECT actorstore.fail(turn_id, token, 'no', '1 day') FROM actorstore.lease});
$one->safe_psql('d', 'SELECT FROM actorstore.rebalance(false)');
ok(all_moved(), 'they go when the turns are over');

# Not faster than they may, nor once it is stopped, nor while it is off; and back again in the middle.
sub back_on_one { my ($n, $name) = @_; ok(comes_true($one, 'd', "(SELECT count(*) > $n FROM actorstore.placement WHERE node_name = 'one')"), $name); return; }
sub arrive { ok(comes_true($_, 'd', 'NOT EXISTS (SELECT FROM actorstore.transit)'), "$_[0] what was under way arrives, on " . $_->name) foreach @nodes, @nodes; return; }
set("actorstore.rebalance_batch = 16\nactorstore.rebalance_rate = 50", @nodes);
weigh(two => 0, three => 0);
$two->safe_psql('d', 'SELECT FROM actorstore.rebalance(false)');
back_on_one(1400, 'some slots have come back');
is($one->safe_psql('d', 'SELECT bool_and(rebalancing) FROM actorstore.stat_rebalance'), 't', 'as the view says');
$two->safe_psql('d', 'SELECT actorstore.stop_rebalance()');
arrive('stopped:');
is($one->safe_psql('d', 'SELECT bool_or(rebalancing) OR sum(slots) = 0 OR sum(moving) > 0 FROM actorstore.stat_rebalance'), 'f', 'stopped: as the view says, and not at the end');
my $stopped = $one->safe_psql('d', 'SELECT actorstore.local_in_force()');
set('actorstore.rebalance_rate = 0', @nodes);
$_->safe_psql('d', 'SELECT actorstore.resolve_in_doubt() * 0 FROM generate_series(1, 3)') foreach @nodes, @nodes;
is($_->safe_psql('d', 'SELECT actorstore.local_in_force()'), $stopped, 'stopped: nothing moves, however fast it may, on ' . $_->name) foreach @nodes;
set('actorstore.rebalance_rate = 50', @nodes);
$two->safe_psql('d', 'SELECT FROM actorstore.rebalance(false)');
back_on_one(1450, 'then some more');
set('actorstore.rebalance = off', @nodes);
arrive('off:');
cmp_ok($one->safe_psql('d', q{SELECT sum(slots) FROM actorstore.moves_now()}), '>', 0, 'the others stay');
is(strays(), '0 0 0', 'all is where it belongs in the middle');
weigh(two => 100, three => 100);
set("actorstore.rebalance = on\nactorstore.rebalance_rate = 0", @nodes);
$three->safe_psql('d', 'SELECT FROM actorstore.rebalance(false)');
ok(all_moved(), 'the weights are as before in the middle: so it is in the end');
cmp_ok($one->safe_psql('d', q{SELECT max(n) - min(n) FROM (SELECT count(*) AS n FROM actorstore.placement GROUP BY node_name) AS c}), '<=', 1, 'each has its share');
is(strays(), '0 0 0', 'all is where it belongs');
is(join(' ', map { $_->safe_psql('d', 'SELECT count(*) FROM fired') } @nodes), '0 0 0', 'no trigger has fired');
is($one->safe_psql('d', q{SELECT count(*) FROM actorstore.get_all('thing')}), '1000', 'all actors are there');
$one->safe_psql('d', q{SELECT count(actorstore.update('thing', i::text, '0')) FROM generate_series(1, 1000) AS i});
is(eval join('+', map { $_->safe_psql('d', 'SELECT count(*) FROM fired') } @nodes), 1000, 'they fire when an actor is written');

# A node does not leave before what is on it has moved.
my $job = $one->safe_psql('d', q{SELECT min('j' || i) FROM generate_series(1, 100) AS i WHERE actorstore.locate('job', 'j' || i) = 'one'});
$one->safe_psql('d', "SELECT actorstore.send('job', '$job', 'last')");
is($one->safe_psql('d', q{SELECT actor_id FROM actorstore.checkout('w', '{job}', 40, lease => '1 day', max_wait => '1 min')}), $job, 'a turn is checked out once more');
my $leave = q{SET actorstore.peer_timeout = '1s'; SELECT actorstore.remove_node('one')};
is(sqlstate($two, 'd', $leave), '55006', 'its node cannot leave');
like(($two->psql('d', $leave))[2], qr/ERROR:  node "one" still owns 1 slots that are not empty\nDETAIL:  They do not move; it has no weight any more\./, 'which is said');
is($two->safe_psql('d', q{SELECT string_agg(node_name || ' ' || weight, ', ' ORDER BY node_number) FROM actorstore.node}), 'one 0, two 100, three 100', 'and is a node without weight');
$one->safe_psql('d', q{SELECT actorstore.complete(turn_id, token, '"done"') FROM actorstore.lease});
$two->safe_psql('d', q{SELECT actorstore.remove_node('one')});
is($two->safe_psql('d', q{SELECT string_agg(node_name, ', ' ORDER BY node_number) FROM actorstore.node}), 'two, three', 'once the turn is over it leaves');
is($two->safe_psql('d', qq{SELECT value, (SELECT count(*) FROM actorstore.get_all('thing')) FROM actorstore.get('job', '$job')}), '"done"|1000', 'and all is on the others');

done_testing();
