-- The handler registry: what set_handler takes, what it refuses, how it is kept. Nothing is called here.
CREATE FUNCTION regress_try(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	message text;
	detail text;
BEGIN
	EXECUTE statement;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(' | ', SQLSTATE, message, NULLIF(detail, ''));
END $$;
CREATE SCHEMA regress_app;
CREATE SCHEMA "Regress App";
CREATE FUNCTION regress_app.add(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql RETURN body;
CREATE FUNCTION regress_app.other(jsonb, jsonb) RETURNS jsonb LANGUAGE plpgsql SET work_mem = '1MB' AS $$ BEGIN RETURN NULL; END $$;
CREATE FUNCTION "Regress App"."odd, name("(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql RETURN body;
SELECT actorstore.create_type('doc');
SELECT actorstore.insert('loose', 'a', '1') IS NOT NULL AS loose;

-- Set, replaced, removed; one function for many messages; messages of any name.
SELECT actorstore.set_handler('doc', 'add', 'regress_app.add(jsonb, jsonb)');
SELECT actorstore.set_handler('doc', '*', 'regress_app.other(jsonb,jsonb)'::regprocedure);
SELECT actorstore.set_handler('doc', 'x y "z"', '"Regress App"."odd, name("(jsonb, jsonb)');
SELECT actorstore.set_handler('doc', m, 'regress_app.add(jsonb, jsonb)') FROM unnest(ARRAY['$start', '$stop', '$pre_restart', '$post_restart', '$down', '$exit']) AS m;
SELECT actorstore.set_handler('loose', 'add', 'regress_app.add(jsonb, jsonb)');
SELECT actorstore.set_handler('doc', repeat('ä', 256), 'regress_app.add(jsonb, jsonb)');
SELECT actor_type, left(message, 20) AS message, function FROM actorstore.handler ORDER BY actor_type, message COLLATE "C";
SELECT actorstore.set_handler('doc', 'add', 'regress_app.other(jsonb, jsonb)');
SELECT actorstore.set_handler('doc', 'add', 'regress_app.other(jsonb, jsonb)');
SELECT actor_type, message, function FROM actorstore.handler WHERE message = 'add' ORDER BY actor_type;
SELECT actorstore.set_handler('doc', '*', NULL);
SELECT actorstore.set_handler('doc', '*', NULL);
SELECT actorstore.set_handler('doc', 'never set', NULL);
SELECT actorstore.set_handler('doc', repeat('ä', 256), NULL);
SELECT count(*) FROM actorstore.handler WHERE message = '*' OR message LIKE 'ä%';

-- The signature is kept as text, resolvable whatever the search_path, and so is the search_path of the hour.
SET search_path = regress_app, "Regress App", public;
SELECT actorstore.set_handler('doc', 'path', 'add(jsonb, jsonb)');
SELECT actorstore.set_handler('doc', 'odd path', '"odd, name("(jsonb, jsonb)');
RESET search_path;
SELECT message, function, search_path FROM actorstore.handler WHERE message LIKE '%path' ORDER BY message COLLATE "C";
SELECT message, function::regprocedure FROM actorstore.handler WHERE message LIKE '%path' ORDER BY message COLLATE "C";
SET search_path = pg_catalog;
SELECT message, function::regprocedure = 'regress_app.add(jsonb, jsonb)'::regprocedure AS found FROM actorstore.handler WHERE message = 'path';
RESET search_path;
SELECT pg_typeof(function) FROM actorstore.handler LIMIT 1;

CREATE TEMP TABLE before AS SELECT * FROM actorstore.handler;
-- What is no handler.
CREATE FUNCTION regress_app.one(jsonb) RETURNS jsonb LANGUAGE sql RETURN $1;
CREATE FUNCTION regress_app.three(jsonb, jsonb, jsonb DEFAULT NULL) RETURNS jsonb LANGUAGE sql RETURN $1;
CREATE FUNCTION regress_app.two_json(json, json) RETURNS jsonb LANGUAGE sql RETURN NULL::jsonb;
CREATE FUNCTION regress_app.void(jsonb, jsonb) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION regress_app.text(jsonb, jsonb) RETURNS text LANGUAGE sql RETURN '';
CREATE FUNCTION regress_app.set(jsonb, jsonb) RETURNS SETOF jsonb LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION regress_app.variadic(jsonb, VARIADIC jsonb[]) RETURNS jsonb LANGUAGE sql RETURN $1;
CREATE FUNCTION regress_app.any(anyelement, anyelement) RETURNS anyelement LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION regress_app.out(jsonb, jsonb, OUT a jsonb, OUT b jsonb) LANGUAGE sql AS 'SELECT $1, $2';
CREATE PROCEDURE regress_app.procedure(jsonb, jsonb) LANGUAGE sql AS '';
CREATE AGGREGATE regress_app.aggregate(jsonb, jsonb) (SFUNC = regress_app.three, STYPE = jsonb);
CREATE FUNCTION regress_app.win(jsonb, jsonb) RETURNS jsonb LANGUAGE internal WINDOW AS 'window_row_number';
\pset format unaligned
\pset tuples_only on
SELECT f, regress_try(format('SELECT actorstore.set_handler(''doc'', ''m'', %L)', 'regress_app.' || f))
FROM unnest(ARRAY['one(jsonb)', 'three(jsonb,jsonb,jsonb)', 'two_json(json,json)', 'void(jsonb,jsonb)', 'text(jsonb,jsonb)', 'set(jsonb,jsonb)', 'variadic(jsonb,jsonb[])',
				  'any(anyelement,anyelement)', 'out(jsonb,jsonb)', 'procedure(jsonb,jsonb)', 'aggregate(jsonb,jsonb)', 'win(jsonb,jsonb)']) AS f;
SELECT regress_try($$SELECT actorstore.set_handler('doc', 'm', 'regress_app.nothing(jsonb, jsonb)')$$);
SELECT regress_try($$SELECT actorstore.set_handler('doc', 'm', 0)$$);
SELECT regress_try($$SELECT actorstore.set_handler('doc', 'm', 4294967295)$$);
-- What is no message.
SELECT message, regress_try(format('SELECT actorstore.set_handler(''doc'', %L, ''regress_app.add(jsonb, jsonb)'')', message)),
	   left(regress_try(format('SELECT actorstore.set_handler(''doc'', %L, NULL)', message)), 5)
FROM unnest(ARRAY[NULL, '', '$', '$started', '$START', '$exit ', '$unknown']) AS message;
SELECT regress_try(format('SELECT actorstore.set_handler(''doc'', %L, ''regress_app.add(jsonb, jsonb)'')', repeat('m', 513)));
SELECT left(regress_try(format('SELECT actorstore.set_handler(''doc'', %L, ''regress_app.add(jsonb, jsonb)'')', repeat('ä', 256) || 'm')), 5);
SELECT left(regress_try(format('SELECT actorstore.set_handler(''doc'', %L, NULL)', repeat('m', 513))), 5);
SELECT regress_try($$SELECT actorstore.set_handler('unknown', 'm', 'regress_app.add(jsonb, jsonb)')$$);
\pset format aligned
\pset tuples_only off
-- A message that has a dollar later on is nothing special.
SELECT actorstore.set_handler('doc', 'a$start', 'regress_app.add(jsonb, jsonb)');
SELECT actorstore.set_handler('doc', 'a$start', NULL);
SELECT count(*) AS differences FROM ((TABLE before EXCEPT TABLE actorstore.handler) UNION ALL (TABLE actorstore.handler EXCEPT TABLE before)) AS d;

-- Rights: the caller owns the type and may execute the function; the function belongs to the type's owner, to a role of his, or to a superuser.
SELECT current_database() AS db \gset
CREATE ROLE regress_owner;
CREATE ROLE regress_team;
CREATE ROLE regress_stranger;
GRANT CREATE ON DATABASE :"db" TO regress_owner;
GRANT regress_team TO regress_owner;
GRANT USAGE ON SCHEMA regress_app TO PUBLIC;
CREATE FUNCTION regress_app.own(jsonb, jsonb) RETURNS jsonb LANGUAGE sql RETURN $1;
CREATE FUNCTION regress_app.team(jsonb, jsonb) RETURNS jsonb LANGUAGE sql RETURN $1;
CREATE FUNCTION regress_app.stranger(jsonb, jsonb) RETURNS jsonb LANGUAGE sql RETURN $1;
CREATE FUNCTION regress_app.super(jsonb, jsonb) RETURNS jsonb LANGUAGE sql RETURN $1;
CREATE FUNCTION regress_app.closed(jsonb, jsonb) RETURNS jsonb LANGUAGE sql RETURN $1;
ALTER FUNCTION regress_app.own OWNER TO regress_owner;
ALTER FUNCTION regress_app.team OWNER TO regress_team;
ALTER FUNCTION regress_app.stranger OWNER TO regress_stranger;
REVOKE EXECUTE ON FUNCTION regress_app.closed FROM PUBLIC;
SET ROLE regress_owner;
SELECT actorstore.create_type('owned');
RESET ROLE;
SELECT actorstore.grant_type('owned', 'regress_stranger', '{read,write,send,ask}');
\pset format unaligned
\pset tuples_only on
SET ROLE regress_owner;
SELECT f, regress_try(format('SELECT actorstore.set_handler(''owned'', %L, %L)', f, 'regress_app.' || f || '(jsonb, jsonb)')) FROM unnest(ARRAY['own', 'team', 'stranger', 'super', 'closed']) AS f;
SELECT regress_try($$SELECT actorstore.set_handler('doc', 'm', 'regress_app.own(jsonb, jsonb)')$$);
SET ROLE regress_stranger;
SELECT regress_try($$SELECT actorstore.set_handler('owned', 'm', 'regress_app.stranger(jsonb, jsonb)')$$);
SELECT regress_try($$SELECT actorstore.set_handler('owned', 'own', NULL)$$);
RESET ROLE;
-- A superuser may set it, but not what its owner could not run as himself.
SELECT regress_try($$SELECT actorstore.set_handler('owned', 'm', 'regress_app.stranger(jsonb, jsonb)')$$);
SELECT regress_try($$SELECT actorstore.set_handler('owned', 'set by a superuser', 'regress_app.own(jsonb, jsonb)')$$);
\pset format aligned
\pset tuples_only off
SELECT message, function FROM actorstore.handler WHERE actor_type = 'owned' ORDER BY message COLLATE "C";

-- The function may be replaced, renamed or dropped: the registry keeps what it was told.
CREATE OR REPLACE FUNCTION regress_app.add(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql RETURN state;
DROP FUNCTION regress_app.own;
SELECT count(*) FROM actorstore.handler WHERE function LIKE 'regress_app.own(%';
SELECT actorstore.set_handler('owned', 'own', NULL);

-- Undone with the transaction; gone with the type.
BEGIN;
SELECT actorstore.set_handler('doc', 'add', NULL);
ROLLBACK;
SELECT message, function FROM actorstore.handler WHERE actor_type = 'doc' AND message = 'add';
SELECT actorstore.drop_type('doc'), actorstore.drop_type('loose'), actorstore.drop_type('owned');
SELECT count(*) FROM actorstore.handler;

SET client_min_messages = warning;
DROP SCHEMA regress_app CASCADE;
DROP SCHEMA "Regress App" CASCADE;
DROP FUNCTION regress_try;
REVOKE ALL ON DATABASE :"db" FROM regress_owner;
DROP ROLE regress_owner, regress_team, regress_stranger;
