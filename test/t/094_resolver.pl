# What the resolver ends, and what it leaves alone; what becomes of a
# transaction over several nodes that is cancelled, ended, or whose standbys
# do not answer, at each of its places.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my @nodes = new_cluster('one', 'two', 'three', { faults => 1, streaming => 1, settings => "actorstore.resolver_interval = 100ms\nactorstore.phase_two_timeout = 60s" });
my ($one, $two) = @nodes;
$_->safe_psql('d', 'CREATE TABLE t (n int); INSERT INTO t VALUES (0)') foreach @nodes;
my $n = 0;
my $other = ActorstoreTest::Session->new($one, 'd');
my $session;

sub values_are { my ($expected, $name) = @_; is(join(' ', map { $_->safe_psql('d', 'SELECT n FROM t') } @nodes), "$expected $expected $expected", $name); return; }
sub settled { my ($name) = @_; ok(!(grep { !comes_true($_, 'd', q{NOT EXISTS (SELECT FROM pg_prepared_xacts WHERE gid ~ '^actorstore') AND NOT EXISTS (SELECT FROM actorstore.in_doubt)}) } @nodes), "$name: nothing stays in doubt"); return; }

# Begin a transaction that stops at a place in its COMMIT.
sub stop_at
{
	my ($where, @settings) = @_;
	$session = ActorstoreTest::Session->new($one, 'd');
	$n++;
	$session->query($_) foreach "SET actorstore.fault = '$where:wait'", @settings, 'BEGIN', "SELECT actorstore.execute_on_nodes('UPDATE t SET n = $n')";
	$session->start('COMMIT');
	reached($one, $where);
	return;
}
sub answer { my $answer = eval { $session->finish } // ''; eval { $session->quit }; return $answer; }

# The client cancels: till all are prepared nothing is done, later it is too late.
foreach my $where (qw(K1 K2 K3 K4))
{
	stop_at($where);
	$other->query("SELECT pg_cancel_backend($session->{pid})");
	is(answer(), 'ERROR:  57014', "cancelled at $where");
	unlink $one->data_dir . "/fault.$where.reached";
	settled("cancelled at $where");
	values_are($n - 1, "cancelled at $where: undone");
	$n--;
}
foreach my $how (qw(cancel terminate))
{
	foreach my $where (qw(K5 K6))
	{
		stop_at($where);
		$other->query("SELECT pg_${how}_backend($session->{pid})");
		release($one, $where);
		my $answer = answer();
		settled("$how at $where");
		values_are($n, "$how at $where: committed");
	}
}

# A crash after the decision, in a session that does not wait for its flush.
stop_at('K5', 'SET synchronous_commit = off');
$one->stop('immediate');
answer();
unlink map { $one->data_dir . "/fault.K5.$_" } qw(reached go);
$one->start;
$other = ActorstoreTest::Session->new($one, 'd');
settled('synchronous_commit = off');
values_are($n, 'synchronous_commit = off: committed');

# Who commits first is not asked: the receipt proves it.
stop_at('K5');
my $gid = $two->safe_psql('d', q{SELECT gid FROM pg_prepared_xacts});
is($two->safe_psql('d', q{SELECT role, node_name, state FROM actorstore.in_doubt}), 'participant|one|prepared', 'in doubt on the participant');
is($other->query(q{SELECT role, node_name, state FROM actorstore.in_doubt ORDER BY 2}), "coordinator|three|committed\ncoordinator|two|committed", 'and on the coordinator');
is($other->query(qq{SELECT state, node_names FROM actorstore.global_transaction WHERE pid = $session->{pid}}), 'committing|{two,three}', 'as is its life');
is($other->query('SELECT actorstore.resolve_in_doubt()'), '0', 'the resolver leaves it to the session');
$two->safe_psql('d', "COMMIT PREPARED '$gid'");
release($one, 'K5');
answer();
settled('committed by somebody else');
values_are($n, 'committed by somebody else');

# Lost: neither prepared nor committed.
stop_at('K5');
$gid = $two->safe_psql('d', q{SELECT gid FROM pg_prepared_xacts});
$two->safe_psql('d', "ROLLBACK PREPARED '$gid'");
release($one, 'K5');
answer();
ok(comes_true($one, 'd', q{EXISTS (SELECT FROM actorstore.in_doubt WHERE state = 'lost' AND node_name = 'two')}), 'a participant that has lost it');
is($other->query(q{SELECT ok FROM actorstore.doctor() WHERE item = 'lost transactions'}), 'f', 'is told of');
is($one->safe_psql('d', 'SELECT actorstore.resolve_in_doubt() * 0'), '0', 'another pass');
is($one->safe_psql('d', q{SELECT count(*) FROM actorstore.in_doubt WHERE state = 'lost'}), '1', 'the row stays');
$two->safe_psql('d', "UPDATE t SET n = $n");
$one->safe_psql('d', 'DELETE FROM actorstore.decision');
settled('lost, and put right');

# A point to restore to is not made between a decision's row and its commit.
stop_at('K4');
my $point = ActorstoreTest::Session->new($one, 'd');
$point->start(q{SELECT string_agg(node_name, ' ' ORDER BY node_name) FROM actorstore.restore_point('k4')});
ok(comes_true($one, 'd', q{EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'actorstore.decision'::regclass)}), 'a point to restore to waits for a decision');
release($one, 'K4');
answer();
is($point->finish, 'one three two', 'and is made after it');
$point->quit;
settled('a point to restore to');
values_are($n, 'a point to restore to');

