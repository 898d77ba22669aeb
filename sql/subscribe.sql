--
-- Subscriptions: changes fetched and acknowledged through SQL.
--
\set VERBOSITY default
CREATE ROLE regress_sub_reader;
CREATE ROLE regress_sub_other;

-- Events without what differs from run to run.
CREATE FUNCTION fetched(subscription text, max_events int DEFAULT 1000)
RETURNS TABLE (operation text, actor text, previous text, new text) LANGUAGE sql AS $$
	SELECT operation, actor_type || '/' || actor_id, previous_version || ': ' || previous_value::text,
		new_version || ': ' || new_value::text
	FROM actorstore.fetch($1, $2) ORDER BY sequence COLLATE "C"
$$;
-- The sequence of the n-th event that fetch returns now.
CREATE FUNCTION nth(subscription text, n int) RETURNS text LANGUAGE sql AS $$
	SELECT sequence FROM actorstore.fetch($1) ORDER BY sequence COLLATE "C" OFFSET n - 1 LIMIT 1
$$;

-- From now on.
SELECT version FROM actorstore.insert('cart', 'before', '0');
SELECT actorstore.subscribe('s', actor_types => '{cart}');
SELECT * FROM fetched('s');
SELECT version FROM actorstore.insert('cart', 'a', '1');
SELECT actorstore.insert_many('cart', '{b,c,d}', '{2,3,4}');
SELECT version FROM actorstore.update('cart', 'a', '"two"');
SELECT version FROM actorstore.delete('cart', 'b');
SELECT version FROM actorstore.insert('other', 'o', '1');
SELECT * FROM fetched('s');
-- the same again, until acknowledged; whole or in part
SELECT * FROM fetched('s');
SELECT * FROM fetched('s', 2);
SELECT nth('s', 2) AS second \gset
SELECT nth('s', 5) AS fifth \gset
SELECT actorstore.ack('s', :'second');
SELECT * FROM fetched('s');
\set VERBOSITY sqlstate
SELECT actorstore.ack('s', :'second');
SELECT actorstore.ack('s', 'FFFFFFFFFFFFFFFF-00000000');
SELECT actorstore.ack('s', 'not a sequence');
SELECT actorstore.ack('s', NULL);
-- an acknowledgement commits with what else the transaction does
BEGIN;
CREATE TABLE seen AS SELECT * FROM fetched('s', 1);
SELECT actorstore.ack('s', :'fifth');
SELECT * FROM fetched('s');
ROLLBACK;
SELECT * FROM fetched('s');
BEGIN;
SAVEPOINT p;
SELECT actorstore.ack('s', :'fifth');
ROLLBACK TO p;
COMMIT;
SELECT count(*) FROM fetched('s');
SELECT actorstore.ack('s', :'fifth');
SELECT * FROM fetched('s');
SELECT * FROM fetched('s');
SELECT subscription, actor_types, key_prefix, start_from, state, fetched = acked AS all_acked, events, lag_bytes IS NOT NULL AS has_lag
FROM actorstore.stat_subscriptions;
SELECT total_events, current_sequence > :'fifth' AS later, retained_bytes > 0 AS retains, active_subscriptions, events_dropped FROM actorstore.cdc_stats();

-- All types, a prefix, a type with a name that needs quoting.
SELECT actorstore.subscribe('all');
SELECT actorstore.subscribe('prefixed', 'now', ARRAY['cart', 'odd, "type"', ' x'], 'p-');
\set VERBOSITY default
SELECT version FROM actorstore.insert('odd, "type"', 'p-1', '1');
SELECT version FROM actorstore.insert('odd, "type"', 'q-1', '1');
SELECT version FROM actorstore.insert(' x', 'p-', '{"x": 1}');
SELECT actorstore.subscribe('prefixed', 'now', ARRAY['cart', 'odd, "type"', ' x'], 'p-');
SELECT version FROM actorstore.update('odd, "type"', 'p-1', '2');
SELECT version FROM actorstore.update('odd, "type"', 'q-1', '2');
SELECT version FROM actorstore.insert('other', 'p-1', '2');
SELECT version FROM actorstore.patch(' x', 'p-', '{"y": 2}');
SELECT * FROM fetched('prefixed');
SELECT * FROM fetched('all');
-- sequences are the same for all of them
SELECT count(*) FROM actorstore.fetch('prefixed') AS p JOIN actorstore.fetch('all') AS a USING (sequence, actor_id, new_version);
-- and those of the output plugin
SELECT count(*) FROM actorstore.fetch('all') AS a,
	pg_logical_slot_peek_changes((SELECT slot_name FROM pg_replication_slots WHERE slot_name LIKE 'actorstore%' ORDER BY confirmed_flush_lsn LIMIT 1), NULL, NULL) AS p
