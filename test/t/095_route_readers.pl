# Members that only locked, or only read: they are not prepared, but must be
# there, with their standbys, once all that is locked is held.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

my @nodes = new_cluster('one', 'two', 'three', { streaming => 1, settings => 'actorstore.peer_timeout = 3min' });
my ($one, $two, $three) = @nodes;
$one->safe_psql('d', q{SELECT actorstore.create_type('t')});
my %of = map { split /\|/ } reverse split /\n/, $one->safe_psql('d', q{SELECT actorstore.locate('t', 'a' || i), 'a' || i FROM generate_series(10, 99) AS i});
my ($here, $there, $far) = @of{qw(one two three)};
my $session = ActorstoreTest::Session->new($one, 'd');
my $other = ActorstoreTest::Session->new($three, 'd');
sub q1 { return $session->query($_[0]); }
sub locked { my ($mode, @ids) = @_; return sprintf q{SELECT count(*) FROM actorstore.get_many('t', '{%s}', '%s')}, join(',', @ids), $mode; }
sub value { my ($id) = @_; return $other->query("SELECT value FROM actorstore.get('t', '$id')"); }

# What it comes to: transactions prepared, and committed in one phase; trips are
# those of the resolver, too, now and then.
sub counts { return split /\|/, $one->safe_psql('d', 'SELECT sum(prepared), sum(one_phase), sum(round_trips) FROM actorstore.stat_peers'); }
sub counts_of
{
	my (@sql) = @_;
	my @least;

	foreach (1 .. 3)
	{
		my @before = counts();
		q1($_) foreach @sql;
		my @after = counts();
		my @diff = map { $after[$_] - $before[$_] } 0 .. 2;
		@least = @diff if !@least || $diff[2] < $least[2];
	}
	return "@least";
}
q1("SELECT actorstore.put('t', id, '0') FROM unnest('{$here,$there,$far}'::text[]) AS id");
is(q1(locked('share', $here, $there, $far)), '3', 'all are found');
is(counts_of(locked('share', $here, $there, $far)), '0 0 4', 'a snapshot is not prepared: two locked, two ended');
is(counts_of(locked('update', $there)), '0 0 2', 'neither is a lock');
is(counts_of('BEGIN', locked('update', $there), "SELECT actorstore.put('t', '$far', '1')", 'COMMIT'), '0 1 4', 'who writes on one node commits there, in one phase');
is(counts_of('BEGIN', locked('update', $there), "SELECT actorstore.put('t', '$here', '1')", 'COMMIT'), '0 0 2', 'or here');
is(counts_of('BEGIN', locked('update', $there), "SELECT actorstore.put('t', '$far', '2')", "SELECT actorstore.put('t', '$here', '2')", 'COMMIT'), '1 0 5', 'here and there: there it is prepared');
is(join(' ', map { value($_) } $here, $there, $far), '2 0 2', 'all of it is done');
is(counts_of('BEGIN ISOLATION LEVEL SERIALIZABLE', "SELECT actorstore.get('t', '$there')", "SELECT actorstore.put('t', '$far', '2')", 'COMMIT'), '1 0 5', 'SERIALIZABLE is prepared');

# The locks are there until the end.
q1('BEGIN'); q1(locked('share', $there, $far));
$other->start("SELECT value FROM actorstore.put('t', '$there', '3')");
ok(comes_true($two, 'd', q{EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock')}), 'who writes waits');
is(q1("SELECT value FROM actorstore.put('t', '$far', '3')"), '3', 'the other one goes on');
ok(!$other->done, 'still');
q1('COMMIT');
is($other->finish, '3', 'and is next');

# A reader that is lost takes all along.
sub writes_undone
{
	my ($name, $error, @ids) = @_;
	q1("SELECT actorstore.put('t', id, '4') FROM unnest('{$here,$there,$far}'::text[]) AS id");
	q1('BEGIN'); q1(locked('share', $there));
	q1("SELECT actorstore.put('t', '$_', '5')") foreach @ids;
	$two->safe_psql('d', q{SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE application_name = 'actorstore peer' AND state = 'idle in transaction'});
	is(q1('COMMIT'), "ERROR:  $error", "$name: fails");
	is(join(' ', map { value($_) } $here, $there, $far), '4 4 4', "$name: undone");
	return;
}
writes_undone('a reader alone is lost', '08006');
writes_undone('beside one that wrote there', '08006', $far);
writes_undone('beside who wrote here', '08006', $here);
writes_undone('beside both', '08006', $here, $far);

# So does one whose standbys do not confirm that it may say so, whatever it waits for by itself, and tells its clients.
$two->safe_psql('d', q{ALTER DATABASE d SET synchronous_commit = off});
$two->safe_psql('d', q{ALTER DATABASE d SET client_min_messages = error});
$two->append_conf('postgresql.conf', "synchronous_standby_names = 'nobody'");
$two->reload;
ok(comes_true($two, 'd', q{current_setting('synchronous_standby_names') = 'nobody'}), 'a standby that is not there');
$two->safe_psql('d', 'CHECKPOINT');	# the checkpointer tells the others
$session->quit;
$session = ActorstoreTest::Session->new($one, 'd');
q1('BEGIN'); q1(locked('share', $there)); q1("SELECT actorstore.put('t', '$far', '6')");
$session->start('COMMIT');
ok(comes_true($two, 'd', q{EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'actorstore peer' AND wait_event = 'SyncRep')}), 'is waited for');
$two->safe_psql('d', q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'actorstore peer' AND wait_event = 'SyncRep'});
is($session->finish, 'ERROR:  40000', 'no more: it may have been deposed');
is(value($far), '4', 'undone');
$two->append_conf('postgresql.conf', "synchronous_standby_names = ''");
$two->reload;
ok(comes_true($two, 'd', q{current_setting('synchronous_standby_names') = ''}), 'no standby is asked for');
q1('BEGIN'); q1(locked('share', $there)); q1("SELECT actorstore.put('t', '$far', '7')"); is(q1('COMMIT'), '', 'goes on');
is(value($far), '7', 'done');
ok(comes_true($_, 'd', 'NOT EXISTS (SELECT FROM pg_prepared_xacts) AND NOT EXISTS (SELECT FROM actorstore.in_doubt)'), 'nothing stays in doubt on ' . $_->name) foreach @nodes;

$_->quit foreach $session, $other;
$_->stop foreach @nodes;
done_testing();
