# How the next epoch is decided, as a model (test/models/epoch.pml): spin goes through
# all that can happen to it with two nodes that propose, or two sessions of one node.
# Nothing bad does; and with each guard taken away something does.

use strict;
use warnings;

use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;

my $model = "$FindBin::RealBin/../models/epoch.pml";
my $where = PostgreSQL::Test::Utils::tempdir();

plan skip_all => 'spin is not installed' if system('command -v spin >/dev/null') != 0;
chdir $where or die "chdir $where: $!";

# All that can happen; the proposers may run out of ballots, which is no end that is wrong (-E).
sub search
{
	my ($name, %defines) = @_;
	my @defines = map { "-D$_=$defines{$_}" } sort keys %defines;

	system_or_bail('spin', @defines, '-a', $model);
	system_or_bail('gcc', qw(-O2 -w -DSAFETY -DNOFAIR -DCOLLAPSE -o pan pan.c));
	my ($output) = run_command([ './pan', '-E', '-m100000', '-w22' ]);
	unlike($output, qr/Search not completed|max search depth|out of memory/, "$name: all of it was looked at") if !$defines{BROKEN};
	return $output;
}

like(search('two nodes', PROPOSERS => 3), qr/errors: 0\s/, 'two nodes propose: one map is decided');
like(search('two sessions', PROPOSERS => 9), qr/errors: 0\s/, 'two sessions of one node propose: one map is decided');
like(search($_->[1], BROKEN => $_->[0]), qr/assertion violated.*errors: 1\s/s, "$_->[1]: two are")
  foreach [ 1, 'what was accepted is not taken over' ], [ 2, 'accepted below what was promised' ], [ 3, 'a ballot promised twice' ], [ 4, 'one vote is enough' ];

chdir '/';
done_testing();
