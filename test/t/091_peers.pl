# Connections to other nodes: who may be spoken to, what is kept, what is
# thrown away, and what is said of a node that cannot be reached.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

# Nobody is held to be down because he does not answer for a while.
my @nodes = new_cluster('one', 'two', { settings => q{actorstore.heartbeat_pause = '1h'} });
my ($one, $two) = @nodes;
my $check = q{SELECT ok, round_trip IS NOT NULL, detail FROM actorstore.node_check('two')};

is($one->safe_psql('d', $check), 't|t|', 'reachable');
is($one->safe_psql('d', q{SELECT ok, round_trip, detail FROM actorstore.node_check('one')}), 't|00:00:00|', 'so is the node itself');
is(sqlstate($one, 'd', q{SELECT actorstore.node_check('three')}), '42704', 'unknown node');
is(sqlstate($one, 'd', q{SELECT actorstore.node_check(NULL)}), '22004', 'no node');

# One connection a session and node.
my $session = ActorstoreTest::Session->new($one, 'd');
my $peers = q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'actorstore peer'};
$session->query($check) foreach 1 .. 3;
ok(comes_true($two, 'd', q{1 = (SELECT count(*) FROM pg_stat_activity WHERE application_name = 'actorstore resolver')}), 'the resolver has one, too');
is($two->safe_psql('d', $peers), '1', 'one connection');
is($one->safe_psql('d', q{SELECT node_name, connections FROM actorstore.stat_peers}), 'two|2', 'which is counted');
my $pid = $two->safe_psql('d', q{SELECT pid FROM pg_stat_activity WHERE application_name = 'actorstore peer'});

# How many were opened, could not be, and broke, since then.
sub counts { return split /\|/, $one->safe_psql('d', 'SELECT connected, refused, lost FROM actorstore.stat_peers'); }
sub have_grown
{
	my ($before, $more, $name) = @_;
	my @now = counts();

	is(join(' ', map { $now[$_] > $before->[$_] ? 1 : 0 } 0 .. 2), $more, $name);
	return;
}

# Ended by the peer: the next use finds out and opens another one.
my @before = counts();
$two->safe_psql('d', "SELECT pg_terminate_backend($pid)");
ok(comes_true($two, 'd', "NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)"), 'the peer ends it');
is($session->query($check), 't|t|', 'another one is opened');
have_grown(\@before, '1 0 1', 'one is counted as opened, one as lost');

# Who writes nothing by default is not spoken to, as no standby is.
$two->safe_psql('d', 'ALTER DATABASE d SET default_transaction_read_only = on');
$session->query(q{SET actorstore.peer_lifetime = 0; SELECT pg_sleep(0.01)});
like($session->query($check), qr/^f\|f\|could not connect to node "two": .*session is read-only/s, 'read-only by default');
$one->psql('d', q{SELECT actorstore.execute_on_nodes('SELECT', node_names => '{two}')}, kept => 0, stderr => \my $error);
like($error, qr/HINT:  It is a standby, or default_transaction_read_only is on for its server, database or role\.$/m, 'which is told');
is($two->safe_psql('d', q{SELECT ok, detail FROM actorstore.doctor() WHERE item = 'default_transaction_read_only'}, kept => 0), 'f|on', 'also by doctor(), there');
$two->safe_psql('d', 'SET default_transaction_read_only = off; ALTER DATABASE d RESET default_transaction_read_only', kept => 0);
is($two->safe_psql('d', q{SELECT count(*) FROM actorstore.doctor() WHERE item = 'default_transaction_read_only'}, kept => 0), '0', 'it has nothing to say where it is off');
is($session->query($check), 't|t|', 'it is spoken to again');
$session->query('RESET actorstore.peer_lifetime');

# Too old, or the node's row has changed.
$session->query(q{SET actorstore.peer_lifetime = 0; SELECT pg_sleep(0.01)});
$pid = $two->safe_psql('d', q{SELECT pid FROM pg_stat_activity WHERE application_name = 'actorstore peer'});
is($session->query($check), 't|t|', 'too old');
isnt($two->safe_psql('d', q{SELECT pid FROM pg_stat_activity WHERE application_name = 'actorstore peer'}), $pid, 'is replaced');
$session->query('RESET actorstore.peer_lifetime');
is($two->safe_psql('d', q{SELECT actorstore.local_identity() IS NOT NULL}), 't', 'who it is');

# What is waited for is several times as long, at places.
is(sqlstate($one, 'd', 'SET actorstore.peer_timeout = 2147483647'), '22023', 'no longer than can be reckoned with');

# How many the server may have.
$one->append_conf('postgresql.conf', 'actorstore.max_peer_connections = 2');
$one->reload;
my $other = ActorstoreTest::Session->new($one, 'd');
like($other->query(q{SELECT setting FROM pg_settings WHERE name = 'actorstore.max_peer_connections'}), qr/^2$/, 'two connections at most');
like($other->query($check), qr/^f\|f\|too many connections to other nodes/, 'the third is refused');
$session->quit;
ok(comes_true($two, 'd', "NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'actorstore peer')"), 'it goes with its session');
is($other->query($check), 't|t|', 'and makes room');
is($one->safe_psql('d', q{SELECT connections FROM actorstore.stat_peers}), '2', 'counted');
$one->append_conf('postgresql.conf', 'actorstore.max_peer_connections = 100');

