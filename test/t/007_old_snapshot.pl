# While somebody holds an old snapshot open, nothing that is dead can be
# removed.  Counts, versions and what that snapshot sees stay right, with one
# writer, with several, and through deletes.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

my ($writes, $writers) = (20000, 4);

foreach my $preload (1, 0)
{
	my $how = $preload ? 'preloaded' : 'not preloaded';
	my $node = new_node("old_$preload", preload => $preload, settings => "fsync = off\nsynchronous_commit = off\nautovacuum = on\nautovacuum_naptime = 1s");
	new_database($node, 'd');
	$node->safe_psql('d', q{
		SELECT actorstore.create_type('one'), actorstore.create_type('many');
		SELECT actorstore.insert('one', 'a', '0') IS NULL, actorstore.insert('loose', 'a', '0') IS NULL;
		SELECT actorstore.insert_many('many', array_agg(i::text), array_agg('0'::jsonb)) FROM generate_series(1, 1000) AS i;
		CREATE PROCEDURE write(how_many int, how text, type text, id text) LANGUAGE plpgsql AS $$
		DECLARE
			g actorstore.actor;
		BEGIN
			FOR i IN 1..how_many LOOP
				IF how = 'update' THEN
					PERFORM actorstore.update(type, id, to_jsonb(i));
				ELSIF how = 'patch' THEN
					PERFORM actorstore.patch(type, id, jsonb_build_object('n', i));
				ELSIF how = 'cas' THEN
					LOOP
						g := actorstore.get(type, id);
						EXIT WHEN (actorstore.compare_and_swap(type, id, g.version, to_jsonb(g.version + 1))).swapped;
						COMMIT;
					END LOOP;
				ELSIF how = 'delete' THEN
					PERFORM actorstore.delete(type, id);
					COMMIT;
					PERFORM actorstore.insert(type, id, to_jsonb(i));
				END IF;
				COMMIT;
			END LOOP;
		END $$});

	my $old = ActorstoreTest::Session->new($node, 'd');
	$old->query('BEGIN ISOLATION LEVEL REPEATABLE READ');
	is($old->query(q{SELECT count(*), sum(version) FROM actorstore.actor}), '1002|0', "$how: a snapshot of the beginning");

	# One writer, each write a transaction.
	my @session = map { ActorstoreTest::Session->new($node, 'd') } 1 .. $writers;
	$session[0]->query("CALL write($writes, 'update', 'one', 'a')");
	is($session[1]->query(q{SELECT value, version FROM actorstore.get('one', 'a')}), "$writes|$writes", "$how: $writes updates");

	# Several at once, in two ways and on two partitions.
	$_->start("CALL write($writes / $writers, 'update', 'loose', 'a')") foreach @session;
	is(join('', map { $_->finish } @session), '', "$how: $writers writers");
	is($session[0]->query(q{SELECT version FROM actorstore.get('loose', 'a')}), $writes, "$how: each of their writes counts");
	my $each = 500;
	$_->start("CALL write($each, 'cas', 'one', 'a')") foreach @session;
	is(join('', map { $_->finish } @session), '', "$how: $writers swappers");
	is($session[0]->query(q{SELECT value, version FROM actorstore.get('one', 'a')}), join('|', ($writes + $writers * $each) x 2), "$how: no swap is lost");

	# One actor deleted and made again: always at version 0, always one.
	$session[0]->query("CALL write(2000, 'delete', 'many', '500')");
	is($session[1]->query(q{SELECT value, version FROM actorstore.get('many', '500')}), '2000|0', "$how: deleted and inserted 2000 times");
	is($session[1]->query(q{SELECT count(*), count(DISTINCT actor_id) FROM actorstore.get_all('many')}), '1000|1000', "$how: none is doubled");
	is($session[1]->query(q{SELECT count(*) FROM actorstore.list('many', '500')}), '1', "$how: nor listed twice");

	# All of many, forwards and backwards.
	foreach my $order ('i', '1001 - i')
	{
		$session[0]->query("SELECT count((actorstore.update('many', ($order)::text, to_jsonb(i))).version) FROM generate_series(1, 1000) AS i") foreach 1 .. 5;
	}
	is($session[1]->query(q{SELECT count(*), sum(version), count(*) FILTER (WHERE value::int = 1001 - actor_id::int) FROM actorstore.get_all('many')}), '1000|10000|1000',
		"$how: every one of them ten times");

	# The old snapshot sees what it saw; what it wants to write is too late.
	is($old->query(q{SELECT count(*), sum(version) FROM actorstore.actor}), '1002|0', "$how: the snapshot sees what it saw, by SQL");
	is($old->query(q{SELECT value, version FROM actorstore.get('one', 'a')}), '0|0', "$how: by get");
	is($old->query(q{SELECT value, version FROM actorstore.get('many', '500')}), '0|0', "$how: and what was deleted");
	is($old->query(q{SELECT count(*), sum(version) FROM actorstore.get_all('many')}), '1000|0', "$how: by get_all");
	is($old->query(q{SELECT count(*), sum(version) FROM actorstore.list('many', max_rows => NULL)}), '1000|0', "$how: by list");
	is($old->query(q{SELECT actorstore.update('one', 'a', '1')}), 'ERROR:  40001', "$how: and may not write");
	$old->query('ROLLBACK');

	# When it has gone, what is dead may be removed, and all places change.
	is($session[0]->query('VACUUM'), '', "$how: vacuum");
	is($session[1]->query(q{SELECT count(*), sum(u.version) FROM generate_series(1, 1000) AS i, LATERAL actorstore.update('many', i::text, '0') AS u WHERE u.actor_id = i::text}),
		'1000|11000', "$how: all are found after it");
	is($session[0]->query('VACUUM FULL'), '', "$how: vacuum full");
	is($session[1]->query(q{SELECT count(*), sum(u.version) FROM generate_series(1000, 1, -1) AS i, LATERAL actorstore.update('many', i::text, '0') AS u WHERE u.actor_id = i::text}),
		'1000|12000', "$how: and after that");
	$_->quit foreach @session, $old;
	$node->stop;
}

done_testing();
