# Actors are copied to their new node before their slots are frozen
# (src/cluster/haul.h): by whoever writes them meanwhile nothing is lost or doubled,
# nobody sees a copy, and one whose connection is lost leaves nothing behind.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

my @nodes = new_cluster('one', 'two', { faults => 1, plugins => 'actorstore', settings => join "\n",
	'actorstore.resolver_interval = 100ms', 'actorstore.rebalance_batch = 512', 'max_worker_processes = 16', 'autovacuum = off', 'wal_level = logical' });
my ($one, $two) = @nodes;

sub set { return set_at($one, @_); }

sub are_home
{
	return '0 0' eq join(' ', map { $_->safe_psql('d', sprintf q{SELECT count(*) FROM actorstore.actor WHERE actorstore.locate(actor_type, actor_id) <> '%s'}, $_->name) } @nodes);
}

# The mover tries again what has failed: so nothing may.  (It may have had to wait for too long.)
sub has_complained { return scalar grep { /\[\d+\] ERROR: / && !/for too long|lock timeout/ } split /\n/, slurp_file($one->logfile); }

# All slots go to one; then they move to two, and the mover stops at the first batch, and maybe once more at a later place.
sub begin_at
{
	my ($place, @later) = @_;

	$one->safe_psql('d', q{SELECT actorstore.set_node_weight('two', 0)});
	$one->safe_psql('d', q{SELECT FROM actorstore.rebalance(false)});
	ok(have_moved(@nodes), 'all are on one');
	unlink glob $one->data_dir . '/fault.*.{reached,go}';
	set(sprintf q{actorstore.fault = '%s'}, join ',', map { "$_:wait" } $place, @later);
	$one->safe_psql('d', q{SELECT actorstore.set_node_weight('two', 100)});
	$one->safe_psql('d', q{SELECT FROM actorstore.rebalance(false)});
	reached($one, $place);
	set(q{actorstore.fault = ''}) if !@later;
	return;
}

$one->safe_psql('d', q{
	SELECT actorstore.create_type(t) FROM unnest('{thing,marked}'::text[]) AS t;
	SELECT count(actorstore.insert(t, i::text, jsonb_build_object('i', i, 'by', 'nobody'))) FROM generate_series(1, 2000) AS i, unnest('{thing,marked}'::text[]) AS t});
$_->safe_psql('d', q{
	CREATE TABLE fired (what text);
	CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.fired VALUES (TG_OP); RETURN NULL; END $$;
	CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON actorstore.actor_marked FOR EACH ROW EXECUTE FUNCTION note();
	CREATE UNIQUE INDEX ON actorstore.actor_marked ((value ->> 'i'))}) foreach @nodes;

# Who follows the changes of the node that they come to
begin_at('move_drained', 'move_waited');
$two->safe_psql('d', q{SELECT actorstore.subscribe('follower', 'now')});

