# Actors that have been handed over are used where they are, by whoever is on their old node or
# their new one, before the epoch is decided by which they are the new node's (src/cluster/transit.h).

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

my @nodes = new_cluster('one', 'two', 'three', { faults => 1, settings => join "\n",
	'actorstore.resolver_interval = 100ms', 'actorstore.rebalance_batch = 1024', 'max_worker_processes = 16' });
my ($one, $two, $three) = @nodes;

$one->safe_psql('d', qq{SELECT actorstore.set_node_weight('$_', 0)}) foreach qw(two three);
$one->safe_psql('d', q{
	SELECT actorstore.create_type('thing');
	SELECT actorstore.set_handler('thing', 'add', 'collect(jsonb,jsonb)');
	SELECT count(actorstore.insert('thing', i::text, '[]')) FROM generate_series(1, 1000) AS i});

# The mover has handed some over, and goes no further.
set_at($one, q{actorstore.fault = 'move_handed:wait'});
$one->safe_psql('d', q{SELECT actorstore.set_node_weight('two', 30)});
$one->safe_psql('d', q{SELECT FROM actorstore.rebalance(false)});
reached($one, 'move_handed');
my @handed = rows($two, 'd', q{SELECT actor_id FROM actorstore.actor ORDER BY length(actor_id), actor_id LIMIT 4});
my ($id) = @handed;
my $own = $one->safe_psql('d', q{SELECT min(actor_id) FROM actorstore.actor});
is($_->safe_psql('d', "SELECT actorstore.locate('thing', '$id')"), 'one', 'by the map of ' . $_->name . ' it is one\'s') foreach @nodes;

# Nobody waits, at both.
my $version = 0;
foreach my $node ($one, $two)
{
	my $name = $node->name;

	is($node->safe_psql('d', qq{SELECT (actorstore.update('thing', '$id', '["$name"]')).version}), $version += 1, "$name: it is written");
	is($_->safe_psql('d', qq{SELECT value, version FROM actorstore.get('thing', '$id')}), qq{["$name"]|$version}, "$name: and read on " . $_->name) foreach ($one, $two);
	is($node->safe_psql('d', sprintf q{SELECT count(*) FROM actorstore.get_many('thing', '{%s}')}, join ',', @handed, $own), '5', "$name: many are read");
	is($node->safe_psql('d', sprintf q{SELECT actorstore.put_many('thing', '{%s}', array_fill('[]'::jsonb, '{5}'))}, join ',', @handed, $own), '5', "$name: many are written");
	$version += 1;
	is($node->safe_psql('d', qq{BEGIN; SELECT FROM actorstore.update('thing', '$own', '["$name"]'); SELECT FROM actorstore.update('thing', '$handed[1]', '["$name"]'); COMMIT;
		SELECT string_agg(value::text, ',') FROM actorstore.get_many('thing', '{$own,$handed[1]}')}), qq{["$name"],["$name"]}, "$name: one of each in a transaction");
	my $new = $node->safe_psql('d', qq{SELECT '$name' || i FROM generate_series(1, 1000) AS i WHERE actorstore.slot_of('thing', '$name' || i) IN (SELECT slot FROM actorstore.transit) LIMIT 1});
	is($node->safe_psql('d', qq{SELECT (actorstore.insert('thing', '$new', '[]')).version}), '0', "$name: one is new");
	is($two->safe_psql('d', qq{SELECT count(*) FROM actorstore.actor WHERE actor_id = '$new'}), '1', "$name: it is at two");
}

# Who knows only the map is asked to wait for the next one.
is(sqlstate($three, 'd', qq{SELECT actorstore.update('thing', '$id', '0')}), 'VA007', 'from another node: not yet');

# Messages wait for it, too.
$_->safe_psql('d', qq{SELECT actorstore.send('thing', '$handed[2]', 'add', to_jsonb(i)) FROM generate_series(1, 3) AS i}) foreach ($one, $two);
is($_->safe_psql('d', q{SELECT count(*) FROM actorstore.outbox WHERE node_number = 0}), '3', 'messages are kept, on ' . $_->name) foreach ($one, $two);

set_at($one, q{actorstore.fault = ''});
release($one, 'move_handed');
ok(have_moved(@nodes), 'all move');
is($three->safe_psql('d', qq{SELECT (actorstore.update('thing', '$id', '["three"]')).version}), $version + 1, 'from another node: now it is written');
ok(comes_true($two, 'd', qq{(SELECT jsonb_array_length(value) = 6 FROM actorstore.actor WHERE actor_id = '$handed[2]')}), 'the messages are handled');
is($one->safe_psql('d', q{SELECT count(*) FROM actorstore.get_all('thing')}), '1002', 'all are there');
is($_->safe_psql('d', sprintf q{SELECT count(*) FROM actorstore.actor WHERE actorstore.locate(actor_type, actor_id) <> '%s'}, $_->name), '0', 'and where they belong, on ' . $_->name) foreach @nodes;

done_testing();
