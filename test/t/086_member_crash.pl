# Who proposes an epoch dies at each step of its round: another node goes on,
# with what was accepted if anything was, and nothing is decided in two ways.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;
use Time::HiRes qw(usleep);

my @nodes = new_cluster('one', 'two', 'three', { faults => 1 });
my ($one, $two, $three) = @nodes;
my $in_force = 'SELECT actorstore.local_in_force()';
my $weight = 100;

sub weights { return $_[0]->safe_psql('d', q{SELECT string_agg(weight::text, ' ' ORDER BY node_number) FROM actorstore.node}) }

# What the one who dies wants is that three has more; two gives slots away then.
foreach my $step ([ 'member_promised', 0 ], [ 'member_consented', 0 ], [ 'member_accepted', 1 ])
{
	my ($place, $survives) = @$step;
	my $before = $weight;
	$weight += 100;

	my $session = ActorstoreTest::Session->new($one, 'd');
	$session->query("SET actorstore.fault = '$place:wait'");
	$session->start("SELECT actorstore.set_node_weight('three', $weight)");
	reached($one, $place);
	is(weights($two), "100 100 $before", "$place: nothing is in force yet");
	$one->stop('immediate');

	$two->safe_psql('d', q{SELECT actorstore.set_node_weight('two', 99)});
	my $expected = $survives ? $weight : $before;
	is(weights($two), "100 99 $expected", "$place: " . ($survives ? 'what was accepted is finished' : 'what nobody has accepted is forgotten'));
	is($three->safe_psql('d', $in_force), $two->safe_psql('d', $in_force), "$place: the same epoch on both");

	$one->start;
	$one->safe_psql('d', "SELECT actorstore.set_node_weight('two', 100)");
	$one->safe_psql('d', "SELECT actorstore.set_node_weight('three', $weight)");
	is(weights($_), "100 100 $weight", "$place: " . $_->name . ' has all of it in the end') foreach @nodes;
	is($_->safe_psql('d', $in_force), $one->safe_psql('d', $in_force), "$place: the same epoch on " . $_->name) foreach ($two, $three);
}

# It only waits too long, and is overtaken: its own change is made after the other's.
unlink $one->data_dir . '/fault.member_promised.reached';
my $session = ActorstoreTest::Session->new($one, 'd');
$session->query("SET actorstore.fault = 'member_promised:wait'");
$session->start(q{SELECT actorstore.set_node_weight('three', 1)});
reached($one, 'member_promised');
$two->safe_psql('d', q{SELECT actorstore.set_node_weight('two', 2)});
release($one, 'member_promised');
usleep(1000) while -e $one->data_dir . '/fault.member_promised.go';
reached($one, 'member_promised');
is(weights($one), '100 2 400', 'a slow proposer is overtaken');
release($one, 'member_promised');
is($session->finish, '', 'and gets on in another round');
is(weights($_), '100 2 1', 'both changes on ' . $_->name) foreach @nodes;

# Two of one node would begin with the same ballot: it is promised to one of them.
$session->start(q{SELECT actorstore.set_node_weight('three', 2)});
reached($one, 'member_promised');
$one->safe_psql('d', q{SELECT actorstore.set_node_weight('two', 3)});
release($one, 'member_promised');
usleep(1000) while -e $one->data_dir . '/fault.member_promised.go';
reached($one, 'member_promised');
release($one, 'member_promised');
is($session->finish, '', 'two proposers of one node');
is(weights($_), '100 3 2', 'both changes are made on ' . $_->name) foreach @nodes;

# Who adds a node dies once that is decided: the new one is told by whoever adds it again, if it is the same database.
my $four = new_node('four', faults => 1, tls => with_tls());
my $add = q{SELECT actorstore.add_node('four', $$} . peer_conninfo($four, 'd') . '$$)';
new_database($four, 'd');
admit_peers($four, 'd');
unlink $one->data_dir . '/fault.member_accepted.reached';
$session->query(q{SET actorstore.fault = 'member_accepted:wait'});
$session->start($add);
reached($one, 'member_accepted');
$one->stop('immediate');
$one->start;
$two->safe_psql('d', q{SELECT actorstore.set_node_weight('two', 100)});
my $known = q{SELECT string_agg(node_name, ' ' ORDER BY node_number) FROM actorstore.node};
is($two->safe_psql('d', $known), 'one two three four', 'it is a node for the others');
is($four->safe_psql('d', $known), '', 'but does not know');
is(sqlstate($two, 'd', q{SELECT actorstore.add_node('five', $$} . peer_conninfo($four, 'd') . '$$)'), '55000', 'it cannot be another node');
$four->safe_psql('postgres', 'CREATE DATABASE e TEMPLATE d');
$two->safe_psql('d', $add);
is($four->safe_psql('d', $in_force), $two->safe_psql('d', $in_force), 'added again, it knows');
is(sqlstate($two, 'd', $add), '42710', 'but once only');
is(sqlstate($two, 'd', q{SELECT actorstore.add_node('six', $$} . peer_conninfo($four, 'e') . '$$)'), '55000', 'a copy of it is not taken in');
$four->safe_psql('d', q{DROP EXTENSION actorstore; CREATE EXTENSION actorstore});
admit_peers($four, 'd');
is(sqlstate($two, 'd', $add), '42710', 'nor is another database in its place');
$four->stop;
$_->stop foreach @nodes;
done_testing();
