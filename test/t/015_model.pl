# Thousands of calls of the state functions by chance, on two hundred actors, each compared with a model: a plain table, and what the
# contract says of each call.  Answers, errors and, in the end, all actors must be those of the model; also where calls are
# rolled back, alone or with their transaction, where the server has crashed, and where the actors live on three nodes.
#
# ACTORSTORE_MODEL_CALLS, ACTORSTORE_MODEL_SEED.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

my $calls = $ENV{ACTORSTORE_MODEL_CALLS} || 10000;
my $seed = $ENV{ACTORSTORE_MODEL_SEED} || 1 + int rand 1e6;

diag "seed $seed";

# The model.  Values are flat objects without nulls, so that a merge patch is what || and jsonb_strip_nulls() make of it.
my $model = q{
CREATE TABLE model (actor_type text, actor_id text, value jsonb, version bigint, PRIMARY KEY (actor_type, actor_id));
CREATE SEQUENCE wrong;	-- which no ROLLBACK undoes
CREATE TABLE tally (call text, answer text, n bigint, PRIMARY KEY (call, answer));

-- What a call must answer, which it does to the model.
CREATE FUNCTION expected(call text, type text, id text, fresh jsonb, wanted bigint) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	old model;
	is_there boolean;
BEGIN
	SELECT * INTO old FROM model AS m WHERE m.actor_type = type AND m.actor_id = id;
	is_there := FOUND;
	IF is_there AND call = 'insert' THEN
		RETURN '23505';
	ELSIF call = 'compare_and_swap' AND (NOT is_there OR old.version <> wanted) THEN
		RETURN concat_ws('|', 'f', old.version, old.value);
	ELSIF NOT is_there AND call IN ('update', 'update_versioned', 'patch', 'delete_versioned') THEN
		RETURN 'P0002';
	ELSIF call IN ('update_versioned', 'delete_versioned') AND old.version <> wanted THEN
		RETURN '40001';
	ELSIF NOT is_there AND call IN ('get', 'delete') THEN
		RETURN '';
	ELSIF call = 'get' THEN
		RETURN concat_ws('|', old.version, old.value);
	ELSIF call IN ('delete', 'delete_versioned') THEN
		DELETE FROM model AS m WHERE m.actor_type = type AND m.actor_id = id;
		RETURN concat_ws('|', old.version, old.value);
	END IF;
	IF call = 'patch' THEN
		fresh := jsonb_strip_nulls(old.value || fresh);
	ELSE
		fresh := jsonb_strip_nulls(fresh);
	END IF;
	INSERT INTO model AS m VALUES (type, id, fresh, 0) ON CONFLICT (actor_type, actor_id) DO UPDATE SET value = fresh, version = m.version + 1;
	RETURN concat_ws('|', CASE WHEN call = 'compare_and_swap' THEN 't' END, CASE WHEN is_there THEN old.version + 1 ELSE 0 END, fresh);
END $$;

-- What it does answer.
CREATE FUNCTION answered(call text, type text, id text, fresh jsonb, wanted bigint) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	a actorstore.actor;
	swap record;
BEGIN
	CASE call
		WHEN 'insert' THEN a := actorstore.insert(type, id, jsonb_strip_nulls(fresh));
		WHEN 'get' THEN a := actorstore.get(type, id);
		WHEN 'update' THEN a := actorstore.update(type, id, jsonb_strip_nulls(fresh));
		WHEN 'update_versioned' THEN a := actorstore.update_versioned(type, id, jsonb_strip_nulls(fresh), wanted);
		WHEN 'put' THEN a := actorstore.put(type, id, jsonb_strip_nulls(fresh));
		WHEN 'patch' THEN a := actorstore.patch(type, id, fresh);
		WHEN 'delete' THEN a := actorstore.delete(type, id);
		WHEN 'delete_versioned' THEN a := actorstore.delete_versioned(type, id, wanted);
		WHEN 'compare_and_swap' THEN
			SELECT * INTO swap FROM actorstore.compare_and_swap(type, id, wanted, jsonb_strip_nulls(fresh));
			RETURN concat_ws('|', CASE WHEN swap.swapped THEN 't' ELSE 'f' END, swap.version, swap.value);
	END CASE;
	IF a IS NOT NULL AND (a.actor_type, a.actor_id) IS DISTINCT FROM (type, id) THEN
		RETURN 'another actor: ' || a;
	END IF;
	RETURN concat_ws('|', a.version, a.value);
EXCEPTION WHEN unique_violation OR no_data_found OR serialization_failure THEN
	RETURN SQLSTATE;
END $$;

-- Several actors at once; those that are there already make insert_many fail, and then none is written.
CREATE FUNCTION many(call text, type text, ids text[], fresh jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	got text;
	should text;
	there bigint := (SELECT count(*) FROM model AS m WHERE m.actor_type = type AND m.actor_id = ANY (ids));
BEGIN
	IF call = 'get_many' THEN
		SELECT string_agg(concat_ws('|', g.actor_id, g.version, g.value), ' ' ORDER BY g.place) INTO got
		FROM actorstore.get_many(type, ids, (ARRAY[NULL, 'share', 'update'])[1 + there % 3]) WITH ORDINALITY AS g (actor_type, actor_id, value, version, created_at, updated_at, place);
		SELECT string_agg(concat_ws('|', m.actor_id, m.version, m.value), ' ' ORDER BY i.place) INTO should
		FROM unnest(ids) WITH ORDINALITY AS i (id, place) JOIN model AS m ON m.actor_type = type AND m.actor_id = i.id;
	ELSE
		should := CASE WHEN call = 'insert_many' AND there > 0 THEN '23505' ELSE cardinality(ids)::text END;
		IF should <> '23505' THEN
			PERFORM expected('put', type, id, fresh, NULL) FROM unnest(ids) AS id;
		END IF;
		BEGIN
			EXECUTE format('SELECT actorstore.%I($1, $2, array_fill($3, ARRAY[cardinality($2)]))', call) INTO got USING type, ids, jsonb_strip_nulls(fresh);
		EXCEPTION WHEN unique_violation THEN
			got := SQLSTATE;
		END;
	END IF;
	PERFORM note(call, CASE WHEN should = '23505' THEN should ELSE 'done' END, should, got, concat_ws(' ', type, ids, fresh));
END $$;

CREATE FUNCTION note(call text, kind text, should text, got text, what text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF should IS DISTINCT FROM got THEN
		PERFORM nextval('wrong');
		RAISE WARNING '% %: % instead of %', call, what, got, should;
	END IF;
	INSERT INTO tally AS t VALUES (call, kind, 1) ON CONFLICT ON CONSTRAINT tally_pkey DO UPDATE SET n = t.n + 1;
END $$;

-- One call by chance.
CREATE FUNCTION one_call(types text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	call text := ('{insert,get,update,update_versioned,put,patch,delete,delete_versioned,compare_and_swap,get_many,insert_many,put_many}'::text[])[1 + floor(random() * 12)];
	type text := types[1 + floor(random() * cardinality(types))];
	id text := 'k' || floor(random() * 200);
	fresh jsonb := jsonb_build_object('a', floor(random() * 100), 'b', CASE WHEN random() < 0.7 THEN floor(random() * 100) END);
	wanted bigint := coalesce((SELECT m.version FROM model AS m WHERE m.actor_type = type AND m.actor_id = id), 0) + CASE WHEN random() < 0.3 THEN 1 ELSE 0 END;
	should text;
BEGIN
	IF call LIKE '%many' THEN
		PERFORM many(call, type, ARRAY(SELECT DISTINCT 'k' || floor(random() * 200) FROM generate_series(0, (random() * 4)::int)), fresh);
		RETURN;
	END IF;
	should := expected(call, type, id, fresh, wanted);
	PERFORM note(call, CASE WHEN should ~ '^[0-9A-Z]{5}$' THEN should WHEN should = '' THEN 'nothing' WHEN should LIKE 'f%' THEN 'lost' ELSE 'done' END,
		should, answered(call, type, id, fresh, wanted), concat_ws(' ', type, id, fresh, wanted));
END $$;

-- So many of them, some of which are undone, with what the model has made of them; some transactions, too.
CREATE PROCEDURE play(n int, seed float8, types text[]) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM setseed(seed);
	FOR i IN 1 .. n LOOP
		IF random() < 0.2 THEN
			BEGIN
				PERFORM one_call(types) FROM generate_series(1, 3);
				RAISE division_by_zero;
			EXCEPTION WHEN division_by_zero THEN NULL;
			END;
		END IF;
		PERFORM one_call(types);
		IF random() < 0.1 THEN
			IF random() < 0.8 THEN COMMIT; ELSE ROLLBACK; END IF;
		END IF;
	END LOOP;
END $$};

# Whether answers were wrong; all actors of the types that are not those of the model, and the other way round.
sub differences
{
	my ($node, @types) = @_;

	return join "\n", rows($node, 'd', q{SELECT 'wrong answers: ' || last_value FROM wrong WHERE is_called}),
	  rows($node, 'd', sprintf q{SELECT concat_ws(' ', actor_type, actor_id, a.value, a.version, 'instead of', m.value, m.version)
		FROM (%s) AS a FULL JOIN model AS m USING (actor_type, actor_id) WHERE (a.value, a.version) IS DISTINCT FROM (m.value, m.version) LIMIT 5},
		join ' UNION ALL ', map { "SELECT actor_type, actor_id, value, version FROM actorstore.get_all('$_')" } @types);
}

sub has_played
{
	my ($node, $name, $n) = @_;

	# answers that there must be, if the dice are good
	my $kinds = $node->safe_psql('d', q{SELECT string_agg(call || ' ' || answer, ',' ORDER BY call, answer) FROM tally});
	is($kinds, 'compare_and_swap done,compare_and_swap lost,delete done,delete nothing,delete_versioned 40001,delete_versioned P0002,delete_versioned done,'
		. 'get done,get nothing,get_many done,insert 23505,insert done,insert_many 23505,insert_many done,'
		. 'patch P0002,patch done,put done,put_many done,update P0002,update done,'
		. 'update_versioned 40001,update_versioned P0002,update_versioned done', "$name: all that can be answered was");
	cmp_ok($node->safe_psql('d', 'SELECT sum(n) FROM tally'), '>', $n / 2, "$name: thousands of calls");
	return;
}

# ---- One server ----

my $node = new_node('model', settings => "autovacuum = on\nautovacuum_naptime = 1s");
new_database_with_actors($node, 'd');
$node->safe_psql('d', $model);
$node->safe_psql('d', q{SELECT actorstore.create_type('own'), actorstore.insert('loose', 'x', '1'), actorstore.delete('loose', 'x')});
my @types = ('own', 'loose');
foreach my $round (1 .. 2)
{
	$node->safe_psql('d', sprintf 'CALL play(%d, %.9f, $${%s}$$)', $calls, ($seed + $round) / 1e7, join ',', @types);
	is(differences($node, @types), '', "round $round: all is as the model has it");
	next if $round > 1;
	$node->stop('immediate');
	$node->start;
	is(differences($node, @types), '', 'after a crash, too');
	$node->safe_psql('d', q{SELECT actorstore.create_type('loose')});
	is(differences($node, @types), '', 'and in a table of their own');
}
has_played($node, 'one server', 2 * $calls);
is($node->safe_psql('d', q{SET enable_seqscan = off; SELECT count(*) = (SELECT count(*) FROM model) FROM actorstore.actor WHERE actor_type IN ('own', 'loose') AND actor_id > ''}), 't', 'the indexes have as many');
$node->stop;

# ---- Three nodes ----

SKIP:
{
	skip 'it makes tables for the model as a superuser', 1 if with_tls();

	my @nodes = new_cluster('one', 'two', 'three');
	$nodes[1]->safe_psql('d', $model);
	$nodes[0]->safe_psql('d', q{SELECT actorstore.create_type('own'), actorstore.insert('loose', 'x', '1')});
	$nodes[0]->safe_psql('d', q{SELECT actorstore.delete('loose', 'x')});
	$nodes[1]->safe_psql('d', sprintf 'CALL play(%d, %.9f, $${%s}$$)', $calls / 4, $seed / 1e7, join ',', @types);
	is(differences($nodes[1], @types), '', 'three nodes: all is as the model has it');
	has_played($nodes[1], 'three nodes', $calls / 4);
	is(scalar(grep { $_->safe_psql('d', q{SELECT count(*) > 20 FROM actorstore.actor}) eq 't' } @nodes), 3, 'three nodes: each has some of them');
	ok(comes_true($_, 'd', 'NOT EXISTS (SELECT FROM pg_prepared_xacts)'), 'three nodes: nothing is left prepared on ' . $_->name) foreach @nodes;
	$_->stop foreach @nodes;
}

done_testing();
