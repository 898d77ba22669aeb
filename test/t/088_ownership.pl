# A slot changes its owner while others want to write actors in it: no actor is
# ever left on a node that does not own its slot.  Slots about to be given away
# are closed to new actors only; whoever holds one, prepared or not, is waited
# for; what was closed opens again whatever becomes of the change.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;
use Time::HiRes qw(usleep);

# Nodes wait for those who hold slots as long as they do for each other.
my %options = (faults => 1, settings => "max_prepared_transactions = 10\nmax_worker_processes = 16\nactorstore.peer_timeout = 1s\nactorstore.resolver_interval = 100ms\n");
sub patient
{
	my ($timeout) = @_;

	foreach my $node (@_[ 1 .. $#_ ])
	{
		$node->safe_psql('postgres', "ALTER SYSTEM SET actorstore.peer_timeout = '$timeout'");
		$node->reload;
		$node->poll_query_until('d', "SELECT current_setting('actorstore.peer_timeout') = '$timeout'") or die;
	}
	return;
}

my ($one, $two) = map { new_node($_, %options) } qw(one two);
my %conninfo = map { $_->name => $_->connstr('d') } ($one, $two);
new_database_with_actors($_, 'd') foreach ($one, $two);

# What stands on a node in the name of actors of others.
sub strays
{
	my ($node) = @_;
	my $actors = join ' UNION ALL ', map { "SELECT actor_type, actor_id FROM actorstore.$_" } qw(actor message timer dead_message group_member halted spawned);
	return $node->safe_psql('d', "SELECT count(*) FROM ($actors) AS a WHERE actorstore.locate(actor_type, actor_id) <> (SELECT node_name FROM actorstore.node WHERE is_self)");
}

# Ids of n actors, each in a slot of its own which a node owns and which holds nothing.
sub ids
{
	my ($node, $n) = @_;
	return rows($node, 'd', qq{SELECT min(i) FROM generate_series(1, 20000) AS i WHERE actorstore.locate('t', i::text) = '} . $node->name . qq{'
		AND actorstore.slot_of('t', i::text) NOT IN (SELECT actorstore.slot_of(actor_type, actor_id) FROM actorstore.actor)
		GROUP BY actorstore.slot_of('t', i::text) ORDER BY 1 DESC LIMIT $n});
}
sub list { return join ',', map { "'$_'" } @_ }
sub put_many { return sprintf q{SELECT actorstore.put_many('t', ARRAY[%s], array_fill('1'::jsonb, ARRAY[%d]))}, list(@_), scalar @_ }
my $nobody = 'NOT EXISTS (SELECT FROM actorstore.ballot WHERE closing <> \'{}\' OR given <> \'{}\')';

# Whoever began before there was a node holds no slots: all are waited for.
my $before = ActorstoreTest::Session->new($one, 'd');
$before->query('BEGIN; SELECT 1');
$one->safe_psql('d', qq{SELECT actorstore.init_node('one', \$\$$conninfo{one}\$\$)});
is($before->query(put_many(1 .. 100)), '100', 'written by one who began before the node');
my $adder = ActorstoreTest::Session->new($one, 'd');
$adder->start(qq{SELECT actorstore.add_node('two', \$\$$conninfo{two}\$\$)});
my $looks = 0;
foreach (1 .. 10)
{
	$looks += $one->safe_psql('d', q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'actorstore peer' AND wait_event_type = 'Extension'
		AND wait_event = CASE WHEN current_setting('server_version_num')::int < 170000 THEN 'Extension' ELSE 'ActorstoreNodeSettle' END});
	usleep(20_000);
}
cmp_ok($looks, '>=', 5, 'what is waited for is shown');
is($adder->finish, 'ERROR:  55P03', 'nothing is given away as long as he is there');
$adder->quit;
is($one->safe_psql('d', q{SELECT count(*) FROM actorstore.node}), '1', 'and nothing has changed');
$before->query('COMMIT');

# The same on a database that joins.
my $there = ActorstoreTest::Session->new($two, 'd');
$two->safe_psql('d', 'SELECT actorstore.unfence()');
$there->query(q{BEGIN; SELECT actorstore.put('t', 'loose', '1')});
is(sqlstate($one, 'd', qq{SELECT actorstore.add_node('two', \$\$$conninfo{two}\$\$)}), '55P03', 'nor does a database join that is in use');
is($there->query(q{ROLLBACK; SELECT (actorstore.put('t', 'loose', '1')).version}), '0', 'it goes on as it was');
is(sqlstate($one, 'd', qq{SELECT actorstore.add_node('two', \$\$$conninfo{two}\$\$)}), '55000', 'it has an actor now');
$two->safe_psql('d', q{SELECT actorstore.delete('t', 'loose'); INSERT INTO actorstore.arrival VALUES (gen_random_uuid())});
is(sqlstate($two, 'd', "SELECT actorstore.$_"), 'VA007', "about to join: $_") foreach (q{put('t', 'x', '1')}, q{get('t', 'x')}, q{send('t', 'x', 'm')}, q{list('t')}, q{set_timer('t', 'x', 'n', 'm', after => '1 h')});
is($two->safe_psql('d', q{SELECT actorstore.unfence(); SELECT (actorstore.get('t', 'x')).version IS NULL}), "f\nt", 'unless nothing comes of it');

$one->safe_psql('d', qq{SELECT actorstore.add_node('two', \$\$$conninfo{two}\$\$)});
is($two->safe_psql('d', 'SELECT count(*) FROM actorstore.arrival'), '0', 'it has joined');
cmp_ok($two->safe_psql('d', q{SELECT count(*) FROM actorstore.placement WHERE node_name = 'two'}), '>', 1900, 'with half of the slots, but for those that hold something');
is(strays($one), '0', 'all actors stayed with their slots');

# Done where the actor lives.
my ($foreign) = ids($two, 1);
foreach my $pair ([ q{pause('t', '%s')}, q{resume('t', '%s')}, 'halted' ], [ q{join_group('g', 't', '%s')}, q{leave_group('g', 't', '%s')}, 'group_member' ])
{
	my ($do, $undo, $table) = @$pair;
	is(sqlstate($one, 'd', 'SELECT actorstore.' . sprintf($do, $foreign)), '00000', "$do for another node's actor");
	is($_->safe_psql('d', "SELECT count(*) FROM actorstore.$table"), $_ == $two ? '1' : '0', "$do: " . $_->name) foreach ($one, $two);
	is($one->safe_psql('d', 'SELECT actorstore.' . sprintf($undo, $foreign)), 't', $undo);
	is($two->safe_psql('d', "SELECT count(*) FROM actorstore.$table"), '0', "$undo: there");
}
is(strays($_), '0', 'nothing on ' . $_->name . ' that belongs elsewhere') foreach ($one, $two);

# What is not committed yet is not given away: the slots that it is in stay.
patient('1min', $one, $two);
my $session = ActorstoreTest::Session->new($one, 'd');
my $change = ActorstoreTest::Session->new($one, 'd');
my @ids = ids($one, 150);
$session->query('BEGIN; ' . put_many(@ids));
is($session->query(q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 6 AND pid = pg_backend_pid()}), '65', 'a transaction locks 64 slots one by one, then all');
$change->start(q{SELECT actorstore.set_node_weight('two', 300)});
ok(comes_true($one, 'd', q{(SELECT closing <> '{}' FROM actorstore.ballot)}), 'slots are closed');
my $closed = $one->safe_psql('d', qq{SELECT min(i) FROM generate_series(1, 20000) AS i WHERE actorstore.slot_of('t', i::text) IN (SELECT unnest(closing) FROM actorstore.ballot)
	AND NOT i::text IN (@{[ list(@ids) ]})});
