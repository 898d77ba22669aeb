# The checker of histories (test/perl/ListAppend.pm): finds each anomaly in
# histories made by hand, and none in those of a store that does one thing
# after the other.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ListAppend;
use Test::More;

# "0-1 ax1 rx:1,2": from 0 to 1, append 1 to x, read 1, 2 from x; ! failed, ? unknown.
sub history
{
	return [ map {
		my ($times, @ops) = split / /;
		my ($begin, $end, $mark) = $times =~ /^(\d+)-(\d+)([!?]?)$/ or die $times;
		{ begin => $begin, end => $end, status => { '' => 'ok', '!' => 'fail', '?' => 'unknown' }->{$mark},
			ops => [ map { /^a(\D+)(\d+)$/ ? [ 'append', $1, $2 ] : /^r(\D+):(.*)$/ ? [ 'read', $1, [ split /,/, $2 ] ] : die $_ } @ops ] }
	} @_ ];
}
sub finds
{
	my ($name, $expected, @transactions) = @_;
	my ($anomalies) = ListAppend::check(history(@transactions), final => 1);
	is_deeply([ map { "$_->[0]: $_->[1]" } @$anomalies ], $expected, $name);
	return;
}

finds('nothing', []);
finds('one after the other', [], '0-1 ax1', '2-3 rx:1 ax2', '4-5 rx:1,2 ry:', '6-7 ay1 ry:1', '8-9 rx:1,2 ry:1');
finds('at the same time, in one order or another', [], '0-9 ax1 ay1', '0-9 rx: ry:', '0-9 rx:1 ry:1', '10-11 rx:1 ry:1');
finds('its own appends', [], '0-1 ax1 rx:1 ax2 rx:1,2', '2-3 rx:1,2 ax3 rx:1,2,3', '4-5 rx:1,2,3');
finds('nobody knows: not done', [], '0-1? ax1', '2-3 rx:');
finds('nobody knows: done', [], '0-1? ax1', '2-3 rx:1');
finds('nobody knows: done later', [], '0-1? ax1', '2-3 rx:', '4-5 rx:1');
finds('what an unknown one has read is not looked at', [], '0-1? rx:7 ax1', '2-3 rx:1');
finds('failed', [], '0-1! ax1', '2-3 rx:');

finds('read by nobody and gone', ['lost append: T0 has appended 1 to x, where it is not'], '0-9 ax1', '2-3 rx:');
finds('never appended', ['garbage: [9] of x: nobody has appended 9'], '0-1 rx:9');
finds('appended by one that has failed', ['G1a: [1] of x: T0, which has failed, appended 1'], '0-9! ax1', '1-2 rx:1');
finds('in the middle of another one', ['G1b: T1 reads [1] of x, but T0 has appended more', 'G-single: T1 rw(x) T0 wr(x) T1'], '0-9 ax1 ax2', '0-9 rx:1', '10-11 rx:1,2');
finds('twice', ['duplicate: [1 1] of x holds 1 twice'], '0-1 ax1', '2-3 rx:1,1');
finds('another order', ['incompatible order: T3 reads [2] of x, another one [1 2]', 'G-single: T3 rw(x) T1 wr(x) T3'], '0-9 ax1', '0-9 ax2', '0-9 rx:1,2', '0-9 rx:2');
finds('its own append is not there', ['internal: T0 reads [] of x after it has appended [1]'], '0-1 ax1 rx:', '2-3 rx:1');
finds('not the same twice', ['internal: T1 reads [] of x, then [1]'], '0-9 ax1', '0-9 rx: rx:1', '10-11 rx:1');

finds('G0', ['G0: T1 ww(y) T0 ww(x) T1'], '0-9 ax1 ay1', '0-9 ax2 ay2', '10-11 rx:1,2 ry:2,1');
finds('G1c', ['G1c: T1 wr(y) T0 wr(x) T1'], '0-9 ax1 ry:1', '0-9 ay1 rx:1', '10-11 rx:1 ry:1');
finds('lost update', ['G-single: T1 rw(x) T0 ww(x) T1'], '0-9 rx: ax1', '0-9 rx: ax2', '10-11 rx:1,2');
finds('a fractured read', ['G-single: T1 rw(y) T0 wr(x) T1'], '0-9 ax1 ay1', '0-9 rx:1 ry:', '10-11 rx:1 ry:1');
finds('write skew', ['G2: T1 rw(x) T0 rw(y) T1'], '0-9 ry: ax1', '0-9 rx: ay1', '10-11 rx:1 ry:1');
finds('a long fork', ['G2: T3 rw(x) T0 wr(x) T2 rw(y) T1 wr(y) T3'], '0-9 ax1', '0-9 ay1', '0-9 rx:1 ry:', '0-9 rx: ry:1', '10-11 rx:1 ry:1');

finds('written in an order that cannot be', ['G0-realtime: T1 ww(x) T0 rt T1'], '0-1 ax1', '2-3 ax2', '4-5 rx:2,1');
finds('read before it is written', ['G1c-realtime: T1 wr(x) T0 rt T1'], '0-1 rx:1', '2-3 ax1', '4-5 rx:1');
finds('a stale read', ['G-single-realtime: T1 rw(x) T0 rt T1'], '0-1 ax1', '2-3 rx:', '4-5 rx:1');
finds('not stale: at the same time', [], '0-2 ax1', '2-3 rx:', '4-5 rx:1');
finds('an unknown one has no end', [], '0-1? ax1', '5-6 rx:', '7-8 rx:1');
finds('but a beginning', ['G1c-realtime: T1 wr(x) T0 rt T1'], '0-1 rx:1', '5-6? ax1', '7-8 rx:1');

# Many, of a store that does one at a time, at some instant between begin and end.
sub many
{
	my ($n, $keys) = @_;
	my (%store, @history, @due);
	my $value = 0;

	srand 7;
	foreach my $i (0 .. $n - 1)
	{
		my @ops;
		my $at = $i * 10;
		foreach (0 .. rand 4)
		{
			my $key = 'k' . int($i / 1000) . '.' . int rand $keys;
			if (rand() < 0.5) { push @{ $store{$key} }, ++$value; push @ops, [ 'append', $key, $value ]; }
			else { push @ops, [ 'read', $key, [ @{ $store{$key} // [] } ] ]; }
		}
		push @history, { begin => $at - rand 200, end => $at + rand 200, status => rand() < 0.05 ? 'unknown' : 'ok', ops => \@ops };
	}
	push @history, { begin => $n * 10 + 1000, end => $n * 10 + 1001, status => 'ok', ops => [ map { [ 'read', $_, $store{$_} ] } sort keys %store ] };
	return \@history;
}
foreach my $n (500, 5000)
{
	my $history = many($n, 100);
	my ($anomalies, $edges) = ListAppend::check($history, final => 1);
	is_deeply($anomalies, [], "$n transactions, one at a time");
	cmp_ok($edges, '<', 12 * $n, 'few edges');
	my $spoilt = (grep { $history->[$_]{status} eq 'ok' && $history->[$_]{ops}[0][0] eq 'read' && @{ $history->[$_]{ops}[0][2] } > 3 && @{ $history->[$_]{ops} } == 1 } 0 .. $#$history)[-1];
	pop @{ $history->[$spoilt]{ops}[0][2] } for 1 .. 3;
	($anomalies) = ListAppend::check($history, final => 1);
	is(join(' ', map { $_->[0] =~ s/^G1b$//r } @$anomalies), 'G-single-realtime', 'one of them spoilt');
	like($anomalies->[-1][1], qr/\bT$spoilt rw\(/, 'and told');
}
done_testing();
