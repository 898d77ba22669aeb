-- create_type, alter_type, drop_type, implicit types, moves between partitions.
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
CREATE VIEW pg_temp.types AS
SELECT actor_type, owner::text = current_user AS mine, declared, persistence, mailbox_limit, on_full, max_attempts,
	   backoff, backoff_max, turn_timeout, on_exhausted
FROM actorstore.type;
\pset expanded on

-- The defaults, and all arguments.
SELECT actorstore.create_type('plain');
SELECT * FROM pg_temp.types;
SELECT actorstore.create_type('full', 'unlogged', 7, 'wait', 3, '2 s', '1 hour', '90 s', 'escalate');
SELECT * FROM pg_temp.types WHERE actor_type = 'full';
\pset expanded off

-- A partition each, made as the contract says.
SELECT c.relname, c.relpersistence, c.relreplident, pg_get_expr(c.relpartbound, c.oid) AS bound, pg_get_userbyid(c.relowner) = current_user AS ours,
	   (SELECT array_agg(a.attname ORDER BY k.place) FROM pg_index AS i, unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
		JOIN pg_attribute AS a USING (attnum) WHERE i.indrelid = c.oid AND i.indisprimary AND a.attrelid = c.oid) AS primary_key,
	   (SELECT option_value::int < 100 FROM pg_options_to_table(c.reloptions) WHERE option_name = 'fillfactor') AS fillfactor,
	   (SELECT count(*) > 0 FROM pg_options_to_table(c.reloptions) WHERE option_name LIKE 'autovacuum%') AS autovacuum
FROM pg_class AS c WHERE c.oid IN ('actorstore.actor_plain'::regclass, 'actorstore.actor_full'::regclass) ORDER BY 1;
SELECT actorstore.type_table('plain'), actorstore.type_table('full'), pg_typeof(actorstore.type_table('plain'));
-- No member of the extension: pg_dump must see it.
SELECT count(*) FROM pg_depend WHERE objid = 'actorstore.actor_plain'::regclass AND deptype = 'e';

-- Already declared.
SELECT pg_temp.try($$SELECT actorstore.create_type('plain')$$);

-- alter_type: NULL keeps; each setting by itself.
SELECT actorstore.alter_type('plain');
SELECT actorstore.alter_type('plain', mailbox_limit => 1);
SELECT actorstore.alter_type('plain', on_full => 'drop');
SELECT actorstore.alter_type('plain', max_attempts => 1);
SELECT actorstore.alter_type('plain', backoff => '10 s');
SELECT actorstore.alter_type('plain', backoff_max => '10 s');
SELECT actorstore.alter_type('plain', turn_timeout => '1 ms');
SELECT actorstore.alter_type('plain', on_exhausted => 'pause');
\pset expanded on
SELECT * FROM pg_temp.types WHERE actor_type = 'plain';
SELECT actorstore.alter_type('full', mailbox_limit => 2147483647, on_full => 'error', max_attempts => 2147483647, on_exhausted => 'dead_letter', turn_timeout => '2 days');
SELECT * FROM pg_temp.types WHERE actor_type = 'full';
\pset expanded off
SELECT word, pg_temp.try(format('SELECT actorstore.alter_type(''full'', on_full => %L)', word)) AS result FROM unnest(ARRAY['error', 'wait', 'drop']) AS word;
SELECT word, pg_temp.try(format('SELECT actorstore.alter_type(''full'', on_exhausted => %L)', word)) AS result
FROM unnest(ARRAY['dead_letter', 'restart', 'pause', 'stop', 'escalate']) AS word;

-- Words and numbers that are none of theirs: 22023, once in create_type and once in alter_type, and nothing is made or changed.
CREATE TEMP TABLE before AS SELECT to_jsonb(t) AS type FROM actorstore.type AS t;
\pset format unaligned
\pset tuples_only on
SELECT argument, pg_temp.try(format('SELECT actorstore.create_type(''bad'', %s)', argument)),
	   left(pg_temp.try(format('SELECT actorstore.alter_type(''full'', %s)', argument)), 5)
FROM unnest(ARRAY[
	$$persistence => 'temporary'$$, $$persistence => ''$$, $$persistence => 'Logged'$$, $$on_full => 'block'$$, $$on_full => ''$$,
	$$on_exhausted => 'retry'$$, $$on_exhausted => ''$$, $$mailbox_limit => 0$$, $$mailbox_limit => -1$$, $$max_attempts => 0$$, $$max_attempts => -5$$,
	$$backoff => '0'$$, $$backoff => '-1 s'$$, $$backoff => '2 s', backoff_max => '1 s'$$, $$backoff_max => '0'$$, $$backoff_max => '-1 s'$$,
	$$turn_timeout => '0'$$, $$turn_timeout => '-1 ms'$$]) AS argument;
