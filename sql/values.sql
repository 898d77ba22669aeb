-- Every kind of jsonb, small and large, comes back as it was put.
SELECT actorstore.create_type('v');
CREATE TEMP TABLE sample (name text PRIMARY KEY, value jsonb);
INSERT INTO sample VALUES
	('null', 'null'), ('true', 'true'), ('false', 'false'), ('zero', '0'), ('minus', '-1'), ('fraction', '0.1'),
	('trailing zeroes', '1.5000'), ('exponent', '1e-7'), ('huge exponent', '1e308'), ('beyond a double', '1e1000'),
	('tiny', '-1e-1000'), ('digits', repeat('1234567890', 100)::jsonb), ('precise', ('0.' || repeat('0123456789', 100))::jsonb),
	('bigint', '9223372036854775807'), ('beyond bigint', '9223372036854775808'),
	('empty string', '""'), ('string', '"text"'), ('escapes', '"\"\\\/\b\f\n\r\t\u001f\u007f"'), ('unicode', '"äß€😀\u00e4\ud83d\ude00"'),
	('looks like json', '"{\"a\": [1]}"'), ('last character', to_jsonb(chr(1114111))), ('combining', to_jsonb('e' || chr(769))),
	('empty array', '[]'), ('empty object', '{}'), ('nested empties', '[[], {}, [[]], {"": {}}]'),
	('mixed', '[null, true, 1, "a", [1], {"a": null}]'), ('empty key', '{"": 1}'), ('odd keys', '{" ": 1, "a.b": 2, "$": 3, "\n": 4, "\"": 5, "ä": 6, "0": 7}'),
	('duplicate keys', '{"a": 1, "a": 2}'), ('long key', jsonb_build_object(repeat('k', 5000), 1)),
	('deep array', (repeat('[', 1000) || repeat(']', 1000))::jsonb),
	('deep object', (repeat('{"a":', 1000) || '1' || repeat('}', 1000))::jsonb),
	('many elements', (SELECT jsonb_agg(i) FROM generate_series(1, 10000) AS i)),
	('many keys', (SELECT jsonb_object_agg(md5(i::text), i) FROM generate_series(1, 5000) AS i)),
	('compressible', to_jsonb(repeat('x', 1000000))),
	('incompressible', (SELECT jsonb_agg(md5(i::text) || sha512(i::text::bytea)::text) FROM generate_series(1, 2000) AS i)),
	('just in line', to_jsonb(repeat('x', 1900))), ('just out of line', (SELECT to_jsonb(string_agg(md5(i::text), '')) FROM generate_series(1, 64) AS i));
SELECT count(*), count(*) FILTER (WHERE pg_column_size(value) > 100000) AS large FROM sample;

-- By each way in, one by one and compared as text (1.50 equals 1.5 in jsonb).
SELECT count(*) AS inserted FROM sample AS s, LATERAL actorstore.insert('v', 'insert ' || s.name, s.value) AS r
WHERE r.value::text = s.value::text AND r.version = 0;
SELECT count(*) AS put FROM sample AS s, LATERAL actorstore.put('v', 'put ' || s.name, s.value) AS r
WHERE r.value::text = s.value::text AND r.version = 0;
SELECT actorstore.insert_many('v', array_agg('insert_many ' || name), array_agg(value)) FROM sample;
SELECT actorstore.put_many('v', array_agg('put_many ' || name), array_agg(value)) FROM sample;
SELECT count(*) AS written FROM sample AS s, unnest(ARRAY['update ', 'update_versioned ', 'compare_and_swap ', 'put again ', 'put_many again ', 'patch ']) AS way,
	 LATERAL actorstore.insert('v', way || s.name, '0') AS r;
SELECT count(*) AS updated FROM sample AS s, LATERAL actorstore.update('v', 'update ' || s.name, s.value) AS r
WHERE r.value::text = s.value::text AND r.version = 1;
SELECT count(*) AS updated FROM sample AS s, LATERAL actorstore.update_versioned('v', 'update_versioned ' || s.name, s.value, 0) AS r
WHERE r.value::text = s.value::text AND r.version = 1;
SELECT count(*) AS swapped FROM sample AS s, LATERAL actorstore.compare_and_swap('v', 'compare_and_swap ' || s.name, 0, s.value) AS r
WHERE r.value::text = s.value::text AND r.version = 1 AND r.swapped;
SELECT count(*) AS put_again FROM sample AS s, LATERAL actorstore.put('v', 'put again ' || s.name, s.value) AS r
WHERE r.value::text = s.value::text AND r.version = 1;
SELECT actorstore.put_many('v', array_agg('put_many again ' || name), array_agg(value)) FROM sample;
-- A merge patch under a key keeps all but the nulls of objects, so only these are left out.
SELECT count(*) AS patched FROM sample AS s, LATERAL actorstore.patch('v', 'patch ' || s.name, jsonb_build_object('is', s.value)) AS r
WHERE r.version = 1 AND CASE WHEN s.name = 'null' THEN r.value = '{}' ELSE (r.value -> 'is')::text = s.value::text END;

