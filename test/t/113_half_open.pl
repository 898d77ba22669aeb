# A link on which every packet is lost, and nobody is told: what both sides'
# kernels do about it, where our own time-outs do not bound it.  In a network of
# its own (a namespace, where rules drop what goes to and from one address).

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use Test::More;

# The same once more, in a namespace, if the system lets us have one: before anything has been begun.
BEGIN
{
	delete $ENV{ACTORSTORE_TLS};	# the conninfos are made here
	if (!$ENV{ACTORSTORE_APART})
	{
		my @apart = qw(unshare --user --map-current-user --keep-caps --net);
		my $try = 'ip link set lo up && ip rule add pref 9 lookup local && ip rule del pref 0 && ip rule add pref 8 to 127.0.0.2 blackhole';
		plan skip_all => "needs a network namespace of its own ('@apart' and 'ip rule' must be allowed)" if system("@apart sh -c '$try' >/dev/null 2>&1") != 0;
		local $ENV{ACTORSTORE_APART} = 1;
		exec @apart, $^X, $0 or die;
	}
}

use ActorstoreTest;

sub ip { my ($rule) = @_; system("ip $rule") == 0 or die "ip $rule"; return; }
ip('link set lo up');
ip('rule add pref 9 lookup local');
ip('rule del pref 0');
my @rules = ('to 127.0.0.2', 'from 127.0.0.2');

# Nothing of ours ends anything before the kernel does.
my @nodes = new_cluster('one', 'two', { settings => "actorstore.heartbeat_interval = 0\nactorstore.peer_timeout = 1h\nactorstore.resolver_interval = 1h\nlisten_addresses = '127.0.0.1, 127.0.0.2'" });
my ($one, $two) = @nodes;
foreach my $node (@nodes)
{
	$node->append_conf('postgresql.conf', "listen_addresses = '127.0.0.1, 127.0.0.2'");
	$node->append_conf('pg_hba.conf', 'host all all 127.0.0.0/8 trust');
	$node->restart;
}
$one->safe_psql('d', 'UPDATE actorstore.node SET conninfo = $$host=127.0.0.2 port=' . $two->port . q{ dbname=d$$ WHERE node_name = 'two'});
$one->safe_psql('d', q{SELECT actorstore.create_type('t')});
my $there = $one->safe_psql('d', q{SELECT min('a' || i) FROM generate_series(1, 300) AS i WHERE actorstore.locate('t', 'a' || i) = 'two'});
$one->safe_psql('d', "SELECT actorstore.put('t', '$there', '1')");

my ($writer, $sleeper) = map { ActorstoreTest::Session->new($one, 'd') } 1 .. 2;
$writer->query('BEGIN');
like($writer->query("SELECT (actorstore.put('t', '$there', '2')).version"), qr/^1$/, 'a transaction has written there');
$sleeper->start(q{SELECT actorstore.execute_on_nodes('SELECT pg_sleep(3600)', '{}', '{two}')});
ok(comes_true($two, 'd', q{(SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(3600)%' AND application_name = 'actorstore peer')}), 'another one waits for an answer');
my $sessions = q{(SELECT count(*) FROM pg_stat_activity WHERE application_name = 'actorstore peer')};
is($two->safe_psql('d', "SELECT $sessions"), 2, 'both have a session there');

# ---- Every packet is lost ----

ip("rule add pref 8 $_ blackhole") foreach @rules;
$writer->start("SELECT (actorstore.put('t', '$there', '3')).version");
is($writer->finish, 'ERROR:  08006', 'what is sent is not acknowledged: the connection is given up');
is($sleeper->finish, 'ERROR:  08006', 'so is one on which nothing is sent, as nobody answers keepalives');
ok(comes_true($two, 'd', "$sessions = 0"), 'the other side has given up both, too');
is($two->safe_psql('d', "SELECT (actorstore.put('t', '$there', '4')).version"), 1, 'so the lock that was held is free, and what was written undone');
is($writer->query('ROLLBACK'), '', 'there is nothing to be undone any more');

# ---- None is lost ----

ip("rule del pref 8 $_ blackhole") foreach @rules;
is($writer->query("SELECT (actorstore.put('t', '$there', '5')).version"), 2, 'the same session goes on over another connection');
is($_->safe_psql('d', 'SELECT count(*) FROM pg_prepared_xacts'), 0, 'nothing is prepared on ' . $_->name) foreach @nodes;
$_->quit foreach $writer, $sleeper;

$_->stop foreach @nodes;
done_testing();