-- Each alone may be right and both be wrong.
SELECT pg_temp.try($$SELECT actorstore.alter_type('plain', backoff => '11 s')$$);
SELECT pg_temp.try($$SELECT actorstore.alter_type('plain', backoff_max => '9 s')$$);
\pset format aligned
\pset tuples_only off
SELECT count(*) AS differences FROM (TABLE before EXCEPT SELECT to_jsonb(t) FROM actorstore.type AS t) AS d;
SELECT count(*) AS types, to_regclass('actorstore.actor_bad') IS NULL AS no_table FROM actorstore.type;

-- NULL is the default in create_type.
SELECT actorstore.create_type('defaults', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL), actorstore.create_type('the same');
SELECT count(*), count(DISTINCT (persistence, mailbox_limit, on_full, max_attempts, backoff, backoff_max, turn_timeout, on_exhausted)) AS kinds
FROM actorstore.type WHERE actor_type IN ('defaults', 'the same');
SELECT actorstore.drop_type('defaults'), actorstore.drop_type('the same');

-- logged, unlogged and back, with rows: they stay as they are.
SELECT actorstore.insert_many('plain', array_agg(i::text), array_agg(to_jsonb(i))) FROM generate_series(1, 100) AS i;
SELECT count(*) FROM generate_series(1, 50) AS i, LATERAL actorstore.update('plain', i::text, to_jsonb(-i));
CREATE TEMP TABLE rows AS SELECT * FROM actorstore.actor_plain;
SELECT relpersistence FROM pg_class WHERE oid = 'actorstore.actor_plain'::regclass;
SELECT actorstore.alter_type('plain', persistence => 'unlogged');
SELECT t.persistence, c.relpersistence, i.relpersistence AS of_the_key FROM actorstore.type AS t, pg_class AS c JOIN pg_index ON indrelid = c.oid JOIN pg_class AS i ON i.oid = indexrelid
WHERE t.actor_type = 'plain' AND c.oid = actorstore.type_table('plain');
SELECT version FROM actorstore.update('plain', '1', '"unlogged"');
SELECT count(*) AS same FROM rows JOIN actorstore.get_all('plain') AS g USING (actor_type, actor_id, value, version, created_at, updated_at);
SELECT actorstore.alter_type('plain', persistence => 'unlogged');
SELECT actorstore.alter_type('plain', persistence => 'logged');
SELECT t.persistence, c.relpersistence FROM actorstore.type AS t, pg_class AS c WHERE t.actor_type = 'plain' AND c.oid = actorstore.type_table('plain');
SELECT version FROM actorstore.update('plain', '1', '"logged"');
SELECT count(*) AS same FROM rows JOIN actorstore.get_all('plain') AS g USING (actor_type, actor_id, value, version, created_at, updated_at);
SELECT relreplident FROM pg_class WHERE oid = 'actorstore.actor_plain'::regclass;
DROP TABLE rows;

-- An implicit type: declared by its first insert, owned by who did it, in the default partition.
SELECT version FROM actorstore.insert('loose', 'a', '1');
SELECT version FROM actorstore.put('loose', 'b', '2');
SELECT version FROM actorstore.update('loose', 'a', '3');
SELECT * FROM actorstore.compare_and_swap('loose', 'b', 0, '4');
SELECT version FROM actorstore.patch('loose', 'b', '{"c": 5}');
SELECT version FROM actorstore.update('loose', 'b', '6');
SELECT version FROM actorstore.insert('other', 'a', '"other"');
SELECT version FROM actorstore.put('third', 'a', '"third"');
SELECT actor_type, mine, declared, persistence FROM pg_temp.types WHERE actor_type IN ('loose', 'other', 'third') ORDER BY 1;
SELECT tableoid::regclass AS partition, actor_type, actor_id, value, version FROM actorstore.actor WHERE actor_type IN ('loose', 'other', 'third') ORDER BY 2, 3;
SELECT actorstore.type_table('loose');
-- Its settings may be altered, its persistence not.
SELECT actorstore.alter_type('loose', max_attempts => 9);
SELECT pg_temp.try($$SELECT actorstore.alter_type('loose', persistence => 'unlogged')$$);
SELECT actor_type, declared, max_attempts, persistence FROM actorstore.type WHERE actor_type = 'loose';
-- Deleting its last actor leaves the type.
SELECT version FROM actorstore.delete('third', 'a');
SELECT version FROM actorstore.delete('third', 'a');
SELECT actor_type, declared FROM actorstore.type WHERE actor_type = 'third';

