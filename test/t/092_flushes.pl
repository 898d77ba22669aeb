# What a transaction over several nodes costs in flushes: one on its coordinator, whose commit is the decision, two on
# each other node that it has written on, PREPARE's and COMMIT PREPARED's. One that has written on one other node only: one,
# there.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

# Nothing else is to write: no resolver's pass, no background writer of WAL.
my @nodes = new_cluster('one', 'two', 'three', { settings => <<'END' });
actorstore.resolver_interval = 1h
autovacuum = off
checkpoint_timeout = 1h
wal_writer_delay = 10s
END
my ($one, $two, $three) = @nodes;
my $n = 50;
$_->safe_psql('d', 'CREATE TABLE account (id int PRIMARY KEY, amount int NOT NULL); INSERT INTO account VALUES (1, 0)') foreach @nodes;

sub writes
{
	my ($node) = @_;
	return $node->safe_psql('d', $node->safe_psql('d', 'SHOW server_version_num') < 180000
		? 'SELECT wal_write FROM pg_stat_wal'
		: q{SELECT sum(writes) FROM pg_stat_io WHERE object = 'wal' AND context = 'normal'});
}

# Each session is counted when it ends, that of the other node's soon after the client's.
sub settle
{
	foreach my $node (@nodes)
	{
		ok(comes_true($node, 'd', q{NOT EXISTS (SELECT FROM pg_prepared_xacts) AND NOT EXISTS (SELECT FROM pg_stat_activity
			WHERE application_name IN ('counted', 'actorstore peer') AND backend_type = 'client backend' AND pid <> pg_backend_pid())}),
			'nobody is left on ' . $node->name);
	}
}

# One client, one transaction after another: no two share a flush.
sub costs
{
	my ($name, $nodes, $setting, @wanted) = @_;
	my $session = ActorstoreTest::Session->new($one, 'd');
	my $sql = "SELECT FROM actorstore.execute_on_nodes('UPDATE account SET amount = amount + 1', '{}', '{$nodes}')";

	$session->query("SET application_name = 'counted'; SET actorstore.wait_for_phase_two = $setting");
	$session->query($sql) foreach 1 .. 3;
	$session->quit;
	settle();

	my @before = map { writes($_) } @nodes;
	my @sums = map { $_->safe_psql('d', 'SELECT amount FROM account') } @nodes;
	$session = ActorstoreTest::Session->new($one, 'd');
	$session->query("SET application_name = 'counted'; SET actorstore.wait_for_phase_two = $setting");
	$session->query($sql) foreach 1 .. $n;
	$session->quit;
	settle();
	foreach my $i (0 .. $#nodes)
	{
		my $flushes = writes($nodes[$i]) - $before[$i];
		my $done = $nodes[$i]->safe_psql('d', 'SELECT amount FROM account') - $sums[$i];
		my $where = "$name: " . $nodes[$i]->name;

		is($done, $nodes =~ $nodes[$i]->name ? $n : 0, "$where: done");
		ok($flushes >= $wanted[$i] * $n && $flushes < ($wanted[$i] + 0.5) * $n, "$where: $wanted[$i] flushes each")
		  or diag("$flushes flushes in $n transactions");
	}
}

costs('two nodes', 'one,two', 'on', 1, 2, 0);
costs('two nodes, answered once decided', 'one,two', 'off', 1, 2, 0);
costs('three nodes', 'one,two,three', 'on', 1, 2, 2);
costs('two others', 'two,three', 'on', 1, 2, 2);
costs('one other', 'two', 'on', 0, 1, 0);

$_->stop foreach @nodes;
done_testing();
