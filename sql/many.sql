-- insert_many, put_many, get_many: counts, contents, order, all or nothing.
SELECT actorstore.create_type('m');

-- insert_many.
SELECT actorstore.insert_many('m', ARRAY['c', 'a', 'b'], ARRAY['3', '1', '2']::jsonb[]);
SELECT actor_id, value, version, created_at = updated_at AS same_time FROM actorstore.list('m');
SELECT actorstore.insert_many('m', '{}', '{}');
-- One that exists, first, in the middle or last: none is written.
\set VERBOSITY sqlstate
SELECT actorstore.insert_many('m', ARRAY['a', 'x', 'y'], ARRAY['0', '0', '0']::jsonb[]);
SELECT actorstore.insert_many('m', ARRAY['x', 'a', 'y'], ARRAY['0', '0', '0']::jsonb[]);
SELECT actorstore.insert_many('m', ARRAY['x', 'y', 'a'], ARRAY['0', '0', '0']::jsonb[]);
-- One named twice.
SELECT actorstore.insert_many('m', ARRAY['x', 'y', 'x'], ARRAY['0', '0', '0']::jsonb[]);
\set VERBOSITY default
SELECT actor_id, value, version FROM actorstore.list('m');
-- The same within a transaction that goes on after it.
BEGIN;
SELECT actorstore.insert_many('m', ARRAY['d'], ARRAY['4']::jsonb[]);
SAVEPOINT s;
\set VERBOSITY sqlstate
SELECT actorstore.insert_many('m', ARRAY['e', 'd'], ARRAY['0', '0']::jsonb[]);
\set VERBOSITY default
ROLLBACK TO s;
SELECT actorstore.insert_many('m', ARRAY['e'], ARRAY['5']::jsonb[]);
COMMIT;
SELECT actor_id, value, version FROM actorstore.list('m');

-- put_many: those that exist grow by one, the others are made.
SELECT actorstore.put_many('m', ARRAY['f', 'b', 'a'], ARRAY['6', '22', '11']::jsonb[]);
SELECT actor_id, value, version, updated_at >= created_at AS later FROM actorstore.list('m');
SELECT actorstore.put_many('m', '{}', '{}');
\set VERBOSITY sqlstate
SELECT actorstore.put_many('m', ARRAY['a', 'z', 'a'], ARRAY['0', '0', '0']::jsonb[]);
SELECT actorstore.put_many('m', ARRAY['z', 'y', 'z'], ARRAY['0', '0', '0']::jsonb[]);
\set VERBOSITY default
SELECT actor_id, value, version FROM actorstore.list('m');
-- Alone in its transaction and several times in it.
BEGIN;
SELECT actorstore.put_many('m', ARRAY['g', 'a'], ARRAY['7', '111']::jsonb[]);
SELECT actorstore.put_many('m', ARRAY['a', 'g'], ARRAY['1111', '77']::jsonb[]);
SAVEPOINT s;
SELECT actorstore.put_many('m', ARRAY['a', 'h'], ARRAY['0', '0']::jsonb[]);
ROLLBACK TO s;
SELECT actorstore.put_many('m', ARRAY['h', 'b'], ARRAY['8', '222']::jsonb[]);
COMMIT;
SELECT actor_id, value, version FROM actorstore.list('m');

-- get_many: in the order asked, missing ones left out, with or without locks.
SELECT actor_id, value, version FROM actorstore.get_many('m', '{c,nobody,a,h}');
SELECT actor_id, value, version FROM actorstore.get_many('m', '{h,a,nobody,c}', 'share');
SELECT actor_id, value, version FROM actorstore.get_many('m', '{a,h,c,nobody}', 'update');
SELECT actor_id, value, version FROM actorstore.get_many('m', '{a,h}', NULL);
SELECT actor_id FROM actorstore.get_many('m', '{b,a,b}');
SELECT actor_id FROM actorstore.get_many('m', '{b,a,b}', 'update');
SELECT count(*) FROM actorstore.get_many('m', '{}');
SELECT count(*) FROM actorstore.get_many('m', '{}', 'share');
SELECT count(*) FROM actorstore.get_many('m', '{nobody,no one}');
-- Arrays with other bounds are arrays all the same.
SELECT actor_id FROM actorstore.get_many('m', '[0:2]={c,b,a}');
SELECT actorstore.put_many('m', '[3:4]={c,d}', '[-1:0]={33,44}');
SELECT actor_id, value, version FROM actorstore.get_many('m', '{c,d}');
-- A locked actor may be written by the one who locked it.
BEGIN;
SELECT count(*) FROM actorstore.get_many('m', '{a,b}', 'update');
SELECT version FROM actorstore.update('m', 'a', '"locked"');
SELECT count(*) FROM actorstore.get_many('m', '{a,b}', 'share');
SELECT version FROM actorstore.update('m', 'b', '"locked"');
SELECT actor_id, value, version FROM actorstore.get_many('m', '{b,a}', 'update');
COMMIT;
SELECT actor_id, value, version FROM actorstore.get_many('m', '{b,a}');

