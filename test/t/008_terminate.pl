# A backend that is terminated while it waits, or in the middle of its
# transaction, leaves everything as it was, and nobody waits for it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

my $node = new_node('terminate');
new_database($node, 'd');
$node->safe_psql('d', q{
	SELECT actorstore.create_type('acct');
	SELECT actorstore.put_many('acct', '{a,b,c}', '{0,0,0}'), actorstore.put_many('loose', '{a,b}', '{0,0}')});
my $before = contents($node, 'd');

# What waits, and what it waits for.
my @wait = (
	[ q{SELECT actorstore.update('acct', 'b', '1')}, q{SELECT actorstore.update('acct', 'b', '2')} ],
	[ q{SELECT actorstore.update('acct', 'b', '1')}, q{SELECT actorstore.compare_and_swap('acct', 'b', 0, '2')} ],
	[ q{SELECT actorstore.update('acct', 'b', '1')}, q{SELECT actorstore.delete('acct', 'b')} ],
	[ q{SELECT actorstore.update('acct', 'b', '1')}, q{SELECT actorstore.put_many('acct', '{c,new,b,a}', '{2,2,2,2}')} ],
	[ q{SELECT actorstore.update('acct', 'b', '1')}, q{SELECT actorstore.get_many('acct', '{a,b,c}', 'share')} ],
	[ q{SELECT actorstore.insert('acct', 'new', '1')}, q{SELECT actorstore.insert('acct', 'new', '2')} ],
	[ q{SELECT actorstore.insert('acct', 'new', '1')}, q{SELECT actorstore.put('acct', 'new', '2')} ],
	[ q{SELECT actorstore.insert('acct', 'new', '1')}, q{SELECT actorstore.insert_many('acct', '{m,new,x}', '{2,2,2}')} ],
	[ q{SELECT actorstore.insert('first', 'a', '1')}, q{SELECT actorstore.insert('first', 'b', '2')} ],
	[ q{SELECT actorstore.update('loose', 'a', '1')}, q{SELECT actorstore.create_type('loose')} ],
	[ q{SELECT actorstore.update('loose', 'a', '1')}, q{SELECT actorstore.drop_type('loose')} ],
	[ q{SELECT actorstore.update('acct', 'a', '1')}, q{SELECT actorstore.alter_type('acct', persistence => 'unlogged')} ],
	[ q{SELECT actorstore.create_type('loose')}, q{SELECT actorstore.update('loose', 'a', '2')} ],
	[ q{SELECT actorstore.drop_type('acct')}, q{SELECT actorstore.put('acct', 'a', '2')} ],
	[ q{SELECT actorstore.alter_type('acct', max_attempts => 2)}, q{SELECT actorstore.drop_type('acct')} ]);
my ($holder, $look) = map { ActorstoreTest::Session->new($node, 'd') } 1 .. 2;
foreach my $case (@wait)
{
	my ($held, $waits) = @$case;
	my $victim = ActorstoreTest::Session->new($node, 'd');

	$holder->query('BEGIN');
	$holder->query($held);
	$victim->query('BEGIN');
	$victim->query(q{SELECT actorstore.insert('acct', 'of the victim', '1')}) unless $held =~ /drop_type|create_type|persistence/ || $waits =~ /persistence/;
	$victim->start($waits);
	ok($victim->blocked($look), "waits: $waits");
	is($look->query("SELECT pg_terminate_backend($victim->{pid}, 60000)"), 't', 'terminated');
	like($victim->finish, qr/FATAL:  57P01/, 'says so');
	$holder->query('ROLLBACK');
	is_deeply(contents($node, 'd'), $before, 'nothing has changed');
}

# Those who wait for the one that is terminated go on at once.
my ($victim, $waiter) = map { ActorstoreTest::Session->new($node, 'd') } 1 .. 2;
$victim->query('BEGIN');
$victim->query($_) foreach q{SELECT actorstore.put_many('acct', '{a,new}', '{1,1}')}, q{SELECT actorstore.delete('acct', 'b')}, q{SELECT actorstore.create_type('loose')};
$waiter->start(q{SELECT actorstore.put_many('acct', '{a,b,new}', '{2,2,2}') + actorstore.put_many('loose', '{a,n}', '{2,2}')});
ok($waiter->blocked($look), 'somebody waits for the victim');
is($look->query("SELECT pg_terminate_backend($victim->{pid}, 60000)"), 't', 'terminated');
is($waiter->finish, '5', 'the other goes on');
is($look->query(q{SELECT actor_type, actor_id, value, version FROM actorstore.actor ORDER BY 1, 2}),
	"acct|a|2|1\nacct|b|2|1\nacct|c|0|0\nacct|new|2|0\nloose|a|2|1\nloose|b|0|0\nloose|n|2|0", 'as if the victim had never been');

# A client that goes away in the middle of a large call.
is(sqlstate($node, 'd', q{SET statement_timeout = 1; SELECT actorstore.put_many('acct', array_agg(i::text), array_agg(to_jsonb(repeat('x', 2000)))) FROM generate_series(1, 50000) AS i}),
	'57014', 'a large call is cancelled by its time-out');
is($look->query(q{SELECT count(*) FROM actorstore.get_all('acct')}), '4', 'and leaves nothing');

$holder->quit;
$look->quit;
$waiter->quit;
$node->stop;
done_testing();
