# Nodes that are servers with synchronous standbys, one of which takes over in
# the middle of a transaction over several nodes: all nodes commit it, or none,
# and what was locked stays so.  And a primary that does not know that it has been
# replaced acknowledges nothing.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

BEGIN { delete $ENV{ACTORSTORE_TLS}; }	# the conninfos are made here
use ActorstoreCluster;
use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

my @nodes = new_cluster('one', 'two', 'three', { faults => 1, streaming => 1,
	settings => "actorstore.resolver_interval = 100ms\nactorstore.phase_two_timeout = 60s\nactorstore.peer_timeout = 60s\nwal_keep_size = 256MB\nmax_worker_processes = 16" });
my ($one, $two, $three) = @nodes;
my %conninfo = map { $_->name => $_->connstr('d') } @nodes;
$_->safe_psql('d', 'CREATE TABLE t (n int); INSERT INTO t VALUES (0)') foreach @nodes;
$one->safe_psql('d', q{SELECT actorstore.create_type('t')});
my %of;
push @{ $of{ (split /\|/)[0] } }, (split /\|/)[1] foreach rows($one, 'd', q{SELECT actorstore.locate('t', 'a' || i), 'a' || i FROM generate_series(1, 300) AS i});
my ($here, $read, $sent, $both) = @{ $of{one} };
my $there = $of{two}[0];
$one->safe_psql('d', "SELECT actorstore.put_many('t', '{$here,$read,$both,$there}', '{0,0,0,0}')");
my $n = 0;
my $nstandbys = 0;
my $session;

