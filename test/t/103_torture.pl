# Three nodes, clients that move money and append to lists, actors that do all they
# can (TortureActors), and somebody who kills sessions, workers and servers, lets standbys take over, cuts them
# off from each other, fills disks and sets clocks: no money is made or lost, whenever one
# looks; the lists are those of a store that does one transaction after the
# other; each message, timer, crash and change has had its effect once; nothing is left
# behind.  The same checks fail where nobody locks, or where something is missing or doubled.
#
# ACTORSTORE_TORTURE_SECONDS, ACTORSTORE_TORTURE_SEED; make torture.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use ActorstoreTorture;
use ListAppend;
use Test::More;
use TortureActors;

my $seconds = $ENV{ACTORSTORE_TORTURE_SECONDS} || 15;
my $seed = $ENV{ACTORSTORE_TORTURE_SEED} || 1 + int rand 1e9;
my $accounts = 1000;

srand $seed;
diag "seed $seed, $seconds seconds";
my @nodes = torture_cluster($accounts, 'one', 'two', 'three');
my $sound = "$accounts|" . 1000 * $accounts;
is(scalar(grep { $_->safe_psql('d', 'SELECT count(*) > 200 FROM actorstore.actor_account') eq 't' } @nodes), 3, 'each node has its share');

# All at once.
my @work = (start_clients(\@nodes, 16, work => 'bank', accounts => $accounts, seed => $seed),
	start_clients(\@nodes, 8, work => 'list', keys => 6, prefix => 'a', seed => $seed + 100),
	start_clients(\@nodes, 3, class => 'TortureActors', work => 'send_some', seed => $seed + 110));
my @helpers = map { start_clients(\@nodes, 3, class => 'TortureActors', work => $_, seed => $seed + 120) } qw(serve follow);
my $faults = torture(\@nodes, $seconds);
diag join ', ', map { "$_: $faults->{$_}" } sort keys %$faults;
is(join(', ', grep { !$faults->{$_} } keys %$faults), '', 'each kind of fault has been done');
have_done(@$_) foreach [ $work[0], 'transfer', 100 ], [ $work[0], 'snapshot', 10 ], [ $work[1], 'list', 100 ], [ $work[2], 'sent', 100 ], [ $helpers[0], 'served', 20 ], [ $helpers[1], 'followed', 20 ];
my @rows = map { stop_clients($_) } @work, @helpers;
heal(@nodes);
is(join(' ', map { "@$_" } grep { $_->[0] eq 'hung' } @rows), '', 'nobody has waited without end');

# What the actors have been sent, and what has been told of the bank.
my $server = start_clients(\@nodes, 3, class => 'TortureActors', work => 'serve', seed => $seed + 130);
is(join("\n", drain(@nodes)), '', 'all messages are handled');
push @rows, stop_clients($server);
my %sent;
$sent{"$_->[2] $_->[1]"}++ foreach grep { $_->[0] eq 'sent' } @rows;
diag 'sent: ' . join ', ', map { "$_: $sent{$_}" } sort keys %sent;
is(join("\n", findings(\@nodes, @rows)), '', 'each has had its effect once');
is(join(' ', map { $_->[2] } grep { $_->[0] eq 'followed' && $_->[1] ne 'ok' && $_->[2] =~ /^23/ } @rows), '', 'no change was told twice');
is(scalar(grep { !$sent{"$_ ok"} } qw(ring timer job crash)), 0, 'there were some of each kind');

# What is missing, or there twice, is found.
foreach (
	[ q{DELETE FROM handled WHERE (token, hop) = (SELECT token, hop FROM handled WHERE what = 'ring' LIMIT 1)}, qr/^ring \S+, (ok|unknown): \d of \d+ effects/m, 'a step of the ring is missing' ],
	[ q{INSERT INTO handled SELECT * FROM handled WHERE what = 'timer' LIMIT 1}, qr/^timer \S+, (ok|unknown): 2 of 1 effects/m, 'a timer fired twice' ],
	[ q{UPDATE actorstore.actor SET value = to_jsonb(value::int + 1) WHERE ctid = (SELECT ctid FROM actorstore.actor_job LIMIT 1) AND actor_type = 'job'}, qr/job: \d+ in states, \d+ in the table/, 'a state without its effect' ],
	[ q{DELETE FROM followed WHERE sequence = (SELECT sequence FROM followed WHERE operation = 'UPDATE' LIMIT 1)}, qr/does not follow|not what was told last/, 'a change was not told' ],
	[ q{DELETE FROM actorstore.dead_message WHERE message = 'crash' AND ctid = (SELECT ctid FROM actorstore.dead_message WHERE message = 'crash' LIMIT 1)}, qr/^child \d+: /m, 'a restart without a crash' ])
{
	my ($forgery, $pattern, $what) = @$_;
	$_->safe_psql('d', $forgery) foreach @nodes;
	like(join("\n", findings(\@nodes, @rows)), $pattern, "found: $what");
}

