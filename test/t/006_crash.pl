# Backends are killed with SIGKILL while several clients compare and swap.
# After recovery every write that was acknowledged is there, and at most one
# more for each client that was killed while it waited for its answer.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use IPC::Run;
use List::Util qw(sum);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my ($clients, $actors, $rounds) = (4, 5, 3);
my $directory = PostgreSQL::Test::Utils::tempdir;

my $node = new_node('crash', settings => "restart_after_crash = on\nfsync = off\nsynchronous_commit = on\nautovacuum = on\nautovacuum_naptime = 1s");
new_database($node, 'd');
$node->safe_psql('d', qq{
	SELECT actorstore.create_type('counter'), actorstore.create_type('pair'), actorstore.create_type('memory', 'unlogged');
	SELECT actorstore.insert_many('counter', array_agg(i::text), array_agg('0'::jsonb)) FROM generate_series(1, $actors) AS i;
	SELECT actorstore.insert_many('loose', array_agg(i::text), array_agg('0'::jsonb)) FROM generate_series(1, $actors) AS i;
	SELECT actorstore.insert_many('pair', '{left,right}', '{0,0}');
	SELECT actorstore.insert('memory', 'a', '1') IS NULL});

# What each client sends, over and over: read, then compare and swap.  It
# shows the actor if it has won, and nothing if it has lost.
sub swap
{
	my ($type, $id) = @_;
	return "SELECT 'won $type $id' FROM actorstore.get('$type', '$id') AS g,"
	  . " actorstore.compare_and_swap('$type', '$id', g.version, to_jsonb((g.value)::int + 1)) AS c WHERE c.swapped;\n";
}

my %acknowledged;
my $killed = 0;
foreach my $round (1 .. $rounds)
{
	my @client;
	srand($round);
	foreach my $number (1 .. $clients)
	{
		my $client = { out => '', err => '' };
		my $script = "SET application_name = 'client $number';\n";

		# The last one puts two actors at once, always to the same value.
		my $pair = ($acknowledged{'pair left'} // 0) + 10000 * $round;
		foreach my $i (1 .. 20000)
		{
			$script .= $number < $clients
			  ? swap(rand() < 0.7 ? 'counter' : 'loose', 1 + int rand $actors)
			  : "SELECT 'put " . ($pair + $i) . "' FROM actorstore.put_many('pair', CASE WHEN $i % 2 = 0 THEN '{left,right}'::text[] ELSE '{right,left}' END, '{"
			  . ($pair + $i) . ',' . ($pair + $i) . "}') AS n WHERE n = 2;\n";
		}
		my $file = "$directory/$number.sql";
		unlink $file;
		append_to_file($file, $script);
		$client->{harness} = IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-f', $file, $node->connstr('d') ],
			'>', \$client->{out}, '2>', \$client->{err});
		push @client, $client;
	}

	# Let each have won for a while, then kill one of them.
	my $until = time + patience();
	until (4 * $clients * 50 < sum(map { my $n = () = $_->{out} =~ /\n/g; $n } @client) && !grep { $_->{out} !~ /\n/ } @client)
	{
		$_->{harness}->pump_nb foreach @client;
		die "no progress: " . join('', map { $_->{err} } @client) if time > $until;
		usleep(1000);
	}
	my $victim = 1 + $round % $clients;
	my $pid = $node->safe_psql('d', "SELECT pid FROM pg_stat_activity WHERE application_name = 'client $victim'");
	$killed += kill 9, $pid;
	$_->{harness}->finish foreach @client;
	is(scalar(grep { $_->{err} =~ /connection to server was lost|server closed the connection/ } @client), $clients,
		"round $round: all clients have lost their connection");

	# What they have been told.
	my %this_round;
	foreach my $client (@client)
	{
		$this_round{$1}++ while $client->{out} =~ /^won (.*)$/mg;
		$acknowledged{'pair left'} = $1 while $client->{out} =~ /^put (\d+)$/mg;
	}
	$acknowledged{$_} += $this_round{$_} foreach keys %this_round;
	cmp_ok(sum(values %this_round), '>', 50, "round $round: swaps were acknowledged");

	$node->poll_query_until('d', 'SELECT true') or die 'no recovery';

	# Values count the swaps; so do versions.  What nobody has been told of is at most one for each client.
	my ($untold, %value, @wrong) = (0);
	foreach my $row (rows($node, 'd', q{SELECT actor_type || ' ' || actor_id, value, version FROM actorstore.actor WHERE actor_type IN ('counter', 'loose')}))
	{
		my ($actor, $value, $version) = split /\|/, $row;
		my $told = $acknowledged{$actor} // 0;
		push @wrong, "$row, acknowledged $told" if $value < $told || $value != $version;
		$untold += $value - $told;
		$value{$actor} = $value;
	}
	is_deeply(\@wrong, [], "round $round: each actor has what was acknowledged, and as many versions as writes");
	is(scalar(keys %value), 2 * $actors, "round $round: all are there");
	cmp_ok($untold, '<=', $clients - 1, "round $round: $untold writes were under way");
	$acknowledged{$_} = $value{$_} foreach keys %value;

	my ($left, $right) = map { [ split /\|/ ] } rows($node, 'd', q{SELECT value, version FROM actorstore.get_many('pair', '{left,right}')});
	is_deeply($left, $right, "round $round: two actors of one call are always the same");
	my $told = $acknowledged{'pair left'};
	ok($left->[0] == $told || $left->[0] == $told + 1, "round $round: and the last acknowledged, or the one after");
	$acknowledged{'pair left'} = $left->[0];

	# An unlogged type is empty after a crash, and goes on.
	is($node->safe_psql('d', q{SELECT count(*) FROM actorstore.get_all('memory')}), '0', "round $round: unlogged actors are gone");
	is($node->safe_psql('d', q{SELECT version FROM actorstore.put('memory', 'a', '1')}), '0', "round $round: and may come again");

	# The indexes agree with the tables.
	is($node->safe_psql('d', qq{SET enable_seqscan = off; SELECT count(*) FROM actorstore.actor_counter WHERE actor_type = 'counter' AND actor_id >= ''}),
		$actors, "round $round: the index has each actor once");
}
is($killed, $rounds, 'backends were killed');

# A crash in the middle of everything that is done once: nothing half-done.
my $session = ActorstoreTest::Session->new($node, 'd');
$session->query('BEGIN');
$session->query(q{SELECT actorstore.create_type('loose')});
$session->query(q{SELECT actorstore.drop_type('pair')});
$session->query(q{SELECT actorstore.insert('new', 'a', '1')});
is($node->safe_psql('d', 'SELECT count(*) FROM pg_stat_activity WHERE pid = ' . $session->{pid}), '1', 'a transaction of DDL is open');
$node->stop('immediate');
$node->start;
is($node->safe_psql('d', q{SELECT actor_type, declared FROM actorstore.type ORDER BY 1}), "counter|t\nloose|f\nmemory|t\npair|t", 'after an immediate stop all is as before');
is($node->safe_psql('d', q{SELECT count(*), count(DISTINCT tableoid) FROM actorstore.actor WHERE actor_type IN ('loose', 'pair')}), $actors + 2 . '|2', 'and where it was');
is($node->safe_psql('d', q{SELECT actorstore.create_type('loose'); SELECT count(*) FROM actorstore.get_all('loose')}), "\n$actors", 'and may be done again');

$node->stop;
done_testing();