-- create_type moves its rows, and only its rows, as they are.
CREATE TEMP TABLE rows AS SELECT * FROM actorstore.undeclared;
SELECT count(*) FROM rows;
SELECT actorstore.create_type('loose', turn_timeout => '1 min');
SELECT tableoid::regclass AS partition, actor_type, actor_id, value, version FROM actorstore.actor WHERE actor_type IN ('loose', 'other') ORDER BY 2, 3;
SELECT count(*) AS same FROM rows JOIN actorstore.actor AS g USING (actor_type, actor_id, value, version, created_at, updated_at);
SELECT declared, turn_timeout FROM actorstore.type WHERE actor_type = 'loose';
SELECT actorstore.type_table('loose'), actorstore.type_table('other');
SELECT value, version FROM actorstore.get('loose', 'a');
SELECT value, version FROM actorstore.update('loose', 'a', '"moved"');
SELECT value, version FROM actorstore.get('other', 'a');
\set VERBOSITY sqlstate
SELECT actorstore.insert('loose', 'b', '1');
\set VERBOSITY default
DROP TABLE rows;
-- Many, small and large, into an unlogged one.
SELECT actorstore.insert_many('mass', array_agg(i::text), array_agg(CASE WHEN i % 1000 = 0 THEN to_jsonb(repeat(i::text, 10000)) ELSE to_jsonb(i) END))
FROM generate_series(1, 5000) AS i;
SELECT count(*) FROM generate_series(1, 5000, 2) AS i, LATERAL actorstore.update('mass', i::text, to_jsonb(-i));
CREATE TEMP TABLE rows AS SELECT * FROM actorstore.undeclared WHERE actor_type = 'mass';
SELECT actorstore.create_type('mass', 'unlogged');
SELECT count(*) AS same FROM rows JOIN actorstore.actor_mass AS g USING (actor_type, actor_id, value, version, created_at, updated_at);
SELECT actor_type, count(*) FROM actorstore.undeclared GROUP BY 1 ORDER BY 1;
-- Undone, all is as it was.
BEGIN;
SELECT actorstore.create_type('other');
SELECT version FROM actorstore.update('other', 'a', '"moved"');
SELECT tableoid::regclass AS partition, value FROM actorstore.actor WHERE actor_type = 'other';
ROLLBACK;
SELECT tableoid::regclass AS partition, value, version FROM actorstore.actor WHERE actor_type = 'other';
SELECT value, version FROM actorstore.update('other', 'a', '"stayed"');
SELECT declared FROM actorstore.type WHERE actor_type = 'other';

-- drop_type: rows, partition, handlers and rights are gone; the others' are not.
CREATE FUNCTION types_handler(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql RETURN body;
CREATE ROLE regress_types;
SELECT actorstore.set_handler(t, '*', 'types_handler(jsonb, jsonb)'), actorstore.grant_type(t, 'regress_types', '{read,write}') FROM unnest(ARRAY['loose', 'other', 'full']) AS t;
SELECT actorstore.drop_type('loose'), actorstore.drop_type('other', false);
SELECT actor_type FROM actorstore.type ORDER BY 1;
SELECT actor_type, message FROM actorstore.handler ORDER BY 1;
SELECT actor_type, grantee = 'regress_types'::regrole AS to_the_role, privilege FROM actorstore.type_grant WHERE grantee = 'regress_types'::regrole ORDER BY 1, 3;
SELECT to_regclass('actorstore.actor_loose') IS NULL AS no_table, (SELECT count(*) FROM actorstore.actor WHERE actor_type IN ('loose', 'other')) AS rows;
SELECT actorstore.get('loose', 'a') IS NULL AS gone, actorstore.get('other', 'a') IS NULL AS gone_too;
SELECT pg_temp.try($$SELECT actorstore.update('loose', 'a', '1')$$);
SELECT pg_temp.try($$SELECT actorstore.update('other', 'a', '1')$$);
SELECT pg_temp.try($$SELECT actorstore.drop_type('loose')$$);
-- The names are free again.
SELECT actorstore.create_type('loose');
SELECT version FROM actorstore.insert('loose', 'a', '1');
SELECT version FROM actorstore.insert('other', 'a', '1');
SELECT declared, actorstore.type_table(actor_type) FROM actorstore.type WHERE actor_type IN ('loose', 'other') ORDER BY actor_type;
-- A dropped partition's actors do not come back under the other kind of type.
SELECT actorstore.drop_type('loose', events => false);
SELECT version FROM actorstore.insert('loose', 'a', '"again"');
SELECT count(*) FROM actorstore.actor WHERE actor_type = 'loose';

SELECT actorstore.drop_type(actor_type) FROM (SELECT actor_type FROM actorstore.type ORDER BY 1) AS t;
SELECT (SELECT count(*) FROM actorstore.actor) AS actors, (SELECT count(*) FROM actorstore.handler) AS handlers, (SELECT count(*) FROM actorstore.type_grant) AS grants,
	   (SELECT array_agg(inhrelid::regclass) FROM pg_inherits WHERE inhparent = 'actorstore.actor'::regclass) AS partitions;
DROP ROLE regress_types;
DROP FUNCTION types_handler;
-- The moves left no replication origin in use behind them.
SELECT pg_replication_origin_session_is_setup();
