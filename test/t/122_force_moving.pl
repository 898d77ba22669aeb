# A node that will never return is removed with force while slots move from it,
# or to it: at each step it is clear whose they are then, and what is lost.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

my $settings = "actorstore.resolver_interval = 100ms\nactorstore.rebalance_batch = 64\nmax_worker_processes = 16\nmax_prepared_transactions = 10\nactorstore.workers = 1";
my ($one, $two, $three) = map { new_node($_, faults => 1, settings => $settings, tls => with_tls()) } qw(one two three);
my $round = 0;

foreach my $node ($one, $two)
{
	new_database_with_actors($node, 'd');
	admit_peers($node, 'd');
}
$one->safe_psql('d', q{SELECT actorstore.init_node('one', $$} . peer_conninfo($one, 'd') . '$$)');
$one->safe_psql('d', q{SELECT actorstore.add_node('two', $$} . peer_conninfo($two, 'd') . '$$)');
$one->safe_psql('d', q{SELECT count(actorstore.insert('thing', i::text, to_jsonb(i))) FROM generate_series(1, 400) AS i});

# Another database each time: a number, and a name in the log, for each.
sub add_three
{
	my $name = 'three' . ++$round;

	new_database($three, $name);
	admit_peers($three, $name);
	$one->safe_psql('d', qq{SELECT actorstore.add_node('$name', \$\$} . peer_conninfo($three, $name) . '$$)');
	return $name;
}
sub everything { return join "\n", sort map { rows($_, 'd', 'SELECT actor_id, value, version FROM actorstore.actor') } ($one, $two) }
sub still { return comes_true($_[0], 'd', q{NOT EXISTS (SELECT FROM actorstore.transit) AND (SELECT moving = '{}' FROM actorstore.epoch ORDER BY epoch DESC LIMIT 1)}) }
sub set_fault
{
	my ($node, $place) = @_;

	unlink map { $node->data_dir . "/fault.$place.$_" } qw(reached go);
	$node->append_conf('postgresql.conf', "actorstore.fault = '$place:wait'");
	$node->reload;
	return;
}
sub no_fault { $_[0]->append_conf('postgresql.conf', q{actorstore.fault = ''}); return }

# Is each actor on the node that owns it, and on no other one?
sub in_order
{
	my ($what) = @_;

	ok(still($_), "$what: nothing is in transit on " . $_->name) foreach ($one, $two);
	is($_->safe_psql('d', q{SELECT count(*) FROM actorstore.actor WHERE actorstore.locate(actor_type, actor_id) <> (SELECT node_name FROM actorstore.node WHERE is_self)}), '0', "$what: all that " . $_->name . ' has is its own') foreach ($one, $two);
	my $map = 'SELECT md5(actorstore.local_in_force()::text)';
	$one->safe_psql('d', 'SELECT actorstore.stop_rebalance()');
	ok($two->poll_query_until('d', $map, $one->safe_psql('d', $map)), "$what: one map");
	is($one->safe_psql('d', q{SELECT count(*) FROM actorstore.get_all('thing')}), scalar(my @all = split /\n/, everything()), "$what: all can be read");
	return;
}

# It takes: what was not handed over stays; what was is lost with it.
foreach my $place (qw(move_announced move_frozen move_handed))
{
	my $before = everything();
	my $name = add_three();

	$_->safe_psql('d', q{ALTER SYSTEM SET actorstore.rebalance = off}) foreach ($two);
	$two->reload;
	set_fault($one, $place);
	$one->safe_psql('d', 'SELECT FROM actorstore.rebalance(false)');
	reached($one, $place);
	my $handed = $three->safe_psql($name, 'SELECT count(*) FROM actorstore.actor');
	$three->stop('immediate');
	no_fault($one);
	$one->reload;
	is(sqlstate($two, 'd', "SELECT actorstore.remove_node('$name', force => true, slots_lost => true)"), '00000', "taker at $place: removed");
	release($one, $place);
	in_order("taker at $place");
	my @left = split /\n/, everything();
	is(scalar @left + $handed, scalar(my @all = split /\n/, $before), "taker at $place: $handed actors are lost, all others are there");
	is($handed > 0, $place eq 'move_handed', "taker at $place: as expected");
	$two->safe_psql('d', q{ALTER SYSTEM RESET actorstore.rebalance});
	$two->reload;
	$three->start;
}

# It gives: what was not handed over is lost; what was is at its taker; while that is in doubt, somebody decides.
foreach my $place (qw(move_announced K4 move_handed))
{
	my $name = add_three();
	my $id = 'x' . $round;

	$one->safe_psql('d', qq{SELECT count(actorstore.insert('thing', '$id' || i, to_jsonb(i))) FROM generate_series(1, 300) AS i});
	my $before = everything();
	my $there = $three->safe_psql($name, 'SELECT count(*) FROM actorstore.actor');
	set_fault($three, $place);
	$one->safe_psql('d', qq{SELECT actorstore.set_node_weight('$name', 1)});
	$_->safe_psql('d', q{ALTER SYSTEM SET actorstore.rebalance = off}), $_->reload foreach ($one, $two);
	$one->safe_psql('d', 'SELECT FROM actorstore.rebalance(false)');
	reached($three, $place);
	$three->stop('immediate');
	no_fault($three);
	my $remove = "SELECT actorstore.remove_node('$name', force => true, slots_lost => true)";
	if ($place eq 'K4')
	{
		is(sqlstate($one, 'd', $remove), '55006', "giver at $place: it is in doubt what the taker has");
		my ($gid) = map { rows($_, 'd', 'SELECT gid FROM pg_prepared_xacts') } ($one, $two);
		is($one->safe_psql('d', "SELECT actorstore.resolve_in_doubt('$gid', true)"), '1', "giver at $place: that is decided");
	}
	is(sqlstate($one, 'd', $remove), '00000', "giver at $place: removed");
	in_order("giver at $place");
	my @left = split /\n/, everything();
	my @more = grep { my $line = $_; !grep { $_ eq $line } split /\n/, $before } @left;
	is(scalar(@left) - scalar(@more), scalar(my @all = split /\n/, $before), "giver at $place: the others have what they had");
	is(@more > 0 && @more < $there, $place ne 'move_announced', "giver at $place: and what came to them: " . scalar(@more) . " of $there");
	my $lost = $one->safe_psql('d', qq{SELECT count(*) FROM (SELECT value ->> 'slots' AS slots FROM actorstore.epoch, jsonb_each(lost) WHERE value ->> 'node_name' = '$name' ORDER BY epoch DESC LIMIT 1) AS l,
		actorstore.get_all('thing') AS a WHERE substr(l.slots, actorstore.slot_of('thing', a.actor_id) + 1, 1) = '1'});
	is($lost, '0', "giver at $place: none of these is said to be lost");
	$_->safe_psql('d', q{ALTER SYSTEM RESET actorstore.rebalance}), $_->reload foreach ($one, $two);
	$three->start;
}
$_->stop foreach ($one, $two, $three);
done_testing();
