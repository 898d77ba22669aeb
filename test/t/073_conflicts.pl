# Lost races: writes that expect another version than the actor has are counted
# by type, and by actor on the node that owns it, for those who may read it.  What is
# counted of a type goes with it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

my ($one, $two) = new_cluster('one', 'two', { settings => 'max_worker_processes = 16' });

sub sql { return $one->safe_psql('d', $_[0], kept => 1); }

sub conflicts
{
	my ($node, $where) = @_;
	return $node->safe_psql('d', "SELECT actor_id, conflicts FROM actorstore.stat_conflicts WHERE $where ORDER BY conflicts DESC, actor_id");
}

sub count_of { return $_[0]->safe_psql('d', "SELECT conflicts FROM actorstore.stat_types WHERE actor_type = '$_[1]'"); }

$_->safe_psql('d', 'CREATE ROLE alice') foreach $one, $two;
sql(q{SELECT actorstore.create_type(name) FROM unnest('{t,u}'::text[]) AS name});
my %of;
push @{ $of{ (split /\|/)[0] } }, (split /\|/)[1] foreach rows($one, 'd', q{SELECT actorstore.locate('t', 'a' || i), 'a' || i FROM generate_series(1, 999) AS i});
my ($here, @others) = @{ $of{one} };
my $there = $of{two}[0];
sql("SELECT actorstore.insert('t', id, '0') FROM unnest('{$here,$there}'::text[]) AS id");

# ---- What is a lost race ----

is(sql(qq{SELECT count(*) FROM (SELECT actorstore.update('t', '$here', '1'), actorstore.patch('t', '$here', '{}'), actorstore.put('t', '$here', '2'),
	actorstore.update_versioned('t', '$here', '3', 3)) AS s}), 1, 'writes that all win');
is(sqlstate($one, 'd', "SELECT actorstore.update_versioned('t', 'nobody', '1', 0)"), 'P0002', 'no actor, no race');
is(sql(q{SELECT swapped FROM actorstore.compare_and_swap('t', 'nobody', 0, '1')}), 'f', 'nor here');
is(conflicts($one, 'true'), '', 'no race is lost so far');
is(count_of($one, 't'), 0, 'none of the type');
is(sqlstate($one, 'd', "SELECT actorstore.update_versioned('t', '$here', '1', 0)"), '40001', 'update_versioned');
is(sql("SELECT swapped FROM actorstore.compare_and_swap('t', '$here', 0, '1')"), 'f', 'compare_and_swap');
is(sqlstate($one, 'd', "SELECT actorstore.delete_versioned('t', '$here', 0)"), '40001', 'delete_versioned');
is(conflicts($one, "actor_type = 't'"), "$here|3", 'three races lost');
is(sql("SELECT last_at BETWEEN now() - interval '1 hour' AND clock_timestamp() FROM actorstore.stat_conflicts"), 't', 'the last one not long ago');

# ---- Elsewhere ----

is(sql("SELECT swapped FROM actorstore.compare_and_swap('t', '$there', 7, '1')"), 'f', 'on another node');
is(conflicts($one, 'true'), "$here|3", 'is not counted here');
is(conflicts($two, 'true'), "$there|1", 'but there');
is(count_of($two, 't'), 1, 'with the type');

# ---- Who sees it ----

is(sql('SET ROLE alice; SELECT count(*) FROM actorstore.stat_conflicts'), 0, 'who may not read the type sees nothing');
sql(q{SELECT actorstore.grant_type('t', 'alice', '{read}')});
is(sql('SET ROLE alice; SELECT count(*) FROM actorstore.stat_conflicts'), 1, 'who may, does');
new_database($one, 'e');
is($one->safe_psql('e', 'SELECT count(*) FROM actorstore.stat_conflicts'), 0, 'another database has its own');

# ---- More actors than are kept ----

sql("SELECT actorstore.insert('t', id, '0') FROM unnest('{" . join(',', @others[ 0 .. 249 ]) . "}'::text[]) AS id");
sql("SELECT actorstore.compare_and_swap('t', id, 9, '1'), actorstore.compare_and_swap('t', '$here', 0, '1') FROM unnest('{" . join(',', @others[ 0 .. 249 ]) . "}'::text[]) AS id");
is(count_of($one, 't'), 503, 'all are counted by type');
is(conflicts($one, 'conflicts > 1'), "$here|253", 'who stands out is kept, with all of his');
is(sql('SELECT count(*), min(conflicts) FROM actorstore.stat_conflicts'), '100|1', 'of the others those that there is room for, by no more than they lost');
# ---- A type that is dropped, and one of its name ----

sub counts { return $_[0]->safe_psql('d', q{SELECT handled, turns, created, conflicts > 0, waiting_time > 0 FROM actorstore.stat_types WHERE actor_type = 't'}); }
sub latency { return $_[0]->safe_psql('d', q{SELECT waiting_p99 > 0, waiting_mean > 0 FROM actorstore.stat_latency WHERE actor_type = 't'}); }
$_->safe_psql('d', q{CREATE FUNCTION one_more(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql RETURN to_jsonb(coalesce(state::int, 0) + 1)}) foreach $one, $two;
sql(q{SELECT actorstore.set_handler('t', 'm', 'one_more(jsonb, jsonb)')});
sql("SELECT actorstore.send('t', id, 'm') FROM unnest('{$here,$there}'::text[]) AS id");
ok(comes_true($_, 'd', q{(SELECT handled > 0 FROM actorstore.stat_types WHERE actor_type = 't')}), 'messages are handled on ' . $_->name) foreach $one, $two;
my @before = map { counts($_) } $one, $two;
is_deeply(\@before, [ ('1|1|0|t|t') x 2 ], 'they are counted');
sql(q{BEGIN; SELECT actorstore.drop_type('t'); ROLLBACK});
sql(q{BEGIN; SAVEPOINT s; SELECT actorstore.drop_type('t'); ROLLBACK TO s; COMMIT});
is_deeply([ map { counts($_) } $one, $two ], \@before, 'they are when dropping the type is undone');
is_deeply([ map { latency($_) } $one, $two ], [ ('t|t') x 2 ], 'as is how long they took');
sql(q{SELECT actorstore.drop_type('t')});
is(conflicts($one, 'true'), '', 'a type that is gone is not shown');
sql(q{SELECT actorstore.create_type('t'), actorstore.grant_type('t', 'alice', '{read}')});
is_deeply([ map { counts($_) } $one, $two ], [ ('0|0|0|f|f') x 2 ], 'one of its name starts anew, everywhere');
is_deeply([ map { latency($_) } $one, $two ], [ ('f|f') x 2 ], 'with its times');
is(sql('SET ROLE alice; SELECT count(*) FROM actorstore.stat_conflicts'), 0, 'and without its actors');
sql("SELECT actorstore.insert('t', '$here', '0')");
sql("SELECT swapped FROM actorstore.compare_and_swap('t', '$here', 9, '1')");
is(conflicts($one, 'true'), "$here|1", 'and it is counted');
$_->safe_psql('d', 'CREATE ROLE bob; GRANT CREATE ON DATABASE d TO bob') foreach $one, $two;
sql(q{SELECT actorstore.drop_type('t')});
$one->safe_psql('d', q{SET ROLE bob; SELECT actorstore.create_type('t')}, kept => 1);
is(sql('SET ROLE bob; SELECT count(*) FROM actorstore.stat_conflicts'), 0, 'whose name it gets does not see whom it had');

done_testing();
