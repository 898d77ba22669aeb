-- list and get_all: contents, order, pages, prefixes.
SELECT actorstore.create_type('l');
SELECT actorstore.insert_many('l', ids, (SELECT array_agg(to_jsonb(i)) FROM unnest(ids) AS i))
FROM (VALUES (ARRAY['b', 'B', 'a', 'ab', 'abc', 'ac', 'ä', 'z', '%', 'a_c', '_', 'a%b', '10', '9', ' ', 'a b', E'a\nb', '\', '€', '😀', 'ab' || chr(1114111)])) AS v (ids);

-- By id in the order of the C collation, whatever the database's.
SELECT replace(quote_literal(actor_id), chr(1114111), '<last>') AS actor_id, value #>> '{}' = actor_id AS own, version FROM actorstore.list('l');
SELECT array_agg(actor_id ORDER BY place) = (SELECT array_agg(actor_id ORDER BY actor_id COLLATE "C") FROM actorstore.actor_l) AS c_order
FROM actorstore.list('l') WITH ORDINALITY AS l (actor_type, actor_id, value, version, created_at, updated_at, place);
-- get_all: all, in any order.
SELECT count(*), count(DISTINCT actor_id), bool_and(actor_type = 'l' AND value #>> '{}' = actor_id) AS own FROM actorstore.get_all('l');

-- Prefixes are taken literally.
SELECT array_agg(replace(quote_literal(actor_id), chr(1114111), '<last>')) FROM actorstore.list('l', 'a');
SELECT array_agg(actor_id) FROM actorstore.list('l', 'a_');
SELECT array_agg(actor_id) FROM actorstore.list('l', 'a%');
SELECT array_agg(actor_id) FROM actorstore.list('l', '%');
SELECT array_agg(actor_id) FROM actorstore.list('l', '\');
SELECT array_agg(actor_id) FROM actorstore.list('l', 'ä');
SELECT array_agg(actor_id) FROM actorstore.list('l', id_prefix => 'abc');
SELECT array_agg(replace(actor_id, chr(1114111), '<last>')) FROM actorstore.list('l', 'ab');
SELECT count(*) FROM actorstore.list('l', 'ab' || chr(1114111));
SELECT count(*) FROM actorstore.list('l', 'abcd');
SELECT count(*) FROM actorstore.list('l', '');

-- after: those behind it, whether it exists or not.
SELECT array_agg(actor_id) FROM actorstore.list('l', after => 'b');
SELECT array_agg(actor_id) FROM actorstore.list('l', after => 'azzz');
SELECT array_agg(replace(actor_id, chr(1114111), '<last>')) FROM actorstore.list('l', 'a', 'ab', 2);
SELECT array_agg(actor_id) FROM actorstore.list('l', 'a', 'B', 1);
SELECT array_agg(actor_id) FROM actorstore.list('l', 'a', 'b');
SELECT count(*) FROM actorstore.list('l', after => '😀');
SELECT count(*) FROM actorstore.list('l', after => '');

-- max_rows: 100 unless told, none at 0, all at NULL.
SELECT actorstore.create_type('pages');
SELECT actorstore.insert_many('pages', array_agg('id' || i), array_agg(to_jsonb(i))) FROM generate_series(1, 1000) AS i;
SELECT count(*) FROM actorstore.list('pages');
SELECT count(*) FROM actorstore.list('pages', max_rows => 0);
SELECT count(*) FROM actorstore.list('pages', max_rows => 1);
SELECT count(*) FROM actorstore.list('pages', max_rows => NULL);
SELECT count(*) FROM actorstore.list('pages', max_rows => 2147483647);
SELECT count(*) FROM actorstore.list('pages', 'id9', NULL, NULL);

-- Page by page each actor comes once; what is inserted ahead is met, what is behind is not.
DO $$
DECLARE
	seen text[] := '{}';
	page text[];
BEGIN
	LOOP
		SELECT array_agg(actor_id) INTO page FROM actorstore.list('pages', after => seen[cardinality(seen)], max_rows => 64);
		EXIT WHEN page IS NULL;
		seen := seen || page;
		IF cardinality(seen) = 128 THEN
			PERFORM actorstore.insert('pages', seen[128] || '!', '"ahead"'), actorstore.insert('pages', 'i', '"behind"');
			PERFORM actorstore.delete('pages', seen[1]);
		END IF;
	END LOOP;
	RAISE NOTICE 'seen %, different %, in order %', cardinality(seen), (SELECT count(DISTINCT s) FROM unnest(seen) AS s),
		seen = (SELECT array_agg(s ORDER BY s COLLATE "C") FROM unnest(seen) AS s);
	RAISE NOTICE 'ahead %, behind %', (SELECT count(*) FROM unnest(seen) AS s WHERE s LIKE '%!'), 'i' = ANY (seen);
END $$;

-- Deleted ones are gone from both, updated ones come once.
SELECT count(*) FROM generate_series(1, 500) AS i, LATERAL actorstore.update('pages', 'id' || i + 500, '"new"');
SELECT count(d.actor_id) FROM generate_series(1, 500) AS i, LATERAL actorstore.delete('pages', 'id' || i) AS d;
SELECT count(*), count(DISTINCT actor_id), count(*) FILTER (WHERE value = '"new"') AS new FROM actorstore.get_all('pages');
SELECT count(*), count(DISTINCT actor_id), count(*) FILTER (WHERE value = '"new"') AS new FROM actorstore.list('pages', max_rows => NULL);

-- Of an undeclared type: its own actors only, also where types and ids look alike.
SELECT actorstore.insert_many(t, '{a,b}', ARRAY[to_jsonb(t), to_jsonb(t)]) FROM unnest(ARRAY['u', 'u ', 'uu', 'U']) AS t;
SELECT quote_literal(actor_type) AS actor_type, actor_id, value FROM actorstore.list('u');
SELECT quote_literal(actor_type) AS actor_type, actor_id, value FROM actorstore.list('u ', after => 'a');
SELECT count(*), bool_and(value = '"uu"') FROM actorstore.get_all('uu');
SELECT actor_id FROM actorstore.list('u', 'c');

-- Stopped half-way by LIMIT or by a cursor, nothing is left open.
SELECT actor_id FROM actorstore.list('l', max_rows => NULL) LIMIT 2;
SELECT count(*) FROM (SELECT * FROM actorstore.get_all('l') LIMIT 3) AS s;
SELECT actorstore.list('l', 'ac') IS NOT NULL AS from_the_select_list;
SELECT count(*) FROM (SELECT actorstore.get_all('l') LIMIT 3) AS s;
BEGIN;
DECLARE c CURSOR FOR SELECT actor_id FROM actorstore.list('l', 'a');
FETCH 2 FROM c;
CLOSE c;
COMMIT;

SELECT actorstore.drop_type(t) FROM unnest(ARRAY['l', 'pages', 'u', 'u ', 'uu', 'U']) AS t;
SELECT count(*) FROM actorstore.actor;
