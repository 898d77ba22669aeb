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
my $nothing_prepared = 'NOT EXISTS (SELECT FROM pg_prepared_xacts)';

# ---- A statement, and ROLLBACK ----

my $holder = ActorstoreTest::Session->new($two, 'd');
$holder->query($_) foreach 'BEGIN', 'LOCK TABLE t';
$session->query('BEGIN');
$session->start($update);
ok(comes_true($two, 'd', q{EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'actorstore peer' AND wait_event_type = 'Lock')}), 'a statement waits for a lock');
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
my $somebody = IPC::Run::start([ 'pg_receivewal', '--synchronous', '--no-loop', '-D', PostgreSQL::Test::Utils::tempdir, '-d', $one->connstr('postgres') . ' application_name=somebody' ],
	'>', \my $stdout, '2>', \my $stderr);
waits($two, 'once somebody has it, COMMIT PREPARED waits');
is_seen('committing');
standby($two, '');
is($session->finish, '', 'it is done');
is_seen('committed');
values_are('0 1 1', 'on both');
standby($one, '');
$somebody->kill_kill;

$session->quit;
$_->stop foreach @nodes;
done_testing();
