# docs/cluster_setup.md, done as it says: what stands there is what is run here,
# but for the places of servers, on three servers of this machine.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreCluster;
use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $text = slurp_file("$FindBin::RealBin/../../docs/cluster_setup.md");

# The block of code that comes next after some words.
sub block
{
	my ($words) = @_;

	$text =~ /\Q$words\E.*?^```\w*\n(.*?)^```$/ms or die "the document does not say: $words";
	return $1;
}

# The home of the user that the servers run as.
my $home = PostgreSQL::Test::Utils::tempdir;
local $ENV{HOME} = $home;
my @nodes = map { ActorstoreCluster->new($_) } qw(db1 db2 db3);
my %port = map { ($_->name => $_->port) } @nodes;

append_to_file("$home/.pg_service.conf", block('.pg_service.conf`') =~ s/^host=(\w+)$/host=127.0.0.1\nport=$port{$1}/mgr);
append_to_file("$home/.pgpass", block('.pgpass`'));
chmod 0600, "$home/.pgpass" or die;

# Run it there; what it says.
sub at
{
	my ($node, $sql) = @_;
	my ($status, $said, $complaints) = $node->psql('shop', $sql, on_error_stop => 1);

	is("$status $complaints", '0 ', $node->name . ': ' . ($sql =~ /^(?!--)(.{0,50})/m)[0]);
	return $said;
}

foreach my $node (@nodes)
{
	$node->init(extra => [ '--no-locale', '--encoding=UTF8', '--username=postgres' ]);
	$node->append_conf('postgresql.conf', block('In `postgresql.conf`') =~ s/'\*'/'127.0.0.1'/r);
	unlink $node->data_dir . '/pg_hba.conf';
	$node->append_conf('pg_hba.conf', "local all all trust\n" . block('In `pg_hba.conf`') =~ s{10\.0\.0\.0/24}{127.0.0.1/32}r);
	$node->start;
	$node->safe_psql('postgres', 'CREATE DATABASE shop');
	at($node, block('In psql, as a superuser'));
}
at($nodes[0], block('On `db1`'));

my %named = (db1 => 'one', db2 => 'two', db3 => 'three');
my $subscriptions = qr/^(?:wal_level|output_plugin_libraries|crash safety)\|.*\n?/m;

# What a node says of the others, and of itself but for what only subscriptions need (and fsync, which tests do without).
sub is_well
{
	my ($node, $words) = @_;

	ok($node->poll_query_until('shop', q{SELECT NOT EXISTS (SELECT FROM actorstore.doctor() WHERE NOT ok AND item !~ '^(wal_level|output_plugin_libraries|crash safety)$')
		AND (SELECT sum(on_their_way) FROM actorstore.stat_outbox) = 0}), $node->name . ' comes to be well');
	my ($others, $rest) = at($node, block($words)) =~ /\A((?:\w+\|[tf]\|[^\n]*\n)*)(.*)\z/s;
	is($others, join('', map { "$_|t|\n" } sort grep { $_ ne $named{ $node->name } } values %named), 'it reaches the others');
	return $rest =~ s/$subscriptions//gr;
}

is(is_well($_, 'On each,'), "one|1366\nthree|1365\ntwo|1365", 'it knows the shares') foreach @nodes;
is(at($nodes[1], block('## The first actors')), "\n3\none|a|{\"items\": 1}\nthree|c|{\"items\": 1}\ntwo|o|{\"items\": 1}\na|{\"items\": 1}\no|{\"items\": 1}\n1\n1", 'the first actors');

# A node is down.
sub as_clerk { my ($sql) = @_; my ($status, $said, $complaints) = $nodes[0]->psql('shop', "\\set VERBOSITY sqlstate\nSET ROLE clerk; $sql"); return $said . ($complaints =~ /(ERROR:  \w+)/ ? $1 : ''); }
$nodes[2]->stop('immediate');
is(as_clerk(q{SELECT actor_id, value FROM actorstore.get_many('cart', '{a,o}', lock => 'share')}), qq{a|{"items": 0}\no|{"items": 2}}, 'actors of the other nodes');
is(as_clerk($_), 'ERROR:  08006', $_)
  foreach map({ "SELECT * FROM actorstore.$_" } q{get('cart', 'c')}, q{get_all('cart')}, q{list('cart')}, q{get_many('cart', '{a,c}')}, q{put('basket', 'a', '{}')}, q{create_type('basket')});
is(as_clerk(q{SELECT count(*) FROM actorstore.send('cart', 'c', 'fill')}), 1, 'a message is taken');
is($nodes[0]->safe_psql('shop', q{SELECT actorstore.set_node_weight('two', 200), (SELECT count(*) FROM actorstore.placement WHERE node_name = 'three')}), '|1365', 'its slots stay with it');
$nodes[2]->start;
ok($nodes[2]->poll_query_until('shop', q{SELECT (SELECT actor_id || ' ' || message || ', ' || reason FROM actorstore.dead_letter) = 'c fill, no handler'}), 'the message arrives');
is(is_well($_, 'on each node:') =~ s/^\w+\|0\n?//mgr, '', 'nothing is left over') foreach @nodes;

$_->stop foreach @nodes;
done_testing();
