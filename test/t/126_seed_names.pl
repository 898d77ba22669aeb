# Seeds by the DNS: all addresses of a name, and what its SRV records say, asked of libc's resolver anew at each search; names
# that there are not, that lead nowhere, whose answer cannot be read or does not come, which nobody waits for.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

BEGIN { delete $ENV{ACTORSTORE_TLS}; }	# the conninfos are made here
use ActorstoreNames;
use ActorstoreTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $settings = "actorstore.resolver_interval = 100ms\nactorstore.peer_timeout = 10s\nmax_worker_processes = 24\nlisten_addresses = '127.0.0.1'";
my ($one, $two, $three) = my @nodes = new_cluster('one', 'two', 'three', { settings => $settings });
my $names = start_names();

sub found { my ($seed) = @_; return join ' ', rows($one, 'd', "SELECT concat_ws('=', state, node_name, address) FROM actorstore.seed WHERE seed = '$seed' ORDER BY 1"); }
sub detail { my ($seed) = @_; return $one->safe_psql('d', "SELECT concat_ws('|', state, detail) FROM actorstore.seed WHERE seed = '$seed'"); }
sub lines { my ($from, $pattern) = @_; my $n = () = slurp_file($one->logfile, $from) =~ /$pattern/g; return $n; }

# Wait until a list was tried that has so many entries.
sub try
{
	my (@list) = @_;
	my $list = join ', ', @list;
	my $n = @list;
	my $before = $one->safe_psql('d', 'SELECT now()');

	$one->safe_psql('d', "ALTER SYSTEM SET actorstore.seeds = '$list'");
	$one->reload;
	return comes_true($one, 'd', "(SELECT count(DISTINCT seed) = $n AND min(tried_at) > '$before' FROM actorstore.seed)");
}

# Where the servers are now, and one that is not there, nor anywhere.
sub say_where
{
	say_names($names, 'A two.test 127.0.0.1', 'A three.test 127.0.0.1', 'A both.test 127.0.0.1', 'A both.test 127.0.0.9',
		'SRV _actorstore._tcp.test 10 50 ' . $two->port . ' two.test', 'SRV _actorstore._tcp.test 20 0 ' . $three->port . ' three.test',
		'SRV _actorstore._tcp.test 30 0 5432 gone.test', 'SRV _closed._tcp.test 0 0 0 .', 'GARBAGE _garbage._tcp.test', 'SILENCE _silent._tcp.test', 'SILENCE silent.test', @_);
	return;
}

$one->stop;
say_where();
with_names($one, $names);

# ---- What names lead to ----

my $from = -s $one->logfile;
ok(try('srv:_actorstore._tcp.test', 'both.test:' . $two->port, 'gone.test:5432', 'srv:_gone._tcp.test', 'srv:_closed._tcp.test', 'srv:_garbage._tcp.test', 'srv:_two.test'), 'names are tried');
is(found('srv:_actorstore._tcp.test'), 'member=three=127.0.0.1:' . $three->port . ' member=two=127.0.0.1:' . $two->port . ' unresolved=gone.test:5432', 'SRV records: host and port of each');
is(found('both.test:' . $two->port), 'member=two=127.0.0.1:' . $two->port . ' unreachable=127.0.0.9:' . $two->port, 'each address of a name');
like(detail('gone.test:5432'), qr/^unresolved\|.*not known/, 'a name that there is not');
is(detail('srv:_gone._tcp.test'), 'unresolved|Unknown host', 'nor for a service');
is(detail('srv:_closed._tcp.test'), 'unresolved|There is no such service.', 'a service that is said not to be there');
like(detail('srv:_garbage._tcp.test'), qr/^unresolved\|\w/, 'an answer that cannot be read');
like(detail('srv:_two.test'), qr/^unresolved\|\w/, 'another name that there is not');
cmp_ok(names_asked($names, 'SRV _actorstore._tcp.test'), '>=', 1, 'it was the DNS that said so');
is(lines($from, 'seed "srv:_gone._tcp.test" leads to no address'), 1, 'told once');

# ---- The servers have moved, and the DNS knows ----

ok(try('srv:_actorstore._tcp.test', 'srv:_gone._tcp.test'), 'one service');
my $asked = names_asked($names, 'SRV _actorstore._tcp.test');
foreach my $node ($two, $three)
{
	$node->stop;
	$node->{_port} = PostgreSQL::Test::Cluster::get_free_port();
	$node->append_conf('postgresql.conf', 'port = ' . $node->port);
	$node->start;
}
ok(comes_true($one, 'd', "(SELECT bool_and(state = 'unreachable' OR address IN ('', 'gone.test:5432')) FROM actorstore.seed)"), 'nobody is there any more');
say_where();
ok(comes_true($one, 'd', q{(SELECT bool_and((actorstore.node_check(node_name)).ok) FROM actorstore.node)}), 'they are found where the DNS says');
is(found('srv:_actorstore._tcp.test'), 'member=three=127.0.0.1:' . $three->port . ' member=two=127.0.0.1:' . $two->port . ' unresolved=gone.test:5432', 'which was asked again');
cmp_ok(names_asked($names, 'SRV _actorstore._tcp.test'), '>=', $asked + 2, 'more than once');
is(lines($from, 'seed "srv:_gone._tcp.test" leads to no address'), 1, 'what is as it was is not told again');
is($one->safe_psql('d', 'SELECT count(*) FROM actorstore.node WHERE detour LIKE $$%127.0.0.1%$$'), '2', 'by detours');
is($one->safe_psql('d', q{SELECT count(*) FROM actorstore.node WHERE detour LIKE '%password=''''%'}), '2', 'whom the DNS has named gets no password but a passfile that names it');

# ---- No answer ----

$one->safe_psql('d', q{SELECT actorstore.create_type('t')});
my $slow = join ', ', 'silent.test', 'srv:_silent._tcp.test';
$one->safe_psql('d', "ALTER SYSTEM SET actorstore.seeds = '$slow'");
$one->reload;
ok(comes_true($one, 'd', q{EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'actorstore seeds')}), 'a search for names that nobody answers for');
is($one->safe_psql('d', q{SELECT sum((actorstore.put('t', 'a' || i, '1')).version) FROM generate_series(1, 20) AS i}), '0', 'other work goes on');
ok(comes_true($one, 'd', q{(SELECT count(*) = 2 AND bool_and(state = 'unresolved') FROM actorstore.seed)}), 'the search comes to its end');
like(detail('srv:_silent._tcp.test'), qr/^unresolved\|Host name lookup failure/, 'without a result');
$one->safe_psql('d', "ALTER SYSTEM SET actorstore.seeds = '$slow, silent.test:1'");
$one->reload;
ok(comes_true($one, 'd', q{EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'actorstore seeds')}), 'and once more');
ok(eval { $_->stop foreach @nodes; 1 }, 'a server that waits for the DNS can be stopped');
done_testing();
