--
-- The output plugin: what a consumer sees of the changes of actors.
--
\set VERBOSITY default
SELECT slot_name FROM pg_create_logical_replication_slot('regress_cdc', 'actorstore');

-- Events with the LSNs and times taken out: transactions are numbered.
CREATE FUNCTION events(VARIADIC options text[] DEFAULT '{}')
RETURNS TABLE (txn bigint, number text, operation text, actor text, previous text, new text) LANGUAGE sql AS $$
	SELECT dense_rank() OVER (ORDER BY left(event ->> 'sequence', 16) COLLATE "C"), right(event ->> 'sequence', 8),
		event ->> 'operation', concat_ws(' / ', event ->> 'actor_type', event ->> 'actor_id'),
		(event ->> 'previous_version') || ': ' || left(event ->> 'previous_value', 40),
		(event ->> 'new_version') || ': ' || left(event ->> 'new_value', 40)
	FROM (SELECT data::jsonb AS event
		FROM pg_logical_slot_peek_changes('regress_cdc', NULL, NULL, VARIADIC options)) AS e
	ORDER BY event ->> 'sequence' COLLATE "C"
$$;

-- The form of an event.
SELECT version FROM actorstore.insert('cart', 'c "1"', '{"a": [1, 2.50, {"b": "q\"\\ \n\t\u0001 ü"}], "n": null, "t": true, "": {}, "e": []}');
SELECT data ~ ('^\{"sequence": "[0-9A-F]{16}-00000000", "operation": "INSERT", "actor_type": "cart", "actor_id": "c \\"1\\"", '
	'"previous_value": null, "previous_version": null, "new_value": \{.*\}, "new_version": 0, '
	'"timestamp": "\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"\}$') AS form,
	data::jsonb -> 'new_value' = value AS same_value,
	position('"new_value": ' || value::text || ',' IN data) > 0 AS same_text
FROM pg_logical_slot_peek_changes('regress_cdc', NULL, NULL), actorstore.get('cart', 'c "1"');
SELECT abs(extract(epoch FROM (data::jsonb ->> 'timestamp')::timestamptz - now())) < 600 AS recent
FROM pg_logical_slot_peek_changes('regress_cdc', NULL, NULL);

-- Every kind of change, in one transaction; what is rolled back is not there.
BEGIN;
SELECT version FROM actorstore.update('cart', 'c "1"', '"second"');
SELECT version FROM actorstore.patch('cart', 'c "1"', '{"third": 3}');
SAVEPOINT s;
SELECT version FROM actorstore.put('cart', 'never', '1');
ROLLBACK TO s;
SELECT version FROM actorstore.put('cart', 'c2', 'null');
SAVEPOINT s;
SELECT version FROM actorstore.put('cart', 'c2', '[]');
RELEASE s;
SELECT swapped FROM actorstore.compare_and_swap('cart', 'c2', 0, '1');
SELECT version FROM actorstore.delete('cart', 'c "1"');
COMMIT;
BEGIN;
SELECT version FROM actorstore.put('cart', 'never', '1');
ROLLBACK;
SELECT actorstore.insert_many('cart', '{m1,m2,m3}', '{1,2,3}');
SELECT actorstore.put_many('cart', '{m3,m4}', '{4,5}');
COPY actorstore.undeclared FROM stdin;
cart	copied	{"c": 1}	7	2026-01-01 00:00:00+00	2026-01-01 00:00:00+00
\.
CREATE TABLE no_actor (actor_type text, actor_id text, value jsonb, version bigint, a int, b int);
INSERT INTO no_actor VALUES ('cart', 'x', '1', 1, 1, 1);
DROP TABLE no_actor;
SELECT * FROM events();

-- Rows that move to a table of their own are not changed.
SELECT actorstore.create_type('cart');
SELECT count(*) FROM events();
-- but what else that transaction does, is
BEGIN;
SELECT version FROM actorstore.insert('loose', 'l1', '1');
SELECT actorstore.create_type('loose');
SELECT version FROM actorstore.update('loose', 'l1', '2');
COMMIT;
SELECT * FROM events('actor_types', 'loose');

-- A value too large for its row is there, changed or not.
SELECT version FROM actorstore.put('cart', 'large', (SELECT jsonb_agg(md5(i::text)) FROM generate_series(1, 2000) AS i));
UPDATE actorstore.actor_cart SET version = 5 WHERE actor_id = 'large';
SELECT data::jsonb ->> 'operation' AS operation,
	data::jsonb -> 'previous_value' = value AS previous, data::jsonb -> 'new_value' = value AS new