-- Ten thousand at once, twice; every one is right.
SELECT actorstore.create_type('lot');
SELECT actorstore.insert_many('lot', array_agg(i::text ORDER BY i DESC), array_agg(jsonb_build_object('n', i) ORDER BY i DESC))
FROM generate_series(1, 10000) AS i;
SELECT count(*), sum((value ->> 'n')::int), count(*) FILTER (WHERE value ->> 'n' = actor_id) AS right, min(version), max(version)
FROM actorstore.get_all('lot');
SELECT actorstore.put_many('lot', array_agg(i::text ORDER BY md5(i::text)), array_agg(jsonb_build_object('n', -i) ORDER BY md5(i::text)))
FROM generate_series(5001, 15000) AS i;
SELECT version, sign((value ->> 'n')::int), count(*), min(actor_id::int), max(actor_id::int),
	   count(*) FILTER (WHERE abs((value ->> 'n')::int) = actor_id::int) AS right
FROM actorstore.get_all('lot') GROUP BY 1, 2 ORDER BY 1, 2;
SELECT count(*), count(*) FILTER (WHERE g.actor_id::int = 15001 - place) AS in_order
FROM (SELECT array_agg((15001 - i)::text ORDER BY i) AS ids FROM generate_series(1, 15000) AS i) AS asked,
	 LATERAL actorstore.get_many('lot', asked.ids) WITH ORDINALITY AS g (actor_type, actor_id, value, version, created_at, updated_at, place);
-- On the page of the last one and on others, twice in a row, changed, changed for naught, gone, there again: they are what the table says.
CREATE FUNCTION pg_temp.is_what_the_table_says(ids text[]) RETURNS TABLE (same boolean, found bigint) LANGUAGE sql AS $$
	SELECT array_agg((g.actor_id, g.value, g.version)::text ORDER BY place) =
		(SELECT array_agg((t.actor_id, t.value, t.version)::text ORDER BY place)
		 FROM unnest(ids) WITH ORDINALITY AS asked (id, place) JOIN actorstore.actor_lot AS t ON t.actor_id = asked.id), count(*)
	FROM actorstore.get_many('lot', ids) WITH ORDINALITY AS g (actor_type, actor_id, value, version, created_at, updated_at, place)
$$;
BEGIN;
SELECT count(actorstore.update('lot', i::text, '"once"')) FROM generate_series(1, 15000, 2) AS i;
SELECT count(actorstore.update('lot', i::text, '"twice"')) FROM generate_series(1, 15000, 3) AS i;
SELECT count((actorstore.delete('lot', i::text)).version) FROM generate_series(1, 15000, 7) AS i;
SELECT actorstore.insert_many('lot', array_agg(i::text), array_agg('"again"'::jsonb)) FROM generate_series(1, 15000, 14) AS i;
SAVEPOINT s;
SELECT count(actorstore.put('lot', i::text, '"undone"')) FROM generate_series(1, 16000, 5) AS i;
ROLLBACK TO s;
SELECT (pg_temp.is_what_the_table_says(array_agg(i::text ORDER BY i))).* FROM generate_series(-5, 16000) AS i;
SELECT (pg_temp.is_what_the_table_says(array_agg((i / 2)::text ORDER BY i))).* FROM generate_series(-5, 32000) AS i;
SELECT (pg_temp.is_what_the_table_says(array_agg(i::text ORDER BY i % 4, i))).* FROM generate_series(-5, 16000) AS i;
SELECT (pg_temp.is_what_the_table_says(array_agg(i::text ORDER BY md5(i::text)))).* FROM generate_series(-5, 16000) AS i;
ROLLBACK;
SELECT (pg_temp.is_what_the_table_says(array_agg(i::text ORDER BY i))).* FROM generate_series(-5, 16000) AS i;
-- Ten thousand of which the last is there already: none.
\set VERBOSITY sqlstate
SELECT actorstore.insert_many('lot', array_agg(i::text ORDER BY i DESC), array_agg('0'::jsonb)) FROM generate_series(15000, 25000) AS i;
\set VERBOSITY default
SELECT count(*), count(*) FILTER (WHERE value = '0') AS zeroes FROM actorstore.get_all('lot');
-- The index knows them too.
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SELECT count(*) FROM actorstore.actor_lot WHERE actor_type = 'lot' AND actor_id >= '';
SELECT value, version FROM actorstore.actor_lot WHERE actor_type = 'lot' AND actor_id = '14999';
RESET enable_seqscan;
RESET enable_bitmapscan;

-- An undeclared type is declared by the first of them.
SELECT actorstore.put_many('loose', '{a,b}', '{1,2}');
SELECT actorstore.insert_many('loose too', '{a}', '{1}');
SELECT tableoid::regclass AS partition, actor_type, actor_id, value FROM actorstore.actor WHERE actor_type LIKE 'loose%' ORDER BY 2, 3;
SELECT actor_type, declared FROM actorstore.type WHERE actor_type LIKE 'loose%' ORDER BY actor_type COLLATE "C";

-- Large and small values together.
SELECT actorstore.put_many('m', '{small,large,"null"}', ARRAY['1', to_jsonb(repeat('large ', 100000)), 'null']::jsonb[]);
SELECT actor_id, length(value::text), value = to_jsonb(repeat('large ', 100000)) AS same FROM actorstore.get_many('m', '{small,large,"null"}');
SELECT actorstore.put_many('m', '{large,small}', ARRAY[to_jsonb(repeat('larger ', 100000)), '2']::jsonb[]);
SELECT actor_id, version, length(value::text) FROM actorstore.get_many('m', '{small,large,"null"}');

SELECT actorstore.drop_type(t) FROM unnest(ARRAY['m', 'lot', 'loose', 'loose too']) AS t;
SELECT actor_type FROM actorstore.type;
