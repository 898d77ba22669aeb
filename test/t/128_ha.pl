# Two nodes, each a primary with two standbys under Patroni and etcd, as docs/ha.md sets them up, by examples/ha/run: primaries
# are killed, stand still and hand over, standbys and etcd are lost, while clients on both move money, send messages and follow
# changes.  What was acknowledged is there, nothing twice, nothing stays in doubt.
#
# That takes minutes, and packages of its own: `make check KINDS=ha`, which sets ACTORSTORE_HA_STEPS (see examples/ha/run).
# Without it only the files are looked at.

use strict;
use warnings;

use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = "$FindBin::RealBin/../..";

# The manual has the files that are tried here.
my $manual = slurp_file("$root/docs/ha.md");
foreach my $file (qw(etcd patroni.yml pg_service.conf nodes.sql member.sql))
{
	my $text = slurp_file("$root/examples/ha/$file");
	ok(index($manual, "\n$text```\n") > 0, "docs/ha.md has $file as it is");
}

my $steps = $ENV{ACTORSTORE_HA_STEPS};
if (!$steps)
{
	note('make check KINDS=ha starts the servers, too');
	done_testing();
	exit;
}
local @ENV{qw(HA_NAME HA_PORT STEPS)} = ('test_ha', 20000 + $$ * 4 % 10000, $steps);

my ($said, $complaints) = run_command([ 'bash', "$root/examples/ha/run" ]);
my ($acknowledged, $there, $notes, $subscribed) = $said =~ /^(\d+) transfers were acknowledged, (\d+) are there; (\d+) notes were handled; subscribed (\d+) times$/m;
ok($acknowledged, 'it comes to its end') or diag "$said\n$complaints";

# What it announces, in its order.
my %acts = (
	kill => [ 'kill -9: all processes of alpha\d, the primary of alpha', 'alpha\d is the primary', 'clients go on' ],
	freeze => [ 'SIGSTOP: beta\d, the primary of beta, stands still', 'beta\d is the primary', 'clients go on', 'beta\d goes on' ],
	switchover => [ 'switchover: beta\d, the primary of beta, hands over', 'beta\d is the primary', 'clients go on' ],
	lose => [ 'kill -9: both standbys of alpha, alpha\d alpha\d', 'nothing is acknowledged on alpha', 'alpha\d alpha\d are standbys again', 'clients go on' ],
	etcd => [ 'kill -9: etcd', 'without it no server is a primary', 'etcd is back, and each group has a primary', 'clients go on' ]);
my @expected = ('starting', 'clients go on', (map { @{ $acts{$_} } } split / /, $steps), 'each of the six servers is a primary or a standby');
my @lines = $said =~ /^actorstore: (.*)$/mg;
is(scalar(@lines), scalar(@expected), 'it does all that it should');
like($lines[$_] // '', qr/^$expected[$_]/, $expected[$_]) foreach 0 .. $#expected;
unlike($said, qr/^(?:alpha|beta): /m, 'doctor() has nothing to complain of');

is($notes // '', 2 * ($there // 0), 'each message was handled once');
cmp_ok($subscribed // 0, '>=', 2, 'changes were followed');
my @findings = $said =~ /^(\d+ (?!transfers were).*)$/mg;
is(scalar(@findings), 9, 'what must be so was looked at');
is(join(', ', grep { !/^0 / } @findings), '', 'and is so');
is(join(' ', glob("$root/tmp/test_ha*")), '', 'nothing is left behind');

done_testing();
