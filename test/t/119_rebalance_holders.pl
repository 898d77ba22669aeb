# Who is in the way of slots that are about to move: a turn that is checked out, somebody who changes types, a transaction
# that holds a slot.  Actors are not copied for nothing, slots are not frozen for them, and all move once they have ended.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

my @nodes = new_cluster('one', 'two', { faults => 1, settings => join "\n",
	'actorstore.resolver_interval = 100ms', 'actorstore.rebalance_batch = 1024', 'max_worker_processes = 16', 'autovacuum = off' });
my ($one, $two) = @nodes;

sub set { return set_at($one, @_); }

# All slots are one's; then some of those with actors are to move to two, all in one batch, and the mover stops at that place.
sub begin_at
{
	my ($place) = @_;

	unlink map { $one->data_dir . "/fault.$place.$_" } qw(reached go);
	$one->safe_psql('d', q{SELECT actorstore.set_node_weight('two', 0)});
	$one->safe_psql('d', q{SELECT FROM actorstore.rebalance(false)});
	ok(have_moved(@nodes), "all are on one, before $place");
	set("actorstore.fault = '$place:wait'");
	$one->safe_psql('d', q{SELECT actorstore.set_node_weight('two', 30)});
	$one->safe_psql('d', q{SELECT FROM actorstore.rebalance(false)});
	reached($one, $place);
	set(q{actorstore.fault = ''});
	return;
}

# Rows that were put into two's tables of actors, also by transactions that came to nothing; counted when their sessions end.
my $counted = q{SELECT coalesce(sum(n_tup_ins), 0) FROM pg_stat_all_tables WHERE schemaname = 'actorstore' AND relname LIKE 'actor_%'};
sub copied { return $two->safe_psql('d', $counted) - $_[0]; }
sub there { return $two->safe_psql('d', 'SELECT count(*) FROM actorstore.actor'); }
sub complaints { my ($what) = @_; return scalar grep { /\[\d+\] ERROR: .*$what/ } split /\n/, slurp_file($one->logfile); }
sub complains
{
	my ($what, $n) = @_;
	my $until = time + patience();

	until (complaints($what) >= $n) { return 0 if time > $until; select undef, undef, undef, 0.02; }
	return 1;
}
sub in_transit { my ($state) = @_; return $one->safe_psql('d', "SELECT count(*) > 0 FROM actorstore.transit WHERE state = '$state'"); }

$one->safe_psql('d', q{
	SELECT actorstore.create_type(t) FROM unnest('{thing,job,other}'::text[]) AS t;
	SELECT actorstore.set_handler('job', '*', 'actorstore.outside(jsonb,jsonb)');
	SELECT count(actorstore.insert('thing', i::text, jsonb_build_object('i', i))) FROM generate_series(1, 4000) AS i});
my $before = all_actors(@nodes);
my ($base, $complaints) = (copied(0), 0);

# An actor of a slot that is about to move
sub moves { return $one->safe_psql('d', q{SELECT a.actor_id FROM actorstore.actor AS a JOIN actorstore.transit AS t ON t.slot = actorstore.slot_of(a.actor_type, a.actor_id) LIMIT 1}); }

# Turns are checked out when their slots are announced already.
$one->safe_psql('d', q{SELECT actorstore.set_node_weight('two', 0); SELECT FROM actorstore.rebalance(false)});
ok(have_moved(@nodes), 'all are on one');
$one->safe_psql('d', q{SELECT actorstore.send('job', i::text, 'm') FROM generate_series(1, 40) AS i});
begin_at('move_drained');
is($one->safe_psql('d', q{SELECT count(*) FROM actorstore.checkout('w', '{job}', 40, lease => '1 day')}), '40', 'turns are checked out');
release($one, 'move_drained');
ok(comes_true($one, 'd', q{(SELECT sum(slots) = sum(kept) AND sum(moving) = 0 FROM actorstore.moves_now())}), 'all slots move but theirs');
cmp_ok(there(), '>', 0, 'actors have moved');
is(copied($base), there(), 'and were copied once');
$one->safe_psql('d', q{SELECT actorstore.complete(turn_id, token) FROM actorstore.lease});
ok(have_moved(@nodes), 'the others when the turns are over');
is(all_actors(@nodes), $before, 'all is there');

