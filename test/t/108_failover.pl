# A node is a server with its standbys, and no other: a standby is not spoken
# to, what a failover has lost is told of, a promoted standby goes on as the
# node, and a copy of it that is started beside it stands still.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

BEGIN { delete $ENV{ACTORSTORE_TLS}; }	# the conninfos are made here
use ActorstoreCluster;
use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my @nodes = new_cluster('one', 'two', 'three', { faults => 1, streaming => 1,
	settings => "actorstore.resolver_interval = 100ms\nactorstore.phase_two_timeout = 60s\nactorstore.peer_timeout = 60s\nwal_keep_size = 256MB\nmax_worker_processes = 16" });
my ($one, $two, $three) = @nodes;
$_->safe_psql('d', 'CREATE TABLE t (n int); INSERT INTO t VALUES (0)') foreach @nodes;
$one->safe_psql('d', q{SELECT actorstore.create_type('t')});
my ($there) = rows($one, 'd', q{SELECT 'a' || i FROM generate_series(1, 99) AS i WHERE actorstore.locate('t', 'a' || i) = 'two' LIMIT 1});
is($one->safe_psql('d', "SELECT (actorstore.put('t', '$there', '1')).version"), '0', 'an actor on two');
my $n = 0;
my $session;

sub values_are { my ($expected, $name) = @_; is(join(' ', map { $_->safe_psql('d', 'SELECT n FROM t') } @nodes), $expected, $name); return; }
sub settled { my ($name) = @_; ok(!(grep { !comes_true($_, 'd', q{NOT EXISTS (SELECT FROM pg_prepared_xacts) AND NOT EXISTS (SELECT FROM actorstore.in_doubt)}) } @nodes), "$name: nothing stays in doubt"); return; }
sub stop_at
{
	my ($where) = @_;
	unlink map { $one->data_dir . "/fault.$where.$_" } qw(reached go);
	$session = ActorstoreTest::Session->new($one, 'd');
	$n++;
	$session->query($_) foreach "SET actorstore.fault = '$where:wait'", 'BEGIN', "SELECT actorstore.execute_on_nodes('UPDATE t SET n = $n')";
	$session->start('COMMIT');
	reached($one, $where);
	return;
}
sub answer { my $answer = eval { $session->finish } // ''; eval { $session->quit }; return $answer; }
sub look_twice { $one->safe_psql('d', 'SELECT actorstore.resolve_in_doubt()') foreach 1 .. 2; return; }
sub reach_two_by { my ($conninfo) = @_; $_->safe_psql('d', "UPDATE actorstore.node SET conninfo = \$\$$conninfo\$\$ WHERE node_name = 'two'") foreach $one, $three; return; }
sub in_doubt { return $one->safe_psql('d', q{SELECT string_agg(node_name || ' ' || state, ', ' ORDER BY node_name) FROM actorstore.in_doubt WHERE role = 'coordinator'}); }
sub logged
{
	my ($node, $from, $pattern) = @_;
	my $until = time + patience();
	until (slurp_file($node->logfile, $from) =~ $pattern || time > $until) { usleep(20_000); }
	return slurp_file($node->logfile, $from) =~ $pattern;
}

# ---- A standby ----

$two->backup('copy');
my $standby = ActorstoreCluster->new('standby', install_path => ActorstoreTest::fault_server());
$standby->init_from_backup($two, 'copy', has_streaming => 1);
$standby->append_conf('postgresql.conf', "port = " . $standby->port);
$standby->start;
$two->wait_for_catchup($standby);
my $directly = $two->connstr('d');
my $only_standby = $standby->connstr('d');
my $both = sprintf 'host=%s,%s port=%d,%d dbname=d', $standby->host, $two->host, $standby->port, $two->port;

# A node whose standbys nobody waits for is told so.
my $group = q{SELECT ok FROM actorstore.doctor() WHERE item = 'synchronous_standby_names'};
is($two->safe_psql('d', $group), 'f', 'COMMIT waits for no standby');
is($one->safe_psql('d', $group), '', 'a node without standbys is not asked');
$two->safe_psql('d', q{ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (*)'});
$two->reload;
ok(comes_true($two, 'd', "($group)"), 'COMMIT waits for one');
$two->safe_psql('d', q{ALTER SYSTEM RESET synchronous_standby_names});
$two->reload;
ok(comes_true($two, 'd', "NOT ($group)"), 'as it was');

# Each setting by which it would break its promises is found, and nothing is once it is put right.
sub found { my ($node) = @_; return $node->safe_psql('d', q{SELECT string_agg(item || ': ' || detail, '; ') FROM actorstore.doctor() WHERE NOT ok AND item IN ('crash safety', 'synchronous_commit', 'synchronous standbys', 'hot_standby', 'replay')}); }
sub with_settings
{
	my ($node, $restart, $settings, $expected, $name) = @_;
	$node->safe_psql('postgres', "ALTER SYSTEM SET $_") foreach @$settings;
	$restart ? $node->restart : $node->reload;
	my $until = time + patience();
	until (found($node) eq $expected || time > $until) { usleep(20_000); }
	is(found($node), $expected, $name);
	return;
}
with_settings($two, 0, [ 'fsync = on' ], '', 'nothing is wrong');
with_settings($two, 0, [ 'fsync = off' ], 'crash safety: fsync = off, full_page_writes = on', 'fsync');
with_settings($two, 0, [ 'fsync = on', 'full_page_writes = off' ], 'crash safety: fsync = on, full_page_writes = off', 'full_page_writes');
with_settings($two, 0, [ 'full_page_writes = on', 'synchronous_commit = off' ], 'synchronous_commit: off', 'synchronous_commit = off');
with_settings($two, 0, [ 'synchronous_commit = local' ], 'synchronous_commit: local', 'synchronous_commit = local');
with_settings($two, 0, [ 'synchronous_commit = remote_write' ], '', 'remote_write is not wrong');
$two->safe_psql('d', 'ALTER DATABASE d SET synchronous_commit = off');
is(found($two), 'synchronous_commit: off', 'off for the database');
$two->safe_psql('d', 'ALTER DATABASE d RESET synchronous_commit');
with_settings($two, 0, [ 'synchronous_commit = on', q{synchronous_standby_names = 'any 1 (standby, "Another (1)")'} ], '', 'one standby of two');
with_settings($two, 0, [ q{synchronous_standby_names = 'ANY 2 (standby, "Another (1)")'} ], 'synchronous standbys: 1, and COMMIT waits for 2', 'two of two');
with_settings($two, 0, [ q{synchronous_standby_names = '1 ("Another (1)")'} ], 'synchronous standbys: 0, and COMMIT waits for 1', 'one that is not there');
with_settings($two, 0, [ q{synchronous_standby_names = 'nobody, standby'} ], '', 'the first who is there');
with_settings($two, 0, [ q{synchronous_standby_names = ''} ], '', 'none');
with_settings($two, 1, [ 'hot_standby = off' ], 'hot_standby: off', 'hot_standby = off');
with_settings($two, 1, [ 'hot_standby = on' ], '', 'hot_standby = on');
$standby->stop;
ok(comes_true($two, 'd', 'NOT EXISTS (SELECT FROM pg_stat_replication)'), 'no standby is there');
is($two->safe_psql('d', $group), '', 'and none is missed');
$two->safe_psql('d', "UPDATE actorstore.node SET conninfo = '$both' WHERE is_self");
is($two->safe_psql('d', $group), 'f', 'of a node with several hosts in its conninfo one is');
$two->safe_psql('d', "UPDATE actorstore.node SET conninfo = \$\$$directly\$\$ WHERE is_self");
$standby->start;

# A standby that has less room than its primary stands still.
with_settings($standby, 0, [ 'fsync = on' ], '', 'the standby is well');
with_settings($two, 1, [ 'max_prepared_transactions = 20' ], '', 'the primary is given more room than its standby');
with_settings($standby, 0, [], 'replay: paused', 'the standby stands still');
with_settings($standby, 1, [ 'max_prepared_transactions = 20' ], '', 'it goes on with as much room');
$two->wait_for_catchup($standby);

# One who is asked is not asked at a standby, nor resolved by what it does not know.
stop_at('K5');
reach_two_by($only_standby);
$one->stop('immediate');
answer();
$one->start;
ok(comes_true($one, 'd', q{(SELECT string_agg(node_name, ',') = 'two' FROM actorstore.in_doubt) OR (SELECT count(*) = 2 FROM actorstore.in_doubt)}), 'decided');
ok(comes_true($three, 'd', q{NOT EXISTS (SELECT FROM pg_prepared_xacts)}), 'the resolver has been to the third node');
look_twice();
$standby->poll_query_until('d', "SELECT pg_last_wal_replay_lsn() >= '" . $two->lsn('flush') . "'");
is($standby->safe_psql('d', 'SELECT count(*) FROM pg_prepared_xacts'), '0', 'a standby knows of nothing that is prepared');
is($two->safe_psql('d', 'SELECT count(*) FROM pg_prepared_xacts'), '1', 'though it is');
like(in_doubt(), qr/two committed/, 'the decision stays, and nothing is believed lost');
like($one->safe_psql('d', q{SELECT ok, detail FROM actorstore.node_check('two')}), qr/^f\|could not connect to node "two": (.*read-only|It is a standby)/s, 'a standby is not spoken to');
is(sqlstate($one, 'd', "SELECT actorstore.$_"), '08006', "nor asked: $_") foreach "get('t', '$there')", "put('t', '$there', '2')", "get_many('t', '{$there}', 'share')", q{get_all('t')};
is(sqlstate($standby, 'd', q{SELECT actorstore.put('t', 'x', '2')}), '25006', 'nor does it write');
is(sqlstate($standby, 'd', "SELECT actorstore.resolve_in_doubt()"), '25006', 'nor resolve');
is($standby->safe_psql('d', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'actorstore resolver'}), '0', 'there is no resolver');
reach_two_by($both);
settled('through both hosts');
values_are("$n $n $n", 'through both hosts: committed');
is($one->safe_psql('d', "SELECT (actorstore.put('t', '$there', '2')).version"), '1', 'of both, the primary is taken');

# ---- A failover ----

# To a standby that is behind: what was prepared is lost, and that is said.
$standby->safe_psql('postgres', q{ALTER SYSTEM SET primary_conninfo = ''});
$standby->reload;
ok(comes_true($standby, 'd', q{NOT EXISTS (SELECT FROM pg_stat_wal_receiver)}), 'the standby follows no more');
stop_at('K5');
my $log = -s $one->logfile;
$two->stop('immediate');
$standby->promote;
$nodes[1] = $standby;
release($one, 'K5');
like(answer(), qr/WARNING/, 'COMMIT PREPARED goes to a server that is no more');
ok(comes_true($one, 'd', q{EXISTS (SELECT FROM actorstore.in_doubt WHERE state = 'lost' AND node_name = 'two')}), 'a failover that has lost it');
look_twice();
is(in_doubt(), 'three committed, two lost', 'the row stays');
ok(logged($one, $log, qr/is LOST on node number 2/), 'the log says so');
is($one->safe_psql('d', q{SELECT ok FROM actorstore.doctor() WHERE item = 'lost transactions'}), 'f', 'so does the doctor');
values_are("$n " . ($n - 1) . " $n", 'committed but there');
$standby->safe_psql('d', "UPDATE t SET n = $n");
$one->safe_psql('d', 'DELETE FROM actorstore.decision');
settled('put right');

# The promoted one is the node, of a later incarnation, and no copy.
is($standby->safe_psql('d', q{SELECT ok FROM actorstore.doctor() WHERE item = 'fence'}), 't', 'a promoted standby is the original');
ok(comes_true($standby, 'd', q{(SELECT timeline FROM actorstore.identity) = 2}), 'which is written down');
is($one->safe_psql('d', "SELECT (actorstore.put('t', '$there', '3')).version"), '2', 'the actor goes on there');
is($standby->safe_psql('d', 'SELECT incarnation & 4294967295 FROM actorstore.local_identity()'), '2', 'its incarnation is a later one');
stop_at('K7');
release($one, 'K7');
is(answer(), '', 'it takes part in transactions');
settled('after the failover');
values_are("$n $n $n", 'after the failover: committed');

# ---- A copy beside the original ----

foreach my $original ($one, $standby)
{
	my $name = $original == $one ? 'coordinator' : 'participant';

	# it knows this start of the server, and thinks that it is over
	ok(comes_true($original, 'd', 'EXISTS (SELECT FROM actorstore.boot)'), "$name: this start is written down");
	$original->backup("clone");
	stop_at('K4');
	my $clone = ActorstoreCluster->new("clone_of_$name", install_path => ActorstoreTest::fault_server());
	$clone->init_from_backup($original, "clone");
	$clone->append_conf('postgresql.conf', 'port = ' . $clone->port);
	$clone->start;
	$clone->safe_psql('d', q{SELECT actorstore.send('t', 'somebody', 'm')});
	ok(logged($clone, 0, qr/once the original runs no more/), "$name: a copy of the files is seen to be one");
	is($clone->safe_psql('d', q{SELECT ok FROM actorstore.doctor() WHERE item = 'fence'}), 'f', "$name: it says so");
	is(sqlstate($clone, 'd', "SELECT actorstore.$_"), '55000', "$name: the copy is no node: $_") foreach "locate('t', 'a')", q{execute_on_nodes('SELECT 1')};
	is($clone->safe_psql('d', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('actorstore resolver', 'actorstore forwarder')}), '0', "$name: it has neither resolver nor forwarder");
	is($_->safe_psql('d', 'SELECT count(*) FROM pg_prepared_xacts'), '1', "$name: what was prepared is left alone") foreach @nodes[ 1, 2 ];
	release($one, 'K4');
	is(answer(), '', "$name: it commits");
	settled("$name: a copy beside it");
	values_are("$n $n $n", "$name: committed");
	is($one->safe_psql('d', q{SELECT ok FROM actorstore.node_check('two')}), 't', "$name: the original goes on");
	$one->safe_psql('d', q{UPDATE actorstore.node SET conninfo = $$} . $clone->connstr('d') . q{$$ WHERE node_name = 'two'}) if $original == $standby;
	like($one->safe_psql('d', q{SELECT ok, detail FROM actorstore.node_check('two')}), qr/^f\|node "two" cannot be spoken to: .*another node, or none/, "$name: nobody speaks to the copy") if $original == $standby;
	reach_two_by($both) if $original == $standby;

	# The original has gone: the copy takes its place, as another incarnation.
	if ($original == $standby)
	{
		$original->stop;
		is($clone->safe_psql('d', 'SELECT actorstore.unfence(), actorstore.unfence()'), 't|f', 'it can take the place of the original');
		reach_two_by($clone->connstr('d'));
		$nodes[1] = $clone;
		is($one->safe_psql('d', q{SELECT ok FROM actorstore.node_check('two')}), 't', 'it is spoken to');
		is($clone->safe_psql('d', 'SELECT incarnation >> 32 FROM actorstore.local_identity()'), '2', 'it is another incarnation');
		$clone->restart;
		is($one->safe_psql('d', "SELECT value FROM actorstore.get('t', '$there')"), '3', 'with all that it had, and stays it');
	}
	else
	{
		$clone->stop;
	}
}

$_->stop foreach @nodes;
done_testing();