# TLS is asked for, and this connection has none.
my $conninfo = $one->safe_psql('d', q{SELECT conninfo FROM actorstore.node WHERE node_name = 'two'});
my $required = $one->safe_psql('d', 'SHOW actorstore.require_tls');
my $new = ActorstoreTest::Session->new($one, 'd');
sub elsewhere
{
	my ($what) = @_;
	$one->safe_psql('d', "UPDATE actorstore.node SET conninfo = \$\$$what\$\$ WHERE node_name = 'two'");
	return $new->query($check);
}
$one->safe_psql('d', 'ALTER SYSTEM SET actorstore.require_tls = on');
$one->reload;
ok(comes_true($one, 'd', q{current_setting('actorstore.require_tls') = 'on'}), 'TLS required');
like(elsewhere("$conninfo sslmode=disable"), qr/^f\|f\|node "two" cannot be spoken to: .*TLS/, 'without TLS: refused');
$one->safe_psql('d', 'ALTER SYSTEM RESET actorstore.require_tls');
$one->reload;
ok(comes_true($one, 'd', "current_setting('actorstore.require_tls') = '$required'"), 'TLS as it was');

# Whom it must not be.
$two->safe_psql('postgres', 'CREATE DATABASE empty');
like(elsewhere("$conninfo dbname=empty"), qr/^f\|f\|node "two" cannot be spoken to: .*does not have the extension/, 'no extension');
new_database($two, 'stranger');
admit_peers($two, 'stranger');
like(elsewhere("$conninfo dbname=stranger"), qr/^f\|f\|node "two" cannot be spoken to: .*another node, or none/, 'no node');
@before = counts();
like(elsewhere("$conninfo dbname=nowhere"), qr/^f\|f\|could not connect to node "two": .*"nowhere" does not exist/s, 'no database');
have_grown(\@before, '0 1 0', 'which is counted as refused');
like(elsewhere(peer_conninfo($one, 'd')), qr/^f\|f\|node "two" cannot be spoken to: .*another node, or none/, 'this node under that name');
is(elsewhere($conninfo), 't|t|', 'as it was');
$two->safe_psql('d', q{UPDATE actorstore.node SET incarnation = 5::bigint << 32 WHERE node_name = 'two'});
$one->safe_psql('d', q{UPDATE actorstore.node SET incarnation = (6::bigint << 32) + 1 WHERE node_name = 'two'});
like($new->query($check), qr/^f\|f\|node "two" cannot be spoken to: .*older incarnation \(21474836481\) than the one known \(25769803777\)/, 'an older incarnation');
$one->safe_psql('d', q{UPDATE actorstore.node SET incarnation = (5::bigint << 32) + 1 WHERE node_name = 'two'});
is($new->query($check), 't|t|', 'the same');

# A role that may execute these functions only.
$two->safe_psql('d', sprintf q{SET log_statement = none; CREATE ROLE peer LOGIN PASSWORD '%s'}, ActorstoreTLS::peer_password());
like(elsewhere("$conninfo user=peer"), qr/^f\|f\|permission denied/, 'a role that may not ask');
$two->safe_psql('d', q{GRANT EXECUTE ON FUNCTION actorstore.local_identity() TO peer});
is(elsewhere("$conninfo user=peer"), 't|t|', 'that may');

# Out of reach.
$two->stop('immediate');
like($new->query($check), qr/^f\|f\|(could not connect to|connection to) node "two"/, 'stopped');
$two->start;
is($new->query($check), 't|t|', 'back');

# Standing still: the time is bounded, and a session can be cancelled.
$new->query(q{SET actorstore.peer_timeout = '300ms'; SET statement_timeout = 0; SELECT 1});
my $postmaster = $two->safe_psql('d', q{SELECT pg_read_file('postmaster.pid')}) =~ /^(\d+)/ ? $1 : die;
kill 'STOP', $postmaster;
my $late = ActorstoreTest::Session->new($one, 'd');
$late->query(q{SET actorstore.peer_timeout = '300ms'; SELECT 1});
like($late->query($check), qr/^f\|f\|could not connect to node "two": It does not answer/, 'no answer');
$late->query(q{SET actorstore.peer_timeout = '1h'; SELECT 1});
is($late->query(qq{SET statement_timeout = '200ms'; $check}), 'ERROR:  57014', 'statement_timeout');
kill 'CONT', $postmaster;
is($late->query(qq{SET statement_timeout = 0; $check}), 't|t|', 'goes on');

$_->quit foreach $new, $late, $other;

# Processes that there is no room for.
my $processes = q{SELECT string_agg(item, ',' ORDER BY item) FROM actorstore.doctor() WHERE NOT ok AND item IN ('resolver', 'launcher', 'keeper launcher', 'max_worker_processes')};
is($one->safe_psql('d', $processes), 'max_worker_processes', 'the default is too few for two nodes');
$one->append_conf('postgresql.conf', 'max_worker_processes = 0');
$one->restart;
is($one->safe_psql('d', $processes), 'keeper launcher,launcher,max_worker_processes,resolver', 'doctor() says what is missing');
is($one->safe_psql('d', q{SELECT ok, detail FROM actorstore.doctor() WHERE item = 'wal_level'}), 'f|minimal', 'and what subscriptions would need');
$one->append_conf('postgresql.conf', 'max_worker_processes = 500');
$one->restart;
ok(comes_true($one, 'd', "($processes) IS NULL"), 'and that nothing is');

$_->stop foreach @nodes;
done_testing();
