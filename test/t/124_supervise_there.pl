# Supervisors and children on different nodes: strategies, the order of stopping and starting,
# giving up upwards, circles, rights; whoever dies or moves in between, what was begun is
# brought to its end, and no half of a relation stays.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my @nodes = new_cluster('one', 'two', 'three', { login => 'peer', settings => "actorstore.resolver_interval = 100ms\nmax_worker_processes = 20\nactorstore.peer_timeout = 30s\nactorstore.workers = 2" });
my ($one, $two, $three) = @nodes;
my %by_name = map { $_->name => $_ } @nodes;

$_->safe_psql('d', q{
	CREATE TABLE happened (at timestamptz DEFAULT clock_timestamp(), actor_id text, what text);
	GRANT INSERT ON happened TO PUBLIC;
	CREATE FUNCTION act(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	DECLARE
		me record := actorstore.context();
	BEGIN
		CASE me.message
			WHEN 'make' THEN PERFORM actorstore.spawn(body ->> 0, body ->> 1, '"new"'); RETURN NULL;
			WHEN 'crash' THEN RAISE EXCEPTION 'crash';
			WHEN 'stop' THEN PERFORM actorstore.stop(body ->> 0); RETURN NULL;
			ELSE RETURN '"used"';
		END CASE;
	END $$;
	CREATE FUNCTION hook(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO happened (actor_id, what) SELECT actor_id, CASE message WHEN '$stop' THEN 'stops' ELSE 'starts' END FROM actorstore.context();
		RETURN NULL;
	END $$;
	CREATE ROLE alice LOGIN;
	CREATE ROLE bob LOGIN;
	GRANT CREATE ON DATABASE d TO alice, bob;
	GRANT EXECUTE ON FUNCTION actorstore.supervise, actorstore.unsupervise TO alice}) foreach @nodes;
$one->safe_psql('d', q{
	SET ROLE bob;
	SELECT actorstore.create_type(t, max_attempts => 1, on_exhausted => 'escalate'), actorstore.set_handler(t, '*', 'act(jsonb, jsonb)') FROM unnest(ARRAY['w', 'maker', 'doomed']) AS t;
	SELECT actorstore.set_handler(t, h, 'hook(jsonb, jsonb)') FROM unnest(ARRAY['w', 'doomed']) AS t, unnest(ARRAY['$stop', '$post_restart']) AS h});
$one->safe_psql('d', q{SET ROLE alice; SELECT actorstore.create_type('hers')});

# Actors get names: of where they live, and a number.
my (%of, %name, %used);
foreach (rows($one, 'd', q{SELECT t, actorstore.locate(t, 'a' || i), 'a' || i FROM unnest(ARRAY['w', 'doomed', 'hers']) AS t, generate_series(1, 900) AS i}))
{
	my ($type, $node, $id) = split /\|/;
	push @{ $of{"$type $node"} }, $id;
}
sub fresh { my ($node, $type) = @_; $type //= 'w'; my $id = shift @{ $of{"$type $node"} }; $name{$id} = "$node " . ++$used{$node}; return $id; }

sub is_quiet { return comes_true($_[0], 'd', q{NOT EXISTS (SELECT FROM actorstore.outbox) AND NOT EXISTS (SELECT FROM actorstore.message) AND (SELECT coalesce(sum(on_their_way), 0) = 0 FROM actorstore.stat_outbox)}, kept => 1); }
sub settle
{
	my (@some) = @_ ? @_ : @nodes;
	my $count = '';
	for (1 .. 200)
	{
		is_quiet($_) || return ok(0, 'nothing is under way on ' . $_->name) foreach @some;
		my $now = join ' ', map { $_->safe_psql('d', q{SELECT sum(forwarded), (SELECT last_value FROM actorstore.message_number) FROM actorstore.stat_outbox}, kept => 1) } @some;
		return 1 if $now eq $count;
		$count = $now;
	}
	return ok(0, 'it comes to an end');
}
sub named { my ($id) = @_; return $name{$id} // $id; }

# What has happened since, on all nodes: they have one clock here.
sub seen
{
	my @all = map { rows($_, 'd', q{WITH gone AS (DELETE FROM happened RETURNING *) SELECT extract(epoch FROM at) || '|' || actor_id || '|' || what FROM gone}, kept => 1) } @nodes;
	return join ', ', map { my (undef, $id, $what) = split /\|/; named($id) . " $what" } sort { (split /\|/, $a)[0] <=> (split /\|/, $b)[0] } @all;
}
sub anywhere { return $nodes[ rand @nodes ]->safe_psql('d', $_[0]); }
sub make { my (@ids) = @_; $one->safe_psql('d', "SELECT actorstore.send('maker', 'm', 'make', '[\"w\", \"$_\"]')") foreach @ids; settle(); return; }
sub crash { my ($id, $type) = @_; $type //= 'w'; anywhere("SELECT actorstore.send('$type', '$id', 'crash')"); return; }
sub supervise { my ($parent, $child, $options, $node) = @_; ($node // $nodes[ rand @nodes ])->safe_psql('d', "SELECT actorstore.supervise('w', '$parent', 'w', '$child'" . ($options ? ", $options" : '') . ')'); return; }
sub children { my ($node, $parent) = @_; return join ', ', map { named($_) } rows($node, 'd', "SELECT child_id FROM actorstore.supervision WHERE parent_id = '$parent' ORDER BY start_order", kept => 1); }
sub halts { return join ', ', sort map { my ($id, $what) = split /\|/; named($id) . " $what" } map { rows($_, 'd', q{SELECT actor_id || '|' || state FROM actorstore.halted_actor}, kept => 1) } @_ ? @_ : @nodes; }
sub logged { my ($node, $parent, $events) = @_; return join ', ', map { my ($id, $what) = split /\|/; named($id) . " $what" } rows($node, 'd', "SELECT child_id || '|' || concat_ws(' ', event, restarts) FROM actorstore.supervision_log WHERE parent_id = '$parent' AND event IN ($events)", kept => 1); }

# Every child has its supervisor's row, and the other way round.
sub halves
{
	my %count;
	foreach my $node (@_ ? @_ : @nodes)
	{
		$count{$_}++ foreach rows($node, 'd', q{SELECT concat_ws(' ', relation, number, parent_id, actor_id, restart, keep_state, asked_at) FROM actorstore.child}, kept => 1);
		$count{$_}-- foreach rows($node, 'd', q{SELECT concat_ws(' ', relation, number, actor_id, child_id, restart, keep_state, asked_at) FROM actorstore.supervised}, kept => 1);
	}
	return join ', ', grep { $count{$_} } sort keys %count;
}
sub steps { return join ' ', map { $_->safe_psql('d', 'SELECT count(*) FROM actorstore.supervision_step', kept => 1) } @_ ? @_ : @nodes; }

# A supervisor on the first node with children on all of them, in this order.
sub tree
{
	my ($options, @where) = @_;
	my ($parent, @children) = (map { fresh($_) } @where);
	make($parent, @children);
	supervise($parent, $_, $options) foreach @children;
	settle();
	seen();
	return ($parent, @children);
}

# Strategies
srand(4711);
my ($s, $a, $b, $c) = tree(q{'one_for_one'}, qw(one one two three));
is(children($one, $s), join(', ', map { named($_) } $a, $b, $c), 'the supervisor has children on all nodes, in the order of the calls');
is(children($two, $s), '', 'which its node shows');
is($one->safe_psql('d', "SELECT DISTINCT strategy, max_restarts, period, restart, keep_state FROM actorstore.supervision WHERE parent_id = '$s'"), 'one_for_one|3|00:00:05|transient|f', 'as asked for');
is(halves(), '', 'each side knows of it');
anywhere("SELECT actorstore.send('w', '$_', 'use')") foreach ($a, $b, $c);
settle();	# the crash may be sent from another node, and be faster
crash($b);
settle();
is(seen(), join(', ', map { named($b) . " $_" } 'stops', 'starts'), 'one_for_one: the child alone is restarted there');
is($one->safe_psql('d', "SELECT (actorstore.get('w', '$b')).value, (actorstore.get('w', '$c')).value"), '"new"|"used"', 'with the state given at spawn()');
is(logged($one, $s, q{'restart'}), named($b) . ' restart 1', "which the supervisor's node logs");
is(logged($two, $s, q{'supervised', 'exited', 'restarted'}), join(', ', map { named($b) . " $_" } 'supervised', 'exited', 'restarted'), "and the child's what became of it");

($s, $a, $b, $c) = tree(q{'one_for_all'}, qw(two one two three));
crash($b);
settle();
is(seen(), join(', ', (map { named($_) . ' stops' } $b, $c, $a), (map { named($_) . ' starts' } $a, $b, $c)), 'one_for_all: the others are stopped in reverse order, all are started in order');
($s, $a, $b, $c) = tree(q{'rest_for_one'}, qw(three one two three));
crash($b);
settle();
is(seen(), join(', ', (map { named($_) . ' stops' } $b, $c), (map { named($_) . ' starts' } $b, $c)), 'rest_for_one: those after it');
anywhere("SELECT actorstore.send('w', '$s', 'stop', '[\"broken\"]')");
settle();
is(seen(), join(', ', map { named($_) . ' stops' } $s, $c, $b, $a), 'a supervisor exits: its children are stopped in reverse order');
is(halts(), join(', ', sort map { named($_) . ' stopped' } $s, $a, $b, $c), 'for good');
anywhere("SELECT actorstore.resume('w', '$s')");
settle();
is(seen(), join(', ', map { named($_) . ' starts' } $a, $b, $c), 'it goes on: they are started in their order');
is(halts() . steps(), '0 0 0', 'nobody waits for anything');

# Asked again: the order stays, the last call stands.
supervise($s, $a, q{'one_for_one', 7, '1 h', true, 'temporary'});
settle();
is(children($three, $s), join(', ', map { named($_) } $a, $b, $c), 'asked for once more: it keeps its place');
is($three->safe_psql('d', "SELECT DISTINCT strategy, max_restarts, period FROM actorstore.supervision WHERE parent_id = '$s'"), 'one_for_one|7|01:00:00', 'what was asked for last is so for all');
is($three->safe_psql('d', "SELECT restart, keep_state FROM actorstore.supervision WHERE child_id = '$a'"), 'temporary|t', 'or for the child');
crash($a);
settle();
is(children($three, $s), join(', ', map { named($_) } $b, $c), 'a temporary child fails: it is one no more');
is(halts() . halves(), named($a) . ' stopped', 'and stays as it is');
anywhere("SELECT actorstore.resume('w', '$a')");
supervise($s, $a, q{'one_for_all', 7, '1 h', true, 'temporary'});
settle();
seen();
crash($b);
settle();
is(seen(), join(', ', (map { named($_) . ' stops' } $b, $a, $c), (map { named($_) . ' starts' } $b, $c)), 'nor is it started with its siblings');
is(children($three, $s) . halves(), join(', ', map { named($_) } $b, $c), 'and is a child no more');
anywhere("SELECT actorstore.resume('w', '$a')");

# Giving up, upwards across nodes
my ($top, $boss) = (fresh('three'), fresh('one'));
($a, $b) = (fresh('two'), fresh('three'));
make($top, $boss, $a, $b);
supervise($top, $boss, q{'one_for_one', 1, '1 day', restart => 'permanent'});
supervise($boss, $_, q{'one_for_one', 1, '1 day'}) foreach ($a, $b);
settle();
seen();
crash($a);
settle();
is(seen(), join(', ', map { named($a) . " $_" } 'stops', 'starts'), 'as many restarts as may be');
crash($b);
settle();
is(seen(), join(', ', named($b) . ' stops', named($boss) . ' stops', named($a) . ' stops', map { named($_) . ' starts' } $boss, $a, $b), 'one more: the supervisor exits, its own restarts it, and it its children');
is(logged($one, $boss, q{'restart', 'gave up'}), named($a) . ' restart 1, ' . named($b) . ' gave up 2', 'it gave up');
is(logged($three, $top, q{'restart', 'gave up'}), named($boss) . ' restart 1', 'its own did not');
foreach (1 .. 2)
{
	crash($a);
	settle();
}
is(logged($three, $top, q{'gave up'}), named($boss) . ' gave up 2', 'until that has done so too often');
is(halts(), join(', ', sort map { named($_) . ' stopped' } $top, $boss, $a, $b), 'and the tree stands still');
is(halves() . steps(), '0 0 0', 'as a tree');
anywhere("SELECT actorstore.resume('w', '$top')");
settle();
is(halts(), '', 'until it goes on');
seen();

# unsupervise(), also while its supervisor waits for it
($s, $a, $b, $c) = tree(q{'one_for_all', 100}, qw(one two three two));
is($three->safe_psql('d', "SELECT actorstore.unsupervise('w', '$a'), actorstore.unsupervise('w', '$a')"), 't|f', 'unsupervised from a third node');
settle();
is(children($one, $s) . halves(), join(', ', map { named($_) } $b, $c), 'it is a child no more');
anywhere("SELECT actorstore.pause('w', '$b')");
crash($c);
ok(comes_true($one, 'd', "EXISTS (SELECT FROM actorstore.supervision_step WHERE child_id = '$b' AND action = 'stop' AND sent)"), 'the supervisor waits for a child that is paused');
is($two->safe_psql('d', "SELECT actorstore.unsupervise('w', '$b')"), 't', 'which leaves');
anywhere("SELECT actorstore.resume('w', '$b')");
settle();
is(seen(), join(', ', map { named($c) . " $_" } 'stops', 'starts'), 'it waits no more, and who has left is not stopped');
is(halts() . halves() . steps(), '0 0 0', 'nor does anybody else wait');


# It leaves and comes back meanwhile.
foreach my $where (qw(one three))
{
	($s, $a, $b, $c) = tree(q{'one_for_all', 100}, 'one', 'two', $where, 'two');
	anywhere("SELECT actorstore.pause('w', '$b')");
	crash($c);
	ok(comes_true($one, 'd', "EXISTS (SELECT FROM actorstore.supervision_step WHERE child_id = '$b' AND action = 'stop' AND sent)"), 'the supervisor waits for a child that is paused');
	is($two->safe_psql('d', "SELECT actorstore.unsupervise('w', '$b')"), 't', 'which leaves');
	supervise($s, $b, q{'one_for_all', 100});
	anywhere("SELECT actorstore.resume('w', '$b')");
	settle();
	is(halts() . halves() . steps(), '0 0 0', "and comes back, on $where: nobody waits any more");
	is(children($one, $s), join(', ', map { named($_) } $a, $c, $b), 'it is the last one now');
	seen();
}

# A tree stays a tree.
my @ring = map { fresh($_) } qw(one two three one two three);
make(@ring);
supervise($ring[$_], $ring[ $_ + 1 ]) foreach 0 .. 4;
is(sqlstate($_, 'd', "SELECT actorstore.supervise('w', '$ring[5]', 'w', '$ring[0]')"), '42P17', 'a circle over three nodes, from ' . $_->name) foreach @nodes;
like(($two->psql('d', "SELECT actorstore.supervise('w', '$ring[5]', 'w', '$ring[0]')"))[2], qr/DETAIL:  \Q(w, $ring[0]) supervises (w, $ring[1]) supervises\E.*\Qsupervises (w, $ring[5]).\E/, 'which is shown');
is(sqlstate($three, 'd', "SELECT actorstore.supervise('w', '$ring[0]', 'w', '$ring[0]')"), '42P17', 'by itself');
is(sqlstate($one, 'd', "SELECT actorstore.supervise('w', '$s', 'w', '$ring[1]')"), '23505', 'a second supervisor');
my ($x, $y) = (fresh('one'), fresh('two'));
make($x, $y);
my ($first, $second) = map { ActorstoreTest::Session->new($_, 'd') } $one, $two;
$first->query("BEGIN; SELECT actorstore.supervise('w', '$x', 'w', '$y')");
$second->start("SELECT actorstore.supervise('w', '$y', 'w', '$x')");
ok(comes_true($two, 'd', q{EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 5 AND NOT granted)}), 'two that would make a circle together: one waits');
$first->query('COMMIT');
like($second->finish, qr/42P17/, 'and sees what the other one has done');
$first->query("BEGIN; SELECT actorstore.supervise('w', '$ring[5]', 'w', '$x')");
$first->query('ROLLBACK');
$_->quit foreach ($first, $second);
settle();
is(children($three, $ring[5]) . halves(), '', 'undone on all nodes');

# Who may not
my $mine = fresh('two');
my ($her, $her_child) = (fresh('one', 'hers'), fresh('three', 'hers'));
make($mine);
is(sqlstate($_, 'd', "SET ROLE alice; SELECT actorstore.supervise('hers', '$her', 'w', '$mine')"), '42501', 'not of types of others, on ' . $_->name) foreach @nodes;
is(sqlstate($one, 'd', "SET ROLE alice; SELECT actorstore.supervise('w', '$mine', 'hers', '$her')"), '42501', 'nor by such');
is(sqlstate($two, 'd', "SET ROLE alice; SELECT actorstore.supervise('hers', '$her', 'hers', '$her_child')"), '00000', 'but of ones own');
settle();
is($one->safe_psql('d', "SET ROLE alice; SELECT child_id FROM actorstore.supervision"), $her_child, 'which one may see');
is(sqlstate($two, 'd', "SET ROLE alice; SELECT actorstore.unsupervise('w', '$ring[1]')"), '42501', 'nor to end it');
is(sqlstate($two, 'd', "SET ROLE alice; SELECT actorstore.$_"), '42501', 'nobody but nodes may call local functions') foreach ("local_supervise('alice', 1, 'hers', '$her', 'hers', '$her_child', 'one_for_one', 1, '1 s', true, 'transient', 1)", "local_supervisor('alice', 1, 'hers', '$her')");
anywhere("SELECT actorstore.send('w', '$mine', 'stop', '[\"enough\"]')");
settle();
is(sqlstate($three, 'd', "SELECT actorstore.supervise('w', '$mine', 'w', '" . fresh('one') . q{')}), 'VA005', 'nor does who is stopped');
anywhere("SELECT actorstore.resume('w', '$mine')");
settle();
seen();

# A child fails while its supervisor's node is down.
($s, $a, $b, $c) = tree(q{'one_for_all', 100}, qw(one two three two));
$one->stop('immediate');
is(sqlstate($two, 'd', "SELECT actorstore.supervise('w', '$s', 'w', '$mine')"), '08006', 'whose supervisor is out of reach gets none');
$two->safe_psql('d', "SELECT actorstore.send('w', '$a', 'crash')");
ok(comes_true($two, 'd', "EXISTS (SELECT FROM actorstore.halted_actor WHERE actor_id = '$a' AND state = 'restarting')"), 'a child fails meanwhile: it waits');
is(halts($two, $three), named($a) . ' restarting', 'and nobody else does anything');
$one->start;
settle();
is(seen(), join(', ', (map { named($_) . ' stops' } $a, $c, $b), (map { named($_) . ' starts' } $a, $b, $c)), 'the supervisor is back: all are restarted');
is(halts() . halves() . steps(), '0 0 0', 'nothing is left to do');

# Servers are killed between the steps.
foreach my $victim ($one, $three, $two)
{
	anywhere("SELECT actorstore.pause('w', '$b')");
	crash($a);
	ok(comes_true($one, 'd', "EXISTS (SELECT FROM actorstore.supervision_step WHERE child_id = '$b' AND action = 'stop' AND sent)"), 'half of it is done');
	$victim->stop('immediate');
	$victim->start;
	anywhere("SELECT actorstore.resume('w', '$b')");
	settle();
	is(seen(), join(', ', (map { named($_) . ' stops' } $a, $c, $b), (map { named($_) . ' starts' } $a, $b, $c)), $victim->name . ' is killed in between: each is stopped and started once, in order');
	is(halts() . halves() . steps(), '0 0 0', 'nothing is left to do');
}

# Types go.
my ($before, $after) = (fresh('two', 'doomed'), fresh('three', 'doomed'));
my ($over, $under) = (fresh('one'), fresh('one'));
make($over, $under);
anywhere("SELECT actorstore.supervise('w', '$over', 'doomed', '$before', restart => 'permanent'), actorstore.supervise('doomed', '$after', 'w', '$under')");
settle();
is(children($one, $over) . ' and ' . children($three, $after), named($before) . ' and ' . named($under), 'a supervisor and a child of a type');
$two->safe_psql('d', q{SELECT actorstore.drop_type('doomed')});
settle();
is(children($one, $over) . halves(), '', 'which goes: nothing is left of either');

# Slots move, with what a supervisor has begun.
anywhere("SELECT actorstore.pause('w', '$b')");
crash($a);
ok(comes_true($one, 'd', "EXISTS (SELECT FROM actorstore.supervision_step WHERE child_id = '$b' AND action = 'stop' AND sent)"), 'half of it is done');
$one->safe_psql('d', q{SELECT actorstore.set_node_weight('one', 0); SELECT count(*) FROM actorstore.rebalance(false)});
ok(comes_true($_, 'd', q{NOT EXISTS (SELECT FROM actorstore.placement WHERE node_name = 'one')}), 'all that was on one has moved, as ' . $_->name . ' knows') foreach @nodes;
is($one->safe_psql('d', q{SELECT (SELECT count(*) FROM actorstore.supervisor) + (SELECT count(*) FROM actorstore.supervised) + (SELECT count(*) FROM actorstore.child) + (SELECT count(*) FROM actorstore.supervision_step) + (SELECT count(*) FROM actorstore.supervision_restart)}), '0', 'supervisors, children and steps too');
my $there = $by_name{ $one->safe_psql('d', "SELECT actorstore.locate('w', '$s')") };
is(children($there, $s), join(', ', map { named($_) } $a, $b, $c), 'they know each other there');
anywhere("SELECT actorstore.resume('w', '$b')");
settle();
is(seen(), join(', ', (map { named($_) . ' stops' } $a, $c, $b), (map { named($_) . ' starts' } $a, $b, $c)), 'what was begun is brought to its end');
$one->safe_psql('d', q{SELECT actorstore.set_node_weight('one', 100), actorstore.set_node_weight('two', 0); SELECT count(*) FROM actorstore.rebalance(false)});
ok(comes_true($_, 'd', q{NOT EXISTS (SELECT FROM actorstore.placement WHERE node_name = 'two')}), 'the children move, as ' . $_->name . ' knows') foreach @nodes;
crash($c);
settle();
is(seen(), join(', ', (map { named($_) . ' stops' } $c, $b, $a), (map { named($_) . ' starts' } $a, $b, $c)), 'they are restarted there');
is(halts() . halves() . steps(), '0 0 0', 'nothing is left to do');

# Everybody is supervised, left, crashed, stopped and resumed by everybody, while slots move and servers are killed.
$one->safe_psql('d', "SELECT actorstore.set_node_weight('$_', 100)") foreach qw(two three);
my @all = map { "storm $_" } 1 .. 30;
make(@all);
sub deed
{
	my ($x, $y) = map { "'w', '$_'" } @all[ rand @all, rand @all ];
	my $strategy = (qw(one_for_one one_for_all rest_for_one))[ rand 3 ];
	my $restart = (qw(permanent permanent transient temporary))[ rand 4 ];
	return ("supervise($x, $y, '$strategy', 1000000, '1 s', false, '$restart')", "supervise($x, $y, '$strategy', 1000000, '1 s', false, '$restart')", "supervise($x, $y, max_restarts => 2)",
		"unsupervise($x)", "send($x, 'crash')", "send($x, 'crash')", "send($x, 'stop', '[\"broken\"]')", "resume($x)")[ rand 8 ];
}
foreach my $round (1 .. 3)
{
	my @clients = map {
		my $script = $_->basedir . "/storm_$round.sql";
		append_to_file($script, join '', "SET lock_timeout = '20s';\n", map { 'SELECT actorstore.' . deed() . ";\n" } 1 .. 100);
		IPC::Run::start([ 'psql', '-XAtq', '-d', $_->connstr('d'), '-f', $script ], '<', '/dev/null', '>', '/dev/null', '2>', '/dev/null')
	} @nodes;
	$one->psql('d', 'SELECT count(*) FROM actorstore.rebalance(false)') if $round == 1;
	if ($round > 1)
	{
		my $victim = $nodes[ $round - 1 ];
		$two->safe_psql('d', 'SELECT pg_sleep(0.5)') if $victim != $two;
		$victim->stop('immediate');
		$victim->start;
	}
	eval { $_->finish } foreach @clients;
	settle();
	is(halves(), '', "round $round: no half of a relation is left");
}
ok(comes_true($_, 'd', q{NOT EXISTS (SELECT FROM actorstore.stat_rebalance) AND NOT EXISTS (SELECT FROM actorstore.in_doubt)}), 'nothing moves any more from ' . $_->name) foreach @nodes;
settle();
is(halves() . steps(), '0 0 0', 'nobody has anything left to do');
my %above = map { split /\|/ } map { rows($_, 'd', q{SELECT actor_id || '|' || parent_id FROM actorstore.child}) } @nodes;
cmp_ok(scalar keys %above, '>', 0, 'some are supervised');
my $rounds = 0;
foreach my $id (keys %above) { my $n = 0; while (defined $above{$id} && $n++ < 1000) { $id = $above{$id}; } $rounds++ if $n >= 1000; }
is($rounds, 0, 'nobody by himself');
unlike(halts(), qr/restarting/, 'nobody waits to be restarted');
seen();

# A node is lost for ever.
my (@lost, @kept);
foreach (rows($one, 'd', q{SELECT actorstore.locate('w', 'z' || i), 'z' || i FROM generate_series(1, 60) AS i}))
{
	my ($node, $id) = split /\|/;
	push @{ $node eq 'three' ? \@lost : \@kept }, $id;
}
$name{$_} = "lost $_" foreach @lost;
make(@kept[ 0 .. 3 ], @lost[ 0, 1 ]);
supervise($kept[0], $_, q{'one_for_all', 100, '1 day', restart => 'permanent'}) foreach ($kept[1], $lost[0], $kept[2]);
supervise($lost[1], $kept[3]);
settle();
seen();
$one->safe_psql('d', "SELECT actorstore.send('w', '$kept[3]', 'use')");
settle();
$three->stop('immediate');
$one->safe_psql('d', "SELECT actorstore.send('w', '$kept[1]', 'crash')");
ok(comes_true($one, 'd', "EXISTS (SELECT FROM actorstore.supervision_step WHERE child_id = '$lost[0]' AND action = 'stop' AND sent)"), 'a supervisor waits for a child of a node that is down');
$two->safe_psql('d', q{SELECT actorstore.remove_node('three', force => true, slots_lost => true)});
@nodes = ($one, $two);
settle();
is(children($one, $kept[0]), "$kept[1], $kept[2]", 'the node is removed: the child is none any more');
is($one->safe_psql('d', "SELECT event, reason FROM actorstore.supervision_log WHERE child_id = '$lost[0]' AND reason = 'nodedown'"), 'exited|nodedown', 'as the log says');
is(seen(), join(', ', (map { "$_ stops" } @kept[ 1, 2 ]), (map { "$_ starts" } @kept[ 1, 2 ])), 'the others are restarted');
is($one->safe_psql('d', "SELECT (actorstore.get('w', '$kept[3]')).value, (SELECT count(*) FROM actorstore.child WHERE actor_id = '$kept[3]'), (SELECT string_agg(event, ' ') FROM actorstore.supervision_log WHERE child_id = '$kept[3]' AND reason = 'nodedown')"), '"used"|0|unsupervised', 'whose supervisor is lost goes on without');
unlike(halts(), qr{restarting}, 'nobody waits to be restarted');
is(halves() . steps(), '0 0', 'nothing is left to do');

$_->stop foreach @nodes;
done_testing();
