# The structures that workers will share, between processes: test/stress is
# built into a module of its own, and background workers push, pop, take and
# steal, are stopped in the middle, and terminated.  Nothing is lost, nothing
# comes twice, each producer's items come in order, and nobody waits for one
# who has stopped.  Only counts are compared, never times.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $source = "$FindBin::RealBin/../stress";
my $library = PostgreSQL::Test::Utils::tempdir;

# Apart from the make that may have called us.
{
	delete local @ENV{qw(MAKEFLAGS MAKELEVEL MFLAGS)};
	quiet_ok('building', 'make', '-s', '-C', $library, '-f', "$source/Makefile", 'all', 'PG_CONFIG=' . ($ENV{PG_CONFIG} // 'pg_config'));
}

my $node = new_node(
	'stress',
	preload => 0,
	settings => "max_worker_processes = 24\ndynamic_library_path = '\$libdir:$library'");
$node->safe_psql('postgres', slurp_file("$source/stress.sql"));
my $session = ActorstoreTest::Session->new($node, 'postgres');
$session->query("SET statement_timeout = '" . patience() . "s'");

my @columns = qw(pushed popped kept taken stolen recorded missing duplicates strangers out_of_order full empty);
my ($handle, @roles, %stopped);

# Whoever is still stopped would keep the server from stopping.
END { kill 'CONT', keys %stopped if %stopped }

sub number
{
	my ($sql) = @_;
	my $answer = $session->query("SELECT $sql");

	$answer =~ /^\d*$/ or die "$sql: $answer";
	return $answer;
}

sub report
{
	my %report;
	@report{@columns} = split /\|/, $session->query("SELECT * FROM stress.report($handle)");
	return \%report;
}

sub pid { return number("pid FROM stress.seat($handle, $_[0])") }
sub operations { return number("operations FROM stress.seat($handle, $_[0])") }
sub launch { return number("stress.launch($handle, $_[0], '$roles[$_[0]]')") }

# A segment, and who is to sit in which seat: producers first, owners next.
sub setup
{
	my (%o) = @_;

	@roles = map { my $role = $_; ($role) x ($o{$role} || 0) } qw(producer owner consumer thief);
	$handle = number(sprintf 'stress.new(%d, %d, %d, %d, %d, %s)',
		$o{ring}, $o{deque} || 2, $o{owner} || 1, $o{producer}, $o{quota}, $o{start} || 0);
	return;
}

sub await
{
	my ($name, $condition) = @_;
	my $until = time + patience();
	my $met;

	until ($met = $condition->())
	{
		last if time > $until;
		usleep(1000);
	}
	ok($met, $name);
	return;
}

# Those in these seats go on with what they do, whatever comes of it.
sub go_on
{
	my ($name, @seats) = @_;
	my %before = map { $_ => operations($_) } @seats;

	await($name, sub { return !grep { operations($_) < $before{$_} + 100 } @seats });
	return;
}

# A worker that will stop itself, where it is told to.
sub launch_to_stop
{
	my ($seat, $where) = @_;

	$session->query("SELECT stress.stop($handle, $seat, '$where')");
	my $pid = launch($seat);
	$stopped{$pid} = $seat;
	return $pid;
}

sub is_stopped
{
	my ($pid) = @_;
	return slurp_file("/proc/$pid/stat") =~ /\) T /;
}

sub continue_stopped
{
	my @pids = @_ ? @_ : keys %stopped;

	kill 'CONT', @pids;
	delete @stopped{@pids};
	return;
}

# All go home, and the books are closed.
sub finish
{
	my ($name, $pushed) = @_;

	is($session->query("SELECT stress.finish($handle)"), '', "$name: all leave");
	my $r = report();
	note join ', ', map { "$_ $r->{$_}" } @columns;
	is($r->{pushed}, $pushed, "$name: all pushed") if defined $pushed;
	cmp_ok($r->{pushed}, '>', 0, "$name: pushed");
	is($r->{popped}, $r->{pushed}, "$name: all popped");
	is($r->{recorded}, $r->{pushed}, "$name: all recorded");
	is($r->{taken} + $r->{stolen}, $r->{kept}, "$name: what was kept was taken or stolen");
	is("$r->{missing} $r->{duplicates} $r->{strangers} $r->{out_of_order}", '0 0 0 0',
		"$name: none missing, twice, unknown, out of order");
	$session->query("SELECT stress.drop($handle)");
	return $r;
}

sub run_all
{
	my ($name, %o) = @_;

	setup(%o);
	launch($_) foreach 0 .. $#roles;
	return finish_quota($name, $o{producer} * $o{quota});
}

# Let the producers have their quota.
sub finish_quota
{
	my ($name, $quota) = @_;
	my $producers = grep { $_ eq 'producer' } @roles;

	await("$name: producers are done", sub { return !grep { pid($_) } 0 .. $producers - 1 });
	return finish($name, $quota);
}

my $r;

# Many.
$r = run_all('ring', producer => 4, consumer => 4, ring => 1024, quota => 500000);
$r = run_all('ring and deques', producer => 3, consumer => 1, owner => 3, thief => 3, ring => 256, deque => 64, quota => 500000);
cmp_ok($r->{kept}, '>', 0, 'something was kept in deques');

# The smallest, and counters that wrap or change their sign.
$r = run_all('capacity 2', producer => 4, consumer => 3, owner => 2, thief => 2, ring => 2, deque => 2, quota => 50000);
cmp_ok($r->{full}, '>', 0, 'a small ring is full at times');
run_all('wrapping', producer => 3, consumer => 2, owner => 2, thief => 2, ring => 8, deque => 4, quota => 100000, start => -1000);
run_all('changing sign', producer => 3, consumer => 2, owner => 2, thief => 2, ring => 8, deque => 4, quota => 100000,
	start => '9223372036854774807');

# A consumer stops between two operations: the others do all the rest.
setup(producer => 2, consumer => 2, ring => 64, quota => 10000);
my $pid = launch_to_stop(2, 'anywhere');
await('a consumer has stopped', sub { return is_stopped($pid) });
launch($_) foreach 0, 1, 3;
await('the others do all', sub { return report()->{recorded} == 20000 });
ok(is_stopped($pid), 'meanwhile he is still stopped');
continue_stopped();
finish('a stopped consumer', 20000);

# A producer stops when he has claimed the very first position: no item comes
# out, the others fill the ring, and nobody hangs.
setup(producer => 2, consumer => 2, ring => 64, quota => 1000);
$pid = launch_to_stop(0, 'push');
await('a producer has stopped in a push', sub { return is_stopped($pid) });
launch($_) foreach 1 .. 3;
await('the others fill the ring', sub { return report()->{pushed} == 63 });
go_on('they find it full, and empty', 1 .. 3);
$r = report();
is("$r->{pushed} $r->{popped}", '63 0', 'nobody passes him');
continue_stopped();
finish_quota('a producer stopped in a push', 2000);

# A consumer stops with the first item in his hands: the others get one round.
setup(producer => 1, consumer => 2, ring => 64, quota => 1000);
$pid = launch_to_stop(1, 'pop');
launch(0);
await('a consumer has stopped in a pop', sub { return is_stopped($pid) });
launch(2);
await('the others get one round', sub { $r = report(); return "$r->{pushed} $r->{recorded}" eq '64 63' });
go_on('they find it full, and empty', 0, 2);
$r = report();
is("$r->{pushed} $r->{recorded}", '64 63', 'nobody fills his cell');
continue_stopped();
finish_quota('a consumer stopped in a pop', 1000);

# An owner stops when he has lowered bottom, and a thief when he has read an
# item: another thief gets that one and all others but the owner's.
setup(producer => 1, owner => 1, thief => 2, ring => 1024, deque => 4096, quota => 1000);
my $owner = launch_to_stop(1, 'take');
launch(0);
await('an owner has stopped in a take', sub { return is_stopped($owner) });
my $thief = launch_to_stop(2, 'steal');
await('a thief has stopped in a steal', sub { return is_stopped($thief) });
launch(3);
await('another thief leaves the owner the one item', sub { $r = report(); return $r->{kept} - $r->{taken} - $r->{stolen} == 1 });
go_on('he finds no other', 3);
$r = report();
is($r->{kept} - $r->{taken} - $r->{stolen}, 1, 'nobody gets it');
continue_stopped($owner);
await('the owner gets it, and all is done', sub { return report()->{recorded} == 1000 });
ok(is_stopped($thief), 'while the thief is still stopped');
continue_stopped($thief);
finish('an owner and a thief stopped', 1000);

# Anybody is stopped from outside, anywhere, and goes on.
srand(40);
my %everybody = (producer => 2, owner => 2, consumer => 2, thief => 2, ring => 64, deque => 16, quota => 32000000);
my @pids;
setup(%everybody);
$pids[$_] = launch($_) foreach 0 .. $#roles;
foreach my $round (1 .. 150)
{
	my $pid = $pids[ rand @pids ];

	$stopped{$pid} = 1;
	kill 'STOP', $pid or die "no process $pid: $!";
	usleep(rand 30000);
	continue_stopped();
	usleep(rand 5000);
}
finish('stopped at random');

# Anybody is terminated, two at a time, and another one takes the seat.
my $terminated = 0;
setup(%everybody);
launch($_) foreach 0 .. $#roles;
foreach my $round (1 .. 120)
{
	my @seats = (int(rand(@roles)), int(rand(@roles)));

	pop @seats if $seats[0] == $seats[1];
	my @ended = split /\n/, $session->query(
		"SELECT pg_terminate_backend(pid, 60000) FROM (SELECT pid FROM unnest('{" . join(',', @seats) . "}'::int[]) AS s, stress.seat($handle, s)) AS x");
	$terminated += grep { $_ eq 't' } @ended;
	launch($_) foreach @seats;
}
cmp_ok($terminated, '>', 120, "$terminated workers were terminated");
finish('terminated at random');
unlike(slurp_file($node->logfile), qr/was terminated by signal|PANIC|exit code [^01]/, 'no crash');

$session->quit;
$node->stop;
done_testing();
