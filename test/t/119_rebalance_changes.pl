# What the mover has found out about pages, and copied, before it freezes slots does not hold
# for pages that change afterwards (src/cluster/page_slots.h, haul.h): actors that are
# written, come and go between the copy and the freeze, tables that are written
# anew or made, unlogged ones.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

my @nodes = new_cluster('one', 'two', { faults => 1, settings => join "\n",
	'actorstore.resolver_interval = 100ms', 'actorstore.rebalance_batch = 512', 'max_worker_processes = 16', 'autovacuum = off' });
my ($one, $two) = @nodes;

sub set { return set_at($one, @_); }

# All slots go to one; then they move to two, and the mover stops behind its copy
# of the first batch.
sub move_with
{
	my ($name, $sql, $memory) = @_;

	$one->safe_psql('d', q{SELECT actorstore.set_node_weight('two', 0)});
	$one->safe_psql('d', q{SELECT FROM actorstore.rebalance(false)});
	ok(have_moved(@nodes), "$name: all are on one");
	unlink map { $one->data_dir . "/fault.move_copied.$_" } qw(reached go);
	set("actorstore.fault = 'move_copied:wait'");
	set("maintenance_work_mem = '$memory'");
	$one->safe_psql('d', q{SELECT actorstore.set_node_weight('two', 100)});
	$one->safe_psql('d', q{SELECT FROM actorstore.rebalance(false)});
	reached($one, 'move_copied');
	set(q{actorstore.fault = ''});
	$one->safe_psql('d', $_) foreach @{$sql};
	my $before = all_actors(@nodes);
	release($one, 'move_copied');
	ok(have_moved(@nodes), "$name: all have moved");
	is(all_actors(@nodes), $before, "$name: all is there, once");
	is(join(' ', map { $_->safe_psql('d', sprintf q{SELECT count(*) FROM actorstore.actor WHERE actorstore.locate(actor_type, actor_id) <> '%s'}, $_->name) } @nodes),
		'0 0', "$name: where it belongs");
	isnt($two->safe_psql('d', q{SELECT count(*) FROM actorstore.actor}), '0', "$name: some have moved");
	return;
}

$one->safe_psql('d', q{
	SELECT actorstore.create_type('thing');
	SELECT actorstore.create_type('light', persistence => 'unlogged');
	SELECT count(actorstore.insert(t, i::text, '{"i": 0}')) FROM generate_series(1, 3000) AS i, unnest('{thing,light}'::text[]) AS t;
});

my @changes = map { my $type = $_; (
	"SELECT count(actorstore.update('$type', i::text, '{\"i\": 1}')) FROM generate_series(1, 3000, 7) AS i",
	"SELECT count(actorstore.delete('$type', i::text)) FROM generate_series(2, 3000, 7) AS i",
	"VACUUM actorstore.actor",
	"SELECT count(actorstore.put('$type', 'new' || i, '{\"i\": 2}')) FROM generate_series(1, 2000) AS i",
	"SELECT count(actorstore.delete('$type', 'new' || i)), count(actorstore.put('$type', i::text, '{\"i\": 3}')) FROM generate_series(2, 1000, 7) AS i",
) } qw(thing light);

move_with('changes', \@changes, '64MB');
move_with('again, with little memory', \@changes, '1MB');
move_with('tables are written anew', [
	@changes,
	q{DO $$ DECLARE t regclass; BEGIN FOR t IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'actorstore.actor'::regclass LOOP
		EXECUTE format('CLUSTER %s USING %I', t, (SELECT c.relname FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid WHERE i.indrelid = t AND i.indisprimary)); END LOOP; END $$},
	q{SELECT count(actorstore.put('thing', i::text, '{"i": 4}')) FROM generate_series(1, 3000, 5) AS i},
], '64MB');
move_with('a table is made', [
	q{SELECT actorstore.create_type('later')},
	q{SELECT count(actorstore.insert('later', i::text, '{"i": 5}')) FROM generate_series(1, 1000) AS i},
], '64MB');

# The mover tries again what has failed: so nothing may.
is(scalar(grep { /\[\d+\] ERROR: / } split /\n/, slurp_file($one->logfile)), 0, 'each at the first try');

done_testing();
