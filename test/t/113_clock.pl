# A node's clock is set by an hour, forward and back: nobody is held to be down
# for that, what is sent arrives, and transactions go on.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

BEGIN { delete $ENV{ACTORSTORE_TLS}; }	# certificates have times of their own
use ActorstoreFaults;
use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

my @nodes = new_cluster('one', 'two', 'three', { settings => "max_worker_processes = 16\nactorstore.heartbeat_interval = 200ms\nactorstore.resolver_interval = 100ms" });
my ($one, $two, $three) = @nodes;
$one->safe_psql('d', q{SELECT actorstore.create_type('t'), actorstore.set_handler('t', 'add', 'public.collect(jsonb, jsonb)'), actorstore.create_type('account')});
my ($here, $there) = map { $one->safe_psql('d', "SELECT min('a' || i) FROM generate_series(1, 300) AS i WHERE actorstore.locate('t', 'a' || i) = '$_' AND actorstore.locate('account', 'a' || i) IS NOT NULL") } qw(one two);
my ($n, $sum) = (0, 0);
$two->stop;
with_clock($two);

sub all_up
{
	my ($name) = @_;
	my @not = grep { !comes_true($_, 'd', q{(SELECT bool_and(health = 'up') FROM actorstore.stat_peers)}) } @nodes;
	is(scalar @not, 0, "$name: all hold all to be up");
	return;
}
all_up('at first');
my %log = map { $_->name => -s $_->logfile } @nodes;

foreach my $offset (3600, 0, -3600, 3600, 0)
{
	set_clock($two, $offset);
	ok(comes_true($two, 'd', "abs(extract(epoch FROM clock_timestamp()) - $offset - " . time . ') < 1800'), "by $offset s: the clock is set");

	# heartbeats of all nodes, many
	foreach my $node (@nodes)
	{
		my $heard = $node->safe_psql('d', q{SELECT min(heartbeats_answered) FROM actorstore.stat_peers});
		ok(comes_true($node, 'd', "(SELECT min(heartbeats_answered) FROM actorstore.stat_peers) > $heard + 5"), "by $offset s: " . $node->name . ' is answered');
	}
	$n++;
	$one->safe_psql('d', "SELECT actorstore.send('t', '$there', 'add', '$n')");
	$two->safe_psql('d', "SELECT actorstore.send('t', '$here', 'add', '$n')");
	foreach my $way ([ $two, $there ], [ $one, $here ])
	{
		my ($node, $id) = @$way;
		ok(comes_true($node, 'd', "(SELECT value FROM actorstore.actor WHERE actor_type = 't' AND actor_id = '$id') = '[" . join(', ', 1 .. $n) . "]'"), "by $offset s: what is sent to " . $node->name . ' arrives');
	}
	is($_->safe_psql('d', "BEGIN; SELECT count(actorstore.put('account', 'a' || i, '$n')) FROM generate_series(1, 20) AS i; COMMIT"), 20, "by $offset s: a transaction of all nodes, from " . $_->name) foreach @nodes;
}

# What waits for a time that has come waits again where the clock goes back before anybody has seen to it.
$two->safe_psql('d', q{SELECT actorstore.create_type('job'), actorstore.set_handler('job', '*', 'actorstore.outside(jsonb, jsonb)')});
my $job = $two->safe_psql('d', q{SELECT min('j' || i) FROM generate_series(1, 100) AS i WHERE actorstore.locate('job', 'j' || i) = 'two'});
sub checkout { return $two->safe_psql('d', "SELECT turn_id, token FROM actorstore.checkout('client', '{job}', 1, max_wait => '$_[0]')"); }
$two->safe_psql('d', "SELECT actorstore.send('job', '$job', 'do')");
my ($turn, $token) = split /\|/, checkout('20 s');
$two->safe_psql('d', "SELECT actorstore.fail($turn, $token, 'not now', '100 ms')");
sleep 1;
set_clock($two, -8);
is(checkout('100 ms'), '', 'the clock has gone back: not yet');
like(checkout('30 s'), qr/^\d+\|\d+$/, 'but then');
set_clock($two, 0);

# A type with a rate limit has as many handled as it may, whatever the clock does meanwhile.
$two->safe_psql('d', q{SELECT actorstore.create_type('slow', rate_limit => 20), actorstore.set_handler('slow', 'add', 'public.collect(jsonb, jsonb)')});
my $slow = $two->safe_psql('d', q{SELECT string_agg(format('(%L)', id), ', ') FROM (SELECT 's' || i AS id FROM generate_series(1, 200) AS i WHERE actorstore.locate('slow', 's' || i) = 'two' LIMIT 40) AS x});
$two->safe_psql('d', "SELECT actorstore.send('slow', id, 'add', '1') FROM (VALUES $slow) AS x (id)");
ok(comes_true($two, 'd', q{(SELECT count(*) > 4 FROM actorstore.actor WHERE actor_type = 'slow')}), 'some are handled');
set_clock($two, -3600);
ok(comes_true($two, 'd', q{(SELECT count(*) = 40 FROM actorstore.actor WHERE actor_type = 'slow')}), 'the clock has gone back an hour: all are');
set_clock($two, 0);

all_up('in the end');
is(scalar(grep { slurp_file($_->logfile, $log{ $_->name }) =~ /is down|DETAIL: .*suspect/ } @nodes), 0, 'nobody was ever held to be down');
is($_->safe_psql('d', 'SELECT count(*) FROM pg_prepared_xacts'), 0, 'nothing is left prepared on ' . $_->name) foreach @nodes;

$_->stop foreach @nodes;
done_testing();
