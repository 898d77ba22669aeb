# How the others reach a node that has not been told: init_node(node_name) alone, and then add_node(). It finds out by how it
# reaches the first other one, and looks whether that leads here, before anything is decided.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

BEGIN { delete $ENV{ACTORSTORE_TLS}; }	# certificates have names, and addresses are none
use ActorstoreTest;
use Test::More;

my %node;
foreach my $name (qw(a b c))
{
	$node{$name} = new_node($name, settings => "max_prepared_transactions = 10\nmax_worker_processes = 24\n"
		. ($name eq 'c' ? '' : "listen_addresses = '127.0.0.1'\n"));
	new_database_with_actors($node{$name}, 'd');
}
my ($a, $b, $c) = @node{qw(a b c)};
my ($directory) = $a->safe_psql('d', 'SHOW unix_socket_directories') =~ /^([^,]+)/;

sub add { my ($on, $name, $conninfo) = @_; return $on->psql('d', "SELECT actorstore.add_node('$name', \$\$$conninfo\$\$)"); }
sub own { return $_[0]->safe_psql('d', q{SELECT conninfo FROM actorstore.node WHERE node_name = 'a'}); }
sub hears { my ($on, $name) = @_; return $on->safe_psql('d', "SELECT ok FROM actorstore.node_check('$name')"); }
sub anew { $_->safe_psql('d', 'DROP EXTENSION actorstore; CREATE EXTENSION actorstore') foreach @_; return; }

# ---- By the directory of a socket ----

$a->safe_psql('d', q{SELECT actorstore.init_node('a')});
my (undef, undef, $notice) = add($a, 'b', $b->connstr('d') . ' user=postgres connect_timeout=7');
like($notice, qr/NOTICE:  other nodes will reach this one by "user='postgres' connect_timeout='7' host='\Q$directory\E' port='\d+' dbname='d'"\nHINT:  .*init_node/, 'it is said');
is(own($b), "user='postgres' connect_timeout='7' host='$directory' port='" . $a->port . "' dbname='d'", 'the same options, this host, port and database');
is(own($a), own($b), 'known here, too');
is(hears($b, 'a'), 't', 'the other one reaches it');
is(hears($a, 'b'), 't', 'and the other way round');
add($a, 'c', $c->connstr('d') . ' user=postgres');
is(hears($c, 'a'), 't', 'so does a third one');
is(own($c), own($a), 'by the same conninfo');
$a->safe_psql('d', q{SELECT actorstore.create_type('cart'); SELECT actorstore.put_many('cart', array_agg('c' || i), array_agg(to_jsonb(i))) FROM generate_series(1, 60) AS i});
is($c->safe_psql('d', q{SELECT count(*) FROM actorstore.get_all('cart')}), '60', 'actors are everywhere');
is($a->safe_psql('d', q{SELECT count(DISTINCT actorstore.locate('cart', 'c' || i)) FROM generate_series(1, 60) AS i}), '3', 'on three nodes');

# ---- By an address ----

anew($a, $b, $c);
$a->safe_psql('d', q{SELECT actorstore.init_node('a')});
add($a, 'b', 'host=127.0.0.1 user=postgres dbname=d port=' . $b->port);
is(own($b), "user='postgres' host='127.0.0.1' port='" . $a->port . "' dbname='d'", 'the address by which it has spoken to the other one');
is(hears($b, 'a'), 't', 'leads here');

# ---- Where that does not lead here ----