# Transactions that run while actors are copied, and end before the slots are frozen: a commit, a rollback, one that is
# prepared; and others that begin afterwards and run while they are frozen; each with a sixth of the actors.  (Slots that held
# nothing are the other node's already.)
my @sessions = my ($commits, $aborts, $prepares, $late, $lost, $prepares_late) = map { ActorstoreTest::Session->new($one, 'd') } 1 .. 6;
sub write_as
{
	my ($session, $who, $rest) = @_;

	return grep { /ERROR/ } map { $session->query($_) } 'BEGIN', map { (
		"SELECT count(actorstore.update('$_', i::text, jsonb_build_object('i', i, 'by', '$who'))) FROM generate_series(1, 1500) AS i WHERE i % 6 = $rest",
		"SELECT count(actorstore.delete('$_', i::text)) FROM generate_series(1501, 1800) AS i WHERE i % 6 = $rest",
		"SELECT count(actorstore.insert('$_', '$who' || i, jsonb_build_object('i', '$who' || i, 'by', '$who'))) FROM (SELECT i FROM generate_series(1, 3000) AS i
			WHERE actorstore.locate('$_', '$who' || i) = 'one' LIMIT 300) AS n",
	) } 'thing', 'marked';
}
is(join('', write_as($commits, 'commit', 1), write_as($aborts, 'abort', 2), write_as($prepares, 'prepare', 3)), '', 'three have written');
is($prepares->query(q{PREPARE TRANSACTION 'p'}), '', 'one is prepared');
release($one, 'move_drained');
ok(comes_true($one, 'd', q{EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'actorstore mover' AND wait_event_type = 'Lock')}), 'actors are copied, and they are waited for');
is(join('', $commits->query('COMMIT'), $aborts->query('ROLLBACK'), $prepares->query(q{COMMIT PREPARED 'p'})), '', 'then they end');
reached($one, 'move_waited');
set(q{actorstore.fault = ''});
is(join('', write_as($late, 'late', 4), write_as($lost, 'lost', 5), write_as($prepares_late, 'prepared late', 0)), '', 'three others have written');
is($prepares_late->query(q{PREPARE TRANSACTION 'p'}), '', 'one is prepared');
release($one, 'move_waited');
ok(comes_true($one, 'd', q{EXISTS (SELECT FROM actorstore.transit WHERE state = 'f')}), 'slots are frozen');
is(join('', $late->query('COMMIT'), $lost->query('ROLLBACK'), $prepares_late->query(q{COMMIT PREPARED 'p'})), '', 'then these end');
$_->quit foreach @sessions;
ok(have_moved(@nodes), 'all have moved');
foreach my $type (qw(thing marked))
{
	is($one->safe_psql('d', "SELECT string_agg(by || ' ' || n, ', ' ORDER BY by) FROM (SELECT value ->> 'by' AS by, count(*) AS n FROM actorstore.get_all('$type') GROUP BY 1) AS g"),
		'commit 550, late 550, nobody 800, prepare 550, prepared late 550', "$type: what was committed is there, once, and nothing else");
}
ok(are_home(), 'where it belongs');
is(has_complained(), 0, 'at the first try');
is($two->safe_psql('d', 'SELECT count(*) FROM fired'), 0, 'no trigger has fired there');
is($two->safe_psql('d', q{
	CREATE TABLE folded (actor_type text, actor_id text, value jsonb, version bigint, PRIMARY KEY (actor_type, actor_id));
	CREATE FUNCTION consume() RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		e actorstore.change_event;
		last text;
		misfits bigint := 0;
	BEGIN
		FOR e IN SELECT * FROM actorstore.fetch('follower', 10000) LOOP
			last := e.sequence;
			CASE e.operation
				WHEN 'INSERT' THEN INSERT INTO folded VALUES (e.actor_type, e.actor_id, e.new_value, e.new_version) ON CONFLICT DO NOTHING;
				WHEN 'DELETE' THEN DELETE FROM folded AS f WHERE (f.actor_type, f.actor_id, f.version, f.value) = (e.actor_type, e.actor_id, e.previous_version, e.previous_value);
			END CASE;
			IF NOT FOUND THEN misfits := misfits + 1; END IF;
		END LOOP;
		PERFORM actorstore.ack('follower', last);
		RETURN misfits || ' ' || (SELECT count(*) FROM (SELECT * FROM folded EXCEPT SELECT actor_type, actor_id, value, version FROM actorstore.actor) AS x)
			|| ' ' || (SELECT count(*) FROM (SELECT actor_type, actor_id, value, version FROM actorstore.actor EXCEPT SELECT * FROM folded) AS y);
	END $$;
	SELECT consume()}), '0 0 0', 'who follows the changes there has just these actors');

# Nobody sees a copy.  What is written behind it is there as well, also when the connection is lost that it came by.
begin_at('move_copied');
my $copies = q{FROM pg_stat_activity WHERE state = 'idle in transaction' AND query LIKE '%local_take_actors%'};
my $all = $one->safe_psql('d', q{SELECT count(*) FROM actorstore.actor});
is($two->safe_psql('d', "SELECT count(*) $copies"), 1, 'actors are copied');
is($two->safe_psql('d', 'SELECT count(*) FROM actorstore.actor'), 0, 'none can be seen there');
is(join(' ', map { $_->safe_psql('d', q{SELECT (SELECT count(*) FROM actorstore.get_all('thing')) + (SELECT count(*) FROM actorstore.get_all('marked'))}) } @nodes), "$all $all", 'each is there once');
$one->safe_psql('d', q{SELECT count(actorstore.update('thing', i::text, '{"by": "late"}')) FROM generate_series(4, 1500, 5) AS i});
my $before = all_actors(@nodes);
is($two->safe_psql('d', "SELECT count(pg_terminate_backend(pid, 60000) OR NULL) $copies"), 1, 'the connection is lost');
release($one, 'move_copied');
ok(have_moved(@nodes), 'all have moved in spite of it');
is(all_actors(@nodes), $before, 'all is there, once');
ok(are_home(), 'where it belongs');

# The node goes that has a copy of slots that are not frozen yet, and comes back.
begin_at('move_copied');
$two->stop('immediate');
release($one, 'move_copied');
ok(comes_true($one, 'd', q{NOT EXISTS (SELECT FROM actorstore.transit WHERE state = 'f')}), 'its slots thaw');
is($one->safe_psql('d', q{SELECT count((actorstore.update('thing', i::text, '{"by": "later"}')).version) FROM generate_series(4, 1500, 5) AS i}), 300, 'actors are written');
$before = $one->safe_psql('d', q{SELECT md5(string_agg(concat_ws(' ', actor_type, actor_id, value, version), ',' ORDER BY actor_type, actor_id)) FROM actorstore.actor});
$two->start;
ok(have_moved(@nodes), 'it is back, and all have moved');
is($one->safe_psql('d', q{SELECT md5(string_agg(concat_ws(' ', actor_type, actor_id, value, version), ',' ORDER BY actor_type, actor_id))
	FROM (SELECT * FROM actorstore.get_all('thing') UNION ALL SELECT * FROM actorstore.get_all('marked')) AS a}), $before, 'all is there, once again');
ok(are_home(), 'where it belongs');

done_testing();
