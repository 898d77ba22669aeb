# A node that is found by a conninfo with several hosts, the first of which takes connections and says nothing, as a
# server that stands still does: the others are tried.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

BEGIN { delete $ENV{ACTORSTORE_TLS}; }	# the conninfos are made here
use ActorstoreTest;
use IO::Socket::UNIX;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my @nodes = new_cluster('one', 'two', { settings => "actorstore.resolver_interval = 100ms\nactorstore.peer_timeout = 3s\nmax_worker_processes = 16" });
my ($one, $two) = @nodes;
$one->safe_psql('d', q{SELECT actorstore.create_type('t', mailbox_limit => 1000000), actorstore.set_handler('t', 'add', 'public.collect(jsonb, jsonb)')});
my ($there, $mailed) = rows($one, 'd', q{SELECT 'a' || i FROM generate_series(1, 300) AS i WHERE actorstore.locate('t', 'a' || i) = 'two' LIMIT 2});

my $directory = PostgreSQL::Test::Utils::tempdir_short();
my @silent = map { IO::Socket::UNIX->new(Local => "$directory/.s.PGSQL.$_", Listen => 1000) or die $! } 1, 2;

# Sessions that are open have connections; new ones have to find it.
sub hosts
{
	my ($hosts, $ports) = @_;
	$one->safe_psql('d', "UPDATE actorstore.node SET conninfo = 'host=$hosts port=$ports dbname=d' WHERE node_name = 'two'");
	return;
}

# Until it is found it may be held to be down.
sub at_last
{
	my ($sql) = @_;
	my $until = time + patience();
	my $answer = '';

	until ($answer !~ /^(f|)$/ || time > $until) { $answer = ($one->psql('d', $sql))[1] // '' }
	return $answer;
}
my $n = 0;
my $host = $two->host;
my $port = $two->port;

foreach ([ "$directory,$host", "1,$port", 'one that is silent, then the node' ], [ "$directory,$directory,$host", "1,2,$port", 'two that are silent' ],
	[ "$directory,$host,$directory", "1,$port,2", 'one on either side' ])
{
	my ($hosts, $ports, $name) = @$_;
	hosts($hosts, $ports);
	is(at_last(q{SELECT ok FROM actorstore.node_check('two')}), 't', "$name: it is found");
	ok(comes_true($one, 'd', q{(SELECT health = 'up' FROM actorstore.stat_peers)}), "$name: it is up");
	is(at_last("SELECT (actorstore.put('t', '$there', '$n')).version"), $n++, "$name: it is written to");
}

# Where one that says nothing comes before one that refuses connections: nobody waits for the first one again and again.
hosts("$directory,$directory", '1,3');
is(sqlstate($one, 'd', "SELECT actorstore.get('t', '$there')"), '08006', 'nobody answers');
ok(comes_true($one, 'd', q{(SELECT health = 'down' FROM actorstore.stat_peers)}), 'it is held to be down');
is(join(' ', grep { ($one->psql('d', "SELECT actorstore.get('t', '$there')"))[2] !~ /is down/ } 1 .. 5), '', 'of which those are told who want to speak to it');
$two->restart;
hosts("$directory,$host", "1,$port");
$one->safe_psql('d', "SELECT actorstore.send('t', '$mailed', 'add', '1')");
ok(comes_true($two, 'd', "(SELECT value FROM actorstore.actor WHERE actor_type = 't' AND actor_id = '$mailed') = '[1]'"), 'messages arrive');

$_->stop foreach @nodes;
done_testing();