anew($a, $b);
$c->safe_psql('d', q{SELECT actorstore.init_node('a')});
my $before = $c->safe_psql('d', 'SELECT max(epoch) FROM actorstore.epoch');
my ($status, undef, $error) = $c->psql('d', q{SELECT actorstore.add_node('b', 'host=127.0.0.1 user=postgres dbname=d port=} . $b->port . q{')}, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
isnt($status, 0, 'no address of its own that anybody could connect to');
like($error, qr/ERROR:  55000: other nodes would not know how to reach this one\nDETAIL:  Not by "user='postgres' host='127\.0\.0\.1' port='\d+' dbname='d'": could not connect .*\nHINT:  .*init_node\('a', /s, 'is said');
is(own($c), '', 'nothing is known yet');
is($c->safe_psql('d', 'SELECT max(epoch) FROM actorstore.epoch'), $before, 'nothing is decided');
is($b->safe_psql('d', 'SELECT count(*) FROM actorstore.node'), '0', 'there neither');
is(sqlstate($b, 'd', q{SELECT actorstore.put('cart', 'x', '1')}), '00000', 'and it can be used');
$b->safe_psql('d', q{SELECT actorstore.drop_type('cart')});
like((add($c, 'b', 'service=b'))[2], qr/ERROR:  other nodes would not know how to reach this one\nDETAIL:  .*service/, 'a service of the other one says nothing of this one');

# ---- Said later ----

is(sqlstate($c, 'd', q{SELECT actorstore.init_node('a')}), '55000', 'it is a node already');
is(sqlstate($c, 'd', q{SELECT actorstore.init_node('x', 'host=x')}), '55000', 'of that name');
is(sqlstate($c, 'd', q{SELECT actorstore.init_node('a', 'host=x password=secret')}), '22023', 'no passwords');
is(sqlstate($c, 'd', q{SELECT actorstore.init_node('a', '')}), '22023', 'nor nothing at all');
$c->safe_psql('d', q{SELECT actorstore.init_node('a', $$} . $c->connstr('d') . q{ user=postgres$$)});
is(own($c), $c->connstr('d') . ' user=postgres', 'but how it is reached can be said now');
is(sqlstate($c, 'd', q{SELECT actorstore.init_node('a', 'host=x')}), '55000', 'once');
is((add($c, 'b', ''))[0] != 0, 1, 'no conninfo that is empty for another one');
add($c, 'b', 'host=127.0.0.1 user=postgres dbname=d port=' . $b->port);
is(hears($b, 'a'), 't', 'and is what the others are told');

# ---- init_node() on each of them ----

# Somebody names them all before they are put together: a node of its own that never had another one, and holds nothing, may join
# by that name.
anew($a, $b, $c);
sub as_name { my ($node, $name) = @_; $node->safe_psql('d', "SELECT actorstore.init_node('$name')"); return; }
as_name($a, 'a');
as_name($b, 'b');
as_name($c, 'x');
my ($to_b, $to_c) = map { $_->connstr('d') . ' user=postgres' } $b, $c;
like((add($a, 'c', $to_c))[2], qr/ERROR:  the other database is a node already\nDETAIL:  It is node "x"\.\nHINT:  .*"x"/, 'not by another name');
$b->safe_psql('d', q{SELECT actorstore.put('cart', 'x', '1')});
like((add($a, 'b', $to_b))[2], qr/ERROR:  the other database has actors of its own/, 'not with actors');
is($b->safe_psql('d', q{SELECT actorstore.locate('cart', 'x')}), 'b', 'then it stays what it is');
$b->safe_psql('d', q{SELECT actorstore.drop_type('cart'); });
$b->safe_psql('d', "SELECT actorstore.set_node_weight('b', $_)") foreach 7, 8, 9;
my ($joined, undef, $why) = add($a, 'b', $to_b);
is($joined, 0, 'empty, and by its name');
is($_->safe_psql('d', q{SELECT string_agg(node_number || ' ' || node_name || ' ' || weight, ', ' ORDER BY 1) FROM actorstore.node}), '1 a 100, 2 b 100', 'both are nodes, as ' . $_->name . ' knows') foreach $a, $b;
is($b->safe_psql('d', 'SELECT max(epoch) FROM actorstore.epoch'), $a->safe_psql('d', 'SELECT max(epoch) FROM actorstore.epoch'), 'of one epoch');
is(hears($_->[0], $_->[1]), 't', "$_->[1] is reached") foreach [ $a, 'b' ], [ $b, 'a' ];
$b->safe_psql('d', q{SELECT actorstore.put_many('cart', array_agg('c' || i), array_agg(to_jsonb(i))) FROM generate_series(1, 60) AS i});
is($a->safe_psql('d', q{SELECT count(*) FROM actorstore.get_all('cart')}), '60', 'actors are everywhere');
is($a->safe_psql('d', q{SELECT count(DISTINCT actorstore.locate('cart', 'c' || i)) FROM generate_series(1, 60) AS i}), '2', 'on both');
is(sqlstate($c, 'd', qq{SELECT actorstore.add_node('b', '$to_b')} =~ s/'d'/d/r), '55000', 'a node among others does not go to somebody else');
$a->safe_psql('d', q{SELECT actorstore.drop_type('cart')});
$a->safe_psql('d', q{SELECT actorstore.remove_node('a')});
is($b->safe_psql('d', q{SELECT count(*) FROM actorstore.node}), '1', 'one that is alone now');
is(sqlstate($c, 'd', qq{SELECT actorstore.add_node('b', '$to_b')} =~ s/'d'/d/r), '55000', 'but was not always, neither');

$_->stop foreach $a, $b, $c;
done_testing();