is(sqlstate($one, 'd', qq{SELECT actorstore.send('t', '$closed', 'm')}), 'VA007', 'no new actor in a closed slot');
$session->query('COMMIT');
is($change->finish, '', 'the change is made');
is(strays($_), '0', 'no actor on ' . $_->name . ' that belongs elsewhere') foreach ($one, $two);
is($one->safe_psql('d', "SELECT count(*) FROM actorstore.get_many('t', ARRAY[@{[ list(@ids) ]}])"), '150', 'all are there');
ok(comes_true($one, 'd', $nobody), 'nothing is closed any more');

# A prepared transaction holds its slots, over a restart.
patient('1s', $one, $two);
@ids = ids($one, 150);
$session->query('BEGIN; ' . put_many(@ids) . q{; PREPARE TRANSACTION 'p'});
is(sqlstate($one, 'd', q{SELECT actorstore.set_node_weight('two', 600)}), '55P03', 'prepared actors: the change waits, not for ever');
ok(comes_true($one, 'd', $nobody), 'then nothing is closed');
$session->quit;
$change->quit;
$before->quit;
$one->stop('immediate');
$one->start;
is(sqlstate($one, 'd', q{SELECT actorstore.set_node_weight('two', 600)}), '55P03', 'also after a crash');
$one->safe_psql('d', q{COMMIT PREPARED 'p'; SELECT actorstore.set_node_weight('two', 600)});
is(strays($_), '0', 'prepared: no actor on ' . $_->name . ' that belongs elsewhere') foreach ($one, $two);
is($one->safe_psql('d', "SELECT count(*) FROM actorstore.get_many('t', ARRAY[@{[ list(@ids) ]}])"), '150', 'all are there');

# A savepoint that is rolled back holds nothing; what is around it does.
$session = ActorstoreTest::Session->new($one, 'd');
my $held = q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 6 AND pid = pg_backend_pid()};
@ids = ids($one, 100);
$session->query("BEGIN; SELECT actorstore.put('t', '$ids[0]', '1'); SAVEPOINT a; " . put_many(@ids[ 1 .. 99 ]));
is($session->query($held), '65', 'held within a savepoint');
is($session->query("ROLLBACK TO a; $held"), '1', 'rolled back');
is($session->query(put_many(@ids[ 1 .. 10 ]) . "; RELEASE a; SAVEPOINT b; " . put_many(@ids[ 11 .. 12 ]) . "; ROLLBACK TO b; $held"), "10\n2\n11", 'released into the transaction');
is($session->query("COMMIT; $held"), '0', 'until its end');

