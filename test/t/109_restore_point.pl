# All nodes are recovered to one point that was made while they worked: each
# transaction is there on all nodes or on none, each message that was sent
# arrives once.  One node alone, or any that nobody has looked at yet, is fenced.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

BEGIN { delete $ENV{ACTORSTORE_TLS}; }	# what is restored has the same conninfo
use ActorstoreCluster;
use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my @nodes = new_cluster('one', 'two', 'three', { streaming => 1, settings => "max_worker_processes = 16\nactorstore.resolver_interval = 100ms\nactorstore.workers = 1\nwal_level = replica" });
my ($one, $two, $three) = @nodes;

sub q_on { my ($node, $sql) = @_; return $node->safe_psql('d', $sql); }
foreach my $node (@nodes)
{
	q_on($node, q{
		CREATE TABLE sent (n int); INSERT INTO sent VALUES (0);
		CREATE TABLE stop ();
		CREATE FUNCTION add(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql RETURN to_jsonb(coalesce(state::int, 0) + body::int);
		CREATE PROCEDURE work() LANGUAGE plpgsql AS $$
		DECLARE
			ids text[]; n int;
		BEGIN
			LOOP
				SELECT array_agg('a' || i) INTO ids FROM (SELECT i FROM generate_series(1, 30) AS i ORDER BY random() LIMIT 2) AS x;
				n := (random() * 10)::int;
				PERFORM actorstore.get_many('account', ids, 'update');
				PERFORM actorstore.put('account', ids[1], to_jsonb((value #>> '{}')::int - n)) FROM actorstore.get('account', ids[1]);
				PERFORM actorstore.put('account', ids[2], to_jsonb((value #>> '{}')::int + n)) FROM actorstore.get('account', ids[2]);
				COMMIT;
				PERFORM actorstore.send('counter', 'c' || i, 'add', '1') FROM generate_series(1, 3) AS i;
				UPDATE sent AS s SET n = s.n + 3;
				COMMIT;
				EXIT WHEN EXISTS (SELECT FROM stop);
			END LOOP;
		END $$});
	$node->enable_archiving;
	$node->restart;
}
q_on($one, q{SELECT actorstore.create_type('account'), actorstore.create_type('counter', mailbox_limit => 1000000), actorstore.create_type('mark'), actorstore.set_handler('counter', 'add', 'add(jsonb, jsonb)')});
q_on($one, q{SELECT actorstore.put_many('account', array_agg('a' || i), array_agg('100'::jsonb)) FROM generate_series(1, 30) AS i});
my $sum = q{SELECT count(*), sum((value #>> '{}')::int) FROM actorstore.get_many('account', ARRAY(SELECT 'a' || i FROM generate_series(1, 30) AS i), 'share')};
my $counted = q{SELECT sum((value #>> '{}')::int) FROM actorstore.get_many('counter', '{c1,c2,c3}')};
is(q_on($two, $sum), '30|3000', 'the accounts');
my $mark = q{SELECT value FROM actorstore.get_many($$mark$$, ARRAY(SELECT $$m$$ || i FROM generate_series(1, 5) AS i))};

# Who may, and when.
is(sqlstate($one, 'd', q{CREATE ROLE somebody; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA actorstore TO somebody; SET ROLE somebody; SELECT actorstore.restore_point('x')}), '42501', 'not for everybody');
is(sqlstate($one, 'd', q{BEGIN; SELECT actorstore.restore_point('x')}), '25001', 'not in a transaction block');
is(sqlstate($one, 'd', q{SELECT actorstore.restore_point(NULL)}), '22004', 'no name');
is(sqlstate($one, 'd', q{SELECT actorstore.restore_point(repeat('x', 64))}), '22023', 'too long a name');
is(sqlstate($one, 'd', q{SELECT actorstore.restore_point('')}), '22023', 'one that nobody could recover to');
is(sqlstate($one, 'd', q{SELECT actorstore.local_restore_point('x')}), '55000', 'not without having stopped the others');
is(sqlstate($one, 'postgres', q{CREATE EXTENSION actorstore; SELECT actorstore.restore_point('x')}), '55000', 'not where there is no node');
$three->stop;
is(sqlstate($one, 'd', q{SELECT actorstore.restore_point('x')}), '08006', 'not without one of the nodes');
$three->start;

# Who decides waits meanwhile, and is waited for.
my $holder = ActorstoreTest::Session->new($two, 'd');
my $waits = ActorstoreTest::Session->new($one, 'd');
$holder->query('BEGIN'); $holder->query('SELECT actorstore.local_hold()');
my @ids = map { my $name = $_; (rows($one, 'd', "SELECT 'x' || i FROM generate_series(1, 99) AS i WHERE actorstore.locate('mark', 'x' || i) = '$name' LIMIT 1"))[0] } qw(one two three);
$two->safe_psql('d', "SELECT actorstore.put('mark', '$ids[1]', '1')");
my $decides = ActorstoreTest::Session->new($two, 'd');
$decides->start("SELECT actorstore.put_many('mark', '{$ids[0],$ids[1]}', '{7,7}')");
ok(comes_true($two, 'd', q{EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'actorstore.decision'::regclass)}), 'a decision waits');
$waits->start(q{SELECT node_name FROM actorstore.restore_point('waits')});
ok(comes_true($two, 'd', q{(SELECT count(*) = 2 FROM pg_locks WHERE NOT granted AND relation = 'actorstore.decision'::regclass)}), 'so does another point, behind it');
$holder->query('COMMIT');
is($decides->finish, '2', 'then it is made');
is($waits->finish, "one\ntwo\nthree", 'and so is the point');
$decides->query('BEGIN'); $decides->query('LOCK actorstore.decision IN ROW EXCLUSIVE MODE');
is(sqlstate($one, 'd', q{SET lock_timeout = '100ms'; SELECT actorstore.restore_point('x')}), '55P03', 'who is deciding is waited for, not without end');
$decides->query('COMMIT');
$_->quit foreach $holder, $waits, $decides;

# Points under load.
$_->backup('base') foreach @nodes;
my @work = map { ActorstoreTest::Session->new($nodes[$_ % 3], 'd') } 0 .. 5;
$_->start('CALL work()') foreach @work;
sub goes_on { my ($n, $node) = @_; return comes_true($node, 'd', "(SELECT n > $n FROM sent)"); }
ok((grep { goes_on(30, $_) } @nodes) == 3, 'all work');
# As restore_point() does it, with time between one node and the next: whatever were not held would come in between.
sub slowly
{
	my ($name) = @_;
	my @sessions = map { ActorstoreTest::Session->new($_, 'd') } @nodes;
	my $points = 0;

	$_->query('BEGIN') foreach @sessions;
	$_->query('SELECT actorstore.local_hold()') foreach @sessions;
	foreach my $session (@sessions[ 2, 0, 1 ])
	{
		$points++ if $session->query("SELECT actorstore.local_restore_point('$name')") =~ m{^[0-9A-F]+/[0-9A-F]+$};
		usleep(500_000);
	}
	$_->query('COMMIT') foreach @sessions;
	$_->quit foreach @sessions;
	return $points;
}
foreach my $i (1 .. 5)
{
	q_on($two, "SELECT actorstore.put('mark', 'm$i', '$i')");
	is($i == 3 ? slowly("point $i") : scalar(rows($nodes[$i % 3], 'd', "SELECT * FROM actorstore.restore_point('point $i')")), 3, "point $i");
	my $now = q_on($one, 'SELECT n FROM sent');
	ok(goes_on($now + 6, $one), "point $i: they go on");
}
$_->safe_psql('d', 'INSERT INTO stop DEFAULT VALUES') foreach @nodes;
is($_->finish, '', 'nobody has met an error') foreach @work;
$_->quit foreach @work;
is(q_on($one, $sum), '30|3000', 'nothing is made or lost');
is(q_on($one, $mark), "1\n2\n3\n4\n5", 'five marks');
foreach my $node (@nodes)
{
	my $file = q_on($node, q{SELECT pg_walfile_name(pg_switch_wal())});
	$node->poll_query_until('d', "SELECT last_archived_wal >= '$file' FROM pg_stat_archiver") or die 'not archived';
}

# To the third point.
sub restore
{
	my ($node) = @_;
	my $new = ActorstoreCluster->new('restored_' . $node->name, port => $node->port);

	$node->stop;
	$new->init_from_backup($node, 'base', has_restoring => 1, standby => 0);
	$new->append_conf('postgresql.conf', "archive_mode = off\nrecovery_target_name = 'point 3'\nrecovery_target_action = promote");
	$new->start;
	$new->poll_query_until('d', 'SELECT NOT pg_is_in_recovery()') or die 'recovery does not end';
	return $new;
}
my @restored = (undef, restore($two), undef);
is($restored[1]->safe_psql('d', q{SELECT ok FROM actorstore.doctor() WHERE item = 'fence'}), 'f', 'one node alone, in the past: fenced');
like(q_on($one, q{SELECT ok, detail FROM actorstore.node_check('two')}), qr/^f\|node "two" cannot be spoken to: .*another node, or none/, 'the others do not speak to it');
my ($there) = rows($one, 'd', q{SELECT 'a' || i FROM generate_series(1, 30) AS i WHERE actorstore.locate('account', 'a' || i) = 'two' LIMIT 1});
is(sqlstate($one, 'd', "SELECT actorstore.put('account', '$there', '0')"), '55000', 'so nothing is done there');
is(sqlstate($restored[1], 'd', "SELECT actorstore.execute_on_nodes('SELECT 1')"), '55000', 'nor by it');
@restored[ 0, 2 ] = (restore($one), restore($three));
foreach my $node (@restored)
{
	is(q_on($node, q{SELECT ok FROM actorstore.doctor() WHERE item = 'fence'}), 'f', $node->name . ' is fenced');
	is(q_on($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('actorstore worker', 'actorstore resolver', 'actorstore forwarder') AND datname = 'd'}), '0', $node->name . ': nobody works');
}
my $sent = eval join '+', map { q_on($_, 'SELECT n FROM sent') } @restored;
is(q_on($_, 'SELECT actorstore.unfence(), actorstore.unfence()'), 't|f', $_->name . ' goes on') foreach @restored;
ok(comes_true($_, 'd', q{NOT EXISTS (SELECT FROM pg_prepared_xacts) AND NOT EXISTS (SELECT FROM actorstore.in_doubt)}), 'nothing is in doubt on ' . $_->name) foreach @restored;
is(q_on($_, $sum), '30|3000', 'the same sum, seen from ' . $_->name) foreach @restored;
is(q_on($restored[0], $mark), "1\n2\n3", 'three marks');
cmp_ok($sent, '>', 90, "messages sent by then: $sent");
ok(comes_true($restored[0], 'd', "($counted) = $sent"), 'each comes once');
ok(comes_true($_, 'd', q{NOT EXISTS (SELECT FROM actorstore.outbox) AND NOT EXISTS (SELECT FROM actorstore.message)}), 'all are there: ' . $_->name) foreach @restored;
is(q_on($restored[0], $counted), $sent, 'not twice');
$_->safe_psql('d', 'TRUNCATE stop; INSERT INTO stop DEFAULT VALUES; CALL work()') foreach @restored;
is(q_on($restored[1], $sum), '30|3000', 'they work');
ok(comes_true($restored[0], 'd', "($counted) = $sent + 9"), 'and send');
unlike(slurp_file($_->logfile), qr/LOST|PANIC/, 'nothing was lost: ' . $_->name) foreach @restored;

$_->stop foreach @restored;
done_testing();
