-- Turns that are handled outside the database: arguments, errors, rights, what is refused as a whole. What takes two sessions is in
-- test/t.
CREATE FUNCTION regress_try(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
	message text;
	detail text;
	hint text;
BEGIN
	EXECUTE statement INTO answer;
	RETURN coalesce('ok: ' || nullif(answer, ''), 'ok');
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(' | ', SQLSTATE, regexp_replace(message, '\d{5,}', 'N', 'g'), NULLIF(regexp_replace(detail, '\d{5,}', 'N', 'g'), ''), NULLIF(hint, ''));
END $$;
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
CREATE ROLE regress_server;
CREATE ROLE regress_reader;
GRANT CREATE ON DATABASE :"db" TO regress_owner;
SET client_min_messages = warning;
-- Who is served outside: a handler that stands for it.
SET ROLE regress_owner;
SELECT actorstore.create_type('regress_out', max_attempts => 2, backoff => '1 ms', backoff_max => '1 ms');
SELECT actorstore.set_handler('regress_out', '*', 'actorstore.outside(jsonb, jsonb)');
SELECT actorstore.set_handler('regress_out', '$start', 'actorstore.outside(jsonb, jsonb)');
SELECT actorstore.outside(NULL, NULL);
SELECT actorstore.create_type('regress_target');
SELECT actorstore.grant_type('regress_out', 'regress_server', '{serve}');
SELECT actorstore.grant_type('regress_out', 'regress_reader', '{read}');
SELECT actorstore.send('regress_out', 'a', 'm', to_jsonb(n)) > 0 FROM generate_series(1, 2) AS n;
-- Arguments.
SELECT call, regress_try('SELECT FROM actorstore.checkout(' || call || ')') FROM unnest(ARRAY[
	'NULL, ''{regress_out}''', ''''', ''{regress_out}''', '''w'', NULL', '''w'', ''{}''', '''w'', ''{NULL}''',
	'''w'', ''{{regress_out,regress_out}}''', '''w'', ''{regress_none}''', '''w'', array_fill(''regress_out''::text, ARRAY[65])',
	'''w'', ''{regress_out}'', 0', '''w'', ''{regress_out}'', NULL', '''w'', ''{regress_out}'', 1001',
	'''w'', ''{regress_out}'', 1, ''0''', '''w'', ''{regress_out}'', 1, ''1 year''', '''w'', ''{regress_out}'', 1, ''-1 s''',
	'''w'', ''{regress_out}'', 1, NULL', '''w'', ''{regress_out}'', 1, ''1 s'', ''-1 s''', '''w'', ''{regress_out}'', 1, ''1 s'', NULL',
	'''w'', ''{regress_out}'', 1, ''1 s'', ''0'', 0', '''w'', ''{regress_out}'', 1, ''1 s'', ''0'', 129']) AS call;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT * FROM actorstore.checkout('w', '{regress_out}');
ROLLBACK;
BEGIN READ ONLY;
SELECT * FROM actorstore.checkout('w', '{regress_out}');
ROLLBACK;
-- Rights: those who serve the type may; those who read it see that it is checked out.
SET ROLE regress_reader;
SELECT * FROM actorstore.checkout('w', '{regress_out}');
SELECT * FROM actorstore.lease;
DELETE FROM actorstore.lease;
RESET ROLE;
SET ROLE regress_server;
SELECT value FROM actorstore.get('regress_out', 'a');
SELECT regress_wait($$(SELECT count(*) = 1 FROM actorstore.checkout('w', '{regress_out,regress_out}', 2, '1 min', '10 s'))$$);
SELECT turn_id, actor_type, actor_id, worker, role, messages, requests FROM actorstore.stat_leases \gset
SELECT :'actor_type', :'actor_id', :'worker', :'role', :'messages', :'requests';
RESET ROLE;
SELECT token FROM actorstore.lease WHERE turn_id = :turn_id \gset
SET ROLE regress_reader;
SELECT count(*) FROM actorstore.stat_leases;
SELECT regress_try(format('SELECT actorstore.complete(%s, %s)', :turn_id, :token));
SELECT regress_try(format('SELECT actorstore.fail(%s, %s, ''x'')', :turn_id, :token));
SELECT regress_try(format('SELECT actorstore.extend_lease(%s, %s, ''1 min'')', :turn_id, :token));
SET ROLE regress_owner;
SELECT count(*) FROM actorstore.stat_leases;
-- What is refused is refused as a whole, and the turn stays open.
SET ROLE regress_server;
SELECT call, regress_try(format('SELECT actorstore.complete(' || call || ')', :turn_id, :token)) FROM unnest(ARRAY[
	'NULL, %2$s', '%s, NULL', '0, 0', '%s, %s + 1', '%2$s, %1$s',
	'%s, %s, ''{}'', ''{}''', '%s, %s, ''{}'', ''1''', '%s, %s, ''{}'', ''null''', '%s, %s, ''{}'', ''[1]''', '%s, %s, ''{}'', ''[[]]''',
	'%s, %s, ''{}'', ''[{}]''', '%s, %s, ''{}'', ''[{"actor_type": 1}]''',
	'%s, %s, ''{}'', ''[{"actor_type": "regress_target", "actor_id": "t"}]''',
	'%s, %s, ''{}'', ''[{"actor_type": "regress_target", "actor_id": "", "message": "m"}]''',
	'%s, %s, ''{}'', ''[{"actor_type": "regress_target", "actor_id": "t", "message": "$exit"}]''',
	'%s, %s, ''{}'', ''[{"actor_type": "regress_target", "actor_id": "t", "message": "m", "priority": 10}]''',
	'%s, %s, ''{}'', ''[{"actor_type": "regress_target", "actor_id": "t", "message": "m", "priority": "x"}]''',
	'%s, %s, ''{}'', ''[{"actor_type": "regress_target", "actor_id": "t", "message": "m", "priority": 1.5}]''',
	'%s, %s, ''{}'', ''[{"actor_type": "regress_target", "actor_id": "t", "message": "m", "priority": -0.4}]''',
	'%s, %s, ''{}'', ''[{"actor_type": "regress_target", "actor_id": "t", "message": "m", "priority": 1e30}]''',
	'%s, %s, ''{}'', ''[{"actor_type": "regress_target", "actor_id": "t", "message": "m", "delay": "soon"}]''',
	'%s, %s, ''{}'', ''[{"actor_type": "regress_target", "actor_id": "t", "message": "m", "delay": "-1 s"}]''',
	'%s, %s, ''{}'', ''[{"actor_type": "regress_target", "actor_id": "t", "message": "m", "delay": "1 s", "deliver_at": "2100-01-01"}]''',
	'%s, %s, ''{}'', ''[{"actor_type": "regress_target", "actor_id": "t", "message": "m", "deliver_at": "infinity"}]''',
	'%s, %s, ''{}'', ''[{"actor_type": "regress_target", "actor_id": "t", "message": "m", "headers": []}]''',
	'%s, %s, ''{}'', ''[{"actor_type": "regress_target", "actor_id": "t", "message": "m", "dedup_key": ""}]''',
	'%s, %s, ''{}'', ''[{"actor_type": "regress_target", "actor_id": "t", "message": "m", "when": "now"}]''',
	'%s, %s, ''{}'', ''[{"actor_type": "regress_target", "actor_id": "t", "message": "m"}]''',
	'%s, %s, ''{}'', ''[{"actor_type": "regress_none", "actor_id": "t", "message": "m"}]''',
	'%s, %s, ''{}'', NULL, ''[]''', '%s, %s, ''{}'', NULL, ''"x"''', '%s, %s, ''{}'', NULL, ''{"x": 1}''', '%s, %s, ''{}'', NULL, ''{"1": 1}''',
	'%s, %s, ''{}'', NULL, ''{"1 ": 1}''']) AS call;
SELECT call, regress_try(format('SELECT actorstore.fail(' || call || ')', :turn_id, :token)) FROM unnest(ARRAY[
	'NULL, %2$s, ''x''', '%s, NULL, ''x''', '%s, %s, NULL', '%s, %s, ''x'', ''-1 s''', '0, 0, ''x''', '%s, %s + 1, ''x''']) AS call;
SELECT call, regress_try(format('SELECT actorstore.extend_lease(' || call || ')', :turn_id, :token)) FROM unnest(ARRAY[
	'NULL, %2$s, ''1 s''', '%s, NULL, ''1 s''', '%s, %s, NULL', '%s, %s, ''0''', '%s, %s, ''1 year''', '0, 0, ''1 s''', '%s, %s + 1, ''1 s''']) AS call;
SELECT call, regress_try('SELECT actorstore.complete_many(' || call || ')') FROM unnest(ARRAY[
	'NULL, ''{1}''', '''{1}'', NULL', '''{1}'', ''{1,2}''', '''{NULL}'', ''{1}''', '''{1}'', ''{NULL}''', '''{1}'', ''{1}'', ''{}''',
	'''{{1}}'', ''{{1}}''', '''{}'', ''{}''', '''{1,2}'', ''{1,2}''', '''{1}'', ''{1}'', NULL, ''{"{}"}''']) AS call;
RESET ROLE;
SET actorstore.max_value_size = 1024;
SELECT regress_try(format('SELECT actorstore.complete(%s, %s, to_jsonb(repeat(''x'', 2000)))', :turn_id, :token));
RESET actorstore.max_value_size;
SELECT count(*) FROM actorstore.lease;
SELECT count(*), sum(attempts) FROM actorstore.message;
SELECT * FROM actorstore.get('regress_out', 'a');
-- A transaction with deeds is not prepared; what it rolls back has not happened.
BEGIN;
SELECT actorstore.complete(:turn_id, :token, '{"a": 1}');
PREPARE TRANSACTION 'regress';
BEGIN;
SELECT actorstore.complete(:turn_id, :token, '{"a": 1}');
ROLLBACK;
BEGIN;
SAVEPOINT s;
SELECT actorstore.complete(:turn_id, :token, '{"a": 1}');
ROLLBACK TO s;
SELECT value FROM actorstore.get('regress_out', 'a');
-- Sends with the rights of who completes; a reply that nobody waits for is no error.
RESET ROLE;
SELECT message_id FROM actorstore.message ORDER BY 1 LIMIT 1 \gset
SELECT actorstore.complete(:turn_id, :token, '{"a": 1}', '[{"actor_type": "regress_target", "actor_id": "t", "message": "m", "body": null,
	"priority": 9, "delay": "1 h", "headers": {"h": 1}, "dedup_key": "d", "expires_at": "2100-01-01"},
	{"actor_type": "regress_target", "actor_id": "t", "message": "n", "delay": null}]', format('{"%s": 1}', :message_id)::jsonb);
COMMIT;
SELECT value, version FROM actorstore.get('regress_out', 'a');
SELECT regress_wait($$(SELECT count(*) = 1 FROM actorstore.message WHERE actor_type LIKE 'regress%')$$);
SELECT actor_type, message, body, priority, due > now() + '50 min' AS later, headers, sender_type, sender_id, dedup_key, expires_at > now() AS expires
FROM actorstore.message WHERE actor_type = 'regress_target';
SELECT message, sender_type, sender_id, reason FROM actorstore.dead_letter WHERE actor_type = 'regress_target';
SELECT regress_try(format('SELECT actorstore.complete(%s, %s)', :turn_id, :token));
-- Checked out and completed in one statement; dropped with its type.
SELECT actorstore.send('regress_out', 'b', 'm') > 0;
CREATE TEMP TABLE got AS SELECT * FROM actorstore.checkout('w', '{regress_out}', 5, '1 min', '10 s');
SELECT actorstore.complete_many(array_agg(turn_id) || 1::bigint, array_agg(token) || 1::bigint, array_agg('7'::jsonb) || '8'::jsonb) FROM got;
SELECT value, version FROM actorstore.get('regress_out', 'b');
SELECT actorstore.send('regress_out', 'b', 'm') > 0;
TRUNCATE got;
INSERT INTO got SELECT * FROM actorstore.checkout('w', '{regress_out}', 5, '1 min', '10 s');
SELECT state, version, messages->0->'body' FROM got;
SELECT actorstore.drop_type('regress_out');
SELECT count(*) FROM actorstore.lease;
SELECT regress_try(format('SELECT actorstore.complete(%s, %s)', turn_id, token)) FROM got;
SELECT actorstore.drop_type('regress_target');
DROP FUNCTION regress_try, regress_wait;
REVOKE CREATE ON DATABASE :"db" FROM regress_owner;
DROP ROLE regress_owner, regress_server, regress_reader;
