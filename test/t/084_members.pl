# Nodes come, go and get other weights: three servers, the epochs that they
# decide, what is refused, and what happens while some are down.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

my ($a, $b, $c) = map { new_node($_, tls => with_tls()) } qw(a b c);
my %conninfo = map { $_->name => peer_conninfo($_, 'd') =~ s/'//gr } ($a, $b, $c);
foreach my $node ($a, $b, $c)
{
	new_database($node, 'd');
	admit_peers($node, 'd');
}

sub epoch { return $_[0]->safe_psql('d', 'SELECT max(epoch) FROM actorstore.epoch') }
sub map_of { return $_[0]->safe_psql('d', q{SELECT md5(string_agg(coalesce(node_name, '?') || slot, ',' ORDER BY slot)) FROM actorstore.placement}) }
sub shares { return $_[0]->safe_psql('d', q{SELECT string_agg(node_name || ' ' || n, ', ' ORDER BY node_name) FROM (SELECT node_name, count(*) AS n FROM actorstore.placement GROUP BY 1) AS p}) }

sub agree
{
	my ($what, @nodes) = @_;
	my %seen = map { epoch($_) . ' ' . map_of($_) => 1 } @nodes;
	is(scalar keys %seen, 1, "$what: all have the same map");
	return;
}

# Bad input.
is(sqlstate($a, 'd', qq{SELECT actorstore.add_node('b', '$conninfo{b}')}), '55000', 'no node yet');
is(sqlstate($a, 'd', q{SELECT actorstore.init_node('a', 'host=x password=secret')}), '22023', 'a password in one\'s own conninfo');
$a->safe_psql('d', q{SELECT actorstore.init_node('a')});
is(sqlstate($a, 'd', q{SELECT actorstore.add_node('b', 'service=b')}), '55000', 'nobody would know how to reach it');
$a->safe_psql('d', q{SELECT actorstore.set_node_weight('a', 50)});
is(epoch($a), '2', 'a node alone decides alone');
$a->safe_psql('d', 'DROP EXTENSION actorstore; CREATE EXTENSION actorstore');
admit_peers($a, 'd');
$a->safe_psql('d', qq{SELECT actorstore.init_node('a', '$conninfo{a}')});
$b->safe_psql('postgres', "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1'");
$b->safe_psql('latin', 'CREATE EXTENSION actorstore');
admit_peers($b, 'latin');
foreach my $bad ([ q{'b', 'host=x password=secret'}, '22023', 'a password' ], [ q{'b', 'postgresql://u:secret@x/d'}, '22023', 'a password in a URI' ],
	[ q{'b', 'nonsense'}, '22023', 'no conninfo' ], [ qq{'a', '$conninfo{b}'}, '42710', 'a name that is taken' ],
	[ qq{'a2', '$conninfo{a}'}, '55000', 'a node already' ], [ q{'b', 'host=/nowhere dbname=d'}, '08006', 'out of reach' ],
	[ qq{'b', '} . (peer_conninfo($b, 'latin') =~ s/'//gr) . q{'}, '55000', 'another encoding' ],
	[ qq{'b', '} . (peer_conninfo($b, 'postgres') =~ s/'//gr) . q{'}, '55000', 'no extension' ], [ qq{'b', '$conninfo{b}', -1}, '22023', 'a negative weight' ],
	[ qq{'b', '$conninfo{b}', 1000001}, '22023', 'too large a weight' ], [ q{NULL, 'dbname=d'}, '22004', 'no name' ], [ q{'b', NULL}, '22004', 'no conninfo given' ])
{
	is(sqlstate($a, 'd', "SELECT actorstore.add_node($bad->[0])"), $bad->[1], $bad->[2]);
}
like(($a->psql('d', qq{SELECT actorstore.add_node('b', '} . (peer_conninfo($b, 'latin') =~ s/'//gr) . q{')}))[2], qr/has the encoding LATIN1/, 'which is said');
is(sqlstate($a, 'd', qq{BEGIN; SELECT actorstore.add_node('b', '$conninfo{b}')}), '25001', 'not in a transaction block');
$a->safe_psql('d', 'CREATE ROLE stranger');
is(sqlstate($a, 'd', qq{SET ROLE stranger; SELECT actorstore.add_node('b', '$conninfo{b}')}), '42501', 'not for everybody');
is(sqlstate($a, 'd', q{SELECT actorstore.remove_node('x')}), '42704', 'unknown node to be removed');
is(sqlstate($a, 'd', q{SELECT actorstore.set_node_weight('x', 1)}), '42704', 'or weighed');
is(sqlstate($a, 'd', q{SELECT actorstore.set_node_weight('a', 0)}), '22023', 'somebody must have a weight');
$b->safe_psql('d', q{SELECT actorstore.put('loose', 'x', '1')});
is(sqlstate($a, 'd', qq{SELECT actorstore.add_node('b', '$conninfo{b}')}), '55000', 'it has actors of its own');
$b->safe_psql('d', q{SELECT actorstore.drop_type('loose')});
is(epoch($a), '1', 'all that has changed nothing');

# Types, handlers and rights come before slots.
my $handler = 'CREATE FUNCTION keep(jsonb, jsonb) RETURNS jsonb LANGUAGE sql RETURN $1';
$_->safe_psql('d', 'CREATE ROLE keeper; CREATE ROLE reader') foreach ($a, $b, $c);
$a->safe_psql('d', $handler);
$a->safe_psql('d', q{GRANT CREATE ON DATABASE d TO keeper; SET ROLE keeper; SELECT actorstore.create_type('cart', max_attempts => 7), actorstore.set_handler('cart', '*', 'public.keep(jsonb, jsonb)'), actorstore.grant_type('cart', 'reader', '{read}')});
is(sqlstate($a, 'd', qq{SELECT actorstore.add_node('b', '$conninfo{b}')}), '42883', 'a handler is missing there');
$_->safe_psql('d', $handler) foreach ($b, $c);
$a->safe_psql('d', q{CREATE ROLE elsewhere; SELECT actorstore.grant_type('cart', 'elsewhere', '{read}')});
is(sqlstate($a, 'd', qq{SELECT actorstore.add_node('b', '$conninfo{b}')}), '42704', 'a role is missing there');
$a->safe_psql('d', q{SELECT actorstore.revoke_type('cart', 'elsewhere', '{read}'); DROP ROLE elsewhere});

$a->safe_psql('d', qq{SELECT actorstore.add_node('b', '$conninfo{b}')});
is(shares($b), 'a 2048, b 2048', 'half of the slots for the second node');
agree('two nodes', $a, $b);
is($b->safe_psql('d', q{SELECT actor_type, owner, declared, max_attempts FROM actorstore.type}), 'cart|keeper|t|7', 'with the types');
is($b->safe_psql('d', q{SELECT function FROM actorstore.handler}), $a->safe_psql('d', q{SELECT function FROM actorstore.handler}), 'handlers');
is($b->safe_psql('d', q{SELECT grantee, privilege FROM actorstore.type_grant}), 'reader|read', 'and rights');
is($_->safe_psql('d', q{SELECT string_agg(node_number || node_name, ',' ORDER BY 1) FROM actorstore.node WHERE is_self}), { a => '1a', b => '2b' }->{$_->name}, 'each knows who it is') foreach ($a, $b);
is($b->safe_psql('d', q{SELECT actorstore.locate('cart', i::text) FROM generate_series(1, 100) AS i}), $a->safe_psql('d', q{SELECT actorstore.locate('cart', i::text) FROM generate_series(1, 100) AS i}), 'an actor lives at the same place, whoever is asked');
is(sqlstate($a, 'd', qq{SELECT actorstore.add_node('b', '$conninfo{b}')}), '42710', 'taken in once only');

# From any node; actors keep their slots.
my ($here) = rows($b, 'd', q{SELECT i FROM generate_series(1, 1000) AS i WHERE actorstore.locate('cart', i::text) = 'b' LIMIT 1});
$b->safe_psql('d', qq{SELECT actorstore.put('cart', '$here', '1')});
$a->safe_psql('d', q{CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not now'; END $$;
	CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON actorstore.epoch DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()});
my ($log_from, $joined) = (-s $a->logfile, qr/LOG:  node "c" has joined/);
$b->safe_psql('d', qq{SELECT actorstore.add_node('c', '$conninfo{c}', 200)});
like(slurp_file($a->logfile, $log_from), qr/ERROR:  not now/, 'one node cannot write it down');
unlike(slurp_file($a->logfile, $log_from), $joined, 'and does not say that it has');
$a->safe_psql('d', 'DROP TRIGGER refuse ON actorstore.epoch; DROP FUNCTION refuse');
ok($a->poll_query_until('d', 'SELECT max(epoch) FROM actorstore.epoch', epoch($b)), 'it does later');
is(() = slurp_file($a->logfile, $log_from) =~ /$joined/g, 1, 'and says so once');
is(shares($c), 'a 1024, b 1024, c 2048', 'a heavier node has a larger share');
agree('three nodes', $a, $b, $c);
is($c->safe_psql('d', qq{SELECT actorstore.locate('cart', '$here')}), 'b', 'an actor stays where it is');
is($c->safe_psql('d', q{SELECT actorstore.set_node_weight('b', 0)}), '', 'without weight');
is(shares($a), 'a 1364, b 1, c 2731', 'it owns what holds something, no more');
agree('reweighted', $a, $b, $c);
$c->safe_psql('d', q{SELECT actorstore.set_node_weight('b', 100)});

# Several at once, from all nodes: all are done, one after the other.
my $before = epoch($a);
my @sessions = map { ActorstoreTest::Session->new($_, 'd') } ($a, $b, $c);
foreach my $round (1 .. 5)
{
	$sessions[$_]->start(sprintf q{SELECT actorstore.set_node_weight('%s', %d)}, (qw(a b c))[$_], 100 * $round + $_ + 1) foreach 0 .. 2;
	is($_->finish, '', "round $round") foreach @sessions;
}
is($a->safe_psql('d', q{SELECT string_agg(weight::text, ',' ORDER BY node_number) FROM actorstore.node}), '501,502,503', 'each has the weight given last');
is(epoch($a), $before + 15, 'each change was an epoch of its own');
agree('all at once', $a, $b, $c);

# One is down: the others are a majority; it learns when it is back.
$c->stop('immediate');
$a->safe_psql('d', q{SELECT actorstore.set_node_weight('b', 600)});
agree('two of three', $a, $b);
$b->stop('immediate');
is(sqlstate($a, 'd', q{SELECT actorstore.set_node_weight('b', 700)}), 'VA009', 'one of three changes nothing');
$before = epoch($a);
is($a->safe_psql('d', q{SELECT weight FROM actorstore.node WHERE node_name = 'b'}), '600', 'really nothing');
$_->start foreach ($b, $c);
ok($c->poll_query_until('d', 'SELECT epoch FROM actorstore.epoch ORDER BY epoch DESC LIMIT 1', $before), 'who was down learns what it has missed');
agree('by itself', $a, $b, $c);
$c->safe_psql('d', q{SELECT actorstore.set_node_weight('c', 800)});
agree('back again', $a, $b, $c);
is($a->safe_psql('d', q{SELECT string_agg(weight::text, ',' ORDER BY node_number) FROM actorstore.node WHERE weight IN (501, 600, 700, 800)}), '501,600,800', 'with all that was decided meanwhile');

# Who proposes dies: another one finishes what was accepted.
my $proposal = $a->safe_psql('d', q{SELECT jsonb_set(p, '{epoch}', to_jsonb((p -> 'epoch')::bigint + 1)) || jsonb_build_object('members',
	(SELECT jsonb_agg(m || '{"weight": 123}') FROM jsonb_array_elements(p -> 'members') AS m)) FROM actorstore.local_in_force() AS p});
my $next = epoch($a) + 1;
my $ballot = 9 << 16;
is($b->safe_psql('d', "SELECT promised, accepted FROM actorstore.local_promise($next, $ballot)"), "$ballot|0", 'promised');
is($b->safe_psql('d', "SELECT agreed, promised FROM actorstore.local_promise($next, $ballot - 1)"), "f|$ballot", 'no lower ballot');
is($b->safe_psql('d', "SELECT agreed, promised FROM actorstore.local_promise($next, $ballot)"), "f|$ballot", 'nor the same one once more');
is(sqlstate($b, 'd', "SELECT actorstore.local_accept($next, $ballot, actorstore.local_in_force())"), '22023', 'the proposal must be one for that epoch');
is($b->safe_psql('d', "SELECT accepted FROM actorstore.local_accept($next, $ballot - 1, \$\$$proposal\$\$)"), '0', 'is accepted');
is($b->safe_psql('d', "SELECT accepted FROM actorstore.local_accept($next, $ballot, \$\$$proposal\$\$)"), $ballot, 'but that one');
is($b->safe_psql('d', "SELECT epoch_in_force FROM actorstore.local_accept($next + 5, $ballot, \$\$$proposal\$\$)"), $next - 1, 'nothing of a later epoch');
is($b->safe_psql('d', "SELECT actorstore.local_learn(actorstore.local_in_force())"), 'f', 'nor an earlier one is learnt');
$a->stop('immediate');
$c->safe_psql('d', q{SELECT actorstore.set_node_weight('c', 900)});
agree('finished by another', $b, $c);
is(epoch($c), $next + 1, 'the epoch that was begun, and the one wanted');
is($c->safe_psql('d', q{SELECT string_agg(weight::text, ',' ORDER BY node_number) FROM actorstore.node}), '123,123,900', 'both are in force');
$a->start;

# A node leaves, and is told.
$b->safe_psql('d', qq{SELECT actorstore.delete('cart', '$here')});
$a->safe_psql('d', q{SELECT actorstore.remove_node('b')});
agree('without b', $a, $c);
is(sqlstate($b, 'd', q{SELECT actorstore.locate('cart', 'a')}), 'VA007', 'who was removed says so');
is($c->safe_psql('d', q{SELECT string_agg(node_name, ',' ORDER BY node_number) FROM actorstore.node}), 'a,c', 'two are left');
$c->stop('immediate');
is(sqlstate($a, 'd', q{SELECT actorstore.set_node_weight('a', 1)}), 'VA009', 'of two nodes both are needed');
$c->start;

# Its number is not used again.
$b->safe_psql('d', 'DROP EXTENSION actorstore; CREATE EXTENSION actorstore');
admit_peers($b, 'd');
$a->safe_psql('d', qq{SELECT actorstore.add_node('b', '$conninfo{b}')});
is($b->safe_psql('d', 'SELECT node_number FROM actorstore.node WHERE is_self'), '4', 'it comes back with another number');
agree('three again', $a, $b, $c);

# Who was down meanwhile is told even by one that is no member any more.
$c->stop('immediate');
$a->safe_psql('d', q{SELECT actorstore.remove_node('b')});
$c->start;
$c->safe_psql('d', q{SELECT actorstore.set_node_weight('c', 7)});
agree('two are left', $a, $c);
is($c->safe_psql('d', q{SELECT string_agg(node_name || weight, ',' ORDER BY node_number) FROM actorstore.node}), 'a123,c7', 'both know all');

# The log of each says who comes and goes, and of itself that it is a node now.
sub said { my ($node) = @_; return join ', ', slurp_file($node->logfile) =~ /LOG:  ((?:node "\w+" has (?:joined|left)|this database is node "\w+" now))$/mg; }
is(said($a), 'node "b" has joined, node "c" has joined, node "b" has left, node "b" has joined, node "b" has left', 'the log of the first one');
is(said($c), 'this database is node "c" now, node "b" has left, node "b" has joined, node "b" has left', 'of one that came');
is(said($b), 'this database is node "b" now, node "c" has joined, this database is node "b" now', 'of one that came, went, and came once more');

# Types of its own.
$b->safe_psql('d', q{DROP EXTENSION actorstore; CREATE EXTENSION actorstore; SELECT actorstore.create_type('own')});
admit_peers($b, 'd');
is(sqlstate($a, 'd', qq{SELECT actorstore.add_node('b', '$conninfo{b}')}), '55000', 'a new one must not have types that the others do not know');
$_->stop foreach ($a, $b, $c);
done_testing();