# Somebody changes types, and takes his time.
$base = copied(0);
my $changer = ActorstoreTest::Session->new($one, 'd');
begin_at('move_drained');
$changer->query(q{BEGIN; SELECT actorstore.alter_type('other', max_attempts => 7)});
release($one, 'move_drained');
ok(complains('are being changed', 2), 'types are being changed: it does not go on');
is(copied($base) - there(), 0, 'nor is anything copied meanwhile');
is($changer->query('COMMIT'), '', 'he commits');
ok(have_moved(@nodes), 'all have moved');
is(copied($base), there(), 'and were copied once');
$changer->quit;

# A transaction that holds a slot has come while actors were copied: nothing is frozen as long as it runs.
my $holder = ActorstoreTest::Session->new($one, 'd');
$base = copied(0);
begin_at('move_copied');
my $id = moves();
is($holder->query(qq{BEGIN; SELECT (actorstore.update('thing', '$id', '"held"')).version > 0}), 't', 'an actor is written while it is copied');
$complaints = complaints('');
release($one, 'move_copied');
ok(comes_true($one, 'd', q{EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'actorstore mover' AND wait_event_type = 'Lock')}), 'that is waited for');
is(in_transit('f'), 'f', 'no slot is frozen');
is($holder->query('COMMIT'), '', 'it commits');
ok(have_moved(@nodes), 'all have moved');
is(copied($base), there() + 1, 'and were copied once, but for what it has written');
is(complaints(''), $complaints, 'at the first try');
is($one->safe_psql('d', "SELECT value FROM actorstore.get('thing', '$id')"), '"held"', 'which has come along');

# The same, but it takes longer than anybody waits: the copy is dropped, and there is no other one until it has ended.
set(q{actorstore.peer_timeout = '500ms'});
$base = copied(0);
begin_at('move_copied');
$id = moves();
$holder->query(qq{BEGIN; SELECT actorstore.update('thing', '$id', '"held longer"')});
$complaints = complaints('');
release($one, 'move_copied');
ok(complains('', $complaints + 3), 'it is not waited for without end');
is(in_transit('f'), 'f', 'no slot is frozen');
my $wasted = copied($base);
ok(complains('', $complaints + 5), 'again and again');
is(copied($base), $wasted, 'nothing is copied meanwhile');
is($holder->query('COMMIT'), '', 'it commits');
ok(have_moved(@nodes), 'all have moved');
is(copied($base) - $wasted, there(), 'and were copied once more');
is($one->safe_psql('d', "SELECT value FROM actorstore.get('thing', '$id')"), '"held longer"', 'with what it has written');
$holder->quit;

# Who wants a slot that is frozen waits, as can be seen.
begin_at('move_frozen');
$id = moves();
my $writer = ActorstoreTest::Session->new($one, 'd');
$writer->start("SELECT (actorstore.update('thing', '$id', '\"waited\"')).version > 0");
ok(comes_true($one, 'd', q{EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE '%waited%' AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND wait_event_type = 'Extension')}), 'who writes waits');
ok(!$writer->done, 'as long as the slot is frozen');
release($one, 'move_frozen');
is($writer->finish, 't', 'then he goes on at the other node');
ok(have_moved(@nodes), 'all have moved');
is($two->safe_psql('d', "SELECT value FROM actorstore.actor WHERE actor_id = '$id'"), '"waited"', 'where it has been written');
$writer->quit;
is(join(' ', map { $_->safe_psql('d', sprintf q{SELECT count(*) FROM actorstore.actor WHERE actorstore.locate(actor_type, actor_id) <> '%s'}, $_->name) } @nodes), '0 0', 'all is where it belongs');

done_testing();