FROM pg_logical_slot_peek_changes('regress_cdc', NULL, NULL, 'key_prefix', 'large'), actorstore.get('cart', 'large');

-- Filters leave changes out but number them all the same.
SELECT txn, number, operation, actor FROM events('operations', 'delete, UPDATE');
SELECT txn, number, operation, actor FROM events('actor_types', 'cart', 'key_prefix', 'm', 'operations', 'insert');
SELECT count(*) FROM events('actor_types', 'cart,loose') UNION ALL SELECT count(*) FROM events('actor_types', ' "cart" , nobody')
	UNION ALL SELECT count(*) FROM events('actor_types', '"ca""rt, loose"') UNION ALL SELECT count(*) FROM events();
SELECT bool_and(filtered.data = whole.data) AS same, count(*) FROM pg_logical_slot_peek_changes('regress_cdc', NULL, NULL, 'operations', 'update') AS filtered
	JOIN pg_logical_slot_peek_changes('regress_cdc', NULL, NULL) AS whole ON filtered.data::jsonb ->> 'sequence' = whole.data::jsonb ->> 'sequence';
SELECT operation, actor, previous, new FROM events('include_previous', 'off', 'operations', 'update,delete', 'key_prefix', 'c');

-- After a sequence, and since a time.
SELECT data::jsonb ->> 'sequence' AS third FROM pg_logical_slot_peek_changes('regress_cdc', NULL, NULL) OFFSET 2 LIMIT 1 \gset
SELECT (SELECT count(*) FROM events()) - (SELECT count(*) FROM events('after', :'third')) AS left_out;
SELECT count(*) FROM events('after', 'FFFFFFFFFFFFFFFF-FFFFFFFF') UNION ALL SELECT count(*) FROM events('since', '2999-01-01 00:00+00');
SELECT (SELECT count(*) FROM events('since', '2000-01-01 00:00+00')) = (SELECT count(*) FROM events()) AS all_of_them;

-- Transactions without an event have no lines.
SELECT regexp_replace(data, '"(lsn|timestamp|sequence)": "[^"]*"|"xid": \d+', '...', 'g') AS line
FROM pg_logical_slot_peek_changes('regress_cdc', NULL, NULL, 'include_transaction', 'on', 'actor_types', 'cart', 'key_prefix', 'm', 'operations', 'update');

-- Prepared transactions appear when they are committed.
SELECT (SELECT count(*) FROM events()) AS before \gset
BEGIN;
SELECT version FROM actorstore.insert('cart', 'prepared', '1');
PREPARE TRANSACTION 'regress_cdc';
SELECT count(*) - :before AS more FROM events();
COMMIT PREPARED 'regress_cdc';
SELECT count(*) - :before AS more FROM events();
BEGIN;
SELECT version FROM actorstore.insert('cart', 'prepared too', '1');
PREPARE TRANSACTION 'regress_cdc';
ROLLBACK PREPARED 'regress_cdc';
SELECT count(*) - :before AS more FROM events();

-- Unlogged types have no events; a dropped type deletes its actors, or not.
SELECT actorstore.create_type('fleeting', persistence => 'unlogged');
SELECT version FROM actorstore.insert('fleeting', 'f', '1');
SELECT actorstore.create_type('quiet');
SELECT actorstore.insert_many('quiet', '{q1,q2}', '{1,2}');
SELECT actorstore.drop_type('quiet', events => false);
SELECT version FROM actorstore.insert('quiet too', 'q3', '1');
SELECT actorstore.drop_type('quiet too', events => false);
SELECT actorstore.drop_type('loose');
SELECT operation, actor, previous, new FROM events('actor_types', 'fleeting,quiet,quiet too,loose');

