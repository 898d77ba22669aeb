# actorstore.rebalance_rate holds for the copy that is made before slots are frozen, which costs most: not for what
# is handed over alone.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

my @nodes = new_cluster('one', 'two', { settings => join "\n",
	'actorstore.resolver_interval = 100ms', 'actorstore.rebalance_batch = 1024', 'max_worker_processes = 16' });
my ($one, $two) = @nodes;

$one->safe_psql('d', q{SELECT actorstore.set_node_weight('two', 0)});
$one->safe_psql('d', q{SELECT FROM actorstore.rebalance(false)});
ok(have_moved(@nodes), 'all slots are on one');
$one->safe_psql('d', q{
	SELECT actorstore.create_type('t');
	SELECT count(actorstore.insert('t', i::text, '0')) FROM generate_series(1, 20000) AS i});

# One actor a second: of the first slot, with some five of them, the first ones are copied, and that is what is waited for.
set_at($one, 'actorstore.rebalance_rate = 1');
$one->safe_psql('d', q{SELECT actorstore.set_node_weight('two', 100)});
$one->safe_psql('d', q{SELECT FROM actorstore.rebalance(false)});
my $copies = q{FROM pg_stat_activity WHERE backend_type = 'actorstore mover' AND xact_start < clock_timestamp() - interval '1 s' AND wait_event = }
  . ($one->pg_version >= 17 ? q{'ActorstoreMoverCopy'} : q{'Extension'});
ok(comes_true($one, 'd', "EXISTS (SELECT $copies)"), 'who copies waits');
is($one->safe_psql('d', q{SELECT count(*) FROM actorstore.transit WHERE state <> 'p'}), '0', 'nothing is frozen before');
is($one->safe_psql('d', q{SELECT count(*) BETWEEN 1 AND 2 FROM actorstore.transit}), 't', 'no more slots move than are copied soon');
is(join(' ', map { $_->safe_psql('d', 'SELECT count(*) > 19900 FROM actorstore.actor') } @nodes), 't f', 'hardly any actor has moved');

# Who is in the middle of it hears of another rate.
set_at($one, 'actorstore.rebalance_rate = 0');
ok(have_moved(@nodes), 'as fast as can be, all move');
is($one->safe_psql('d', q{SELECT count(*) FROM actorstore.get_all('t')}), '20000', 'none is lost');
is(join(' ', map { $_->safe_psql('d', 'SELECT count(*) BETWEEN 9000 AND 11000 FROM actorstore.actor') } @nodes), 't t', 'each has its half');

done_testing();
