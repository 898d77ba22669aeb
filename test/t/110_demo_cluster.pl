# make demo-cluster, for a few seconds and in servers of its own: what it says,
# and that it leaves three servers behind, until it is told to stop.

use strict;
use warnings;

use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = "$FindBin::RealBin/../..";
local @ENV{qw(DEMO_PREFIX DURATION CLIENTS)} = ('test_', 6, 1);

my ($said, $complaints) = run_command([ 'bash', "$root/scripts/demo-cluster" ]);
is($complaints, '', 'no complaints');

my %down = (alpha => 0, beta => 0, gamma => 0);
foreach my $node (sort keys %down)
{
	my @lines = $said =~ /^\d\d:\d\d:\d\d  $node +(\d+ slots +\d+ airports .*)$/mg;
	is(scalar(grep { !/^136[56] slots +[1-9]\d+ airports +-?\d+ flights\/s +\d+ in doubt\z/ } @lines), 0, "$node: lines");
	cmp_ok(scalar(@lines), '>', 0, "$node: there are some");
	$down{$node}++ while $said =~ /^\d\d:\d\d:\d\d  $node +down$/mg;
}
is("$down{alpha}, $down{gamma}", '0, 0', 'two nodes were never down');
cmp_ok($down{beta}, '>', 0, 'one was');
like($said, qr/kill -9: the server of beta.*beta comes back.*together/s, 'it came back');

is(scalar(grep { $_ != 22300 } $said =~ /together +(\d+) /g), 0, 'no aircraft was lost or made');

my ($acknowledged, $there, $in_doubt) = $said =~ /^(\d+) flights were acknowledged, (\d+) are there, (\d+) are in doubt$/m;
cmp_ok($acknowledged, '>', 0, 'there were flights');
cmp_ok($acknowledged, '<=', $there, 'none was lost');
is($in_doubt, 0, 'none is in doubt');
is(() = $said =~ /^seen from \w+: 22300 aircraft at 223 airports, $there departures, $there arrivals$/mg, 3, 'so seen from each node');

# How to connect.
my @servers = $said =~ /psql -h (\S+ -U postgres test_(?:alpha|beta|gamma))$/mg;
is(scalar(@servers), 3, 'it says how to connect to each server');
my ($locate) = $said =~ /(SELECT actorstore\.locate\(.*\);)$/m;
is((run_command([ 'psql', '-XAt', '-h', split(/ /), '-c', $locate ]))[0] =~ /^(\w+)\|airport\|ATL\|/ ? 1 : 0, 1, 'and what to look at') foreach @servers;

# Stop.
is(join('', run_command([ 'bash', "$root/scripts/demo-cluster", 'stop' ])), '', 'it stops');
is(scalar(grep { -e (split / /)[0] } @servers), 0, 'its sockets are gone');
is(join(' ', glob("$root/tmp/test_*")), '', 'and its files');

done_testing();