# Actors that are there do not mind that slots are closed.
patient('1min', $one, $two);
my $old = $ids[0];
$one->safe_psql('d', q{ALTER DATABASE d SET actorstore.fault = 'slots_closed:wait'});
$change = ActorstoreTest::Session->new($two, 'd');
$change->start(q{SELECT actorstore.set_node_weight('two', 2000)});
reached($one, 'slots_closed');
$one->safe_psql('d', 'ALTER DATABASE d RESET actorstore.fault');
$closed = $one->safe_psql('d', q{SELECT min(i) FROM generate_series(1, 20000) AS i WHERE actorstore.slot_of('t', i::text) IN (SELECT unnest(closing) FROM actorstore.ballot)});
is($one->safe_psql('d', qq{SELECT (actorstore.put('t', '$old', '2')).version}), '1', 'an actor that is there is written');
is(sqlstate($one, 'd', qq{SELECT actorstore.put('t', '$closed', '1')}), 'VA007', 'one that is not, is not');
is($session->query(qq{BEGIN; SELECT (actorstore.put('t', '$old', '3')).version; SELECT actorstore.put('t', '$closed', '1')}), "2\nERROR:  VA007", 'who holds slots does not wait for another one');
$session->query('ROLLBACK');
release($one, 'slots_closed');
is($change->finish, '', 'the slots are given away');
is($one->safe_psql('d', qq{SELECT actorstore.locate('t', '$closed')}), 'two', 'to the other node');
is($one->safe_psql('d', qq{SELECT (actorstore.put('t', '$closed', '1')).version}), '0', 'where the actor is put then');
is(strays($_), '0', 'closed: no actor on ' . $_->name . ' that belongs elsewhere') foreach ($one, $two);
is($two->safe_psql('d', qq{SELECT value FROM actorstore.actor WHERE actor_id = '$closed'}), '1', 'really there');

# Whoever wanted the change is gone: slots do not stay closed.
patient('1s', $one, $two);
foreach my $step ([ 'member_closed', 2100 ], [ 'member_consented', 2200 ])
{
	my ($place, $weight) = @$step;
	my $dead = ActorstoreTest::Session->new($two, 'd');
	my ($epoch) = rows($one, 'd', 'SELECT max(epoch) FROM actorstore.epoch');

	$dead->query("SET actorstore.fault = '$place:wait'");
	my $pid = $dead->query('SELECT pg_backend_pid()');
	$dead->start("SELECT actorstore.set_node_weight('two', $weight)");
	reached($two, $place);
	is($one->safe_psql('d', "SELECT $nobody"), 'f', "$place: slots are closed");
	$two->safe_psql('d', "SELECT pg_terminate_backend($pid)");
	$dead->finish;
	$dead->quit;
	ok(comes_true($one, 'd', $nobody), "$place: they do not stay so");
	is($one->safe_psql('d', 'SELECT max(epoch) FROM actorstore.epoch'), $epoch + 1, "$place: by an epoch in which nothing changes");
	is($_->safe_psql('d', q{SELECT weight FROM actorstore.node WHERE node_name = 'two'}), '2000', "$place: on " . $_->name) foreach ($one, $two);
}

# One that is no node any more refuses all, reads too.
$one->safe_psql('d', q{SELECT actorstore.set_node_weight('one', 0)});
$two->safe_psql('d', q{SELECT count(actorstore.delete('t', actor_id)) FROM actorstore.actor});
$one->safe_psql('d', q{SELECT count(actorstore.delete('t', actor_id)) FROM actorstore.actor});
$two->safe_psql('d', q{SET actorstore.peer_timeout = '60s'; SELECT actorstore.remove_node('one')});
is(sqlstate($one, 'd', "SELECT actorstore.$_"), 'VA007', "removed: $_")
  foreach (q{get('t', 'x')}, q{get_many('t', ARRAY['x'])}, q{get_all('t')}, q{list('t')}, q{put('t', 'x', '1')}, q{insert_many('t', ARRAY['x'], ARRAY['1'::jsonb])}, q{delete('t', 'x')}, q{send('t', 'x', 'm')},
	q{tell('t', 'x', 'm')}, q{call('t', 'x', 'm')}, q{set_timer('t', 'x', 'n', 'm', after => '1 h')}, q{pause('t', 'x')}, q{pause('t')}, q{join_group('g', 't', 'x')}, q{broadcast('g', 'm')});
is($two->safe_psql('d', q{SELECT (actorstore.put('t', 'x', '1')).version}), '0', 'the other one has them all');
$_->stop foreach ($one, $two);
done_testing();
