-- Ask, tell, call: arguments, errors, rights, answers, what a handler sees and may do. What takes two sessions is in test/t.
CREATE FUNCTION regress_try(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
	message text;
	detail text;
	hint text;
BEGIN
	EXECUTE statement INTO answer;
	RETURN coalesce('ok: ' || answer, 'ok');
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(' | ', SQLSTATE, message, NULLIF(detail, ''), NULLIF(hint, ''));
END $$;
CREATE FUNCTION regress_state(statement text) RETURNS text LANGUAGE sql RETURN left(regress_try(statement), 5);
CREATE FUNCTION regress_wait(condition text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	holds boolean;
BEGIN
	FOR i IN 1 .. 6000 LOOP
		EXECUTE 'SELECT ' || condition INTO holds;
		IF holds THEN RETURN true; END IF;
		PERFORM pg_sleep(0.01);
	END LOOP;
	RETURN false;
END $$;
SELECT current_database() AS db \gset
CREATE ROLE regress_owner;
CREATE ROLE regress_asker;
CREATE ROLE regress_sender;
CREATE ROLE regress_stranger;
CREATE SCHEMA regress_app AUTHORIZATION regress_owner;
GRANT USAGE ON SCHEMA regress_app TO PUBLIC;
GRANT CREATE ON DATABASE :"db" TO regress_owner;
SET client_min_messages = warning;

-- The type's owner and its handlers; "seen" is written by them.
SET ROLE regress_owner;
SET search_path = regress_app;
CREATE TABLE seen (n int GENERATED ALWAYS AS IDENTITY, what text);
GRANT SELECT ON seen TO PUBLIC;
CREATE FUNCTION add(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql RETURN to_jsonb(coalesce(state::int, 0) + coalesce(body::int, 1));
CREATE FUNCTION look(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql RETURN NULL::jsonb;
CREATE FUNCTION answer(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	one jsonb;
BEGIN
	FOR one IN SELECT jsonb_array_elements(body -> 'replies') LOOP
		PERFORM actorstore.reply(NULLIF(one, '"NULL"'));
	END LOOP;
	RETURN body -> 'state';
END $$;
CREATE FUNCTION fail(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO seen (what) VALUES ('fail');
	RAISE EXCEPTION '%', body #>> '{}' USING ERRCODE = 'XX123', DETAIL = 'The detail.', HINT = 'The hint.';
END $$;
CREATE FUNCTION refuse(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO seen (what) VALUES ('refuse');
	IF body ? 'reject' THEN PERFORM actorstore.reject(body ->> 'reject'); END IF;
	IF body ? 'retry' THEN PERFORM actorstore.retry_after((body ->> 'retry')::interval); END IF;
	RETURN '"refused"';
END $$;
CREATE FUNCTION nap(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(body::float); RETURN body; END';
CREATE FUNCTION note(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO seen (what) VALUES (body #>> '{}');
	RETURN coalesce(state, '[]') || jsonb_build_array(body);
END $$;
-- Runs what the body says, and answers with its result.
CREATE FUNCTION run(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE body ->> 'sql' INTO result USING state, body;
	PERFORM actorstore.reply(to_jsonb(result));
	RETURN body -> 'state';
END $$;
SELECT actorstore.create_type('doc');
SELECT actorstore.set_handler('doc', name, (name || '(jsonb, jsonb)')::regprocedure) IS NOT NULL AS set FROM unnest('{add,look,answer,fail,refuse,nap,note,run}'::text[]) AS name;
SELECT actorstore.grant_type('doc', 'regress_asker', '{ask}'), actorstore.grant_type('doc', 'regress_sender', '{send}');
RESET ROLE;
RESET search_path;

-- ---- Arguments ----
\pset format unaligned
\pset tuples_only on
CREATE TABLE regress_call (verb text, call text);
INSERT INTO regress_call VALUES ('ask', 'SELECT actorstore.ask(%s, %s, %s, %s)'), ('tell', 'SELECT actorstore.tell(%s, %s, %s, %s)'),
	('call', 'SELECT actorstore.call(%s, %s, %s, %s)');
CREATE TABLE regress_bad (place int GENERATED ALWAYS AS IDENTITY, t text, i text, m text, b text);
INSERT INTO regress_bad (t, i, m, b) VALUES
	('NULL', '''a''', '''add''', '1'), ('''''', '''a''', '''add''', '1'), ('repeat(''t'', 513)', '''a''', '''add''', '1'),
	('''doc''', 'NULL', '''add''', '1'), ('''doc''', '''''', '''add''', '1'), ('''doc''', 'repeat(''ä'', 256) || ''i''', '''add''', '1'),
	('''doc''', '''a''', 'NULL', '1'), ('''doc''', '''a''', '''''', '1'), ('''doc''', '''a''', 'repeat(''m'', 513)', '1'),
	('''doc''', '''a''', '''$start''', '1'), ('''doc''', '''a''', '''$stop''', '1'), ('''doc''', '''a''', '''$anything''', '1'),
	('''nothing''', '''a''', '''add''', '1'), ('''doc''', '''a''', '''unheard''', '1'),
	('''doc''', '''a''', '''add''', '(SELECT to_jsonb(repeat(''b'', 1024 * 1024)))');
SELECT verb, t, i, m, left(b, 10), regress_try(format(replace(call, '%s)', '%s::text::jsonb)'), t, i, m, b)) FROM regress_bad, regress_call
WHERE t <> 'repeat(''t'', 513)' ORDER BY place, verb;
SELECT verb, regress_state(format(call, 'repeat(''t'', 513)', '''a''', '''add''', 'NULL')) FROM regress_call ORDER BY verb;
-- An id of 512 bytes, a message that has a dollar later on, a body that is JSON's null, none at all.
SELECT actorstore.ask('doc', repeat('i', 512), 'add', '2'), actorstore.call('doc', repeat('i', 512), 'add', '2'), actorstore.ask('doc', 'none', 'add'), actorstore.call('doc', 'none', 'add'),
	   regress_state($$SELECT actorstore.ask('doc', 'a', 'a$', '1')$$), actorstore.ask('doc', 'null', 'answer', '{"state": null}'), actorstore.get('doc', 'null') IS NOT NULL;
SELECT regress_try(format('SELECT actorstore.ask(''doc'', ''a'', ''look'', NULL, %s)', timeout)) FROM unnest(ARRAY['NULL', '''-1 us''', '''-1 day''', '''300000 years''']) AS timeout;
SELECT regress_try($$SELECT actorstore.ask('doc', 'a', 'look', NULL, '1 s', '')$$), regress_state($$SELECT actorstore.ask('doc', 'a', 'look', NULL, '1 s', repeat('k', 513))$$),
	   regress_try($$SELECT actorstore.ask('doc', 'a', 'look', NULL, '200000 years')$$);
-- What takes longer than that; it is handled all the same, and the answer kept for who has a key.
SELECT regress_try($$SELECT actorstore.ask('doc', 'slow', 'nap', '0.1', '0')$$);
SELECT regress_try($$SELECT actorstore.ask('doc', 'slower', 'nap', '2', '1 s')$$);
SELECT regress_wait($$(SELECT version = 0 FROM actorstore.actor WHERE actor_type = 'doc' AND actor_id = 'slower')$$);
SELECT regress_try($$SELECT actorstore.ask('doc', 'slower', 'nap', '2', '1 s', 'key')$$);
SELECT actorstore.ask('doc', 'slower', 'look', NULL, '1 min', 'key');
SELECT (SELECT version FROM actorstore.actor WHERE actor_type = 'doc' AND actor_id = 'slower') AS version;

-- ---- Answers ----
-- The new state; the old one, where there is none; reply(), whatever the state; the last one, with a warning for each.
SELECT actorstore.ask('doc', 'n', 'add', '5'), actorstore.ask('doc', 'n', 'look');
SELECT actorstore.call('doc', 'n', 'add', '5'), actorstore.call('doc', 'n', 'look');
SELECT actorstore.ask('doc', 'nobody', 'look') IS NULL, actorstore.call('doc', 'nobody', 'look') IS NULL, actorstore.get('doc', 'nobody') IS NULL;
SELECT actorstore.ask('doc', 'r', 'answer', '{"replies": [1], "state": 2}'), actorstore.ask('doc', 'r', 'answer', '{"replies": ["NULL"], "state": 3}') IS NULL, actorstore.ask('doc', 'r', 'answer', '{"replies": [null]}'),
	   actorstore.ask('doc', 'r', 'answer', '{"replies": [1, 2]}');
SELECT actorstore.call('doc', 'r', 'answer', '{"replies": [1], "state": 4}'), actorstore.call('doc', 'r', 'answer', '{"replies": ["NULL"], "state": 5}') IS NULL, actorstore.call('doc', 'r', 'answer', '{"replies": [null]}');
SELECT (actorstore.get('doc', 'r')).value, (actorstore.get('doc', 'r')).version;
SELECT actorstore.call('doc', 'r', 'answer', '{"replies": [1, 2, 3]}');
SELECT actorstore.call('doc', 'r', 'answer', '{"replies": [1, "NULL"]}') IS NULL;
SELECT regress_try(s) FROM unnest(ARRAY['SELECT actorstore.reply(''1'')', 'SELECT actorstore.context()', 'SELECT actorstore.reject(''x'')', 'SELECT actorstore.retry_after(''1 s'')',
	'SELECT actorstore.stop()', 'SELECT actorstore.spawn(''doc'', ''s'', ''1'')']) AS s;
-- Answers of all sizes: in the cell, in the arena, above what a message may be.
SELECT n, length(actorstore.ask('doc', 'sizes', 'run', jsonb_build_object('sql', format('SELECT repeat(''x'', %s)', n))) #>> '{}') = n FROM unnest(ARRAY[0, 1, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 4000, 1000000, 3000000]) AS n;
SELECT n, actorstore.ask('doc', 'bodies', 'run', jsonb_build_object('sql', 'SELECT length($2 ->> ''pad'')', 'pad', repeat('x', n))) FROM unnest(ARRAY[0, 1, 2, 3, 4, 5, 6, 7, 8, 100, 5000, 1000000]) AS n;
-- Errors come as the handler raised them, and nothing of it stays.
SELECT regress_try($$SELECT actorstore.ask('doc', 'f', 'fail', '"an error"')$$), regress_try($$SELECT actorstore.call('doc', 'f', 'fail', '"an error"')$$),
	   regress_try($$SELECT actorstore.ask('doc', 'f', 'fail')$$), length(regress_try(format('SELECT actorstore.ask(''doc'', ''f'', ''fail'', to_jsonb(repeat(%L, 10000)))', 'ä')));
SELECT r, regress_try(format('SELECT actorstore.%s(''doc'', ''f'', ''refuse'', %L)', verb, r)) FROM unnest(ARRAY['{"reject": "no"}', '{"reject": null}', '{"reject": ""}', '{"retry": "1.5 s"}', '{"retry": "-1 s"}']) AS r, unnest('{ask,call}'::text[]) AS verb;
SELECT count(*) FROM regress_app.seen;
SELECT actorstore.get('doc', 'f') IS NULL, (SELECT count(*) FROM actorstore.dead_letter);

-- ---- Paused, stopped ----
SELECT actorstore.pause('doc', 'p'), actorstore.ask('doc', 'q', 'add');
SELECT verb, regress_try(format(call, '''doc''', '''p''', '''add''', 'NULL')) FROM regress_call ORDER BY verb;
SELECT actorstore.resume('doc', 'p'), actorstore.pause('doc');
SELECT verb, regress_try(format(call, '''doc''', '''q''', '''add''', 'NULL')) FROM regress_call ORDER BY verb;
SELECT actorstore.resume('doc');
SELECT actorstore.ask('doc', 'p', 'add'), actorstore.ask('doc', 'q', 'add');
SELECT actorstore.ask('doc', 'stopped', 'run', '{"sql": "SELECT actorstore.stop(''enough'')", "state": "stopped"}'), actorstore.call('doc', 'stopped too', 'run', '{"sql": "SELECT actorstore.stop()", "state": "stopped"}');
SELECT verb, i, regress_try(format(call, '''doc''', quote_literal(i), '''add''', 'NULL')) FROM regress_call, unnest(ARRAY['stopped', 'stopped too']) AS i ORDER BY i, verb;
SELECT actorstore.call('doc', 'starter', 'run', '{"sql": "SELECT actorstore.spawn(''doc'', ''stopped'', ''10'')"}'), actorstore.resume('doc', 'stopped too');
SELECT actorstore.ask('doc', 'stopped', 'add', '1'), (actorstore.get('doc', 'stopped too')).value, regress_try($$SELECT actorstore.call('doc', 'starter', 'run', '{"sql": "SELECT actorstore.spawn(''doc'', ''stopped'', ''10'')"}')$$);

-- ---- Rights ----
SELECT role, verb, set_config('role', role, false) = role, regress_try(format(call, '''doc''', '''rights''', '''look''', 'NULL')) FROM regress_call, unnest(ARRAY['regress_asker', 'regress_sender', 'regress_stranger']) AS role
ORDER BY role, verb;
RESET ROLE;
SELECT actorstore.revoke_type('doc', 'regress_asker', '{ask}'), actorstore.grant_type('doc', 'regress_asker', '{read,write,send}');
GRANT SELECT ON regress_call TO regress_asker;
SET ROLE regress_asker;
SELECT verb, regress_state(format(call, '''doc''', '''rights''', '''look''', 'NULL')) FROM regress_call ORDER BY verb;
RESET ROLE;
SELECT actorstore.grant_type('doc', 'regress_asker', '{ask}'), actorstore.revoke_type('doc', 'regress_asker', '{read,write}');

-- ---- Tell ----
-- At once, even if the teller rolls back; a handler's telling, even if it fails.
BEGIN;
SELECT actorstore.tell('doc', 'told', 'note', to_jsonb(i)) IS NOT NULL AS void FROM generate_series(1, 3) AS i;
ROLLBACK;
SELECT actorstore.ask('doc', 'told', 'look');
SELECT regress_state($$SELECT actorstore.call('doc', 'teller', 'run', '{"sql": "SELECT actorstore.tell(''doc'', ''told'', ''note'', ''4'') IS NULL OR 1 / (($1::int) - ($1::int)) = 0"}')$$), actorstore.call('doc', 'teller', 'run', '{"state": 1, "sql": "SELECT 1"}');
SELECT regress_state($$SELECT actorstore.call('doc', 'teller', 'run', '{"sql": "SELECT actorstore.tell(''doc'', ''told'', ''note'', ''5'') IS NULL OR 1 / ($1::int - $1::int) = 0"}')$$);
SELECT actorstore.ask('doc', 'told', 'look');
SELECT actorstore.ask('doc', 'asked teller', 'run', '{"sql": "SELECT actorstore.tell(''doc'', ''told'', ''note'', ''6'')"}'), regress_wait($$(SELECT value @> '[6]' FROM actorstore.actor WHERE actor_type = 'doc' AND actor_id = 'told')$$);
SELECT actorstore.tell('doc', 'told', 'fail', '"told"'), actorstore.tell('doc', 'told', 'refuse', '{"reject": "told"}');
SELECT actorstore.ask('doc', 'told', 'look'), (SELECT count(*) FROM actorstore.dead_letter);

-- ---- Who handles it, and what it sees ----
\pset format aligned
\pset tuples_only off
SET ROLE regress_owner;
SET search_path = regress_app;
CREATE FUNCTION who(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM actorstore.reply((SELECT to_jsonb(c) FROM actorstore.context() AS c) || jsonb_build_object('user', current_user, 'path', current_setting('search_path'), 'body', body));
	RETURN body -> 'state';
END $$;
SELECT actorstore.set_handler('doc', 'who', 'who(jsonb, jsonb)');
RESET search_path;
SET ROLE regress_asker;
SET search_path = pg_temp, public;
SELECT jsonb_pretty(actorstore.call('doc', 'who', 'who', '{"state": 1}')) AS call;
SELECT jsonb_pretty(actorstore.ask('doc', 'who', 'who', '{"a": 1}')) AS ask;
SELECT actorstore.call('doc', 'who', 'who') ->> 'version' AS version, current_user, current_setting('search_path') AS path;
-- One called by another one; what that one is afterwards.
SELECT actorstore.call('doc', 'outer', 'run', '{"sql": "SELECT actorstore.call(''doc'', ''who'', ''who'') || jsonb_build_object(''outer'', actor_id, ''outer message'', message) FROM actorstore.context()"}')
	AS nested, current_user;
RESET search_path;
RESET ROLE;
-- What the caller has written is seen, and what has been called by the caller; a savepoint undoes it.
BEGIN;
SELECT (actorstore.put('doc', 'mine', '10')).version;
SELECT actorstore.call('doc', 'mine', 'add', '1'), (actorstore.get('doc', 'mine')).value, (actorstore.get('doc', 'mine')).version;
SAVEPOINT s;
SELECT actorstore.call('doc', 'mine', 'add', '1'), actorstore.call('doc', 'mine', 'note', '"undone"') IS NULL AS error;
ROLLBACK TO s;
SELECT actorstore.call('doc', 'mine', 'add', '5'), (actorstore.get('doc', 'mine')).version;
SELECT (actorstore.delete('doc', 'mine')).value, actorstore.call('doc', 'mine', 'add', '1') AS anew;
ROLLBACK;
SELECT actorstore.get('doc', 'mine') IS NULL AS undone;
-- An error in it that is caught leaves no trace, of rights or settings either.
SET ROLE regress_asker;
SET search_path = pg_temp, public;
DO $$
DECLARE
	before text := current_user || current_setting('search_path') || current_setting('work_mem');
BEGIN
	FOR i IN 1 .. 3 LOOP
		BEGIN
			PERFORM actorstore.call('doc', 'caught', 'run', '{"sql": "SELECT set_config(''work_mem'', ''1MB'', false), actorstore.call(''doc'', ''caught too'', ''fail'', ''\"x\"'')"}');
			RAISE 'no error';
		EXCEPTION WHEN SQLSTATE 'XX123' THEN
		END;
		IF current_user || current_setting('search_path') || current_setting('work_mem') <> before THEN RAISE 'not as it was'; END IF;
		BEGIN
			PERFORM actorstore.reply('1');
		EXCEPTION WHEN object_not_in_prerequisite_state THEN
			CONTINUE;
		END;
		RAISE 'still in a handler';
	END LOOP;
END $$;
SELECT actorstore.call('doc', 'caught', 'run', '{"sql": "SELECT set_config(''work_mem'', ''1MB'', false)"}'), current_setting('work_mem') <> '1MB' AS as_it_was;
RESET search_path;
RESET ROLE;
-- Errors that a handler catches in what it calls.
SET ROLE regress_owner;
CREATE FUNCTION regress_app.catch(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	caught text;
BEGIN
	BEGIN
		PERFORM actorstore.call('doc', body ->> 'call', body ->> 'message', body -> 'body');
	EXCEPTION WHEN OTHERS THEN
		caught := SQLSTATE || ' in ' || (SELECT actor_id FROM actorstore.context());
	END;
	RETURN to_jsonb(caught);
END $$;
SELECT actorstore.set_handler('doc', 'catch', 'regress_app.catch(jsonb, jsonb)');
RESET ROLE;
SELECT actorstore.call('doc', 'catcher', 'catch', '{"call": "x", "message": "fail"}'), actorstore.call('doc', 'catcher', 'catch', '{"call": "catcher", "message": "add"}'),
	   actorstore.call('doc', 'catcher', 'catch', '{"call": "x", "message": "refuse", "body": {"reject": ""}}'), actorstore.call('doc', 'catcher', 'catch', '{"call": "x", "message": "unheard"}');
SELECT actorstore.ask('doc', 'catcher', 'catch', '{"call": "x", "message": "fail"}'), actorstore.ask('doc', 'catcher', 'catch', '{"call": "catcher", "message": "add"}'),
	   actorstore.ask('doc', 'catcher', 'catch', '{"call": "x", "message": "refuse", "body": {"retry": "1 s"}}'), actorstore.ask('doc', 'catcher', 'catch', '{"call": "x", "message": "unheard"}');

-- ---- Functions that are at work already ----
-- In SQL, they keep where they are in what the call hangs on: one calls itself, for another actor; one fails, and is called again.
SET ROLE regress_owner;
CREATE FUNCTION regress_app.factorial(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT CASE WHEN body::int <= 0 THEN '1'::jsonb
		ELSE to_jsonb(body::int * (actorstore.call('doc', 'factorial ' || body::int - 1, 'factorial', to_jsonb(body::int - 1)))::int) END;
$$;
CREATE FUNCTION regress_app.divide(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql AS $$
	INSERT INTO regress_app.seen (what) VALUES ('divide ' || body::text);
	SELECT to_jsonb(100 / body::int);
$$;
SELECT actorstore.set_handler('doc', 'factorial', 'regress_app.factorial(jsonb, jsonb)'), actorstore.set_handler('doc', 'divide', 'regress_app.divide(jsonb, jsonb)');
RESET ROLE;
SELECT actorstore.call('doc', 'factorial 5', 'factorial', '5') AS called;
SELECT actorstore.ask('doc', 'factorial 6', 'factorial', '6') AS asked;
BEGIN;
SELECT actorstore.call('doc', 'divide', 'divide', '5');
SAVEPOINT s;
SELECT actorstore.call('doc', 'divide', 'divide', '0');
ROLLBACK TO s;
SELECT actorstore.call('doc', 'divide', 'divide', '2'), actorstore.call('doc', 'divide', 'divide', '4');
COMMIT;
SELECT what FROM regress_app.seen ORDER BY n;
-- Those that have failed leave nothing behind, also within a transaction.
BEGIN;
DO $$
BEGIN
	FOR i IN 1 .. 300 LOOP
		BEGIN
			PERFORM actorstore.call('doc', 'divide', 'divide', '0');
		EXCEPTION WHEN division_by_zero THEN
		END;
	END LOOP;
END $$;
SELECT count(*) <= 2 AS few FROM pg_backend_memory_contexts WHERE name = 'actorstore function';
COMMIT;

-- ---- Waiting for oneself ----
\pset format unaligned
\pset tuples_only on
SELECT regress_try($$SELECT actorstore.call('doc', 'a', 'run', '{"sql": "SELECT actorstore.call(''doc'', ''a'', ''add'')"}')$$);
SELECT regress_try($$SELECT actorstore.call('doc', 'a', 'run', '{"sql": "SELECT actorstore.call(''doc'', ''b'', ''run'', ''{\"sql\": \"SELECT actorstore.call(''''doc'''', ''''c'''', ''''run'''', jsonb_build_object(''''sql'''', ''''SELECT actorstore.call(''''''''doc'''''''', ''''''''b'''''''', ''''''''add'''''''')''''))\"}'')"}')$$);
SELECT regress_try($$SELECT actorstore.ask('doc', 'a', 'run', '{"sql": "SELECT actorstore.call(''doc'', ''a'', ''add'')"}')$$);
SELECT verb, regress_try(format('SELECT actorstore.%s(''doc'', ''a'', ''run'', ''{"sql": "SELECT actorstore.ask(''''doc'''', ''''b'''', ''''look'''')"}'')', verb)) FROM unnest('{ask,call}'::text[]) AS verb;
-- An actor that this transaction has updated, inserted, deleted, called, or whose key it has; and one that it has not.
BEGIN;
SELECT (actorstore.put('doc', 'n', '1')).value, regress_try($$SELECT actorstore.ask('doc', 'n', 'add', '1', '1 min')$$);
SELECT (actorstore.insert('doc', 'inserted', '1')).value, regress_try($$SELECT actorstore.ask('doc', 'inserted', 'add', '1', '1 min')$$);
SELECT (actorstore.delete('doc', 'r')).value, regress_try($$SELECT actorstore.ask('doc', 'r', 'add', '1', '1 min')$$);
SELECT actorstore.call('doc', 'q', 'add', '1'), regress_try($$SELECT actorstore.ask('doc', 'q', 'add', '1', '1 min')$$);
SELECT actorstore.call('doc', 'nobody', 'look') IS NULL, regress_try($$SELECT actorstore.ask('doc', 'nobody', 'add', '1', '1 min')$$);
SELECT count(*) FROM actorstore.get_many('doc', '{p}', 'update'), regress_try($$SELECT actorstore.ask('doc', 'p', 'add', '1', '1 min')$$);
SAVEPOINT s;
SELECT (actorstore.put('doc', 'slow', '1')).value, regress_try($$SELECT actorstore.ask('doc', 'slow', 'add', '1', '1 min')$$);
ROLLBACK TO s;
SELECT actorstore.ask('doc', 'null', 'answer', '{"state": 100}', '1 min'), actorstore.ask('doc', 'slow', 'answer', '{"state": 100}', '1 min');
ROLLBACK;
SELECT (actorstore.get('doc', 'null')).value, actorstore.get('doc', 'inserted') IS NULL, (actorstore.get('doc', 'q')).value;

-- ---- What a handler may not do in its caller's session ----
SELECT s, regress_try(format('SELECT actorstore.call(''doc'', ''limits'', ''run'', jsonb_build_object(''sql'', %L))', s)) FROM unnest(ARRAY['CREATE TEMP TABLE t ()', 'CREATE TABLE pg_temp.t ()', 'LISTEN regress', 'UNLISTEN *', 'COMMIT', 'SET ROLE regress_stranger', 'SET SESSION AUTHORIZATION regress_stranger']) AS s;
SELECT actorstore.call('doc', 'limits', 'run', '{"sql": "SELECT pg_notify(''regress'', ''x'')"}');
-- Nor may the caller's temporary objects stand for the owner's.
SET ROLE regress_asker;
CREATE TEMP TABLE seen (n int, what text);
CREATE FUNCTION pg_temp.steal() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE WARNING ''steal() runs as %'', current_user; RETURN NEW; END';
CREATE TRIGGER steal BEFORE INSERT ON pg_temp.seen FOR EACH ROW EXECUTE FUNCTION pg_temp.steal();
CREATE DOMAIN pg_temp.jsonb AS text CHECK (false);
SET search_path = pg_temp, regress_app;
SELECT actorstore.call('doc', 'not stolen', 'note', '"not stolen"'::pg_catalog.jsonb), (SELECT count(*) FROM pg_temp.seen), current_user;
SELECT what FROM regress_app.seen ORDER BY n DESC LIMIT 1;
RESET search_path;
DROP TABLE pg_temp.seen;
DROP FUNCTION pg_temp.steal();
DROP DOMAIN pg_temp.jsonb;
RESET ROLE;

-- ---- dedup_key ----
-- A repeat gets the first one's answer; one that failed is run again; keys are per actor, and shared with send().
SELECT actorstore.ask('doc', 'dedup', 'add', '5', '5 s', 'k'), actorstore.ask('doc', 'dedup', 'add', '7', '5 s', 'k'), actorstore.ask('doc', 'dedup', 'add', '7', '5 s', 'k2'),
	   actorstore.ask('doc', 'dedup', 'add', '5', '5 s', 'k'), actorstore.ask('doc', 'dedup too', 'add', '1', '5 s', 'k');
SELECT (actorstore.get('doc', 'dedup')).value, (actorstore.get('doc', 'dedup')).version;
SELECT actorstore.ask('doc', 'dedup', 'answer', '{"replies": ["NULL"]}', '5 s', 'null') IS NULL, actorstore.ask('doc', 'dedup', 'answer', '{"replies": [1]}', '5 s', 'null') IS NULL,
	   actorstore.ask('doc', 'dedup', 'answer', '{"replies": [{"a": "b"}]}', '5 s', 'object'), actorstore.ask('doc', 'dedup', 'look', NULL, '5 s', 'object'),
	   actorstore.ask('doc', 'dedup', 'look', NULL, '5 s', 'state'), actorstore.ask('doc', 'dedup', 'add', NULL, '5 s', 'state');
SELECT regress_state($$SELECT actorstore.ask('doc', 'dedup', 'divide', '0', '5 s', 'failed')$$), actorstore.ask('doc', 'dedup', 'divide', '4', '5 s', 'failed'), actorstore.ask('doc', 'dedup', 'divide', '5', '5 s', 'failed');
SELECT regress_state($$SELECT actorstore.ask('doc', 'dedup', 'unheard', NULL, '5 s', 'unheard')$$), actorstore.ask('doc', 'dedup', 'add', '1', '5 s', 'unheard');
SELECT actorstore.send('doc', 'dedup sent', 'note', '"sent"', dedup_key => 'sent') > 0;
SELECT regress_wait($$actorstore.get('doc', 'dedup sent') IS NOT NULL$$);
SELECT actorstore.ask('doc', 'dedup sent', 'note', '"asked"', '5 s', 'sent') IS NULL, (actorstore.get('doc', 'dedup sent')).value;
SELECT actorstore.ask('doc', 'dedup asked', 'note', '"asked"', '5 s', 'asked'), (SELECT count(*) FROM actorstore.dead_letter);
SELECT actorstore.send('doc', 'dedup asked', 'note', '"sent"', dedup_key => 'asked') > 0, actorstore.ask('doc', 'dedup asked', 'look');
SELECT actorstore.pause('doc', 'dedup waits');
SELECT actorstore.send('doc', 'dedup waits', 'note', '"sent"', delay => '1 h', dedup_key => 'waits') > 0, actorstore.resume('doc', 'dedup waits');
SELECT regress_try($$SELECT actorstore.ask('doc', 'dedup waits', 'note', '"asked"', '5 s', 'waits')$$);

-- ---- States that a handler reads and writes itself ----
-- Also where it has looked at its own without a lock, and catches the error that says so.
SET ROLE regress_owner;
CREATE FUNCTION regress_app.put(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM actorstore.put('doc', body ->> 'id', body -> 'value');
	RETURN NULL;
END $$;
CREATE FUNCTION regress_app.swallow(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	BEGIN
		PERFORM actorstore.put('doc', body ->> 'id', body -> 'value');
	EXCEPTION WHEN OTHERS THEN
	END;
	RETURN NULL;
END $$;
CREATE FUNCTION regress_app.swallow_call(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	BEGIN
		PERFORM actorstore.call('doc', body ->> 'id', 'add', '1');
	EXCEPTION WHEN OTHERS THEN
	END;
	RETURN NULL;
END $$;
CREATE FUNCTION regress_app.tell_state(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO regress_app.seen (what) VALUES (coalesce(state::text, 'NULL'));
	RETURN NULL;
END $$;
SELECT actorstore.set_handler('doc', name, ('regress_app.' || name || '(jsonb, jsonb)')::regprocedure) IS NOT NULL AS set FROM unnest('{put,swallow,swallow_call,tell_state}'::text[]) AS name;
RESET ROLE;
SELECT actorstore.ask('doc', 'own', 'put', '{"id": "own", "value": "first"}'), actorstore.ask('doc', 'own', 'put', '{"id": "own", "value": "second"}'), actorstore.ask('doc', 'own', 'put', '{"id": "other", "value": "third"}');
SELECT (actorstore.get('doc', 'own')).value, (actorstore.get('doc', 'other')).value;
SELECT actorstore.ask('doc', 'own', 'swallow', '{"id": "swallowed", "value": 1}'), actorstore.ask('doc', 'own', 'swallow_call', '{"id": "swallowed"}');
SELECT (actorstore.get('doc', 'swallowed')).value;
-- What a handler has written of another actor leaves the next message its state.
TRUNCATE regress_app.seen;
SELECT actorstore.put('doc', 'keeps', jsonb_build_object('keeps', repeat('k', 100))) IS NOT NULL, actorstore.pause('doc', 'keeps');
SELECT count(actorstore.send('doc', 'keeps', CASE WHEN i % 4 = 1 THEN 'put' ELSE 'tell_state' END, jsonb_build_object('id', 'kept', 'value', repeat('v', 200)))) FROM generate_series(1, 20) AS i;
SELECT actorstore.resume('doc', 'keeps');
SELECT regress_wait($$(SELECT count(*) = 15 FROM regress_app.seen)$$);
SELECT count(*), count(DISTINCT what), bool_and(what::jsonb = jsonb_build_object('keeps', repeat('k', 100))) FROM regress_app.seen;

-- ---- Transactions ----
BEGIN READ ONLY;
SELECT actorstore.ask('doc', 'n', 'look'), regress_try($$SELECT actorstore.call('doc', 'n', 'look')$$);
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT actorstore.call('doc', 'n', 'add', '1'), actorstore.ask('doc', 'p', 'look');
COMMIT;
BEGIN;
SELECT actorstore.call('doc', 'prepared', 'add', '1');
PREPARE TRANSACTION 'regress_ask';
SELECT actorstore.get('doc', 'prepared') IS NULL, regress_try($$SELECT actorstore.ask('doc', 'prepared', 'add', '1', '50 ms')$$);
COMMIT PREPARED 'regress_ask';
SELECT actorstore.ask('doc', 'prepared', 'look')::int IN (1, 2);
-- A deferred trigger of what was called, at the commit; one that asks, in a turn.
CREATE TABLE regress_deferred (what text);
GRANT ALL ON regress_deferred TO PUBLIC;
CREATE FUNCTION regress_later() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE NEW.what;
	RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER later AFTER INSERT ON regress_deferred DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION regress_later();
SELECT actorstore.call('doc', 'deferred', 'run', '{"state": 1, "sql": "INSERT INTO public.regress_deferred VALUES (''SELECT actorstore.call(''''doc'''', ''''deferred'''', ''''add'''', ''''1'''')'') RETURNING 1"}');
SELECT actorstore.ask('doc', 'deferred', 'look'), actorstore.ask('doc', 'deferred', 'run', '{"state": 10, "sql": "INSERT INTO public.regress_deferred VALUES (''SELECT actorstore.call(''''doc'''', ''''deferred'''', ''''add'''', ''''1'''')'') RETURNING 1"}');
SELECT actorstore.ask('doc', 'deferred', 'look'), regress_try($$SELECT actorstore.ask('doc', 'deferred', 'run', '{"sql": "INSERT INTO public.regress_deferred VALUES (''SELECT actorstore.ask(''''doc'''', ''''q'''', ''''look'''')'') RETURNING 1"}')$$);

-- ---- In places where functions are not expected to do such things ----
CREATE FUNCTION regress_definer(id text) RETURNS jsonb SECURITY DEFINER LANGUAGE sql AS $$ SELECT actorstore.call('doc', id, 'add', '1') $$;
SET ROLE regress_stranger;
SELECT regress_definer('definer'), regress_state($$SELECT actorstore.call('doc', 'definer', 'add', '1')$$);
RESET ROLE;
CREATE TABLE regress_rows (id text);
GRANT SELECT ON regress_rows TO PUBLIC;
INSERT INTO regress_rows SELECT 'row ' || i FROM generate_series(1, 3) AS i;
ALTER TABLE regress_rows ENABLE ROW LEVEL SECURITY;
CREATE POLICY asks ON regress_rows USING ((actorstore.ask('doc', id, 'add', '1'))::int = 1 AND (actorstore.call('doc', id, 'look'))::int = 1);
SET ROLE regress_asker;
SELECT count(*) FROM regress_rows;
SELECT count(*) FROM regress_rows;
RESET ROLE;
CREATE INDEX ON regress_rows ((actorstore.ask('doc', id, 'look')));
SELECT provolatile, proparallel, proisstrict, prosecdef, count(*) FROM pg_proc WHERE pronamespace = 'actorstore'::regnamespace AND proname IN ('ask', 'tell', 'call') GROUP BY 1, 2, 3, 4;

-- ---- Nothing is left ----
SELECT regress_wait('(SELECT used_cells = 0 FROM actorstore.stat_requests)'), (SELECT cells > 0 AND told >= 8 FROM actorstore.stat_requests);
SELECT actorstore.drop_type('doc');
SELECT verb, regress_state(format(call, '''doc''', '''n''', '''add''', 'NULL')) FROM regress_call ORDER BY verb;
\pset format aligned
\pset tuples_only off
DROP TABLE regress_call, regress_bad, regress_deferred, regress_rows;
DROP FUNCTION regress_later(), regress_definer(text), regress_try(text) CASCADE;
DROP FUNCTION regress_wait(text);
DROP SCHEMA regress_app CASCADE;
REVOKE CREATE ON DATABASE :"db" FROM regress_owner;
DROP ROLE regress_owner, regress_asker, regress_sender, regress_stranger;
