# Two databases of one server at once, with the library preloaded and without:
# same types, same ids, and nothing of one is ever seen in the other.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

foreach my $preload (1, 0)
{
	my $how = $preload ? 'preloaded' : 'not preloaded';
	my $node = new_node($preload ? 'preloaded' : 'bare', preload => $preload);
	is($node->safe_psql('postgres', 'SHOW shared_preload_libraries'), $preload ? 'actorstore' : '', $how);
	new_database($node, $_) foreach 'one', 'two';

	# A setting that has no use without the library: no session below is warned of it.
	$node->append_conf('postgresql.conf', 'actorstore.place_cache_size = 1000');
	$node->restart;

	# Different rights, settings and contents under the same names.
	$node->safe_psql('postgres', 'CREATE ROLE reader');
	$node->safe_psql('one', q{SELECT actorstore.create_type('cart'), actorstore.grant_type('cart', 'reader', '{read}'), actorstore.insert('loose', 'a', '1') IS NULL});
	$node->safe_psql('two', q{SELECT actorstore.create_type('cart', 'unlogged', max_attempts => 2), actorstore.create_type('loose')});
	my %session = map { $_ => ActorstoreTest::Session->new($node, $_) } 'one', 'two';
	is($session{one}->query(q{SELECT persistence, max_attempts, declared FROM actorstore.type ORDER BY actor_type}), "logged|5|t\nlogged|5|f", "$how: types of one");
	is($session{two}->query(q{SELECT persistence, max_attempts, declared FROM actorstore.type ORDER BY actor_type}), "unlogged|2|t\nlogged|5|t", "$how: types of two");
	is(sqlstate($node, 'one', q{SET ROLE reader; SELECT actorstore.get('cart', '1')}), '00000', "$how: may read in one");
	is(sqlstate($node, 'two', q{SET ROLE reader; SELECT actorstore.get('cart', '1')}), '42501', "$how: not in two");

	# The same ids in both, written in turns: remembered places must not mix.
	$session{$_}->query(qq{SELECT actorstore.insert_many('cart', array_agg(i::text ORDER BY i @{[ $_ eq 'two' ? 'DESC' : '' ]}),
		array_agg(to_jsonb('$_ ' || i) ORDER BY i @{[ $_ eq 'two' ? 'DESC' : '' ]})) FROM generate_series(1, 3000) AS i}) foreach 'one', 'two';
	foreach my $round (1 .. 3)
	{
		foreach my $database ('one', 'two')
		{
			my $step = $database eq 'one' ? 1 : 2;
			is($session{$database}->query(qq{SELECT count(*) FROM generate_series(1, 3000, $step) AS i,
				LATERAL actorstore.update('cart', i::text, to_jsonb('$database ' || i || ' $round')) AS u WHERE u.version = $round AND u.actor_id = i::text}),
				3000 / $step, "$how: round $round in $database");
		}
	}
	foreach my $database ('one', 'two')
	{
		my $step = $database eq 'one' ? 1 : 2;
		is($session{$database}->query(qq{SELECT count(*) FROM generate_series(1, 3000) AS i, LATERAL actorstore.get('cart', i::text) AS g
			WHERE g.value = to_jsonb('$database ' || i || CASE WHEN i % $step = 1 % $step THEN ' 3' ELSE '' END)}), 3000, "$how: all of $database are its own");
	}

	# Two sessions of one database see each other's doings, writes and types.
	my $other = ActorstoreTest::Session->new($node, 'one');
	is($other->query(q{SELECT version FROM actorstore.update('cart', '1', '"other"')}), '4', "$how: a second session writes");
	is($session{one}->query(q{SELECT version, value FROM actorstore.update('cart', '1', '"first"')}), '5|"first"', "$how: the first goes on from there");
	is($other->query(q{SELECT actorstore.create_type('loose'); SELECT value FROM actorstore.update('loose', 'a', '2')}), "\n2", "$how: one declares");
	is($session{one}->query(q{SELECT version FROM actorstore.update('loose', 'a', '3')}), '2', "$how: the other writes there");
	is($session{two}->query(q{SELECT actorstore.get('loose', 'a') IS NULL}), 't', "$how: the other database has none");

	# Gone from one database, it works on in the other; and comes back.
	is($other->query('DROP EXTENSION actorstore'), '', "$how: dropped in one");
	is($session{two}->query(q{SELECT version FROM actorstore.update('cart', '1', '1')}), '4', "$how: two works on");
	is($session{one}->query(q{SELECT actorstore.get('cart', '1')}), 'ERROR:  3F000', "$how: one has forgotten");
	is($other->query('CREATE EXTENSION actorstore'), '', "$how: made again in one");
	is($session{one}->query(q{SELECT actorstore.get('cart', '1') IS NULL}), 't', "$how: without the actors of old");
	is($session{one}->query(q{SELECT version FROM actorstore.insert('cart', '1', '1')}), '0', "$how: and takes new ones");

	# Nothing that belongs to no database is left behind, and dropping a database is no trouble.
	is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_replication_origin'), '0', "$how: no replication origin");
	$_->quit foreach values %session, $other;
	$node->safe_psql('postgres', 'CREATE DATABASE three TEMPLATE two');
	is($node->safe_psql('three', q{SELECT version FROM actorstore.update('cart', '1', '1')}), '5', "$how: a copied database works");
	$node->safe_psql('postgres', 'DROP DATABASE two');
	is($node->safe_psql('three', q{SELECT count(*) FROM actorstore.get_all('cart')}), '3000', "$how: also after its template is gone");
	$node->stop;
}

done_testing();
