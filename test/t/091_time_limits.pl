# Limits of time that are set for a server, a database or a role are for its clients: sessions between nodes are not ended
# by them.  A conninfo may say otherwise.  (Workers: 031_handlers.pl.)

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

my @nodes = new_cluster('one', 'two', { faults => 1, login => 'peer', settings => "actorstore.resolver_interval = 100ms\nmax_worker_processes = 16" });
my ($one, $two) = @nodes;
my %limits = (idle_in_transaction_session_timeout => '200ms', idle_session_timeout => '200ms', statement_timeout => '200ms', lock_timeout => '100ms');
my $pause = 'SELECT pg_sleep(0.6)';

$limits{transaction_timeout} = '300ms' if $two->pg_version >= 17;
$_->safe_psql('d', 'CREATE ROLE alice LOGIN; GRANT CREATE ON DATABASE d TO alice') foreach @nodes;
$one->safe_psql('d', q{SET ROLE alice; SELECT actorstore.create_type('thing'); SELECT count(actorstore.insert('thing', i::text, '0')) FROM generate_series(1, 1000) AS i});
my ($there) = rows($one, 'd', q{SELECT i FROM generate_series(1, 1000) AS i WHERE actorstore.locate('thing', i::text) = 'two' LIMIT 1});

# What the sessions of clients have by themselves, whatever they log in as.
sub limit
{
	my (%to) = @_;

	$two->safe_psql('d', join '; ', map { my $role = $_; map { "ALTER ROLE $role IN DATABASE d SET $_ = '$to{$_}'" } sort keys %to } rows($two, 'd', q{SELECT rolname FROM pg_roles WHERE rolname IN ('peer', 'node_role')}));
	$one->end_kept;
	return;
}
sub ended { return scalar grep { /terminating connection|canceling statement/ } split /\n/, slurp_file($two->logfile); }

limit(%limits);

# A client's transaction that does something else meanwhile, or nothing; its own session has no limits.
my $session = ActorstoreTest::Session->new($one, 'd');
is(join('|', map { $session->query($_) } 'BEGIN', "SELECT value FROM actorstore.update('thing', '$there', '1')", $pause, "SELECT value FROM actorstore.update('thing', '$there', '2')", $pause, 'COMMIT'), '|1||2||',
	'a part of a transaction that waits for the others');
my $pids = q{SELECT string_agg(pid::text, ' ' ORDER BY pid) FROM pg_stat_activity WHERE application_name LIKE 'actorstore %' AND state IS NOT NULL AND usename IS NOT NULL};
my $before = $two->safe_psql('d', $pids);
$session->query($pause);
is($two->safe_psql('d', $pids), $before, 'sessions that are idle are kept');

# Whoever has limits of his own has them there, too.
is($session->query("BEGIN; SET LOCAL statement_timeout = '50ms'"), '', 'limits of the session');
is($session->query(q{SELECT * FROM actorstore.execute_on_nodes('SELECT pg_sleep(60)', '{}', '{two}')}), 'ERROR:  57014', 'statement_timeout travels');
$session->query('ROLLBACK');
my $ended = ended();

# Messages come to a table that is locked for longer.
my $holder = ActorstoreTest::Session->new($two, 'd');
$holder->query('BEGIN; LOCK TABLE actorstore.message IN ACCESS EXCLUSIVE MODE');
$one->safe_psql('d', "SELECT actorstore.send('thing', '$there', 'm')");
ok(comes_true($two, 'd', q{EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'actorstore forwarder' AND wait_event_type = 'Lock')}), 'a message waits for a lock');
$holder->query($pause);
$holder->query('COMMIT');
$holder->quit;
ok(comes_true($one, 'd', 'NOT EXISTS (SELECT FROM actorstore.outbox)'), 'and arrives');

# Actors are copied, and nothing is said for a while to the session that has the copy.
$two->safe_psql('d', q{SELECT actorstore.set_node_weight('two', 300)});
$one->append_conf('postgresql.conf', q{actorstore.fault = 'move_copied:wait'});
$one->reload;
$two->safe_psql('d', q{SELECT FROM actorstore.rebalance(false)});
reached($one, 'move_copied');
$one->append_conf('postgresql.conf', q{actorstore.fault = ''});
$one->reload;
$session->query($pause);
release($one, 'move_copied');
ok(have_moved(@nodes), 'all have moved');
is(scalar(grep { /\[\d+\] ERROR: / && !/for too long|canceling statement/ } split /\n/, slurp_file($one->logfile)), 0, 'at the first try');
is(ended(), $ended, 'nobody was ended there');

# What a node's conninfo says of them holds.
my $new = ActorstoreTest::Session->new($one, 'd');
$one->safe_psql('d', q{UPDATE actorstore.node SET conninfo = conninfo || ' options=''-c idle_in_transaction_session_timeout=100ms''' WHERE node_name = 'two'});
is($new->query("BEGIN; SELECT value FROM actorstore.update('thing', '$there', '3')"), '3', 'a limit in a conninfo');
like(join('|', map { $new->query($_) } $pause, 'COMMIT'), qr/ERROR:  (25P03|08006)/, 'is one');

# However much it says: what has to be said besides is not cut off.
$one->safe_psql('d', q{UPDATE actorstore.node SET conninfo = replace(conninfo, '-c idle_in_transaction_session_timeout=100ms', repeat('-c work_mem=1MB ', 70)) WHERE node_name = 'two'});
is($one->safe_psql('d', q{SELECT ok, detail FROM actorstore.node_check('two')}, kept => 0), 't|', 'a conninfo with many options');
is($one->safe_psql('d', "SET ROLE alice; SELECT value FROM actorstore.update('thing', '$there', '4')", kept => 0), '4', 'for a role of ours');
is($two->safe_psql('d', q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'actorstore health'}) > 0 ? 1 : 0, 1, 'and for those that ask whether it is there');
$_->quit foreach $session, $new;

$_->stop foreach @nodes;
done_testing();
