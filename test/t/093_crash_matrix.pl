# Whoever dies when a transaction over several nodes ends, it is committed on
# all nodes or on none: kill -9 of one of four processes at each of seven
# places (src/cluster/global.h), which the server for this test has; and while
# PREPARE is on its way to one participant, or has failed there, as the
# coordinator has already written its decision.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my @nodes = new_cluster('one', 'two', 'three', { faults => 1, settings => "restart_after_crash = on\nactorstore.resolver_interval = 100ms\nactorstore.peer_timeout = 30s" });
my ($one, $two, $three) = @nodes;
$_->safe_psql('d', 'CREATE TABLE t (n int); INSERT INTO t VALUES (0)') foreach @nodes;

# A row for each place: what comes of it when the coordinator dies, and when
# the participant does that is prepared first.
my @places = (
	[ 'K1', 'abort', 'abort' ],
	[ 'K2', 'abort', 'abort' ],
	[ 'K3', 'abort', 'commit' ],
	[ 'K4', 'abort', 'commit' ],
	[ 'K5', 'commit', 'commit' ],
	[ 'K6', 'commit', 'commit' ],
	[ 'K7', 'commit', 'commit' ]);
my $n = 0;

# PREPARE comes with COMMIT; or with the statement, where that is all, before it is executed on the coordinator.
my @victims = ('coordinator backend', 'coordinator postmaster', 'participant backend', 'participant postmaster');
sub cases { my ($way, @where) = @_; return map { my $place = $_; map { [ $way, $_, @$place ] } @victims } @where; }
foreach my $case (cases('in a block', @places), cases('at once', @places[0 .. 3]))
{
	my ($way, $victim, $where, @outcomes) = @$case;
	my $name = "$victim at $where, $way";
	my $server = $victim =~ /^coordinator/ ? $one : $two;
	my $outcome = $outcomes[ $server == $two ];
	my $session = ActorstoreTest::Session->new($one, 'd');
	my $before = $n++;
	my $set = q{SELECT FROM actorstore.execute_on_nodes('UPDATE t SET n = $1', '{%d}')};

	# what it does here is known once it was executed
	$session->query(sprintf $set, $before) for 1 .. 2;
	$session->query("SET actorstore.fault = '$where:wait'");
	if ($way eq 'in a block')
	{
		$session->query($_) foreach 'BEGIN', sprintf $set, $n;
	}
	my $peer = $two->safe_psql('d', q{SELECT pid FROM pg_stat_activity WHERE application_name = 'actorstore peer'});
	$session->start($way eq 'in a block' ? 'COMMIT' : sprintf $set, $n);
	reached($one, $where);
	my $backend = $server == $one ? $session->{pid} : $peer;
	if ($victim =~ /postmaster/)
	{
		$server->kill9;
	}
	else
	{
		kill 'KILL', $backend;
	}
	gone($peer) if $victim eq 'participant postmaster';
	release($one, $where) if $server == $two;
	my $answer = answer($session);
	comes_back($server, $backend, $victim =~ /postmaster/);
	unlink map { $one->data_dir . "/fault.$where.$_" } qw(reached go);
	settle($name);
	my $expected = $outcome eq 'commit' ? $n : $before;
	is(join(' ', map { $_->safe_psql('d', 'SELECT n FROM t') } @nodes), "$expected $expected $expected", "$name: $outcome");
	if ($server == $two)
	{
		is($answer =~ /ERROR/ ? 'abort' : 'commit', $outcome, "$name: as the client was told");
	}
	$n = $expected;
}