-- And out, by each way: right is how many are as they were put.
CREATE TEMP VIEW expected AS
SELECT way.name || ' ' || s.name AS actor_id, CASE WHEN way.name = 'patch' THEN jsonb_strip_nulls(jsonb_build_object('is', s.value)) ELSE s.value END AS value,
	   way.version
FROM sample AS s, (VALUES ('insert', 0), ('put', 0), ('insert_many', 0), ('put_many', 0), ('update', 1), ('update_versioned', 1),
						  ('compare_and_swap', 1), ('put again', 1), ('put_many again', 1), ('patch', 1)) AS way (name, version)
WHERE way.name <> 'patch' OR s.name <> 'mixed';
SELECT count(*) FROM expected;
SELECT count(*) AS get_right FROM expected AS e, LATERAL actorstore.get('v', e.actor_id) AS g
WHERE (g.actor_id, g.value::text, g.version) = (e.actor_id, e.value::text, e.version);
SELECT count(*) AS get_many_right FROM actorstore.get_many('v', (SELECT array_agg(actor_id) FROM expected)) AS g JOIN expected AS e USING (actor_id)
WHERE (g.value::text, g.version) = (e.value::text, e.version);
SELECT count(*) AS get_all_right FROM actorstore.get_all('v') AS g JOIN expected AS e USING (actor_id)
WHERE (g.value::text, g.version) = (e.value::text, e.version);
SELECT count(*) AS list_right FROM actorstore.list('v', max_rows => NULL) AS g JOIN expected AS e USING (actor_id)
WHERE (g.value::text, g.version) = (e.value::text, e.version);
SELECT count(*) AS select_right FROM actorstore.actor_v AS g JOIN expected AS e USING (actor_id)
WHERE (g.value::text, g.version) = (e.value::text, e.version);
SELECT count(*) FROM actorstore.actor_v;

-- Large values are stored out of line, once: those of old versions go with VACUUM FULL.
SELECT c.reltoastrelid <> 0 AS has_toast FROM pg_class AS c WHERE c.oid = 'actorstore.actor_v'::regclass;

-- From small to large and back, large to another large; compare_and_swap shows a large one on a lost race; delete returns it.
SELECT version, length(value #>> '{}') FROM actorstore.insert('v', 'x', '"small"');
SELECT version, length(value #>> '{}') FROM actorstore.update('v', 'x', to_jsonb(repeat('large', 100000)));
SELECT version, length(value #>> '{}') FROM actorstore.update('v', 'x', '"small"');
SELECT swapped, version, length(value #>> '{}') FROM actorstore.compare_and_swap('v', 'x', 2, to_jsonb(repeat('larger', 100000)));
SELECT swapped, version, value = to_jsonb(repeat('larger', 100000)) AS same FROM actorstore.compare_and_swap('v', 'x', 2, '"lost"');
-- A large value read from one actor and written to another, and to itself.
SELECT version, value = to_jsonb(repeat('larger', 100000)) AS same FROM actorstore.put('v', 'y', (actorstore.get('v', 'x')).value);
SELECT version, value = to_jsonb(repeat('larger', 100000)) AS same FROM actorstore.update('v', 'x', (actorstore.get('v', 'x')).value);
SELECT version, value = to_jsonb(repeat('larger', 100000)) AS same FROM actorstore.delete('v', 'x');
SELECT version, value = to_jsonb(repeat('larger', 100000)) AS same FROM actorstore.get('v', 'y');
-- A compressed value of a table of the user's, in line, and one out of line without compression.
CREATE TEMP TABLE of_the_user (id text, value jsonb);
INSERT INTO of_the_user VALUES ('compressed', to_jsonb(repeat('c', 4000)));
ALTER TABLE of_the_user ALTER value SET STORAGE EXTERNAL;
INSERT INTO of_the_user VALUES ('external', to_jsonb(repeat('e', 40000)));
SELECT actorstore.put_many('v', array_agg(id), array_agg(value)) FROM of_the_user;
SELECT u.id, p.version, p.value = u.value AS same FROM of_the_user AS u, LATERAL actorstore.put('v', u.id, u.value) AS p ORDER BY 1;
DROP TABLE of_the_user;
SELECT actor_id, left(value #>> '{}', 3) AS value, length(value #>> '{}') FROM actorstore.get_many('v', '{compressed,external}');

-- Ten megabytes, the default limit: just below goes in and out, just above does not.
SELECT version, length(value #>> '{}') FROM actorstore.put('v', 'ten', to_jsonb(repeat('0123456789', 1024 * 1024 - 2)));
SELECT version, md5(value #>> '{}') = md5(repeat('0123456789', 1024 * 1024 - 2)) AS same FROM actorstore.get('v', 'ten');
\set VERBOSITY sqlstate
SELECT version FROM actorstore.put('v', 'ten', to_jsonb(repeat('0123456789', 1024 * 1024)));
\set VERBOSITY default
SELECT version FROM actorstore.get('v', 'ten');
SET actorstore.max_value_size = '20MB';
SELECT version, length(value #>> '{}') FROM actorstore.put('v', 'ten', to_jsonb(repeat('0123456789', 1024 * 1024)));
RESET actorstore.max_value_size;
SELECT version, length(value #>> '{}') FROM actorstore.get('v', 'ten');

SELECT actorstore.drop_type('v');