-- A type that becomes unlogged, or logged again, says so; filters and numbers as for changes.
SELECT actorstore.create_type('turning');
SELECT version FROM actorstore.insert('turning', 'before', '1');
SELECT actorstore.alter_type('turning', persistence => 'unlogged');
SELECT version FROM actorstore.insert('turning', 'unseen', '1');
BEGIN;
SELECT actorstore.alter_type('turning', persistence => 'logged');
SELECT version FROM actorstore.insert('turning', 'after', '1');
COMMIT;
SELECT actorstore.alter_type('turning', persistence => 'logged');
SELECT data::jsonb - 'sequence' - 'timestamp' - 'previous_value' - 'previous_version' AS event, right(data::jsonb ->> 'sequence', 8) AS number
FROM pg_logical_slot_peek_changes('regress_cdc', NULL, NULL, 'actor_types', 'turning', 'operations', 'insert');
SELECT chr(get_byte(data, 0)) || chr(get_byte(data, 1)) AS kind, upper(encode(substr(data, 11, 4), 'hex')) AS number,
	encode(substr(data, 23, 2), 'hex') AS type_len, convert_from(substr(data, 25), 'UTF8') AS type
FROM pg_logical_slot_peek_binary_changes('regress_cdc', NULL, NULL, 'actor_types', 'turning', 'format', 'binary') WHERE get_byte(data, 0) = ascii('P');
-- a message that only looks like one
SELECT pg_logical_emit_message(true, 'actorstore.persistence', 'x') IS NOT NULL, pg_logical_emit_message(false, 'actorstore.persistence', 'logged turning') IS NOT NULL,
	pg_logical_emit_message(true, 'another', 'logged turning') IS NOT NULL, pg_logical_emit_message(true, 'actorstore.persistence', 'logged ') IS NOT NULL;
SELECT count(*) FROM pg_logical_slot_peek_changes('regress_cdc', NULL, NULL, 'actor_types', 'turning');
SELECT actorstore.drop_type('turning', events => false);

-- Changes that came from elsewhere.
SELECT pg_replication_origin_create('regress_cdc') IS NOT NULL;
SELECT pg_replication_origin_session_setup('regress_cdc');
SELECT version FROM actorstore.insert('cart', 'foreign', '1');
SELECT pg_replication_origin_session_reset();
SELECT pg_replication_origin_drop('regress_cdc');
SELECT (SELECT count(*) FROM events()) - (SELECT count(*) FROM events('only_local', 'on')) AS foreign_events;

-- Binary: docs/cdc.md.
SELECT string_agg(chr(get_byte(data, 0)), '') AS operations,
	array_agg(upper(encode(substr(data, 3, 8), 'hex') || '-' || encode(substr(data, 11, 4), 'hex')))
	= (SELECT array_agg(data::jsonb ->> 'sequence') FROM pg_logical_slot_peek_changes('regress_cdc', NULL, NULL, 'actor_types', 'cart', 'key_prefix', 'm')) AS same_sequences
FROM pg_logical_slot_peek_binary_changes('regress_cdc', NULL, NULL, 'format', 'binary', 'actor_types', 'cart', 'key_prefix', 'm');
SELECT get_byte(data, 1) AS sides, encode(substr(data, 23, 2), 'hex') AS type_len, convert_from(substr(data, 25, 4), 'UTF8') AS type,
	encode(substr(data, 29, 2), 'hex') AS id_len, convert_from(substr(data, 31, 2), 'UTF8') AS id,
	encode(substr(data, 33, 8), 'hex') AS previous_version, encode(substr(data, 41, 4), 'hex') AS previous_len, convert_from(substr(data, 45, 1), 'UTF8') AS previous,
	encode(substr(data, 46, 8), 'hex') AS new_version, encode(substr(data, 54, 4), 'hex') AS new_len, convert_from(substr(data, 58), 'UTF8') AS new
FROM pg_logical_slot_peek_binary_changes('regress_cdc', NULL, NULL, 'format', 'binary', 'actor_types', 'cart', 'key_prefix', 'm', 'operations', 'update');