# Two has prepared; three is about to, or cannot; the row of the decision is written, and nobody sees it.
foreach my $case (
	[ 'wait', 'coordinator backend', 'abort' ],
	[ 'wait', 'coordinator postmaster', 'abort' ],
	[ 'wait', 'prepared backend', 'commit' ],
	[ 'wait', 'prepared postmaster', 'commit' ],
	[ 'wait', 'preparing backend', 'abort' ],
	[ 'wait', 'preparing postmaster', 'abort' ],
	[ 'error', 'nobody', 'abort' ],
	[ 'error', 'coordinator backend', 'abort' ],
	[ 'error', 'coordinator postmaster', 'abort' ],
	[ 'error', 'prepared backend', 'abort' ],
	[ 'error', 'prepared postmaster', 'abort' ])
{
	my ($there, $victim, $outcome) = @$case;
	my $name = "$victim, PREPARE: $there";
	my %server = (coordinator => $one, prepared => $two, preparing => $three);
	my $server = $server{ (split / /, $victim)[0] };
	my $before = $n++;

	$three->safe_psql('postgres', "ALTER DATABASE d SET actorstore.fault = 'receipt:$there'");
	my $session = ActorstoreTest::Session->new($one, 'd');
	$session->query(q{SET actorstore.fault = 'decided:wait'});
	$session->query('BEGIN');
	$session->query("SELECT actorstore.execute_on_nodes('UPDATE t SET n = $n')");
	my %backend = (coordinator => $session->{pid}, map { $_->[0] => $_->[1]->safe_psql('d', q{SELECT pid FROM pg_stat_activity WHERE application_name = 'actorstore peer'}) } [ prepared => $two ], [ preparing => $three ]);
	$session->start('COMMIT');
	reached($one, 'decided');
	if ($there eq 'wait')
	{
		reached($three, 'receipt');
	}
	else
	{
		ok(comes_true($three, 'd', "NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $backend{preparing} AND backend_xid IS NOT NULL)"), "$name: has failed");
	}
	is(join(' ', map { $_->safe_psql('d', 'SELECT count(*) FROM pg_prepared_xacts') } $two, $three), '1 0', "$name: one is prepared");
	is($one->safe_psql('d', "SELECT count(d.full_xid) FROM pg_stat_activity AS a LEFT JOIN actorstore.decision AS d ON d.full_xid::text::bigint >= a.backend_xid::text::bigint WHERE a.pid = $session->{pid} AND a.backend_xid IS NOT NULL GROUP BY a.pid"), '0', "$name: nothing is decided for others");
	my $backend = $server && $backend{ (split / /, $victim)[0] };
	if ($victim =~ /postmaster/)
	{
		$server->kill9;
		gone($backend);
	}
	elsif ($server)
	{
		kill 'KILL', $backend;
	}

	# who waits may go on, where he is still there
	release($three, 'receipt') if $there eq 'wait' && $server != $three;
	release($one, 'decided') if !$server || $server != $one;
	my $answer = answer($session);
	comes_back($server, $backend, $victim =~ /postmaster/) if $server;
	$three->safe_psql('postgres', 'ALTER DATABASE d RESET actorstore.fault');
	settle($name);
	unlink map { my $file = $_; map { $_->data_dir . "/fault.$file" } @nodes } qw(decided.reached decided.go receipt.reached receipt.go);
	my $expected = $outcome eq 'commit' ? $n : $before;
	is(join(' ', map { $_->safe_psql('d', 'SELECT n FROM t') } @nodes), "$expected $expected $expected", "$name: $outcome");
	is($answer =~ /ERROR/ ? 'abort' : 'commit', $outcome, "$name: as the client was told") if !$server || $server != $one;
	$n = $expected;
}

# A session whose server has died gives no answer.
sub answer
{
	my ($session) = @_;
	my $answer = eval { $session->finish };
	eval { $session->quit };
	return $answer // '';
}

# A backend outlives its postmaster by a moment.
sub gone
{
	my ($pid) = @_;
	my $until = time + ActorstoreTest::patience();

	while (-e "/proc/$pid/stat" && slurp_file("/proc/$pid/stat") !~ /\) [ZX] /)
	{
		die "process $pid does not end" if time > $until;
		usleep(1000);
	}
	return;
}

sub comes_back
{
	my ($server, $backend, $gone) = @_;
	my $until = time + ActorstoreTest::patience();

	# its children leave its memory soon
	if ($gone)
	{
		until ($server->start(fail_ok => 1))
		{
			die 'the server does not start' if time > $until;
			usleep(100_000);
			$server->{_pid} = undef;
		}
		return;
	}
	is_up_without($server, 'postgres', $backend) || die 'the server does not come back';
	return;
}

sub settle
{
	my ($name) = @_;
	ok(!(grep { !comes_true($_, 'd', q{NOT EXISTS (SELECT FROM pg_prepared_xacts) AND NOT EXISTS (SELECT FROM actorstore.in_doubt)}) } @nodes),
		"$name: nothing stays in doubt");
	return;
}

$_->stop foreach @nodes;
done_testing();
