-- patch: RFC 7396. First the fifteen examples of its appendix A, then what they leave out.
SELECT actorstore.create_type('p');
CREATE TEMP TABLE example (place int GENERATED ALWAYS AS IDENTITY, original jsonb, patch jsonb, result jsonb);
INSERT INTO example (original, patch, result) VALUES
	('{"a":"b"}',            '{"a":"c"}',             '{"a":"c"}'),
	('{"a":"b"}',            '{"b":"c"}',             '{"a":"b","b":"c"}'),
	('{"a":"b"}',            '{"a":null}',            '{}'),
	('{"a":"b","b":"c"}',    '{"a":null}',            '{"b":"c"}'),
	('{"a":["b"]}',          '{"a":"c"}',             '{"a":"c"}'),
	('{"a":"c"}',            '{"a":["b"]}',           '{"a":["b"]}'),
	('{"a":{"b":"c"}}',      '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'),
	('{"a":[{"b":"c"}]}',    '{"a":[1]}',             '{"a":[1]}'),
	('["a","b"]',            '["c","d"]',             '["c","d"]'),
	('{"a":"b"}',            '["c"]',                 '["c"]'),
	('{"a":"foo"}',          'null',                  'null'),
	('{"a":"foo"}',          '"bar"',                 '"bar"'),
	('{"e":null}',           '{"a":1}',               '{"e":null,"a":1}'),
	('[1,2]',                '{"a":"b","c":null}',    '{"a":"b"}'),
	('{}',                   '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'),
	-- an empty patch; an empty patch of what is no object
	('{"a":1}',              '{}',                    '{"a":1}'),
	('[1]',                  '{}',                    '{}'),
	('null',                 '{"a":1}',               '{"a":1}'),
	('7',                    '{"a":{"b":null}}',      '{"a":{}}'),
	('7',                    'true',                  'true'),
	-- null inside an array of the patch stays
	('{"a":1}',              '{"a":[null,{"b":null}]}', '{"a":[null,{"b":null}]}'),
	-- what stood there and is no object is replaced by the object, without its nulls
	('{"a":[1]}',            '{"a":{"b":1,"c":null}}', '{"a":{"b":1}}'),
	('{"a":{"b":{"c":1,"d":2},"e":3}}', '{"a":{"b":{"c":null,"f":{"g":null}},"e":{"h":1}}}', '{"a":{"b":{"d":2,"f":{}},"e":{"h":1}}}'),
	-- keys that do not exist may be removed; the empty key is a key; so are odd ones
	('{"a":1}',              '{"zz":null}',           '{"a":1}'),
	('{"":1," ":2}',         '{"":null," ":{"":null}}', '{" ":{}}'),
	('{"ä":1,"\"":2}',       '{"ä":2,"\"":null,"\\":"\n"}', '{"ä":2,"\\":"\n"}'),
	-- numbers keep their digits
	('{"n":1.10}',           '{"m":12345678901234567890.0123456789}', '{"n":1.10,"m":12345678901234567890.0123456789}'),
	('{"n":1.0}',            '{"n":1.000}',           '{"n":1.000}');

SELECT actorstore.insert_many('p', array_agg(place::text), array_agg(original)) FROM example;
SELECT e.place, e.original, e.patch, p.value, p.value::text = e.result::text AS right, p.version
FROM example AS e, LATERAL actorstore.patch('p', e.place::text, e.patch) AS p ORDER BY e.place;
SELECT count(*) AS stored FROM example AS e JOIN actorstore.get_all('p') AS a ON a.actor_id = e.place::text
WHERE a.value::text = e.result::text AND a.version = 1;

-- Patch on patch; in one statement each call sees the former's effect.
SELECT version FROM actorstore.put('p', 'x', '{}');
SELECT max(p.version) FROM generate_series(1, 100) AS i, LATERAL actorstore.patch('p', 'x', jsonb_build_object('k' || i, i, 'k' || i - 10, NULL)) AS p;
SELECT version, value FROM actorstore.get('p', 'x');

-- Deep ones, and ones of many keys.
SELECT actorstore.put('p', 'deep', (repeat('{"a":', 500) || '1' || repeat('}', 500))::jsonb) IS NOT NULL AS deep;
SELECT value = (repeat('{"a":', 500) || '2' || repeat('}', 500))::jsonb AS same
FROM actorstore.patch('p', 'deep', (repeat('{"a":', 500) || '2' || repeat('}', 500))::jsonb);
SELECT value = (repeat('{"a":', 499) || '{}' || repeat('}', 499))::jsonb AS same
FROM actorstore.patch('p', 'deep', (repeat('{"a":', 500) || 'null' || repeat('}', 500))::jsonb);
SELECT actorstore.put('p', 'wide', (SELECT jsonb_object_agg(i::text, i) FROM generate_series(1, 20000) AS i)) IS NOT NULL AS wide;
SELECT (SELECT count(*) FROM jsonb_object_keys(value)) AS keys, value -> '2' AS two, value -> '20001' AS new, value ? '1' AS one
FROM actorstore.patch('p', 'wide', (SELECT jsonb_object_agg(i::text, CASE WHEN i % 2 = 0 THEN i * 10 END) FROM generate_series(1, 20002) AS i));
-- A value in TOAST.
SELECT actorstore.put('p', 'toast', jsonb_build_object('keep', repeat('k', 100000), 'go', repeat('g', 100000))) IS NOT NULL AS toast;
SELECT length(value ->> 'keep') AS keep, value ? 'go' AS go, value -> 'new' AS new FROM actorstore.patch('p', 'toast', '{"go": null, "new": 1}');
SELECT length(value ->> 'keep') AS keep, value ? 'go' AS go, version FROM actorstore.get('p', 'toast');

SELECT actorstore.drop_type('p');