WHERE p.data::jsonb = to_jsonb(a) - 'timestamp' || jsonb_build_object('timestamp', p.data::jsonb -> 'timestamp')
	AND (p.data::jsonb ->> 'timestamp')::timestamptz = a."timestamp";

-- From the beginning: what is there, then what comes.
SELECT actorstore.subscribe('b', 'beginning', '{cart,other}');
SELECT version FROM actorstore.update('cart', 'a', '"three"');
SELECT version FROM actorstore.delete('cart', 'c');
SELECT version FROM actorstore.insert('cart', 'e', '5');
SELECT * FROM fetched('b', 2);
-- the page is stored: changes do not touch it
SELECT version FROM actorstore.update('cart', 'a', '"four"');
SELECT version FROM actorstore.delete('cart', 'a');
SELECT version FROM actorstore.insert('cart', 'a', '"again"');
SELECT version FROM actorstore.insert('cart', 'aa', '"behind the first page"');
SELECT * FROM fetched('b', 2);
SELECT actorstore.ack('b', nth('b', 1));
SELECT * FROM fetched('b', 2);
SELECT actorstore.ack('b', nth('b', 1));
SELECT * FROM fetched('b', 2);
SELECT state FROM actorstore.stat_subscriptions WHERE subscription = 'b';
SELECT actorstore.ack('b', nth('b', 2));
SELECT version FROM actorstore.update('cart', 'd', '"read by nobody yet"');
SELECT * FROM fetched('b', 10);
SELECT actorstore.ack('b', max(sequence COLLATE "C")) FROM actorstore.fetch('b');
SELECT * FROM fetched('b', 10);
SELECT state FROM actorstore.stat_subscriptions WHERE subscription = 'b';
SELECT actorstore.ack('b', max(sequence COLLATE "C")) FROM actorstore.fetch('b');
SELECT * FROM fetched('b', 10);
-- the same transaction must not have changed actors, but may afterwards
SELECT actorstore.unsubscribe('b');
SELECT actorstore.subscribe('b', 'beginning', '{cart}');
BEGIN;
SELECT version FROM actorstore.put('cart', 'mine', '1');
SELECT * FROM fetched('b');
ROLLBACK;
BEGIN;
SELECT count(*) FROM fetched('b', 3);
SELECT actorstore.ack('b', nth('b', 3));
SELECT version FROM actorstore.put('cart', 'a', '"after the page that has it"');
SELECT version FROM actorstore.put('cart', 'zz', '"before its page"');
SELECT * FROM fetched('b', 3);
ROLLBACK;
SELECT count(*) FROM fetched('b', 3);
BEGIN;
SELECT actorstore.ack('b', nth('b', 3));
SELECT version FROM actorstore.put('cart', 'a', '"after the page that has it"');
COMMIT;
SELECT * FROM fetched('b', 30);
SELECT actorstore.ack('b', max(sequence COLLATE "C")) FROM actorstore.fetch('b');
SELECT * FROM fetched('b', 30);
SELECT actorstore.unsubscribe('b');

-- Nothing there at all.
SELECT actorstore.create_type('empty');
SELECT actorstore.subscribe('b', 'beginning', '{empty}');
SELECT * FROM fetched('b');
SELECT version FROM actorstore.insert('empty', 'not any more', '1');
SELECT * FROM fetched('b');
SELECT actorstore.unsubscribe('b');

-- Waiting.
SELECT count(*) FROM actorstore.fetch('s', max_wait => '10 ms');

-- What has no events.
SELECT actorstore.create_type('fleeting', 'unlogged');
SELECT actorstore.subscribe('u', 'now', '{fleeting,cart}');
SELECT actorstore.unsubscribe('u');

-- Rights.
SELECT actorstore.grant_type('cart', 'regress_sub_reader', '{read}');
SET ROLE regress_sub_reader;
SELECT actorstore.subscribe('r', 'now', '{cart}');
SELECT actorstore.subscribe('r2', 'now', '{cart,other}');
SELECT actorstore.subscribe('r2');
SELECT subscription FROM actorstore.stat_subscriptions;
SELECT * FROM actorstore.subscription;
RESET ROLE;
SELECT version FROM actorstore.put('cart', 'r', '"secret"');
SET ROLE regress_sub_other;
SELECT * FROM fetched('r');
SELECT actorstore.ack('r', '0000000000000000-00000000');
SELECT actorstore.unsubscribe('r');
SELECT subscription FROM actorstore.stat_subscriptions;
SET ROLE regress_sub_reader;
SELECT * FROM fetched('r');
RESET ROLE;
SELECT actorstore.revoke_type('cart', 'regress_sub_reader', '{read}');
SET ROLE regress_sub_reader;
SELECT * FROM fetched('r');
SELECT actorstore.unsubscribe('r');
RESET ROLE;