# The bank.
my %transfers = (ok => 0, fail => 0, unknown => 0);
$transfers{ $_->[1] }++ foreach grep { $_->[0] eq 'transfer' } @rows;
my @snapshots = map { $_->[2] } grep { $_->[0] eq 'snapshot' && $_->[1] eq 'ok' } @rows;
diag "transfers: $transfers{ok} done, $transfers{fail} failed, $transfers{unknown} unknown; " . @snapshots . ' snapshots';
my %why;
$why{ $_->[2] }++ foreach grep { $_->[0] eq 'transfer' && $_->[1] eq 'fail' } @rows;
diag 'failed: ' . join ', ', map { "$_: $why{$_}" } sort keys %why;
is(join(' ', grep { $_ ne $sound } @snapshots), '', 'whoever looked has seen the same sum');
my $count = q{SELECT count(*), sum(value::bigint) FROM actorstore.get_many('account', ARRAY(SELECT 'a' || i FROM generate_series(1, %d) AS i), lock => 'share')};
is($_->safe_psql('d', 'SET ROLE teller; ' . sprintf $count, $accounts), $sound, 'and is now, seen from ' . $_->name) foreach @nodes;
my ($there, $sum) = (0, 0);
foreach my $node (@nodes)
{
	my ($n, $money) = split /\|/, $node->safe_psql('d', 'SELECT count(*), sum(value::bigint) FROM actorstore.actor_account');
	$there += $n;
	$sum += $money;
}
is("$there|$sum", $sound, 'each account is on one node');

# The lists, read once more by one who comes after all.
sub judge
{
	my ($history) = @_;
	my %keys = map { $_->[1] => 1 } map { @{ $_->{ops} } } @$history;
	my $list = join ',', sort keys %keys;
	my $begin = TortureClient::now();
	my %last = map { $_ => [] } keys %keys;

	foreach my $row (split /\n/, $nodes[0]->safe_psql('d', "SET ROLE teller; SELECT actor_id, value FROM actorstore.get_many('list', '{$list}', lock => 'share')"))
	{
		$last{$1} = [ split /, /, $2 ] if $row =~ /^(.*)\|\[(.*)\]$/;
	}
	push @$history, { status => 'ok', begin => $begin, end => TortureClient::now(), ops => [ map { [ 'read', $_, $last{$_} ] } sort keys %last ] };
	my ($anomalies) = ListAppend::check($history, final => 1);
	return map { "$_->[0]: $_->[1]" } @$anomalies;
}
my $history = read_history(@rows);
my %lists = (ok => 0, fail => 0, unknown => 0);
$lists{ $_->{status} }++ foreach @$history;
diag "lists: $lists{ok} transactions done, $lists{fail} failed, $lists{unknown} unknown";
my @anomalies = judge($history);
is(join("\n", @anomalies[ 0 .. ($#anomalies > 9 ? 9 : $#anomalies) ]), '', 'as if one after the other');

# Without locks the same checks must find something.
my $until = time + patience();
my ($torn, @found) = (0);
my $round = 0;
until ($torn && @found || time > $until)
{
	$round++;
	@work = (start_clients(\@nodes, 6, work => 'bank', accounts => $accounts, lock => 0, seed => $seed + 200 * $round),
		start_clients(\@nodes, 8, work => 'list', keys => 3, prefix => "b$round.", lock => 0, seed => $seed + 200 * $round + 100));
	sleep 2;
	@rows = map { stop_clients($_) } @work;
	$torn += grep { $_->[0] eq 'snapshot' && $_->[1] eq 'ok' && $_->[2] ne $sound } @rows;
	push @found, judge(read_history(@rows));
}
cmp_ok($torn, '>', 0, 'who does not lock sees another sum');
cmp_ok(scalar(@found), '>', 0, 'and lists that cannot be: ' . ($found[0] // ''));

$_->stop foreach @nodes;
done_testing();