# Orphans: of this node, by a transaction that is over, prepared late.
my ($uuid, $incarnation) = split /\|/, $one->safe_psql('d', 'SELECT node_uuid, incarnation FROM actorstore.node WHERE is_self');
my $boot = $one->safe_psql('d', 'SELECT boot FROM actorstore.boot ORDER BY started_at DESC LIMIT 1');
my $over = $one->safe_psql('d', 'BEGIN; SELECT pg_current_xact_id(); ROLLBACK');
sub orphan
{
	my ($gid, $database) = @_;
	my $as = with_tls() && !$database ? 'SET ROLE node_role;' : '';
	$two->safe_psql($database // 'd', "$as BEGIN; CREATE TABLE orphan (); PREPARE TRANSACTION '$gid'");
	return $gid;
}
orphan("actorstore_${uuid}_${incarnation}_${boot}_${over}_2");
settled('prepared late');

# Of a transaction that still runs: left alone, then rolled back.
my $running = ActorstoreTest::Session->new($one, 'd');
$running->query('BEGIN');
my $xid = $running->query('SELECT pg_current_xact_id()');
$gid = orphan("actorstore_${uuid}_${incarnation}_${boot}_${xid}_2");
$other->query('SELECT actorstore.resolve_in_doubt()') foreach 1 .. 2;
is($two->safe_psql('d', 'SELECT gid FROM pg_prepared_xacts'), $gid, 'of one that runs: left alone');
$running->query('COMMIT');
settled('when it has ended');

# Not ours: another coordinator, a later incarnation, a start of the server
# that is not known here, another database, no gid of ours.
$two->safe_psql('postgres', 'CREATE DATABASE e');
my @foreign = (
	[ 'another coordinator', "actorstore_00000000-0000-0000-0000-000000000009_${incarnation}_${boot}_${over}_2" ],
	[ 'a later incarnation', "actorstore_${uuid}_" . ($incarnation + 1) . "_${boot}_${over}_2" ],
	[ 'an unknown start', "actorstore_${uuid}_${incarnation}_12345_${over}_2" ],
	[ 'somebody', 'actorstore of somebody' ],
	[ 'another database', "actorstore_${uuid}_${incarnation}_${boot}_${over}_7", 'e' ]);
foreach my $foreign (@foreign)
{
	my ($name, $foreign_gid, $database) = @$foreign;
	orphan($foreign_gid, $database);
	$one->safe_psql('d', 'SELECT actorstore.resolve_in_doubt()') foreach 1 .. 2;
	is($two->safe_psql('d', 'SELECT gid FROM pg_prepared_xacts'), $foreign_gid, "left alone: of $name");
	$two->safe_psql($database // 'd', "ROLLBACK PREPARED '$foreign_gid'");
}

# Standbys that do not answer: no second phase before they do.
$one->append_conf('postgresql.conf', "synchronous_standby_names = 'nobody'");
$one->reload;
ok(comes_true($one, 'd', q{current_setting('synchronous_standby_names') = 'nobody'}), 'a standby that is not there');
$one->safe_psql('d', 'CHECKPOINT');	# the checkpointer tells the others
$session = ActorstoreTest::Session->new($one, 'd');
$n++;
$session->start("SELECT actorstore.execute_on_nodes('UPDATE t SET n = $n')");
ok(comes_true($one, 'd', "EXISTS (SELECT FROM pg_stat_activity WHERE pid = $session->{pid} AND wait_event = 'SyncRep')"), 'is waited for');
$one->safe_psql('d', "SELECT pg_cancel_backend($session->{pid})");
like(answer(), qr/WARNING/, 'till one waits no more');
$one->safe_psql('d', 'SELECT actorstore.resolve_in_doubt()') foreach 1 .. 2;
is($two->safe_psql('d', 'SELECT count(*) FROM pg_prepared_xacts'), '1', 'the others are not told');
$one->append_conf('postgresql.conf', "synchronous_standby_names = ''");
$one->reload;
settled('no standby is asked for');
values_are($n, 'committed everywhere');

# The same there: a PREPARE that its standbys have not seen is none, also where clients are told nothing but errors.
$two->safe_psql('d', q{ALTER DATABASE d SET client_min_messages = error});
$two->append_conf('postgresql.conf', "synchronous_standby_names = 'nobody'");
$two->reload;
ok(comes_true($two, 'd', q{current_setting('synchronous_standby_names') = 'nobody'}), 'the same on a participant');
$two->safe_psql('d', 'CHECKPOINT');
$session = ActorstoreTest::Session->new($one, 'd');
$session->start(q{SELECT actorstore.execute_on_nodes('UPDATE t SET n = -1')});
ok(comes_true($two, 'd', q{EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'actorstore peer' AND wait_event = 'SyncRep')}), 'it waits');
$two->safe_psql('d', q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'actorstore peer' AND wait_event = 'SyncRep'});
ok(comes_true($two, 'd', q{NOT EXISTS (SELECT FROM pg_stat_activity WHERE query ~ '^PREPARE' AND wait_event = 'SyncRep')}), 'no more');
$two->append_conf('postgresql.conf', "synchronous_standby_names = ''");
$two->reload;
is(answer(), 'ERROR:  40000', 'not prepared');
$two->safe_psql('d', q{ALTER DATABASE d RESET client_min_messages});
settled('undone');
values_are($n, 'undone everywhere');

