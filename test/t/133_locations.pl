# Data centres and racks of nodes: labels that all members agree on, as on weights.
# They survive what weights do, move no slot, and all nodes say the same of replicas().

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

my @nodes = map { new_node($_, tls => with_tls()) } qw(a b c d);
my ($a, $b, $c, $d) = @nodes;
my %conninfo = map { $_->name => peer_conninfo($_, 'd') =~ s/'//gr } @nodes;
foreach my $node (@nodes)
{
	new_database($node, 'd');
	admit_peers($node, 'd');
}

sub locations { return $_[0]->safe_psql('d', q{SELECT string_agg(format('%s %s/%s', node_name, coalesce(datacenter, '-'), coalesce(rack, '-')), ', ' ORDER BY node_name) FROM actorstore.node}) }
sub epoch { return $_[0]->safe_psql('d', 'SELECT max(epoch) FROM actorstore.epoch') }
sub owners { return $_[0]->safe_psql('d', q{SELECT md5(string_agg(node_name, ',' ORDER BY slot)) FROM actorstore.placement}) }
# Of 300 actors, all nodes in the order of replicas().
sub orders { return $_[0]->safe_psql('d', q{SELECT md5(string_agg(array_to_string(actorstore.replicas('cart', i::text, 9), ','), ' ' ORDER BY i)) FROM generate_series(1, 300) AS i}) }

sub agree
{
	my ($what, $expected, @who) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(locations($_), $expected, "$what: " . $_->name) foreach @who;
	is(scalar keys %{ { map { epoch($_) . ' ' . owners($_) . ' ' . orders($_) => 1 } @who } }, 1, "$what: all say the same of epoch, owners and replicas");
	return;
}

is(sqlstate($a, 'd', q{SELECT actorstore.set_node_location('a', 'north')}), '55000', 'no node yet');
$a->safe_psql('d', qq{SELECT actorstore.init_node('a', '$conninfo{a}')});
$a->safe_psql('d', qq{SELECT actorstore.add_node('$_', '$conninfo{$_}')}) foreach qw(b c);
agree('nothing said', 'a -/-, b -/-, c -/-', $a, $b, $c);
my ($owners, $orders, $epoch) = (owners($a), orders($a), epoch($a));

# What is refused changes nothing.
$a->safe_psql('d', 'CREATE ROLE stranger; CREATE ROLE granted; GRANT EXECUTE ON FUNCTION actorstore.set_node_location(text, text, text) TO granted');
foreach my $bad ([ q{'x', 'north'}, '42704', qr/The nodes stand in actorstore.node/, 'an unknown node' ],
	[ q{NULL, 'north'}, '22004', qr/node_name must not be NULL/, 'no node' ],
	[ q{'a', ''}, '22023', qr/datacenter must have 1 to 63 bytes.*NULL says that there is none/s, 'an empty data centre' ],
	[ q{'a', repeat('n', 64)}, '22023', qr/datacenter must have 1 to 63 bytes.*NULL says that there is none/s, 'a long data centre' ],
	[ q{'a', 'north', ''}, '22023', qr/rack must have 1 to 63 bytes.*NULL says that there is none/s, 'an empty rack' ],
	[ q{'a', 'north', repeat('ü', 32)}, '22023', qr/rack must have 1 to 63 bytes/, 'a long rack' ],
	[ q{'a', E'no\trth'}, '22023', qr/datacenter must not contain control characters/, 'a tab' ])
{
	my ($arguments, $state, $says, $what) = @$bad;
	is(sqlstate($b, 'd', "SELECT actorstore.set_node_location($arguments)"), $state, $what);
	like(($b->psql('d', "SELECT actorstore.set_node_location($arguments)"))[2], $says, "$what: what it says");
}
is(sqlstate($a, 'd', q{BEGIN; SELECT actorstore.set_node_location('a', 'north')}), '25001', 'in a transaction block');
is(sqlstate($a, 'd', qq{SET ROLE $_; SELECT actorstore.set_node_location('a', 'north')}), '42501', "by $_") foreach qw(stranger granted);
like(($a->psql('d', q{SET ROLE granted; SELECT actorstore.set_node_location('a', 'north')}))[2], qr/only superusers may call actorstore.set_node_location\(\)/, 'who may');
is(epoch($a), $epoch, 'all that has changed nothing');

# From any node, of any node.
$b->safe_psql('d', q{SELECT actorstore.set_node_location('a', 'north', 'r1')});
$c->safe_psql('d', q{SELECT actorstore.set_node_location('b', 'north', 'r2')});
$a->safe_psql('d', q{SELECT actorstore.set_node_location('c', 'south')});
agree('labelled', 'a north/r1, b north/r2, c south/-', $a, $b, $c);
is(epoch($a), $epoch + 3, 'each is an epoch');
$a->safe_psql('d', q{SELECT actorstore.set_node_location('c', 'south', NULL)});
is(epoch($a), $epoch + 3, 'but not what is so already');
is(owners($a), $owners, 'no slot has another owner');
isnt(orders($a), $orders, 'others are next');
is($a->safe_psql('d', q{SELECT count(*) FROM generate_series(1, 300) AS i, LATERAL (SELECT actorstore.replicas('cart', i::text, 2) AS r) AS x WHERE r[1] <> actorstore.locate('cart', i::text) OR NOT 'c' = ANY (r)}), '0',
	'a replica in each data centre');
$a->safe_psql('d', 'GRANT EXECUTE ON FUNCTION actorstore.replicas(text, text, int) TO stranger');
is($a->safe_psql('d', q{SET ROLE stranger; SELECT array_agg(n.datacenter ORDER BY n.datacenter) FROM unnest(actorstore.replicas('cart', 'x', 2)) AS r JOIN actorstore.node AS n ON n.node_name = r}), '{north,south}',
	'everybody may see where nodes are');

# With a weight, a restart, and a new member; a crash; one that was down.
$c->safe_psql('d', q{SELECT actorstore.set_node_weight('b', 50)});
$_->restart foreach ($a, $b, $c);
$a->safe_psql('d', qq{SELECT actorstore.add_node('d', '$conninfo{d}')});
agree('a fourth one', 'a north/r1, b north/r2, c south/-, d -/-', @nodes);
$c->stop('immediate');
$d->safe_psql('d', q{SELECT actorstore.set_node_location('d', 'south', 'r1')});
$c->start;
ok($c->poll_query_until('d', q{SELECT rack FROM actorstore.node WHERE node_name = 'd'}, 'r1'), 'who was down learns it');
agree('all four', 'a north/r1, b north/r2, c south/-, d south/r1', @nodes);
is($a->safe_psql('d', q{SELECT count(*) FROM generate_series(1, 300) AS i WHERE (SELECT count(DISTINCT n.datacenter) FROM unnest(actorstore.replicas('cart', i::text, 2)) AS r JOIN actorstore.node AS n ON n.node_name = r) <> 2}), '0',
	'the first two are in both data centres');

# Several at once: all are done.
my @sessions = map { ActorstoreTest::Session->new($_, 'd') } @nodes;
$epoch = epoch($a);
$sessions[$_]->start(sprintf q{SELECT actorstore.set_node_location('%s', 'east', 'r%d')}, (qw(a b c d))[$_], $_) foreach 0 .. 3;
is($_->finish, '', 'at once') foreach @sessions;
agree('all at once', 'a east/r0, b east/r1, c east/r2, d east/r3', @nodes);
is(epoch($a), $epoch + 4, 'one after the other');

# NULL takes a label away.
$b->safe_psql('d', q{SELECT actorstore.set_node_location('a', 'east')});
$b->safe_psql('d', q{SELECT actorstore.set_node_location('b', NULL, 'r1')});
$b->safe_psql('d', q{SELECT actorstore.set_node_location('c', NULL)});
agree('some taken away', 'a east/-, b -/r1, c -/-, d east/r3', @nodes);

# A minority changes nothing.
$_->stop('immediate') foreach ($c, $d);
is(sqlstate($a, 'd', q{SELECT actorstore.set_node_location('a', 'west')}), 'VA009', 'two of four');
like(($a->psql('d', q{SELECT actorstore.set_node_location('a', 'west')}))[2], qr/no majority of the nodes agrees.*not heard: c, d\..*HINT:  Try again when more of them can be reached/s, 'which says who is missing');
is(locations($_), 'a east/-, b -/r1, c -/-, d east/r3', 'change nothing on ' . $_->name) foreach ($a, $b);
$_->start foreach ($c, $d);

# A node that leaves takes its labels along; so does one that is removed by force.
$a->safe_psql('d', q{SELECT actorstore.remove_node('d')});
agree('without d', 'a east/-, b -/r1, c -/-', $a, $b, $c);

# Who proposes dies: what another one has accepted is finished, labels and all.
my $proposal = $a->safe_psql('d', q{SELECT jsonb_set(p, '{epoch}', to_jsonb((p -> 'epoch')::bigint + 1)) || jsonb_build_object('members',
	(SELECT jsonb_agg(m || '{"datacenter": "west", "altitude": 7}') FROM jsonb_array_elements(p -> 'members') AS m)) FROM actorstore.local_in_force() AS p});
my ($next, $ballot) = (epoch($a) + 1, 9 << 16);
$b->safe_psql('d', "SELECT FROM actorstore.local_promise($next, $ballot); SELECT FROM actorstore.local_accept($next, $ballot, \$\$$proposal\$\$)");
$a->stop('immediate');
$c->safe_psql('d', q{SELECT actorstore.set_node_location('c', 'west', 'r9')});
$a->start;
ok($a->poll_query_until('d', q{SELECT rack FROM actorstore.node WHERE node_name = 'c'}, 'r9'), 'the first one hears of it');
agree('finished by another; what nobody knows is ignored', 'a west/-, b west/r1, c west/r9', $a, $b, $c);

# A proposal of an extension that knows no labels says that there are none.
$proposal = $a->safe_psql('d', q{SELECT jsonb_set(p, '{epoch}', to_jsonb((p -> 'epoch')::bigint + 1)) || jsonb_build_object('members',
	(SELECT jsonb_agg(m - 'datacenter' - 'rack') FROM jsonb_array_elements(p -> 'members') AS m)) FROM actorstore.local_in_force() AS p});
is($_->safe_psql('d', "SELECT actorstore.local_learn(\$\$$proposal\$\$)"), 't', 'an older proposal: ' . $_->name) foreach ($a, $b, $c);
agree('labels that it does not know', 'a -/-, b -/-, c -/-', $a, $b, $c);

done_testing();