sub values_are { my ($expected, $name) = @_; is(join(' ', map { $_->safe_psql('d', 'SELECT n FROM t') } @nodes), $expected, $name); return; }
sub settled { my ($name) = @_; ok(!(grep { !comes_true($_, 'd', q{NOT EXISTS (SELECT FROM pg_prepared_xacts) AND NOT EXISTS (SELECT FROM actorstore.in_doubt)}) } @nodes), "$name: nothing stays in doubt"); return; }
sub answer { my $answer = eval { $session->finish } // ''; eval { $session->quit }; return $answer; }

# The first node begins to write on all of them, and comes to a place.
sub begin
{
	unlink glob $nodes[0]->data_dir . '/fault.*';
	$session = ActorstoreTest::Session->new($nodes[0], 'd');
	$n++;
	$session->query($_) foreach @_, 'BEGIN', "SELECT actorstore.execute_on_nodes('UPDATE t SET n = $n')";
	$session->start('COMMIT');
	return;
}
sub stop_at { my ($where) = @_; begin("SET actorstore.fault = '$where:wait'"); reached($nodes[0], $where); return; }

# A standby without which no transaction of the node is acknowledged; others find both.
sub standby_of
{
	my ($i) = @_;
	my $node = $nodes[$i];
	my $name = (qw(one two three))[$i];
	my $standby = ActorstoreCluster->new('standby' . ++$nstandbys, install_path => ActorstoreTest::fault_server());

	$node->backup("for_$nstandbys");
	$standby->init_from_backup($node, "for_$nstandbys", has_streaming => 1);
	$standby->append_conf('postgresql.conf', 'port = ' . $standby->port . "\nsynchronous_standby_names = 'ANY 1 (*)'\nsynchronous_commit = on");
	$standby->start;
	$node->safe_psql('d', q{ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (*)'});
	$node->reload;
	ok(comes_true($node, 'd', q{(SELECT bool_or(sync_state = 'quorum') FROM pg_stat_replication)}), "$name waits for its standby");
	my $both = sprintf 'host=%s,%s port=%d,%d dbname=d', $node->host, $standby->host, $node->port, $standby->port;
	$_->safe_psql('d', "UPDATE actorstore.node SET conninfo = '$both' WHERE node_name = '$name'") foreach @nodes;
	return $standby;
}

# A standby takes over, and waits for no standby of its own before it has one.
sub take_over
{
	my ($i, $standby) = @_;
	$standby->promote;
	$standby->safe_psql('d', q{ALTER SYSTEM RESET primary_conninfo});
	$standby->safe_psql('d', q{ALTER SYSTEM SET synchronous_standby_names = ''});
	$standby->reload;
	ok(comes_true($standby, 'd', q{current_setting('synchronous_standby_names') = ''}), $standby->name . ' has taken over');
	$nodes[$i] = $standby;
	return;
}

# ---- A participant's, while it is prepared (40) ----

my $standby = standby_of(1);
my $reader = ActorstoreTest::Session->new($standby, 'd');
my $reads = "SELECT value FROM actorstore.get('t', '$here')";
is($reader->query($reads), '0', 'a session on the standby asks another node');
stop_at('K4');
$two->stop('immediate');
take_over(1, $standby);
is($standby->safe_psql('d', 'SELECT count(*) FROM pg_prepared_xacts'), '1', 'what was prepared is there');
is(sqlstate($standby, 'd', q{SET lock_timeout = '100ms'; UPDATE t SET n = -1}), '55P03', 'and so are its locks');
release($one, 'K4');
like(answer(), qr/^(?!.*ERROR)/s, 'it commits');
settled('a participant');
values_are("$n $n $n", 'a participant: committed everywhere');

# It has said to the other node who it was when it first asked: not who it is since then.
is($reader->query($reads), '0', 'the session that was there before asks once more');
$reader->quit;

# ---- The coordinator's, before the decision and after it (39) ----

foreach my $place ([ 'K4', 0 ], [ 'K5', 1 ])
{
	my ($where, $commits) = @$place;
	$standby = standby_of(0);
	my $before = $n;
	stop_at($where);
	$nodes[0]->stop('immediate');
	answer();
	take_over(0, $standby);
	settled("the coordinator at $where");
	$n = $before if !$commits;
	values_are("$n $n $n", "the coordinator at $where: " . ($commits ? 'committed' : 'rolled back') . ' everywhere');
}

# ---- A decision that no standby has: neither a restart makes it one, nor a failover (43) ----

$standby = standby_of(0);
my $before = $n;
$standby->safe_psql('postgres', q{ALTER SYSTEM SET primary_conninfo = ''});
$standby->reload;
ok(comes_true($standby, 'd', q{NOT EXISTS (SELECT FROM pg_stat_wal_receiver)}), 'the standby follows no more');
begin();
ok(comes_true($nodes[0], 'd', "EXISTS (SELECT FROM pg_stat_activity WHERE pid = $session->{pid} AND wait_event = 'SyncRep')"), 'the decision waits for it');
$nodes[0]->stop('immediate');
answer();
$nodes[0]->start;
is($nodes[0]->safe_psql('d', 'SELECT n FROM t'), $n, 'after a restart it is there');
ok(comes_true($nodes[0], 'd', q{EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'actorstore resolver' AND wait_event = 'SyncRep')}), 'the resolver waits for a standby');
is($_->safe_psql('d', 'SELECT count(*) FROM pg_prepared_xacts'), '1', 'the others are not told') foreach @nodes[ 1, 2 ];
$nodes[0]->stop('immediate');
take_over(0, $standby);
settled('a decision that is lost');
$n = $before;
values_are("$n $n $n", 'rolled back everywhere');

# ---- A primary that does not know that it has been replaced (44) ----

my $old = $nodes[0];
$standby = standby_of(0);
$standby->safe_psql('postgres', q{ALTER SYSTEM SET primary_conninfo = ''});
$standby->reload;
ok(comes_true($old, 'd', q{NOT EXISTS (SELECT FROM pg_stat_replication)}), 'it is alone');
take_over(0, $standby);

# Whoever still speaks to it waits for an acknowledgement that does not come.
my @waiting;
foreach my $what ("put('t', '$here', '1')", "get_many('t', '{$read}', 'share')", "send('t', '$sent', 'm')", "put_many('t', '{$both,$there}', '{1,1}')")
{
	my $client = ActorstoreTest::Session->new($old, 'd');
	$client->start("SELECT actorstore.$what");
	push @waiting, [ $client, $what ];
	ok(comes_true($old, 'd', "EXISTS (SELECT FROM pg_stat_activity WHERE pid = $client->{pid} AND wait_event = 'SyncRep')"), "$what waits");
}
ok(!$_->[0]->done, "$_->[1]: nothing is acknowledged") foreach @waiting;
is($nodes[0]->safe_psql('d', "SELECT string_agg(value::text, ' ') FROM actorstore.get_many('t', '{$here,$both}')"), '0 0', 'nothing has happened at the new one');

# Whoever asks whether the node is there goes on to the new one as soon as that is known, and not before.
my $asks = q{(SELECT count(*) FROM pg_stat_activity WHERE application_name = 'actorstore health' AND query LIKE '%local_heartbeat%')};
my $successor = $nodes[0]->safe_psql('d', 'SELECT incarnation FROM actorstore.local_identity()');
ok(comes_true($old, 'd', "$asks = 2"), 'both others ask the old one');
$nodes[2]->safe_psql('d', "UPDATE actorstore.node SET incarnation = $successor WHERE node_name = 'one'");
ok(comes_true($nodes[0], 'd', "$asks = 1"), 'who hears of its successor asks that');
is($old->safe_psql('d', "SELECT $asks"), '1', 'and the old one no more');
is($nodes[2]->safe_psql('d', q{SELECT health FROM actorstore.stat_peers WHERE node_name = 'one'}), 'up', 'meanwhile it is up');

# The others go on with the new one, and speak to the old one no more, whichever comes first in the conninfo.
$_->safe_psql('d', sprintf q{UPDATE actorstore.node SET conninfo = 'host=%s port=%d dbname=d' WHERE node_name = 'one'}, $standby->host, $standby->port) foreach @nodes;
is($nodes[1]->safe_psql('d', "SELECT (actorstore.put('t', '$here', '2')).version"), '1', 'the others write there');
my $only_old = sprintf q{UPDATE actorstore.node SET conninfo = 'host=%s port=%d dbname=d' WHERE node_name = 'one'}, $old->host, $old->port;
my $old_first = sprintf q{UPDATE actorstore.node SET conninfo = 'host=%s,%s port=%d,%d dbname=d' WHERE node_name = 'one'}, $old->host, $standby->host, $old->port, $standby->port;
my $check = q{SELECT ok, detail FROM actorstore.node_check('one')};
my $refused = qr/^f\|node "one" cannot be spoken to: .*older incarnation/;
$_->safe_psql('d', $only_old) foreach @nodes[ 1, 2 ];
like($nodes[1]->safe_psql('d', $check), $refused, 'the old one is not spoken to');
is(sqlstate($nodes[1], 'd', "SELECT actorstore.get_many('t', '{$here}', 'share')"), '55000', 'nor read, with locks');
my $incarnation = $nodes[0]->safe_psql('d', 'SELECT incarnation FROM actorstore.local_identity()');
ok(comes_true($nodes[1], 'd', "(SELECT incarnation = $incarnation FROM actorstore.node WHERE node_name = 'one')"), 'which is written down');
$nodes[1]->restart;
like($nodes[1]->safe_psql('d', $check), $refused, 'after a restart, too');

# Nor does that it answers mean that the node is up.
my $health = q{(SELECT health FROM actorstore.stat_peers WHERE node_name = 'one')};
ok(comes_true($_, 'd', "$health = 'down'"), 'it is held to be down, on ' . $_->name) foreach @nodes[ 1, 2 ];
like(slurp_file($nodes[1]->logfile), qr/LOG:  node "one" does not answer\n.*DETAIL:  It is an older incarnation/, 'the log says why');
is(sqlstate($nodes[1], 'd', "SELECT actorstore.get('t', '$here')"), '55000', 'and those who want to speak to it are told');
$_->safe_psql('d', $old_first) foreach @nodes[ 1, 2 ];
ok(comes_true($_, 'd', "$health = 'up'"), 'where the new one stands behind it, it is up, on ' . $_->name) foreach @nodes[ 1, 2 ];
is($nodes[1]->safe_psql('d', $check), 't|', 'where the new one stands behind it, that is found');
is($nodes[1]->safe_psql('d', "SELECT value FROM actorstore.get_many('t', '{$here}', 'share')"), '2', 'and read');
$_->[0]->kill foreach @waiting;

# Nor do they take anything from it: not what it would not have to wait for, as another node alone decides.
my $on_two = "SELECT actorstore.put('t', '$of{two}[1]', '1')";
$old->psql('d', $on_two, kept => 0, stderr => \my $said);
like($said, qr/ERROR:  the server that has opened this session is its node no more\nDETAIL:  A later incarnation of the node is known here\./, 'it writes nothing elsewhere');
is(sqlstate($old, 'd', "SELECT actorstore.get_many('t', '{$there}', 'share')", kept => 0), '55000', 'reads nothing');
is($nodes[0]->safe_psql('d', "$on_two IS NOT NULL", kept => 0), 't', 'the new one does');
ok(comes_true($old, 'd', q{(SELECT health = 'down' FROM actorstore.stat_peers WHERE node_name = 'two')}), 'no heartbeats, either');
$old->stop('immediate');
$nodes[0]->safe_psql('d', $old_first);
settled('one who was replaced');
is($nodes[1]->safe_psql('d', "SELECT string_agg(value::text, ' ') FROM actorstore.get_many('t', '{$here,$both,$there}', 'share')"), '2 0 0', 'what it did not acknowledge is nowhere');

$_->stop foreach @nodes;
done_testing();