# A node that stands still, in the first phase and in the second.
my $postmaster = $two->safe_psql('d', q{SELECT pg_read_file('postmaster.pid')}) =~ /^(\d+)/ ? $1 : die;
sub two_processes { my $peer = $two->safe_psql('d', q{SELECT string_agg(pid::text, ' ') FROM pg_stat_activity WHERE application_name = 'actorstore peer'}); return ($postmaster, split / /, $peer); }
stop_at('K2', q{SET actorstore.peer_timeout = '300ms'});
my @still = two_processes();
kill 'STOP', @still;
release($one, 'K2');
is(answer(), 'ERROR:  08006', 'no answer to PREPARE');
kill 'CONT', @still;
settled('after PREPARE without an answer');
values_are(--$n, 'undone');
$session = ActorstoreTest::Session->new($one, 'd');
$session->query($_) foreach q{SET actorstore.peer_timeout = '300ms'}, q{SELECT actorstore.execute_on_nodes('SELECT')};
@still = two_processes();
kill 'STOP', @still;
is($session->query(q{SELECT FROM actorstore.execute_on_nodes('UPDATE t SET n = -1', '{}', '{two,three}')}), 'ERROR:  08006', 'no answer to a statement with PREPARE');
kill 'CONT', @still;
$session->quit;
settled('after a statement with PREPARE without an answer');
values_are($n, 'undone');
stop_at('K5', q{SET actorstore.phase_two_timeout = '300ms'});
@still = two_processes();
kill 'STOP', @still;
release($one, 'K5');
like(answer(), qr/WARNING/, 'no answer to COMMIT PREPARED');
kill 'CONT', @still;
settled('after COMMIT PREPARED without an answer');
values_are($n, 'committed');

