# Three nodes change their weights all at once while servers and sessions are
# killed: no epoch is ever decided in two ways, and whoever asks afterwards gets
# on.  ACTORSTORE_STORM_SECONDS and ACTORSTORE_STORM_SEED make it rage longer, or
# again.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;
use Time::HiRes qw(usleep);

my $seconds = $ENV{ACTORSTORE_STORM_SECONDS} || 10;
my $seed = $ENV{ACTORSTORE_STORM_SEED} || 1 + int rand 1e9;
srand $seed;
diag "seed $seed";

my @nodes = map { new_node($_, tls => with_tls()) } qw(one two three);
my @conninfo = map { peer_conninfo($_, 'd') =~ s/'//gr } @nodes;
foreach my $node (@nodes)
{
	new_database($node, 'd');
	admit_peers($node, 'd');
}
$nodes[0]->safe_psql('d', "SELECT actorstore.init_node('one', '$conninfo[0]')");
$nodes[0]->safe_psql('d', "SELECT actorstore.add_node('$nodes[$_]{_name}', '$conninfo[$_]')") foreach 1, 2;

# Everybody wants something else, and some are killed.
my ($done, $refused, $killed, $terminated, %odd) = (0, 0, 0, 0);
my $until = time + $seconds;
while (time < $until)
{
	my @sessions = map { ActorstoreTest::Session->new($_, 'd') } @nodes;

	$sessions[$_]->start(sprintf q{SELECT actorstore.set_node_weight('%s', %d)}, $nodes[int rand 3]->name, 1 + int rand 1000) foreach 0 .. 2;
	usleep(int rand 30000);
	my $victim = $nodes[int rand 3];
	if (rand() < 0.5)
	{
		$victim->stop('immediate');
		$killed++;
	}
	else
	{
		$terminated += $victim->safe_psql('d', q{SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()});
	}
	foreach my $session (@sessions)
	{
		my $answer = $session->finish;
		if ($answer eq '') { $done++; }
		elsif ($answer =~ /(?:ERROR|FATAL|WARNING):  (?:VA009|08006|08003|57P0[123]|40001|55P03)|server closed|terminat|connection/) { $refused++; }
		else { $odd{$answer}++; }
		$session->quit;
	}
	$victim->start if !defined $victim->{_pid};
}
diag "$done changes done, $refused refused; $killed servers and $terminated sessions killed";
is(join('; ', sort keys %odd), '', 'whatever failed said that others could not be reached');
ok($killed > 0 && $done > 0, 'servers were killed, and changes done');

# Nobody is in anybody's way; all come to one map.
foreach my $node (@nodes)
{
	$node->safe_psql('d', sprintf q{SELECT actorstore.set_node_weight('%s', %d)}, $node->name, 2000 + $done);
}
my $state = q{SELECT jsonb_pretty(actorstore.local_in_force())};
is($_->safe_psql('d', $state), $nodes[0]->safe_psql('d', $state), 'the same epoch on ' . $_->name) foreach @nodes[ 1, 2 ];

# What each of them has ever put in force under a number is the same.
my %epochs;
foreach my $node (@nodes)
{
	push @{ $epochs{ (split /\|/)[0] } }, $_
	  foreach rows($node, 'd', 'SELECT epoch, node_numbers, weights, md5(owners::text) FROM actorstore.epoch');
}
my $several = grep { @{ $epochs{$_} } > 1 } keys %epochs;
my @split = grep { my %seen = map { $_ => 1 } @{ $epochs{$_} }; keys %seen > 1 } keys %epochs;
ok($several > 3, "$several epochs known to several nodes");
is(join(' ', @split), '', 'none was decided in two ways');
$_->stop foreach @nodes;
done_testing();
