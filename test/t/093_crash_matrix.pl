# Whoever dies when a transaction over several nodes ends, it is committed on
# all nodes or on none: kill -9 of one of four processes at each of seven
# places (src/cluster/global.h), which the server for this test has.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my @nodes = new_cluster('one', 'two', 'three', { faults => 1, settings => "restart_after_crash = on\nactorstore.resolver_interval = 100ms\nactorstore.peer_timeout = 30s" });
my ($one, $two) = @nodes;
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

foreach my $place (@places)
{
	foreach my $victim ('coordinator backend', 'coordinator postmaster', 'participant backend', 'participant postmaster')
	{
		my ($where, @outcomes) = @$place;
		my $server = $victim =~ /^coordinator/ ? $one : $two;
		my $outcome = $outcomes[ $server == $two ];
		my $session = ActorstoreTest::Session->new($one, 'd');
		my $before = $n++;

		$session->query("SET actorstore.fault = '$where:wait'");
		$session->query('BEGIN');
		$session->query("SELECT actorstore.execute_on_nodes('UPDATE t SET n = $n')");
		my $peer = $two->safe_psql('d', q{SELECT pid FROM pg_stat_activity WHERE application_name = 'actorstore peer'});
		$session->start('COMMIT');
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
		settle("$victim at $where");
		my $expected = $outcome eq 'commit' ? $n : $before;
		is(join(' ', map { $_->safe_psql('d', 'SELECT n FROM t') } @nodes), "$expected $expected $expected", "$victim at $where: $outcome");
		if ($server == $two)
		{
			is($answer =~ /ERROR/ ? 'abort' : 'commit', $outcome, "$victim at $where: as the client was told");
		}
		$n = $expected;
	}
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