# One phase whose answer does not come.
$session = ActorstoreTest::Session->new($one, 'd');
$session->query($_) foreach q{SET actorstore.peer_timeout = '300ms'}, 'BEGIN', qq{SELECT actorstore.execute_on_nodes('UPDATE t SET n = $n', '{}', '{two}')};
@still = two_processes();
kill 'STOP', @still;
is($session->query('COMMIT'), 'ERROR:  08007', 'one phase without an answer: unknown');
kill 'CONT', @still;
$session->quit;

# COMMIT that goes with the command: a cancel comes too late, no answer is unknown.
$one->safe_psql('d', q{SELECT actorstore.create_type('t')});
my $id = $one->safe_psql('d', q{SELECT 'a' || i FROM generate_series(1, 99) AS i WHERE actorstore.locate('t', 'a' || i) = 'two' LIMIT 1});
$session = ActorstoreTest::Session->new($one, 'd');
$session->query("SET actorstore.fault = 'one_phase:wait'");
$session->start("SELECT value FROM actorstore.put('t', '$id', '1')");
reached($one, 'one_phase');
ok(comes_true($two, 'd', "EXISTS (SELECT FROM actorstore.get('t', '$id') WHERE value = '1')"), 'the other node has committed');
$one->safe_psql('d', "SELECT pg_cancel_backend($session->{pid})");
is($session->finish, '1', 'a cancel comes too late');
is($session->query("RESET actorstore.fault; SELECT value FROM actorstore.put('t', '$id', '2')"), '2', 'the session goes on');
$session->query($_) foreach q{SET actorstore.peer_timeout = '300ms'}, q{SET statement_timeout = '300ms'}, "SELECT actorstore.get('t', '$id')";
@still = two_processes();
kill 'STOP', @still;
is($session->query("SELECT actorstore.put('t', '$id', '3')"), 'ERROR:  08007', 'a cancel without an answer: unknown');
kill 'CONT', @still;
like($session->query("SET statement_timeout = '1min'; SET actorstore.peer_timeout = '1min'; SELECT value FROM actorstore.get('t', '$id')"), qr/^[23]$/, 'one or the other');
$session->quit;

# Asked for while a pass is under way, and by several at once, the next one comes by itself, however long the interval.
$one->safe_psql('d', q{ALTER SYSTEM SET actorstore.resolver_interval = '1h'; SELECT pg_reload_conf()});
$one->poll_query_until('d', q{SELECT current_setting('actorstore.resolver_interval') = '1h'}) or die;
$one->safe_psql('d', 'SELECT actorstore.resolve_in_doubt()');
my $script = $one->basedir . '/resolve';
append_to_file($script, "SET statement_timeout = '60s';\nSELECT actorstore.resolve_in_doubt();\n");
IPC::Run::run([ 'pgbench', '-n', '-c', 4, '-t', 50, '-f', $script, $one->connstr('d') ], '<', \undef, '>', \my $out, '2>', \my $err);
like($out, qr/actually processed: 200\/200/, 'each has its pass') or diag $err;

$_->stop foreach @nodes;
done_testing();
