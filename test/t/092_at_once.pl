# What is asked of several nodes is asked of all at once: while one has not answered yet, another one is at work already.  Two
# nodes are made to wait, each for something of its own, and both do so at the same time: statements, reads and writes of many
# actors, PREPARE, COMMIT PREPARED.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

# Nobody is told to give up meanwhile.
my @nodes = new_cluster('one', 'two', 'three', { streaming => 1, settings => "actorstore.peer_timeout = 120s\nactorstore.phase_two_timeout = 120s\nactorstore.heartbeat_interval = 0" });
my ($one, @others) = @nodes;

foreach my $node (@nodes)
{
	$node->safe_psql('d', q{
		CREATE TABLE t (n int);
		INSERT INTO t VALUES (0);
		CREATE FUNCTION wait_at_the_end() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM pg_advisory_xact_lock(92);
			RETURN NULL;
		END $$;
		CREATE TABLE late (n int);
		CREATE CONSTRAINT TRIGGER late AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait_at_the_end()})
}
$one->safe_psql('d', q{SELECT actorstore.create_type('t')});
my %of;
push @{ $of{ (split /\|/)[0] } }, (split /\|/)[1] foreach rows($one, 'd', q{SELECT actorstore.locate('t', 'a' || i), 'a' || i FROM generate_series(1, 100) AS i});
my $ids = join ',', map { @{ $of{$_} }[ 0, 1 ] } qw(one two three);

my $session = ActorstoreTest::Session->new($one, 'd');
my @holders = map { ActorstoreTest::Session->new($_, 'd') } @others;

# Both wait like that, in what they do for the session.
sub both_wait
{
	my ($how, $name) = @_;

	ok(comes_true($_, 'd', "EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'actorstore peer' AND state = 'active' AND $how)"), "$name: " . $_->name . ' waits') foreach @others;
	ok(!$session->done, "$name: both do");
	return;
}
my $locked = q{wait_event_type = 'Lock'};

foreach (
	[ 'a statement', 't', q{SELECT sum(row_count) FROM actorstore.execute_on_nodes('UPDATE t SET n = n + 1')}, '3' ],
	[ 'insert_many', 'actorstore.actor_t', "SELECT actorstore.insert_many('t', '{$ids}', '{1,2,3,4,5,6}')", '6' ],
	[ 'put_many', 'actorstore.actor_t', "SELECT actorstore.put_many('t', '{$ids}', '{1,2,3,4,5,6}')", '6' ],
	[ 'get_many', 'actorstore.actor_t', "SELECT count(*) FROM actorstore.get_many('t', '{$ids}')", '6' ],
	[ 'get_all', 'actorstore.actor_t', q{SELECT count(*) FROM actorstore.get_all('t')}, '6' ],
	[ 'list', 'actorstore.actor_t', q{SELECT count(*) FROM actorstore.list('t')}, '6' ])
{
	my ($name, $table, $sql, $answer) = @$_;

	foreach my $holder (@holders)
	{
		$holder->query('BEGIN');
		$holder->query("LOCK TABLE $table IN ACCESS EXCLUSIVE MODE");
	}
	$session->query('BEGIN');
	$session->start($sql);
	both_wait($locked, $name);
	$_->query('COMMIT') foreach @holders;
	is($session->finish, $answer, "$name: then they go on");
	is($session->query('COMMIT'), '', "$name: committed");
}

# The first phase: what is put off to the end is done by PREPARE.
foreach my $way ('in a block', 'with the statement')
{
	my $sql = q{SELECT row_count FROM actorstore.execute_on_nodes('INSERT INTO late VALUES (1)', '{}', '{two,three}')};

	$_->query('SELECT pg_advisory_lock(92)') foreach @holders;
	if ($way eq 'in a block')
	{
		$session->query('BEGIN');
		is($session->query($sql), "1\n1", "PREPARE, $way: a statement");
	}
	$session->start($way eq 'in a block' ? 'COMMIT' : $sql);
	both_wait("$locked AND query ~ '^PREPARE TRANSACTION'", "PREPARE, $way");
	$_->query('SELECT pg_advisory_unlock(92)') foreach @holders;
	is($session->finish, $way eq 'in a block' ? '' : "1\n1", "PREPARE, $way: then it commits");
}
is(join(' ', map { $_->safe_psql('d', 'SELECT count(*) FROM late') } @others), '2 2', 'PREPARE: on both');

# Where it goes with the statement, too, it has its time, and the statement takes as long as it likes: they are asked what they are at.
$session->query(q{SET actorstore.peer_timeout = '200ms'});
foreach my $holder (@holders)
{
	$holder->query('BEGIN');
	$holder->query('LOCK TABLE t IN ACCESS EXCLUSIVE MODE');
}
$session->start(q{SELECT row_count FROM actorstore.execute_on_nodes('UPDATE t SET n = n + 1', '{}', '{two,three}')});
both_wait($locked, 'a long statement');
select(undef, undef, undef, 2);
both_wait($locked, 'a long statement, later');
$_->query('COMMIT') foreach @holders;
is($session->finish, "1\n1", 'a long statement: then it commits');
$_->query('SELECT pg_advisory_lock(92)') foreach @holders;
is($session->query(q{SELECT row_count FROM actorstore.execute_on_nodes('INSERT INTO late VALUES (1)', '{}', '{two,three}')}), 'ERROR:  08006', 'PREPARE takes too long');
$_->query('SELECT pg_advisory_unlock(92)') foreach @holders;
ok(comes_true($_, 'd', 'NOT EXISTS (SELECT FROM pg_prepared_xacts)'), 'it is undone on ' . $_->name) foreach @others;
is(join(' ', map { $_->safe_psql('d', 'SELECT count(*) FROM late') } @others), '2 2', 'PREPARE takes too long: nothing is done');
$session->query('RESET actorstore.peer_timeout');

# The second phase waits for standbys there that are not, nor are asked for before it: nothing is decided here as long as somebody holds that up.
sub ask_for_standbys
{
	my ($names, @of) = @_;

	foreach my $node (@of)
	{
		set_at($node, "synchronous_standby_names = '$names'");
		ok(comes_true($node, 'd', "current_setting('synchronous_standby_names') = '$names'"), $node->name . " asks for '$names'");
		$node->safe_psql('d', 'CHECKPOINT');	# the checkpointer tells the others
	}
	return;
}
my $holder = ActorstoreTest::Session->new($one, 'd');
$holder->query($_) foreach 'BEGIN', 'SELECT actorstore.local_hold()';
$session->query('BEGIN');
$session->query(q{SELECT FROM actorstore.execute_on_nodes('UPDATE t SET n = 100')});
$session->start('COMMIT');
ok(comes_true($_, 'd', '(SELECT count(*) = 1 FROM pg_prepared_xacts)'), 'COMMIT PREPARED: prepared on ' . $_->name) foreach @others;
ask_for_standbys('nobody', @others);
$holder->query('COMMIT');
both_wait(q{wait_event = 'SyncRep' AND query ~ '^COMMIT PREPARED'}, 'COMMIT PREPARED');
ask_for_standbys('', @others);
is($session->finish, '', 'COMMIT PREPARED: done');
is(join(' ', map { $_->safe_psql('d', 'SELECT n FROM t') } @nodes), '100 100 100', 'COMMIT PREPARED: everywhere');
ok(comes_true($_, 'd', 'NOT EXISTS (SELECT FROM pg_prepared_xacts)'), 'nothing is left prepared on ' . $_->name) foreach @nodes;

$_->stop foreach @nodes;
done_testing();
