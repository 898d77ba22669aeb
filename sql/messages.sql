-- Sending, cancelling, mailboxes and dead letters: arguments, errors, rights, limits. What is sent waits for paused types, so
-- that it can be looked at; where messages are handled, we wait until they are.
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
CREATE FUNCTION regress_handled(type text) RETURNS boolean LANGUAGE sql
RETURN regress_wait(format('NOT EXISTS (SELECT FROM actorstore.message WHERE actor_type = %L)', type));
SELECT current_database() AS db \gset
CREATE ROLE regress_owner;
CREATE ROLE regress_sender;
CREATE ROLE regress_reader;
CREATE ROLE regress_writer;
CREATE ROLE regress_stranger;
GRANT CREATE ON DATABASE :"db" TO regress_owner;
SET client_min_messages = warning;

CREATE FUNCTION regress_collect(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql RETURN coalesce(state, '[]') || jsonb_build_array(body);
CREATE VIEW regress_mail AS
SELECT actor_type, actor_id, message, body, priority, attempts, due IS NOT NULL AS delayed, expires_at IS NOT NULL AS expires, dedup_key, headers,
	sender_type, sender_id
FROM actorstore.mailbox ORDER BY message_id;

-- A type whose mail waits, so that it can be looked at.
SET ROLE regress_owner;
SELECT actorstore.create_type('box');
RESET ROLE;
SELECT actorstore.pause('box');
SELECT actorstore.grant_type('box', 'regress_sender', '{send}'), actorstore.grant_type('box', 'regress_reader', '{read}'),
	   actorstore.grant_type('box', 'regress_writer', '{write,ask}');

-- What is sent waits as it was sent.
SELECT actorstore.send('box', 'a', 'plain') > 0 AS plain, actorstore.send('box', 'a', 'body', '{"n": 1}') > 0 AS body,
	   actorstore.send('box', 'a', 'null', 'null') > 0 AS json_null, actorstore.send('box', 'a', 'first', priority => 0) > 0 AS priority_0,
	   actorstore.send('box', 'a', 'last', priority => 9) > 0 AS priority_9, actorstore.send('box', 'a', 'later', delay => '1 h') > 0 AS delay,
	   actorstore.send('box', 'a', 'at once', delay => '0') > 0 AS delay_0, actorstore.send('box', 'a', 'at', deliver_at => now() + interval '1 h') > 0 AS deliver_at,
	   actorstore.send('box', 'a', 'now', deliver_at => now()) > 0 AS deliver_now, actorstore.send('box', 'a', 'key', dedup_key => 'k') > 0 AS dedup_key,
	   actorstore.send('box', 'a', 'headers', headers => '{"trace": "t"}') > 0 AS headers,
	   actorstore.send('box', 'a', 'expires', expires_at => now() + interval '1 h') > 0 AS expires_at,
	   actorstore.send('box', 'a', 'never expires', expires_at => 'infinity') > 0 AS expires_never;
SELECT * FROM regress_mail;
SELECT count(*) AS messages, count(DISTINCT message_id) AS ids, bool_and(sent_at <= clock_timestamp()) AS in_the_past,
	   bool_and(due IS NULL OR due > now() + interval '59 min') AS due, bool_and(expires_at IS NULL OR expires_at = now() + interval '1 h') IS NOT NULL AS expires
FROM actorstore.mailbox WHERE actor_type = 'box';
SELECT actor_id, depth, attempts, next_due > now() AS due FROM actorstore.stat_actors WHERE actor_type = 'box';

-- Ids grow with each send, also over transactions and for many at once.
BEGIN;
SELECT actorstore.send('box', 'order', 'one') AS one, actorstore.send('box', 'order', 'two') AS two \gset
COMMIT;
SELECT actorstore.send_many('box', '{order,order,other}', 'many', ARRAY['1', NULL, '"x"']::jsonb[]);
SELECT :two > :one AS two, bool_and(message_id > :two) AS many FROM actorstore.mailbox WHERE message = 'many';
SELECT actor_id, message, body, priority, delayed FROM regress_mail WHERE message = 'many';
SELECT actorstore.send_many('box', '{}', 'many', '{}') AS none, actorstore.send_many('box', ARRAY[]::text[], 'many', ARRAY[]::jsonb[]) AS none_again;

-- Undone with the transaction, or the savepoint.
BEGIN;
SELECT actorstore.send('box', 'undone', 'm') > 0 AS sent;
ROLLBACK;
BEGIN;
SELECT actorstore.send('box', 'savepoint', 'kept') > 0 AS sent;
SAVEPOINT s;
SELECT actorstore.send('box', 'savepoint', 'undone') > 0 AS sent;
ROLLBACK TO s;
SELECT actorstore.send('box', 'savepoint', 'kept, too') > 0 AS sent;
COMMIT;
SELECT actor_id, message FROM regress_mail WHERE actor_id IN ('undone', 'savepoint');

-- Cancel.
SELECT actorstore.cancel(:one) AS first, actorstore.cancel(:one) AS again, actorstore.cancel(0) AS never, actorstore.cancel(-1) AS negative;
BEGIN;
SELECT actorstore.cancel(actorstore.send('box', 'cancelled', 'm')) AS in_its_transaction;
SELECT actorstore.cancel(:two) AS undone;
ROLLBACK;
SELECT actorstore.cancel(message_id) AS delayed FROM (SELECT message_id FROM actorstore.message WHERE message = 'later') AS m;
SELECT actor_id, message FROM regress_mail WHERE actor_id IN ('order', 'cancelled') OR message = 'later';

-- dedup_key: the first one's id, and nothing is sent; per actor; also within a transaction; free again once cancelled.
SELECT actorstore.send('box', 'd', 'first', '1', dedup_key => 'k') AS first \gset
SELECT actorstore.send('box', 'd', 'second', '2', dedup_key => 'k') = :first AS same, actorstore.send('box', 'e', 'other', '2', dedup_key => 'k') <> :first AS other_actor,
	   actorstore.send('box', 'd', 'other', '2', dedup_key => 'l') <> :first AS other_key;
BEGIN;
SELECT actorstore.send('box', 'f', 'first', dedup_key => 'k') AS first \gset
SELECT actorstore.send('box', 'f', 'second', dedup_key => 'k') = :first AS same;
SAVEPOINT s;
SELECT actorstore.send('box', 'f', 'third', dedup_key => 'k2') AS third \gset
ROLLBACK TO s;
SELECT actorstore.send('box', 'f', 'fourth', dedup_key => 'k2') <> :third AS free_again;
COMMIT;
BEGIN;
SELECT actorstore.send('box', 'g', 'undone', dedup_key => 'k') > 0 AS sent;
ROLLBACK;
SELECT actorstore.send('box', 'g', 'sent', dedup_key => 'k') AS first \gset
SELECT actorstore.cancel(:first);
SELECT actorstore.send('box', 'g', 'sent again', dedup_key => 'k') <> :first AS another;
SELECT actor_id, message, body, dedup_key FROM regress_mail WHERE dedup_key IS NOT NULL AND actor_id <> 'a';

-- Errors, and that nothing is sent by them.
CREATE TEMP TABLE before AS SELECT * FROM actorstore.message;
CREATE TEMP TABLE call (place int GENERATED ALWAYS AS IDENTITY, what text, call text);
INSERT INTO call (what, call) VALUES
	('unknown type', $$actorstore.send('unknown', 'a', 'm')$$), ('of many', $$actorstore.send_many('unknown', '{a}', 'm', '{1}')$$), ('of none', $$actorstore.send_many('unknown', '{}', 'm', '{}')$$),
	('NULL type', $$actorstore.send(NULL, 'a', 'm')$$), ('empty type', $$actorstore.send('', 'a', 'm')$$), ('long type', $$actorstore.send(repeat('t', 513), 'a', 'm')$$),
	('NULL id', $$actorstore.send('box', NULL, 'm')$$), ('empty id', $$actorstore.send('box', '', 'm')$$), ('long id', $$actorstore.send('box', repeat('日', 171), 'm')$$),
	('NULL message', $$actorstore.send('box', 'a', NULL)$$), ('empty message', $$actorstore.send('box', 'a', '')$$), ('long message', $$actorstore.send('box', 'a', repeat('m', 513))$$),
	('reserved message', $$actorstore.send('box', 'a', '$x')$$), ('also known ones', $$actorstore.send('box', 'a', '$stop')$$), ('just a dollar', $$actorstore.send('box', 'a', '$')$$),
	('of many', $$actorstore.send_many('box', '{a}', '$x', '{1}')$$),
	('priority 10', $$actorstore.send('box', 'a', 'm', priority => 10)$$), ('priority -1', $$actorstore.send('box', 'a', 'm', priority => -1)$$),
	('NULL priority', $$actorstore.send('box', 'a', 'm', priority => NULL)$$), ('large priority', $$actorstore.send('box', 'a', 'm', priority => 2147483647)$$),
	('negative delay', $$actorstore.send('box', 'a', 'm', delay => '-1 s')$$), ('mixed delay', $$actorstore.send('box', 'a', 'm', delay => '1 s -1 day')$$),
	('endless delay', $$actorstore.send('box', 'a', 'm', delay => '300000 years')$$),
	('past deliver_at', $$actorstore.send('box', 'a', 'm', deliver_at => now() - interval '1 s')$$), ('infinite deliver_at', $$actorstore.send('box', 'a', 'm', deliver_at => 'infinity')$$),
	('-infinite deliver_at', $$actorstore.send('box', 'a', 'm', deliver_at => '-infinity')$$),
	('both', $$actorstore.send('box', 'a', 'm', delay => '1 s', deliver_at => now() + interval '1 h')$$),
	('empty dedup_key', $$actorstore.send('box', 'a', 'm', dedup_key => '')$$), ('long dedup_key', $$actorstore.send('box', 'a', 'm', dedup_key => repeat('k', 513))$$),
	('headers array', $$actorstore.send('box', 'a', 'm', headers => '[1]')$$), ('headers scalar', $$actorstore.send('box', 'a', 'm', headers => '"x"')$$), ('headers null', $$actorstore.send('box', 'a', 'm', headers => 'null')$$),
	('large body', $$actorstore.send('box', 'a', 'm', to_jsonb(repeat('b', 1024 * 1024 + 1)))$$),
	('large headers', $$actorstore.send('box', 'a', 'm', headers => jsonb_build_object('h', repeat('b', 1024 * 1024 + 1)))$$),
	('both together', $$actorstore.send('box', 'a', 'm', to_jsonb(repeat('b', 700000)), headers => jsonb_build_object('h', repeat('b', 700000)))$$),
	('one of many', $$actorstore.send_many('box', '{a,b}', 'm', ARRAY['1', to_jsonb(repeat('b', 1024 * 1024 + 1))])$$),
	('unequal length', $$actorstore.send_many('box', '{a,b}', 'm', '{1}')$$), ('other way round', $$actorstore.send_many('box', '{a}', 'm', '{1,2}')$$),
	('NULL ids', $$actorstore.send_many('box', NULL, 'm', '{1}')$$), ('NULL bodies', $$actorstore.send_many('box', '{a}', 'm', NULL)$$), ('a NULL id', $$actorstore.send_many('box', '{a,NULL}', 'm', '{1,2}')$$),
	('an empty id', $$actorstore.send_many('box', ARRAY['a', ''], 'm', '{1,2}')$$), ('a long id', $$actorstore.send_many('box', ARRAY['a', repeat('i', 513)], 'm', '{1,2}')$$),
	('ids 2D', $$actorstore.send_many('box', '{{a,b},{c,d}}', 'm', '{1,2,3,4}')$$), ('bodies 2D', $$actorstore.send_many('box', '{a,b,c,d}', 'm', '{{1,2},{3,4}}')$$),
	('NULL message of many', $$actorstore.send_many('box', '{a}', NULL, '{1}')$$), ('NULL type of many', $$actorstore.send_many(NULL, '{a}', 'm', '{1}')$$),
	('cancel NULL', $$actorstore.cancel(NULL)$$);
SELECT what, regress_try('SELECT ' || call) AS result FROM call WHERE call !~ 'deliver_at' ORDER BY place;
SELECT what, regress_state('SELECT ' || call) AS result FROM call WHERE call ~ 'deliver_at' ORDER BY place;
SELECT * FROM actorstore.message EXCEPT SELECT * FROM before;

-- The largest there are.
BEGIN;
SELECT actorstore.send('box', repeat('i', 512), repeat('m', 512), to_jsonb(repeat('b', 1024 * 1024 - 64)), dedup_key => repeat('k', 512)) > 0 AS sent;
SELECT length(actor_id) AS id, length(message) AS message, length(body::text) AS body, length(dedup_key) AS dedup_key FROM actorstore.mailbox WHERE length(actor_id) = 512;
ROLLBACK;

-- Read-only transactions.
BEGIN READ ONLY;
SELECT regress_state(s) FROM unnest(ARRAY[$$SELECT actorstore.send('box', 'a', 'm')$$, $$SELECT actorstore.send_many('box', '{a}', 'm', '{1}')$$, $$SELECT actorstore.send_many('box', '{}', 'm', '{}')$$,
	$$SELECT actorstore.cancel(0)$$, $$SELECT actorstore.pause('box')$$, $$SELECT actorstore.resume('box')$$, $$SELECT actorstore.redrive('box')$$, $$SELECT actorstore.purge_dead_letters('box', now())$$,
	$$SELECT actorstore.unfence()$$]) AS s;
COMMIT;

-- Only in a handler.
SELECT s, regress_try('SELECT ' || s) FROM unnest(ARRAY['actorstore.context()', $$actorstore.reply('1')$$, $$actorstore.reject('x')$$, $$actorstore.retry_after('1 s')$$, 'actorstore.stop()',
	$$actorstore.spawn('box', 'a', '1')$$]) AS s;

-- Rights: send is what sending takes, read what looking takes.
CREATE FUNCTION regress_as(who text, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	BEGIN
		EXECUTE format('SET LOCAL ROLE %I', who);
		EXECUTE statement;
		RAISE EXCEPTION 'undo' USING ERRCODE = 'ZZ000';
	EXCEPTION WHEN OTHERS THEN
		result := CASE SQLSTATE WHEN 'ZZ000' THEN 'ok' ELSE SQLSTATE END;
	END;
	RETURN result;
END $$;
SELECT replace(s, :'two', '…') AS call, regress_as('regress_owner', 'SELECT ' || s) AS owner, regress_as('regress_sender', 'SELECT ' || s) AS send, regress_as('regress_reader', 'SELECT ' || s) AS read,
	   regress_as('regress_writer', 'SELECT ' || s) AS write_ask, regress_as('regress_stranger', 'SELECT ' || s) AS stranger
FROM unnest(ARRAY[$$actorstore.send('box', 'a', 'm')$$, $$actorstore.send_many('box', '{a}', 'm', '{1}')$$, $$actorstore.send_many('box', '{}', 'm', '{}')$$, format('actorstore.cancel(%s)', :two),
	'actorstore.cancel(0)', $$actorstore.pause('box')$$, $$actorstore.resume('box')$$, $$actorstore.redrive('box')$$, $$actorstore.purge_dead_letters('box', now())$$, 'actorstore.unfence()']) AS s;
-- Given EXECUTE, the owner administrates his own types, and only those.
GRANT EXECUTE ON FUNCTION actorstore.pause, actorstore.resume, actorstore.redrive, actorstore.purge_dead_letters TO regress_owner, regress_stranger;
SELECT s AS call, regress_as('regress_owner', 'SELECT ' || s) AS owner, regress_as('regress_stranger', 'SELECT ' || s) AS stranger
FROM unnest(ARRAY[$$actorstore.pause('box')$$, $$actorstore.pause('box', 'a')$$, $$actorstore.resume('box')$$, $$actorstore.redrive('box')$$, $$actorstore.purge_dead_letters('box', now())$$]) AS s;
REVOKE EXECUTE ON FUNCTION actorstore.pause, actorstore.resume, actorstore.redrive, actorstore.purge_dead_letters FROM regress_owner, regress_stranger;
SELECT p.oid::regprocedure AS revoked FROM pg_proc AS p WHERE pronamespace = 'actorstore'::regnamespace AND NOT has_function_privilege('regress_stranger', p.oid, 'EXECUTE') ORDER BY p.oid::regprocedure::text COLLATE "C";
SELECT r AS role, has_table_privilege(r, 'actorstore.mailbox', 'SELECT') AS mailbox, has_table_privilege(r, 'actorstore.dead_letter', 'SELECT') AS dead_letter,
	   bool_or(has_table_privilege(r, 'actorstore.' || t, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')) AS tables
FROM unnest(ARRAY['regress_owner', 'regress_sender', 'regress_reader', 'regress_stranger']) AS r, unnest(ARRAY['message', 'dead_message', 'dedup', 'halted', 'identity']) AS t GROUP BY r ORDER BY r;
SELECT has_sequence_privilege('regress_owner', 'actorstore.message_number', 'SELECT, USAGE, UPDATE') AS sequence;
SET ROLE regress_owner;
SELECT s, regress_state(s) FROM unnest(ARRAY['SELECT FROM actorstore.message', 'INSERT INTO actorstore.message DEFAULT VALUES', 'UPDATE actorstore.message SET priority = 0', 'DELETE FROM actorstore.message',
	'TRUNCATE actorstore.message', 'DELETE FROM actorstore.dead_message', 'DELETE FROM actorstore.dedup', 'DELETE FROM actorstore.halted', 'DELETE FROM actorstore.identity', 'LOCK actorstore.message',
	$$SELECT nextval('actorstore.message_number')$$, 'DELETE FROM actorstore.mailbox', 'UPDATE actorstore.dead_letter SET attempts = 0']) AS s;
RESET ROLE;

-- The views show what read allows, and no function of a user's is shown the rest.
SELECT actorstore.create_type('secret', mailbox_limit => 1, on_full => 'drop');
SELECT actorstore.pause('secret');
SELECT actorstore.send('secret', 'a', 'waits', '"hidden"') > 0 AS sent, actorstore.send('secret', 'a', 'dropped', '"hidden"') > 0 AS dropped;
CREATE FUNCTION regress_leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN IF $1 = 'secret' THEN RAISE WARNING 'leaked'; END IF; RETURN true; END $$;
SELECT actor_type, reason, sqlstate, message, body, attempts FROM actorstore.dead_letter;
SET ROLE regress_reader;
SELECT count(DISTINCT actor_type), min(actor_type) FROM actorstore.mailbox WHERE regress_leak(actor_type);
SELECT count(*) FROM actorstore.dead_letter WHERE regress_leak(actor_type);
SELECT count(DISTINCT actor_type), min(actor_type) FROM actorstore.stat_actors WHERE regress_leak(actor_type);
SELECT actor_type FROM actorstore.stat_types WHERE regress_leak(actor_type);
SELECT actor_type FROM actorstore.stat_latency WHERE actor_type <> 'box';
SET ROLE regress_sender;
SELECT (SELECT count(*) FROM actorstore.mailbox) AS mailbox, (SELECT count(*) FROM actorstore.dead_letter) AS dead_letter, (SELECT count(*) FROM actorstore.stat_actors) AS stat_actors,
	   (SELECT count(*) FROM actorstore.stat_types) AS stat_types, (SELECT count(*) FROM actorstore.stat_latency) AS stat_latency;
RESET ROLE;
SELECT actorstore.grant_type('secret', 'regress_reader', '{read}');
SET ROLE regress_reader;
SELECT actor_type, message, body FROM actorstore.mailbox WHERE actor_type = 'secret';
SELECT actor_type, message, body, reason, sqlstate FROM actorstore.dead_letter;
RESET ROLE;

-- Mailbox full: the limit is exact, and room comes back with savepoints, cancelled and handled messages.
SELECT actorstore.create_type('small', mailbox_limit => 3), actorstore.pause('small');
SELECT actorstore.send('small', 'a', 'm', to_jsonb(i)) > 0 AS sent FROM generate_series(1, 3) AS i;
SELECT regress_try($$SELECT actorstore.send('small', 'a', 'm')$$) AS fourth, regress_state($$SELECT actorstore.send('small', 'b', 'm')$$) AS other_actor;
SELECT regress_state($$SELECT actorstore.send_many('small', '{c,c,c}', 'm', '{1,2,3}')$$) AS three, regress_state($$SELECT actorstore.send_many('small', '{d,d,d,d}', 'm', '{1,2,3,4}')$$) AS four;
BEGIN;
SELECT actorstore.send('small', 'e', 'm') > 0 AS sent FROM generate_series(1, 2);
SAVEPOINT s;
SELECT actorstore.send('small', 'e', 'undone') > 0 AS third;
SAVEPOINT t;
SELECT actorstore.send('small', 'e', 'm');
ROLLBACK TO s;
SELECT actorstore.send('small', 'e', 'third') > 0 AS third;
SAVEPOINT u;
SELECT actorstore.send('small', 'e', 'm');
ROLLBACK TO u;
COMMIT;
BEGIN;
SELECT actorstore.send('small', 'f', 'm') > 0 AS sent FROM generate_series(1, 3);
ROLLBACK;
SELECT actorstore.send('small', 'f', 'm') > 0 AS sent FROM generate_series(1, 3);
SELECT regress_state($$SELECT actorstore.send('small', 'f', 'm')$$) AS fourth;
SELECT actorstore.cancel(min(message_id)) FROM actorstore.message WHERE actor_type = 'small' AND actor_id = 'f';
SELECT regress_state($$SELECT actorstore.send('small', 'f', 'm')$$) AS sent, regress_state($$SELECT actorstore.send('small', 'f', 'm')$$) AS full;
SELECT actor_id, count(*) FROM actorstore.mailbox WHERE actor_type = 'small' GROUP BY 1 ORDER BY 1;
-- A repeated dedup_key needs no room.
SELECT actorstore.send('small', 'g', 'm', dedup_key => i::text) > 0 AS sent FROM generate_series(1, 3) AS i;
SELECT regress_state($$SELECT actorstore.send('small', 'g', 'm', dedup_key => '2')$$) AS repeated, regress_state($$SELECT actorstore.send('small', 'g', 'm', dedup_key => '4')$$) AS another;
-- Delayed ones count, and so do those left when the others have been handled.
SELECT actorstore.set_handler('small', '*', 'regress_collect(jsonb, jsonb)');
SELECT actorstore.resume('small');
SELECT regress_handled('small');
SELECT actorstore.send('small', 'h', 'm', delay => '1 h') > 0 AS delayed FROM generate_series(1, 2);
SELECT actorstore.send('small', 'h', 'm') > 0 AS at_once;
SELECT regress_wait($$(SELECT count(*) = 2 FROM actorstore.message WHERE actor_type = 'small')$$);
SELECT regress_wait($$regress_state('SELECT actorstore.send(''small'', ''h'', ''m'', delay => ''1 h'')') = 'ok'$$) AS third, regress_state($$SELECT actorstore.send('small', 'h', 'm', delay => '1 h')$$) AS fourth;
SELECT actorstore.pause('small');
SELECT actorstore.alter_type('small', mailbox_limit => 4);
SELECT regress_state($$SELECT actorstore.send('small', 'i', 'm')$$) FROM generate_series(1, 5);
SELECT actorstore.drop_type('small');

-- drop: to the dead letters. redrive sends what fits, and ends.
SELECT actorstore.create_type('dropper', mailbox_limit => 2, on_full => 'drop'), actorstore.pause('dropper');
SELECT actorstore.send('dropper', 'a', 'm', to_jsonb(i)) > 0 AS sent FROM generate_series(1, 4) AS i;
SELECT actorstore.send_many('dropper', '{a,b,b,b}', 'm', '{5,1,2,3}') AS let_in;
SELECT actor_id, body FROM regress_mail WHERE actor_type = 'dropper';
SELECT actor_id, body, reason, sqlstate, attempts FROM actorstore.dead_letter WHERE actor_type = 'dropper' ORDER BY message_id;
SELECT actorstore.send('dropper', 'a', 'm', '6', dedup_key => 'k') = actorstore.send('dropper', 'a', 'm', '7', dedup_key => 'k') AS dropped_once;
SET statement_timeout = '5 s';
SELECT actorstore.redrive('dropper') IS NOT NULL AS ends;
RESET statement_timeout;
SELECT actor_id, body FROM actorstore.dead_letter WHERE actor_type = 'dropper' ORDER BY actor_id, body;

-- What was let in is sent once more, whatever the limit is by now; the limit stays.
SELECT actorstore.create_type('large', max_attempts => 1);
SELECT actorstore.send_many('large', '{a,b,c}', 'm', ARRAY['1', to_jsonb(repeat('x', 2000)), '3']);
SELECT regress_handled('large');
SELECT actorstore.set_handler('large', 'm', 'regress_collect(jsonb, jsonb)');
SET actorstore.max_message_size = '1kB';
SELECT regress_try($$SELECT actorstore.redrive('large')$$) AS redrive;
SHOW actorstore.max_message_size;
SELECT regress_try($$SELECT actorstore.send('large', 'a', 'm', to_jsonb(repeat('x', 2000)))$$) AS another;
RESET actorstore.max_message_size;
SELECT regress_handled('large');
SELECT actor_id, length(value::text) FROM actorstore.list('large');
SELECT actorstore.drop_type('large');

-- pause and resume: an actor, a type.
SELECT actorstore.create_type('halting'), actorstore.set_handler('halting', '*', 'regress_collect(jsonb, jsonb)');
SELECT actorstore.pause('halting', 'a'), actorstore.pause('halting', 'a');
SELECT actorstore.send('halting', id, 'm', '1') > 0 AS sent FROM unnest('{a,b}'::text[]) AS id;
SELECT regress_wait($$EXISTS (SELECT FROM actorstore.get('halting', 'b') AS g WHERE g.value = '[1]')$$) AS b_goes_on;
SELECT actor_id, body FROM regress_mail WHERE actor_type = 'halting';
SELECT actorstore.pause('halting');
SELECT actorstore.send('halting', id, 'm', '2') > 0 AS sent FROM unnest('{a,b}'::text[]) AS id;
SELECT actorstore.resume('halting', 'b') AS b_was_not, actorstore.resume('halting', 'a') AS a_was;
SELECT actor_id, body FROM regress_mail WHERE actor_type = 'halting';
SELECT actorstore.resume('halting') AS resumed, actorstore.resume('halting') AS again;
SELECT regress_handled('halting');
SELECT actor_id, value FROM actorstore.list('halting');
SELECT regress_try($$SELECT actorstore.pause('unknown')$$) AS pause, regress_try($$SELECT actorstore.resume('unknown')$$) AS resume, regress_state($$SELECT actorstore.pause(NULL)$$) AS null_type,
	   regress_state($$SELECT actorstore.pause('halting', '')$$) AS empty_id, regress_state($$SELECT actorstore.redrive('unknown')$$) AS redrive, regress_state($$SELECT actorstore.purge_dead_letters('unknown', now())$$) AS purge;
BEGIN;
SELECT actorstore.pause('halting');
ROLLBACK;
SELECT actorstore.resume('halting') AS was_undone;

-- No handler; redrive once there is one; purge.
SELECT actorstore.create_type('late', max_attempts => 1);
SELECT actorstore.send_many('late', '{a,a,a,b}', 'm', '{1,2,3,4}');
SELECT actorstore.send('late', 'b', 'm', '5', priority => 7, headers => '{"h": 1}', dedup_key => 'k') AS first \gset
SELECT regress_handled('late');
SELECT actor_id, message, body, headers, priority, attempts, reason, sqlstate, error, dedup_key FROM actorstore.dead_letter WHERE actor_type = 'late' ORDER BY message_id;
SELECT actorstore.send('late', 'b', 'm', '6', dedup_key => 'k') = :first AS still_the_first;
SELECT actorstore.set_handler('late', 'm', 'regress_collect(jsonb, jsonb)');
SELECT actorstore.redrive('late', 'a', 2) AS two, actorstore.redrive('late', 'nobody') AS nobodys;
SELECT regress_handled('late');
SELECT actor_id, value FROM actorstore.list('late');
SELECT actorstore.redrive('late') AS rest;
SELECT regress_handled('late');
SELECT actor_id, value FROM actorstore.list('late');
SELECT regress_try($$SELECT actorstore.redrive('late', max_rows => 0)$$) AS none, regress_try($$SELECT actorstore.purge_dead_letters('late', NULL)$$) AS null_time;
SELECT actorstore.set_handler('late', 'm', NULL);
SELECT actorstore.send_many('late', '{a,a}', 'm', '{1,2}');
SELECT regress_handled('late');
SELECT actorstore.purge_dead_letters('late', '2001-01-01') AS old, actorstore.purge_dead_letters('late', 'infinity') AS all, actorstore.purge_dead_letters('late', 'infinity') AS again;
SELECT count(*) FROM actorstore.dead_letter WHERE actor_type = 'late';

-- '*' answers any other message; expired ones are not handled.
CREATE FUNCTION regress_any(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql RETURN coalesce(state, '[]') || jsonb_build_array((actorstore.context()).message);
SELECT actorstore.create_type('any'), actorstore.set_handler('any', '*', 'regress_any(jsonb, jsonb)'), actorstore.set_handler('any', 'own', 'regress_collect(jsonb, jsonb)');
SELECT actorstore.send('any', 'a', m, '0') > 0 AS sent FROM unnest('{x,own,*,y}'::text[]) AS m;
SELECT actorstore.send('any', 'a', 'too late', expires_at => '2001-01-01') > 0 AS expired;
SELECT regress_handled('any');
SELECT value FROM actorstore.get('any', 'a');
SELECT message, reason, sqlstate, attempts FROM actorstore.dead_letter WHERE actor_type = 'any';

-- A type declared by its first insert takes messages, too; a type that goes takes its mail with it.
SELECT version FROM actorstore.insert('loose', 'a', '[]');
SELECT actorstore.set_handler('loose', '*', 'regress_collect(jsonb, jsonb)');
SELECT actorstore.send('loose', 'a', 'm', '1') > 0 AS sent;
SELECT regress_handled('loose');
SELECT version, value FROM actorstore.get('loose', 'a');
-- Its limit is the setting's, until it has one of its own.
SELECT actorstore.pause('loose');
SET actorstore.mailbox_limit = 2;
SELECT actorstore.send('loose', 'b', 'm') > 0 AS sent FROM generate_series(1, 2);
SELECT regress_try($$SELECT actorstore.send('loose', 'b', 'm')$$) AS third;
SELECT actorstore.alter_type('loose', mailbox_limit => 3);
SELECT regress_try($$SELECT actorstore.send('loose', 'b', 'm')$$) AS third, regress_state($$SELECT actorstore.send('loose', 'b', 'm')$$) AS fourth;
RESET actorstore.mailbox_limit;
SELECT actorstore.drop_type('secret');
SELECT count(*) FROM actorstore.message WHERE actor_type = 'secret';
SELECT count(*) FROM actorstore.dead_message WHERE actor_type = 'secret';
SELECT count(*) FROM actorstore.halted WHERE actor_type = 'secret';

-- Of many messages in a turn each sees the version and the time at its start; they are one change.
CREATE FUNCTION regress_turn(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql RETURN coalesce(state, '[]') ||
	jsonb_build_array(jsonb_build_object('version', (actorstore.context()).version, 'now', now()));
SELECT actorstore.create_type('turns'), actorstore.set_handler('turns', 'm', 'regress_turn(jsonb, jsonb)'), actorstore.pause('turns');
SELECT actorstore.put('turns', 'a', '[]') IS NOT NULL, actorstore.send_many('turns', array_fill('a'::text, '{5}'), 'm', array_fill('1'::jsonb, '{5}'));
SELECT actorstore.resume('turns');
SELECT regress_handled('turns');
SELECT a.version, jsonb_array_length(a.value) AS messages, count(DISTINCT e ->> 'now') AS times, array_agg(DISTINCT e -> 'version') AS versions
FROM actorstore.get('turns', 'a') AS a, jsonb_array_elements(a.value) AS e GROUP BY 1, 2;
-- Mail outlives its actor's state, which begins anew.
SELECT actorstore.pause('turns');
SELECT actorstore.send('turns', 'a', 'm') > 0 AS sent;
SELECT (actorstore.delete('turns', 'a')).version;
SELECT actor_id, message FROM regress_mail WHERE actor_type = 'turns';
SELECT actorstore.resume('turns');
SELECT regress_handled('turns');
SELECT version, jsonb_array_length(value) AS messages, value #> '{0,version}' AS version_before FROM actorstore.get('turns', 'a');

-- What one may do with a type; of one that is not there nothing.
SELECT r AS role, p AS privilege, regress_as(r, format('SELECT 1 / actorstore.has_type_privilege(''box'', %L)::int', p)) = 'ok' AS has
FROM unnest(ARRAY['regress_owner', 'regress_sender', 'regress_reader']) AS r, unnest(ARRAY['read', 'write', 'send', 'ask', 'serve']) AS p ORDER BY 1, 2;
SELECT actorstore.has_type_privilege('unknown', 'read') AS unknown, actorstore.has_type_privilege(NULL, 'read') AS null_type,
	   regress_state($$SELECT actorstore.has_type_privilege('box', 'rule')$$) AS no_privilege;

-- Functions that cannot be handlers.
CREATE FUNCTION regress_returns_text(jsonb, jsonb) RETURNS text LANGUAGE sql RETURN 'x';
CREATE FUNCTION regress_one_argument(jsonb) RETURNS jsonb LANGUAGE sql RETURN $1;
CREATE FUNCTION regress_set(jsonb, jsonb) RETURNS SETOF jsonb LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION regress_json(json, jsonb) RETURNS jsonb LANGUAGE sql RETURN $2;
CREATE FUNCTION regress_out(jsonb, INOUT body jsonb) LANGUAGE sql RETURN body;
CREATE PROCEDURE regress_procedure(jsonb, INOUT jsonb) LANGUAGE sql AS 'SELECT $1';
SELECT f, regress_state(format('SELECT actorstore.set_handler(''any'', ''other'', %L)', f)) FROM unnest(ARRAY['regress_returns_text(jsonb, jsonb)', 'regress_one_argument(jsonb)', 'regress_set(jsonb, jsonb)',
	'regress_json(json, jsonb)', 'regress_out(jsonb, jsonb)', 'regress_procedure(jsonb, jsonb)', 'regress_nothing(jsonb, jsonb)', '4294967290', 'jsonb_concat(jsonb, jsonb)']) AS f;
SELECT regress_state($$SELECT actorstore.set_handler('any', '$unknown', 'regress_collect(jsonb, jsonb)')$$) AS reserved, regress_state($$SELECT actorstore.set_handler('any', '$stop', 'regress_collect(jsonb, jsonb)')$$) AS known;
-- The handler of a type must be its owner's, or one that the owner trusts.
CREATE SCHEMA regress_strange;
GRANT ALL ON SCHEMA regress_strange TO regress_stranger;
GRANT USAGE ON SCHEMA regress_strange TO PUBLIC;
SET ROLE regress_stranger;
CREATE FUNCTION regress_strange.handler(jsonb, jsonb) RETURNS jsonb LANGUAGE sql RETURN $1;
RESET ROLE;
SET ROLE regress_owner;
SELECT regress_try($$SELECT actorstore.set_handler('box', 'm', 'regress_strange.handler(jsonb, jsonb)')$$) AS strangers, regress_state($$SELECT actorstore.set_handler('box', 'm', 'regress_collect(jsonb, jsonb)')$$) AS superusers;
RESET ROLE;
SELECT regress_state($$SELECT actorstore.set_handler('box', 'm', 'regress_strange.handler(jsonb, jsonb)')$$) AS by_superuser;

SELECT actorstore.drop_type(actor_type) FROM (SELECT actor_type FROM actorstore.type ORDER BY 1) AS t;
SELECT (SELECT count(*) FROM actorstore.message) AS messages, (SELECT count(*) FROM actorstore.dead_message) AS dead_letters, (SELECT count(*) FROM actorstore.dedup) AS dedup, (SELECT count(*) FROM actorstore.halted) AS halted;
DROP SCHEMA regress_strange CASCADE;
DROP VIEW regress_mail;
DROP FUNCTION regress_try, regress_state, regress_wait, regress_handled, regress_as, regress_leak, regress_collect, regress_any, regress_turn, regress_returns_text, regress_one_argument, regress_set, regress_json, regress_out;
DROP PROCEDURE regress_procedure;
REVOKE ALL ON DATABASE :"db" FROM regress_owner;
DROP ROLE regress_owner, regress_sender, regress_reader, regress_writer, regress_stranger;
