# make demo-cluster, for a few seconds and in servers of its own: what it says, and that it leaves
# three servers behind, until it is told to stop. Its clients leave the other tests some of the machine.

use strict;
use warnings;

use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = "$FindBin::RealBin/../..";
local @ENV{qw(DEMO_PREFIX DURATION CLIENTS PAUSE)} = ('test_', 7, 1, 0.05);

my ($said, $complaints) = run_command([ 'bash', "$root/scripts/demo-cluster" ]);
is($complaints, '', 'no complaints');

# What it announces, and the lines about each node that follow it.
my %lines;
my @acts = ([ 'killed', 'kill -9: the server of beta' ], [ 'back', 'beta comes back' ], [ 'joins', 'delta joins' ], [ 'leaves', 'beta leaves' ],
	[ 'left', 'beta has left' ], [ 'cut', 'gamma is cut off' ], [ 'together', 'gamma is back' ]);
my $act = 'start';
foreach my $line (split /\n/, $said)
{
	$act = shift(@acts)->[0] if @acts && $line =~ /^actorstore: \Q$acts[0][1]\E/;
	push @{ $lines{$act}{$1} }, $2 if $line =~ /^\d\d:\d\d:\d\d  (alpha|beta|gamma|delta|together) +(.*)$/;
}
is(scalar(@acts), 0, 'all that it shows has happened, in its order');

my %members = (start => 'alpha beta gamma', killed => 'alpha beta gamma', back => 'alpha beta gamma', joins => 'alpha beta delta gamma',
	leaves => 'alpha beta delta gamma', left => 'alpha delta gamma', cut => 'alpha delta gamma', together => 'alpha delta gamma');
my ($wrong, $down) = (0, 0);
foreach my $act (sort keys %members)
{
	is(join(' ', sort grep { $_ ne 'together' } keys %{ $lines{$act} }), $members{$act}, "$act: lines about the nodes");
	foreach my $node (split / /, $members{$act})
	{
		my @is_down = grep { $_ eq 'down' } @{ $lines{$act}{$node} };
		$down += @is_down;
		$wrong += @is_down if "$act $node" ne 'killed beta';
		$wrong += grep { !/^\d+ slots +\d+ airports +\d+ flights\/s +\d+ messages\/s +\d+ in doubt(?:, cannot hear [a-z ]+)?\z/ && $_ ne 'down' } @{ $lines{$act}{$node} };
	}
}
is($wrong, 0, 'as they should be, and nobody down who was not killed');
cmp_ok($down, '>', 0, 'who was killed was down');
is(join(' ', map { $lines{joins}{$_}[-1] =~ /^(\d+) / } qw(alpha beta gamma delta)), '1024 1024 1024 1024', 'who has joined has its share');
is(join(' ', sort { $a <=> $b } map { $lines{left}{$_}[-1] =~ /^(\d+) / } qw(alpha gamma delta)), '1365 1365 1366', 'and the others what one had who left');
like($lines{cut}{$_}[-1], qr/, cannot hear gamma\z/, "$_ cannot hear who is cut off") foreach qw(alpha delta);
like($lines{cut}{gamma}[-1], qr/, cannot hear \w+ and \w+\z/, 'nor he the others');

is(scalar(grep { $_ != 22300 } $said =~ /together +(\d+) /g), 0, 'no aircraft was lost or made');

my ($acknowledged, $there, $in_doubt, $sent, $handled) =
	$said =~ /^(\d+) flights were acknowledged, (\d+) are there, (\d+) are in doubt; (\d+) reports were sent, (\d+) handled$/m;
cmp_ok($acknowledged, '>', 0, 'there were flights');
cmp_ok($acknowledged, '<=', $there, 'none was lost');
is($in_doubt, 0, 'none is in doubt');
cmp_ok($sent, '>', 0, 'there were reports');
is($handled, $sent, 'each was handled once');
is(() = $said =~ /^seen from \w+: 22300 aircraft at 223 airports, $there departures, $there arrivals, $there confirmed, $sent reports$/mg, 3, 'so seen from each node');
like($said, qr/^223 of 223 airports are on one node only$/m, 'each airport is on one node');

# How to connect.
my @servers = $said =~ /psql -h (\S+ -U postgres test_(?:alpha|gamma|delta))$/mg;
is(scalar(@servers), 3, 'it says how to connect to each server');
my ($locate) = $said =~ /(SELECT actorstore\.locate\(.*\);)$/m;
is((run_command([ 'psql', '-XAt', '-h', split(/ /), '-c', $locate ]))[0] =~ /^(\w+)\|airport\|ATL\|/ ? 1 : 0, 1, 'and what to look at') foreach @servers;

# Stop.
is(join('', run_command([ 'bash', "$root/scripts/demo-cluster", 'stop' ])), '', 'it stops');
is(scalar(grep { -e (split / /)[0] } @servers), 0, 'its sockets are gone');
is(join(' ', glob("$root/tmp/test_*")), '', 'and its files');

done_testing();
