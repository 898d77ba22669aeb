-- Every error of sections 1 and 2: its SQLSTATE, its message, and that nothing has changed.
CREATE FUNCTION pg_temp.try(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	message text;
	detail text;
	hint text;
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(' | ', SQLSTATE, message, NULLIF(detail, ''), NULLIF(hint, ''));
END $$;
CREATE FUNCTION pg_temp.state(statement text) RETURNS text LANGUAGE sql
RETURN left(pg_temp.try(statement), 5);

SELECT actorstore.create_type('cart', backoff => '1 s', backoff_max => '1 min');
SELECT version FROM actorstore.insert('cart', 'a', '{"n": 1}');
SELECT version FROM actorstore.update('cart', 'a', '{"n": 2}');
SELECT version FROM actorstore.insert('loose', 'a', '{"n": 3}');
SELECT version FROM actorstore.insert('cart', 'big', to_jsonb(repeat('b', 2000)));
CREATE FUNCTION errors_handler(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql RETURN body;
SELECT actorstore.set_handler('cart', 'add', 'errors_handler(jsonb, jsonb)');

-- All that the extension knows, to be compared at the end.
CREATE VIEW pg_temp.everything AS
SELECT 'actor' AS kind, to_jsonb(a) AS what FROM actorstore.actor a
UNION ALL SELECT 'type', to_jsonb(t) FROM actorstore.type t
UNION ALL SELECT 'handler', to_jsonb(h) FROM actorstore.handler h
UNION ALL SELECT 'grant', to_jsonb(g) FROM actorstore.type_grant g
UNION ALL SELECT 'partition', to_jsonb(inhrelid::regclass) FROM pg_inherits WHERE inhparent = 'actorstore.actor'::regclass;
CREATE TEMP TABLE before AS SELECT * FROM pg_temp.everything;
SELECT kind, count(*) FROM before GROUP BY kind ORDER BY kind;

-- A type or an id that is NULL, empty, or over 512 bytes: 22023 from every function that takes one.
CREATE TEMP TABLE call (place int GENERATED ALWAYS AS IDENTITY, template text);
INSERT INTO call (template) VALUES
	('actorstore.insert(%s, %s, ''1'')'), ('actorstore.get(%s, %s)'), ('actorstore.get_many(%s, ARRAY[''a'', %s])'),
	('actorstore.get_many(%s, ARRAY[%s], ''share'')'),
	('actorstore.update(%s, %s, ''1'')'), ('actorstore.update_versioned(%s, %s, ''1'', 1)'),
	('actorstore.compare_and_swap(%s, %s, 1, ''1'')'), ('actorstore.put(%s, %s, ''1'')'), ('actorstore.patch(%s, %s, ''{}'')'),
	('actorstore.delete(%s, %s)'), ('actorstore.delete_versioned(%s, %s, 1)'),
	('actorstore.insert_many(%s, ARRAY[''z'', %s], ''{1,1}'')'), ('actorstore.put_many(%s, ARRAY[''z'', %s], ''{1,1}'')');
SELECT replace(template, '%s', '…') AS call,
	   pg_temp.state('SELECT ' || format(template, 'NULL', '''a''')) AS null_type,
	   pg_temp.state('SELECT ' || format(template, '''''', '''a''')) AS empty_type,
	   pg_temp.state('SELECT ' || format(template, 'repeat(''t'', 513)', '''a''')) AS long_type,
	   pg_temp.state('SELECT ' || format(template, '''cart''', 'NULL')) AS null_id,
	   pg_temp.state('SELECT ' || format(template, '''cart''', '''''')) AS empty_id,
	   pg_temp.state('SELECT ' || format(template, '''cart''', 'repeat(''i'', 513)')) AS long_id,
	   pg_temp.state('SELECT ' || format(template, '''cart''', 'repeat(''ä'', 256) || ''i''')) AS cut_id
FROM call ORDER BY place;
TRUNCATE call;
INSERT INTO call (template) VALUES
	('actorstore.get_all(%s)'), ('actorstore.list(%s)'), ('actorstore.create_type(%s)'), ('actorstore.alter_type(%s)'),
	('actorstore.drop_type(%s)'), ('actorstore.set_handler(%s, ''add'', NULL)'),
	('actorstore.grant_type(%s, current_user::regrole, ''{read}'')'),
	('actorstore.revoke_type(%s, current_user::regrole, ''{read}'')'), ('actorstore.type_table(%s)');
SELECT replace(template, '%s', '…') AS call,
	   pg_temp.state('SELECT ' || format(template, 'NULL')) AS null_type,
	   pg_temp.state('SELECT ' || format(template, '''''')) AS empty_type,
	   pg_temp.state('SELECT ' || format(template, 'repeat(''t'', 513)')) AS long_type,
	   pg_temp.state('SELECT ' || format(template, 'repeat(''ä'', 256) || ''t''')) AS cut_type
FROM call ORDER BY place;

-- The same in words, once each.
\pset format unaligned
\pset tuples_only on
SELECT pg_temp.try($$SELECT actorstore.get(NULL, 'a')$$);
SELECT pg_temp.try($$SELECT actorstore.get('', 'a')$$);
SELECT pg_temp.try($$SELECT actorstore.get(repeat('t', 513), 'a')$$);
SELECT pg_temp.try($$SELECT actorstore.get('cart', NULL)$$);
SELECT pg_temp.try($$SELECT actorstore.get('cart', '')$$);
SELECT pg_temp.try($$SELECT actorstore.get('cart', repeat('i', 513))$$);
\pset format aligned
\pset tuples_only off

-- 512 bytes are enough, whatever their characters.
SELECT length(actor_id), octet_length(actor_id), version, substr(value #>> '{}', 1, 5) AS value
FROM unnest(ARRAY[repeat('i', 512), repeat('ä', 256), repeat('ä', 255) || 'ii', repeat('€', 170) || 'ii', repeat('😀', 128)]) AS id,
	 LATERAL actorstore.insert('cart', id, to_jsonb(id));
SELECT count(*) FILTER (WHERE d.value #>> '{}' = d.actor_id) AS whole
FROM (SELECT actor_id FROM actorstore.get_all('cart') WHERE octet_length(actor_id) = 512 OFFSET 0) AS l,
	 LATERAL actorstore.delete('cart', l.actor_id) AS d;

-- Values.
\pset format unaligned
\pset tuples_only on
SELECT pg_temp.try($$SELECT actorstore.insert('cart', 'z', NULL)$$);
SELECT pg_temp.try($$SELECT actorstore.insert('new', 'z', NULL)$$);
SELECT pg_temp.try($$SELECT actorstore.update('cart', 'a', NULL)$$);
SELECT pg_temp.try($$SELECT actorstore.update('cart', 'nobody', NULL)$$);
SELECT pg_temp.try($$SELECT actorstore.update_versioned('cart', 'a', NULL, 1)$$);
SELECT pg_temp.try($$SELECT actorstore.update_versioned('cart', 'a', '1', NULL)$$);
SELECT pg_temp.try($$SELECT actorstore.compare_and_swap('cart', 'a', 1, NULL)$$);
SELECT pg_temp.try($$SELECT actorstore.compare_and_swap('cart', 'a', NULL, '1')$$);
SELECT pg_temp.try($$SELECT actorstore.put('cart', 'a', NULL)$$);
SELECT pg_temp.try($$SELECT actorstore.patch('cart', 'a', NULL)$$);
SELECT pg_temp.try($$SELECT actorstore.delete_versioned('cart', 'a', NULL)$$);
-- Text that is no jsonb, and bytes that are no text, never get as far as the extension.
SELECT pg_temp.state($$SELECT actorstore.insert('cart', 'z', '{"n": }')$$);
SELECT pg_temp.state($$SELECT actorstore.insert('cart', 'z', '"\u0000"')$$);
SELECT pg_temp.state($$SELECT actorstore.insert('cart', E'z\303', '1')$$);

-- Too large a value.
SET actorstore.max_value_size = '1kB';
SELECT pg_temp.try($$SELECT actorstore.insert('cart', 'z', to_jsonb(repeat('x', 1100)))$$);
SELECT pg_temp.state($$SELECT actorstore.update('cart', 'a', to_jsonb(repeat('x', 1100)))$$);
SELECT pg_temp.state($$SELECT actorstore.update_versioned('cart', 'a', to_jsonb(repeat('x', 1100)), 1)$$);
SELECT pg_temp.state($$SELECT actorstore.compare_and_swap('cart', 'a', 1, to_jsonb(repeat('x', 1100)))$$);
SELECT pg_temp.state($$SELECT actorstore.put('cart', 'a', to_jsonb(repeat('x', 1100)))$$);
SELECT pg_temp.state($$SELECT actorstore.put('cart', 'z', to_jsonb(repeat('x', 1100)))$$);
SELECT pg_temp.state($$SELECT actorstore.insert_many('cart', '{y,z}', ARRAY['1', to_jsonb(repeat('x', 1100))])$$);
SELECT pg_temp.state($$SELECT actorstore.put_many('cart', '{y,z}', ARRAY['1', to_jsonb(repeat('x', 1100))])$$);
-- The result of a patch counts, not the patch.
SELECT pg_temp.state($$SELECT actorstore.patch('cart', 'a', jsonb_build_object('m', repeat('x', 1010)))$$);
-- What is there may be read, deleted and made smaller when the limit has become lower.
SELECT pg_temp.state($$SELECT actorstore.update('cart', 'big', to_jsonb(repeat('b', 1999)))$$);
SELECT length(value #>> '{}') FROM actorstore.get('cart', 'big');
BEGIN;
SELECT length(value #>> '{}') FROM actorstore.delete('cart', 'big');
ROLLBACK;
BEGIN;
SELECT value FROM actorstore.update('cart', 'big', '[]');
ROLLBACK;
RESET actorstore.max_value_size;
-- The size that counts is the one before compression: well compressible, yet too large.
SELECT pg_temp.state($$SELECT actorstore.insert('cart', 'z', to_jsonb(repeat('x', 10 * 1024 * 1024)))$$);

-- Unknown types: reads find nothing, whatever writes refuses.
SELECT actorstore.get('unknown', 'a') IS NULL, (SELECT count(*) FROM actorstore.get_all('unknown')),
	   (SELECT count(*) FROM actorstore.list('unknown')), (SELECT count(*) FROM actorstore.get_many('unknown', '{a}')),
	   (SELECT count(*) FROM actorstore.get_many('unknown', '{a}', 'update'));
SELECT pg_temp.try($$SELECT actorstore.update('unknown', 'a', '1')$$);
SELECT pg_temp.state($$SELECT actorstore.update_versioned('unknown', 'a', '1', 0)$$);
SELECT pg_temp.state($$SELECT actorstore.compare_and_swap('unknown', 'a', 0, '1')$$);
SELECT pg_temp.state($$SELECT actorstore.patch('unknown', 'a', '1')$$);
SELECT pg_temp.state($$SELECT actorstore.delete('unknown', 'a')$$);
SELECT pg_temp.state($$SELECT actorstore.delete_versioned('unknown', 'a', 0)$$);
SELECT pg_temp.state($$SELECT actorstore.alter_type('unknown', max_attempts => 1)$$);
SELECT pg_temp.state($$SELECT actorstore.drop_type('unknown')$$);
SELECT pg_temp.state($$SELECT actorstore.set_handler('unknown', 'add', 'errors_handler(jsonb, jsonb)')$$);
SELECT pg_temp.state($$SELECT actorstore.set_handler('unknown', 'add', NULL)$$);
SELECT pg_temp.state($$SELECT actorstore.grant_type('unknown', current_user::regrole, '{read}')$$);
SELECT pg_temp.state($$SELECT actorstore.revoke_type('unknown', current_user::regrole, '{read}')$$);
SELECT pg_temp.state($$SELECT actorstore.type_table('unknown')$$);

-- Missing actors, other versions, actors that are there already.
SELECT pg_temp.try($$SELECT actorstore.update('cart', 'nobody', '1')$$);
SELECT pg_temp.try($$SELECT actorstore.update_versioned('cart', 'nobody', '1', 0)$$);
SELECT pg_temp.try($$SELECT actorstore.patch('cart', 'nobody', '1')$$);
SELECT pg_temp.try($$SELECT actorstore.delete_versioned('cart', 'nobody', 0)$$);
SELECT pg_temp.try($$SELECT actorstore.update_versioned('cart', 'a', '1', 3)$$);
SELECT pg_temp.try($$SELECT actorstore.delete_versioned('cart', 'a', 3)$$);
SELECT pg_temp.try($$SELECT actorstore.insert('cart', 'a', '1')$$);

-- Arrays.
SELECT pg_temp.try($$SELECT actorstore.insert_many('cart', '{x,y}', '{1}')$$);
SELECT pg_temp.try($$SELECT actorstore.put_many('cart', '{x}', '{1,2}')$$);
SELECT pg_temp.try($$SELECT actorstore.insert_many('cart', '{}', '{1}')$$);
SELECT pg_temp.try($$SELECT actorstore.insert_many('cart', NULL, '{1}')$$);
SELECT pg_temp.try($$SELECT actorstore.insert_many('cart', '{x}', NULL)$$);
SELECT pg_temp.try($$SELECT actorstore.put_many('cart', NULL, '{1}')$$);
SELECT pg_temp.try($$SELECT actorstore.put_many('cart', '{x}', NULL)$$);
SELECT pg_temp.try($$SELECT actorstore.get_many('cart', NULL)$$);
SELECT pg_temp.try($$SELECT actorstore.insert_many('cart', '{x,y}', '{1,NULL}')$$);
SELECT pg_temp.try($$SELECT actorstore.put_many('cart', '{a,y}', '{NULL,1}')$$);
SELECT pg_temp.try($$SELECT actorstore.insert_many('cart', '{{w,x},{y,z}}', '{{1,2},{3,4}}')$$);
SELECT pg_temp.try($$SELECT actorstore.put_many('cart', '{{w,x}}', '{{1,2}}')$$);
SELECT pg_temp.try($$SELECT actorstore.insert_many('cart', '{w,x}', '{{1,2}}')$$);
SELECT pg_temp.try($$SELECT actorstore.get_many('cart', '{{a,b},{c,d}}')$$);
SELECT pg_temp.try($$SELECT actorstore.insert_many('cart', '{x,y,x}', '{1,2,3}')$$);
SELECT pg_temp.try($$SELECT actorstore.insert_many('cart', '{x,a,y}', '{1,2,3}')$$);
SELECT pg_temp.try($$SELECT actorstore.put_many('cart', '{x,a,x}', '{1,2,3}')$$);
SELECT pg_temp.try($$SELECT actorstore.put_many('cart', '{a,x,a}', '{1,2,3}')$$);
SELECT pg_temp.try($$SELECT actorstore.get_many('cart', '{a}', 'exclusive')$$);
SELECT pg_temp.try($$SELECT actorstore.get_many('cart', '{a}', '')$$);
SELECT pg_temp.state($$SELECT actorstore.get_many('cart', '{a}', 'SHARE')$$);
SELECT pg_temp.try($$SELECT actorstore.list('cart', max_rows => -1)$$);

-- Nothing has changed: not an actor, not a type (nor one declared in passing), not a handler, right or partition.
\pset tuples_only off
SELECT count(*) AS differences FROM ((TABLE before EXCEPT TABLE pg_temp.everything) UNION ALL (TABLE pg_temp.everything EXCEPT TABLE before)) AS d;
SELECT actor_type, actor_id, left(value::text, 8) AS value, version FROM actorstore.actor ORDER BY 1, 2;
SELECT actor_type, declared FROM actorstore.type ORDER BY 1;
\pset format aligned

DROP VIEW pg_temp.everything;
SELECT actorstore.drop_type('cart'), actorstore.drop_type('loose');
DROP FUNCTION errors_handler;