-- Bad input.
SELECT actorstore.subscribe(NULL);
SELECT actorstore.subscribe('');
SELECT actorstore.subscribe(repeat('x', 513));
SELECT actorstore.subscribe('s');
SELECT actorstore.subscribe('x', NULL);
SELECT actorstore.subscribe('x', 'yesteryear');
SELECT actorstore.subscribe('x', '000000000000000-00000000');
SELECT actorstore.subscribe('x', '0000000000000001-00000000');
SELECT actorstore.subscribe('x', 'FFFFFFFF00000000-00000000');
SELECT actorstore.subscribe('x', '2001-01-01');
SELECT actorstore.subscribe('x', 'now', '{nobody knows}');
SELECT actorstore.subscribe('x', 'now', '{}');
SELECT actorstore.subscribe('x', 'now', '{cart,NULL}');
SELECT actorstore.subscribe('x', 'now', NULL, repeat('x', 513));
SELECT * FROM actorstore.fetch(NULL);
SELECT * FROM actorstore.fetch('x');
SELECT * FROM actorstore.fetch('s', 0);
SELECT * FROM actorstore.fetch('s', NULL);
SELECT * FROM actorstore.fetch('s', 1, NULL);
SELECT * FROM actorstore.fetch('s', 1, '-1 s');
SELECT actorstore.ack('x', '0000000000000001-00000000');
SELECT actorstore.unsubscribe('x');
BEGIN;
SELECT version FROM actorstore.put('cart', 'w', '1');
SELECT actorstore.subscribe('x');
ROLLBACK;
BEGIN READ ONLY;
SELECT * FROM actorstore.fetch('s');
ROLLBACK;

-- Subscribing and unsubscribing belong to the transaction.
SELECT count(*) AS slots FROM pg_replication_slots \gset
BEGIN;
SELECT actorstore.subscribe('x');
ROLLBACK;
SELECT actorstore.subscribe('x'), 1 / 0;
BEGIN;
SAVEPOINT p;
SELECT actorstore.subscribe('x');
ROLLBACK TO p;
COMMIT;
DO $$ BEGIN PERFORM actorstore.subscribe('x'); RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END $$;
BEGIN;
SELECT actorstore.subscribe('x');
PREPARE TRANSACTION 'x';
BEGIN;
SELECT actorstore.subscribe('x');
SELECT actorstore.unsubscribe('x');
COMMIT;
SELECT count(*) - :slots AS more FROM pg_replication_slots;
BEGIN;
SELECT actorstore.unsubscribe('all');
ROLLBACK;
SELECT count(*) > 0 AS still_there FROM fetched('all');
BEGIN;
SELECT actorstore.subscribe('x', 'beginning', '{cart}');
SELECT count(*) > 0 AS at_once FROM fetched('x');
COMMIT;
SELECT count(*) - :slots AS more FROM pg_replication_slots;
SELECT actorstore.unsubscribe('x');

-- (There is one item more where minor releases have a list of output plugins; pg_regress starts the server without fsync, and on many
-- cores there is no room for all workers.)
SELECT item, ok FROM actorstore.doctor() WHERE item NOT IN ('output_plugin_libraries', 'crash safety', 'workers');
SELECT active_subscriptions > 0 AND active_subscriptions = (SELECT count(*) FROM actorstore.stat_subscriptions) AS all_active FROM actorstore.cdc_stats();
SELECT actorstore.unsubscribe(subscription) FROM actorstore.stat_subscriptions;
SELECT active_subscriptions, events_dropped, total_events FROM actorstore.cdc_stats();
SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'actorstore%';
SELECT count(*) FROM (SELECT subscription FROM actorstore.subscription_page UNION ALL SELECT subscription FROM actorstore.subscription_actor) AS rest;
SELECT actorstore.drop_type(actor_type) FROM actorstore.type ORDER BY actor_type;
DROP FUNCTION fetched, nth;
DROP ROLE regress_sub_reader, regress_sub_other;
