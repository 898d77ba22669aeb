# The client for Node.js, as npm packs it: its own tests, clients/node/test, each of them an assertion here.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use IPC::Run;
use ActorstoreCluster;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'ACTORSTORE_WITHOUT_NPM is set: the client for Node.js was not tried' if $ENV{ACTORSTORE_WITHOUT_NPM};

my $root = "$FindBin::RealBin/../..";
my $home = PostgreSQL::Test::Utils::tempdir;

my $node = new_node('primary', streaming => 'logical', plugins => 'pgoutput, actorstore', settings => "actorstore.workers = 2\nmax_replication_slots = 20\n");
new_database($node, 'd');
@ENV{qw(PGHOST PGPORT PGDATABASE PGUSER PGDATA)} = ($node->host, $node->port, 'd', $node->safe_psql('d', 'SELECT current_user'), $node->data_dir);

PostgreSQL::Test::Utils::system_or_bail("$root/scripts/node-home", $home);
PostgreSQL::Test::Utils::system_or_bail('cp', '-R', "$root/clients/node/test", $home);

# node's test runner, on one file; its tests become ours.
sub run_file
{
	my ($file) = @_;
	my $output = '';
	my $status = IPC::Run::run([ 'node', '--test', '--test-reporter=tap', "$home/test/$file.test.js" ], '<', '/dev/null', '>', \$output, '2>', \my $errors);
	my $n = 0;

	while ($output =~ /^(not )?ok \d+ - (.*?)(?: # (?:SKIP|TODO).*)?$/mg)
	{
		ok(!$1, "$file: $2");
		$n++;
	}
	cmp_ok($n, '>', 0, "$file: has tests");
	ok($status, "$file: ends well") or diag("$output$errors");
	$node->_update_pid(-e $node->data_dir . '/postmaster.pid');
	return;
}

run_file($_) foreach qw(types state follow worker readme);

# The last one fails over, for good.
$node->backup('b');
my $standby = ActorstoreCluster->new('standby');
$standby->init_from_backup($node, 'b', has_streaming => 1);
$standby->start;
$node->append_conf('postgresql.conf', "synchronous_standby_names = '*'");
$node->reload;
$node->poll_query_until('d', q{SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'}) or die 'no standby';
@ENV{qw(PRIMARY_PORT PRIMARY_DATA STANDBY_PORT STANDBY_DATA)} = ($node->port, $node->data_dir, $standby->port, $standby->data_dir);
run_file('reconnect');

$standby->stop;
done_testing();
