# The life of a transaction over several nodes, as the view shows it to others: at each step it is made to stand still.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my @nodes = new_cluster('one', 'two', 'three', { streaming => 1, settings => "actorstore.resolver_interval = 1h\nactorstore.phase_two_timeout = 10min\nactorstore.peer_timeout = 10min\ndeadlock_timeout = 10min" });
my ($one, $two, $three) = @nodes;
$_->safe_psql('d', 'CREATE TABLE t (n int); INSERT INTO t VALUES (0)') foreach @nodes;

my $session = ActorstoreTest::Session->new($one, 'd');
my $update = q{SELECT FROM actorstore.execute_on_nodes('UPDATE t SET n = n + 1', '{}', '{two,three}')};
sub is_seen { my ($state) = @_; is($one->safe_psql('d', "SELECT state, node_names FROM actorstore.global_transaction WHERE pid = $session->{pid}"), "$state|{two,three}", $state); return; }
sub values_are { my ($values, $name) = @_; is(join(' ', map { $_->safe_psql('d', 'SELECT n FROM t') } @nodes), $values, $name); return; }

# COMMIT and the like wait for a standby that there is not (yet), or for none.
sub standby
{
	my ($node, $name) = @_;
	set_at($node, "synchronous_standby_names = '$name'");
	ok(comes_true($node, 'd', "current_setting('synchronous_standby_names') = '$name'"), $node->name . " waits for '$name'");
	$node->safe_psql('d', 'CHECKPOINT');	# the checkpointer tells the others
	return;
}
sub waits { my ($node, $name) = @_; ok(comes_true($node, 'd', q{EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep')}), $name); return; }
sub somebody
{
	return IPC::Run::start([ 'pg_receivewal', '--synchronous', '--no-loop', '-D', PostgreSQL::Test::Utils::tempdir, '-d', $one->connstr('postgres') . ' application_name=somebody' ],
		'>', \my $stdout, '2>', \my $stderr);
}
my $nothing_prepared = 'NOT EXISTS (SELECT FROM pg_prepared_xacts)';

# ---- A statement, and ROLLBACK ----

my $holder = ActorstoreTest::Session->new($two, 'd');
$holder->query($_) foreach 'BEGIN', 'LOCK TABLE t';
$session->query('BEGIN');
$session->start($update);
ok(comes_true($two, 'd', q{EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'actorstore peer' AND wait_event_type = 'Lock')}), 'a statement waits for a lock');
ok(comes_true($one, 'd', "EXISTS (SELECT FROM actorstore.global_transaction WHERE pid = $session->{pid} AND cardinality(node_names) = 2)"), 'the other node is reached, too');
is_seen('active');
$holder->query('ROLLBACK');
$holder->quit;
unlike($session->finish, qr/ERROR/, 'it is done');
$session->query('ROLLBACK');
is_seen('aborted');

# ---- PREPARE, which is taken back ----

$session->query($_) foreach 'BEGIN', $update;
standby($two, 'nobody');
$session->start('COMMIT');
waits($two, 'PREPARE waits');
ok(comes_true($three, 'd', 'EXISTS (SELECT FROM pg_prepared_xacts)'), 'another one is done');
is_seen('preparing');
standby($three, 'nobody');
$two->safe_psql('d', q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'});
waits($three, 'it is rolled back, which waits there');
is_seen('aborting');
standby($_, '') foreach $two, $three;
like($session->finish, qr/ERROR:  40000/, 'nothing is done');
is_seen('aborted');
ok(comes_true($_, 'd', $nothing_prepared), 'nothing is left on ' . $_->name) foreach $two, $three;
values_are('0 0 0', 'anywhere');

# ---- The decision, and COMMIT PREPARED ----

$session->query($_) foreach 'BEGIN', $update;
standby($one, 'somebody');
$session->start('COMMIT');
waits($one, 'the decision waits');
is_seen('prepared');
standby($two, 'nobody');
my $somebody = somebody();
waits($two, 'once somebody has it, COMMIT PREPARED waits');
is_seen('committing');
standby($two, '');
is($session->finish, '', 'it is done');
is_seen('committed');
values_are('0 1 1', 'on both');
standby($one, '');
$somebody->kill_kill;
$session->quit;

# ---- The rows of decisions ----

# A session deletes what it has decided before with what it decides next, where the same nodes have answered; the resolver, all.
sub resolved
{
	ok(comes_true($_, 'd', $nothing_prepared), 'all that is decided is committed on ' . $_->name) foreach $two, $three;
	is($one->safe_psql('d', 'SELECT actorstore.resolve_in_doubt()'), '0', 'the resolver has looked');
	return;
}
sub rows_are { my ($count, $name) = @_; is($one->safe_psql('d', 'SELECT count(*) FROM actorstore.decision'), $count, $name); return; }
my $here = q{SELECT FROM actorstore.execute_on_nodes('UPDATE t SET n = n + 1', '{}', '{one,two}')};
resolved();
rows_are('0', 'no decision is kept');
$session = ActorstoreTest::Session->new($one, 'd');
$session->query($update) foreach 1 .. 3;
rows_are('1', 'only the last one is');
$session->query($here);
rows_are('2', 'the one before has a member that has not been heard of since');
$session->query($_) foreach $update, 'BEGIN', $update, 'ROLLBACK', $update;
rows_are('2', 'more members do no harm, nor does what is rolled back');
$session->query($_) foreach 'SET actorstore.wait_for_phase_two = off', $update, $update, 'RESET actorstore.wait_for_phase_two', $update;
rows_are('2', 'nor what nobody has waited for');
my $looker = ActorstoreTest::Session->new($one, 'd');
$looker->query($_) foreach 'BEGIN', 'SELECT FROM actorstore.decision FOR UPDATE';
is($session->query($update), '', 'who looks at the rows is not waited for');
$looker->query('ROLLBACK');
rows_are('3', 'what he looks at stays');
resolved();
rows_are('0', 'but for the resolver');
sub vacuumed
{
	foreach (1 .. ActorstoreTest::patience() * 10)
	{
		$one->safe_psql('d', 'VACUUM actorstore.decision');
		last if $one->safe_psql('d', q{SELECT pg_relation_size('actorstore.decision')}) eq '0';
		select(undef, undef, undef, 0.1);
	}
	is($one->safe_psql('d', q{SELECT pg_relation_size('actorstore.decision')}), '0', 'the place is gone');
	return;
}
vacuumed();
is($session->query($update), '', 'it is not looked for');
rows_are('1', 'one row');
resolved();
vacuumed();
$looker->query($update);
$session->query($update);
rows_are('2', 'what stands in its place is somebody else\'s');
$looker->quit;

# Indexes that are made anew, under all that goes on.
$one->safe_psql('d', 'REINDEX TABLE CONCURRENTLY actorstore.decision');
$_->safe_psql('d', 'REINDEX TABLE CONCURRENTLY actorstore.receipt') foreach $two, $three;
is($session->query($update), '', 'the next one, with other indexes');
resolved();
rows_are('0', 'the resolver finds its receipts');

# A member that has not committed as it was told, as somebody else has seen to it, and nobody has waited for its answer.
resolved();
$session->query($_) foreach 'SET actorstore.wait_for_phase_two = off', $update;
standby($one, 'somebody');
$session->start($update);
waits($one, 'a decision waits');
my $gid = $two->safe_psql('d', 'SELECT gid FROM pg_prepared_xacts');
$two->safe_psql('d', "COMMIT PREPARED '$gid'");
$somebody = somebody();
is($session->finish, '', 'it is done');
rows_are('1', 'the decision before it is gone');
is($session->query($update), '', 'the next one');
rows_are('2', 'leaves it to the resolver');
standby($one, '');
$somebody->kill_kill;
resolved();
rows_are('0', 'which sees the receipts');
ok(comes_true($_, 'd', $nothing_prepared), 'nothing is left on ' . $_->name) foreach $two, $three;

# A row that a session has deleted comes back with a standby that does not know of that: so long its receipts stay, by which it is resolved.
sub receipts_are { my ($counts, $name) = @_; is(join(' ', map { $_->safe_psql('d', 'SELECT count(*) FROM actorstore.receipt') } $two, $three), $counts, $name); return; }
receipts_are('0 0', 'no receipt is kept');
$session->quit;
$session = ActorstoreTest::Session->new($one, 'd');
standby($one, 'somebody');	# the resolver looks whenever settings are read anew
$somebody = somebody();
resolved();
is($session->query($update), '', 'a decision that the standby has');
receipts_are('1 1', 'with its receipts');
$somebody->kill_kill;
$session->start($update);
waits($one, 'the next one waits for a standby');
$one->safe_psql('d', "SELECT pg_cancel_backend($session->{pid})");
like($session->finish, qr/WARNING/, 'no more');
rows_are('1', 'the row before it is deleted here');
is($one->safe_psql('d', 'SELECT actorstore.resolve_in_doubt()'), '0', 'the resolver looks') foreach 1 .. 2;
receipts_are('1 1', 'the receipts are there as long as the standby has the row');
standby($one, '');
$one->safe_psql('d', 'SELECT actorstore.resolve_in_doubt()') foreach 1 .. 2;
resolved();
rows_are('0', 'nobody is waited for');
receipts_are('0 0', 'all are forgotten');

$session->quit;
$_->stop foreach @nodes;
done_testing();