-- Values, letter by letter as jsonb prints them: numbers of every size and scale, strings with what is to be escaped at
-- every place, arrays and objects of any length and depth.
SELECT actorstore.put_many('texts', array_agg('t' || n), array_agg(v)) FROM (
	SELECT row_number() OVER () AS n, v FROM (
		SELECT to_jsonb(sign * digits * 10::numeric ^ power)
		FROM unnest('{1,-1}'::numeric[]) AS sign, unnest('{0,1,9,10,12345,9999,10000,99999999,100000000,1234567890123456789}'::numeric[]) AS digits,
			unnest('{0,1,3,4,7,19,63,130,-1,-2,-3,-4,-5,-8,-15}'::numeric[]) AS power
		UNION ALL SELECT to_jsonb(round(d, scale)) FROM unnest('{0,0.5,12.345678,9999.99995,10000.00001,-0.00012345,50000000.00005}'::numeric[]) AS d, generate_series(0, 70, 7) AS scale
		UNION ALL SELECT number::jsonb FROM unnest('{-0,1.0,1.50,1e-20,1e-63,1e-64,1e-65,1e63,1e255,1e256,1e400,0.0000,-12.00e-3}'::text[]) AS number
		UNION ALL SELECT to_jsonb(repeat('a', before) || escape || repeat('é', after)) FROM unnest(ARRAY[E'\n', E'\t', E'\b', E'\f', E'\r', E'\001', E'\037', '"', '\', ' ', '!', '€', E'\177']) AS escape,
			generate_series(0, 17) AS before, generate_series(0, 9, 3) AS after
		UNION ALL SELECT to_jsonb(repeat('0123456789abcdef', length) || E'"\\') FROM unnest('{0,1,1000,10000}'::int[]) AS length
		UNION ALL SELECT jsonb_agg(CASE i % 6 WHEN 0 THEN to_jsonb(i) WHEN 1 THEN to_jsonb(i::text) WHEN 2 THEN 'null' WHEN 3 THEN to_jsonb(i % 4 = 1) WHEN 4 THEN jsonb_build_array(i, '{}'::jsonb) ELSE to_jsonb(i / 7.0) END)
			FROM unnest('{0,1,31,32,33,64,65,200}'::int[]) AS length, generate_series(1, length) AS i GROUP BY length
		UNION ALL SELECT jsonb_object_agg(repeat('k', i % 5) || i, CASE i % 4 WHEN 0 THEN to_jsonb(i * 1.5) WHEN 1 THEN to_jsonb(repeat('v', i)) WHEN 2 THEN jsonb_build_object('a', i, 'b', jsonb_build_array()) ELSE 'false' END)
			FROM unnest('{0,1,16,31,32,33,64,65,200}'::int[]) AS length, generate_series(1, length) AS i GROUP BY length
		UNION ALL SELECT value::jsonb FROM unnest(ARRAY['[]', '{}', '[[]]', '[{}]', '{"": ""}', 'null', 'true', 'false', '""', '[null, true, [false, [1, [2, {"a": [3]}]]]]', repeat('[', 300) || repeat(']', 300)]) AS value
	) AS u (v)) AS w;
SELECT count(*) AS values, count(*) FILTER (WHERE position('"new_value": ' || a.value::text || ', "new_version": ' IN p.data) = 0) AS wrong
FROM pg_logical_slot_peek_changes('regress_cdc', NULL, NULL, 'actor_types', 'texts') AS p JOIN actorstore.get_all('texts') AS a
	ON p.data::jsonb ->> 'actor_id' = a.actor_id;
SELECT actorstore.drop_type('texts', events => false);

-- The time is that of the commit: not the transaction's, nor the statement's.
BEGIN;
SELECT version FROM actorstore.put('cart', 'timed', '1');
SELECT clock_timestamp() AS before FROM pg_sleep(0.01) \gset
COMMIT;
SELECT e.at > a.updated_at AS after_the_change, e.at BETWEEN :'before' AND clock_timestamp() AS at_the_commit
FROM actorstore.get('cart', 'timed') AS a,
	(SELECT (data::jsonb ->> 'timestamp')::timestamptz FROM pg_logical_slot_peek_changes('regress_cdc', NULL, NULL, 'actor_types', 'cart', 'key_prefix', 'timed')) AS e (at);

-- Wrong options are refused at the start.
\set VERBOSITY sqlstate
SELECT events('no_such', 'x');
SELECT events('format', 'xml');
SELECT events('operations', 'insert,truncate');
SELECT events('operations', '');
SELECT events('actor_types', 'a,,b');
SELECT events('actor_types', '"a');
SELECT events('actor_types', repeat('x', 513));
SELECT events('key_prefix', repeat('x', 513));
SELECT events('after', '0-0');
SELECT events('after', '00000000000000aa-00000000');
SELECT events('since', 'yesterday or so');
SELECT events('include_previous', 'perhaps');
SELECT events('format', 'json', 'format', 'json');
SELECT count(*) FROM pg_logical_slot_peek_changes('regress_cdc', NULL, NULL, 'format', 'binary');

SELECT pg_drop_replication_slot('regress_cdc');
SELECT actorstore.drop_type(actor_type) FROM actorstore.type WHERE actor_type IN ('cart', 'fleeting');
DROP FUNCTION events;
