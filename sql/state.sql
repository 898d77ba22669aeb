-- The state functions, one after another: what they return, what they leave behind.

CREATE TEMP TABLE seen (step int GENERATED ALWAYS AS IDENTITY, created_at timestamptz, updated_at timestamptz);
SELECT actorstore.create_type('cart');

-- insert: version 0, both times the same.
SELECT actor_type, actor_id, value, version, created_at = updated_at AS same_time, created_at = now() AS now
FROM actorstore.insert('cart', 'a', '{"items": []}');
INSERT INTO seen (created_at, updated_at) SELECT created_at, updated_at FROM actorstore.get('cart', 'a');

-- insert again: refused, the old row untouched.
\set VERBOSITY sqlstate
SELECT * FROM actorstore.insert('cart', 'a', '{"items": [1]}');
\set VERBOSITY default
SELECT g.value, g.version, (g.created_at, g.updated_at) = (seen.created_at, seen.updated_at) AS same_times
FROM actorstore.get('cart', 'a') AS g, seen WHERE step = 1;

-- get: the actor, or NULL.
SELECT actor_type, actor_id, value, version FROM actorstore.get('cart', 'a');
SELECT actorstore.get('cart', 'nobody') IS NULL AS nobody, actorstore.get('no such type', 'a') IS NULL AS nothing;
SELECT pg_typeof(actorstore.get('cart', 'a'));

-- update: version + 1, created_at stays, updated_at moves on.
SELECT u.value, u.version, u.created_at = seen.created_at AS created_stays, u.updated_at >= seen.updated_at AS updated_moves,
	   u.updated_at = now() AS now
FROM seen, actorstore.update('cart', 'a', '{"items": [1]}') AS u WHERE step = 1;
SELECT value, version FROM actorstore.get('cart', 'a');
-- The same value again is a write like any other.
SELECT value, version FROM actorstore.update('cart', 'a', '{"items": [1]}');

-- update_versioned: only from the version expected.
SELECT value, version FROM actorstore.update_versioned('cart', 'a', '{"items": [2]}', 2);
\set VERBOSITY sqlstate
SELECT * FROM actorstore.update_versioned('cart', 'a', '{"items": [3]}', 2);
\set VERBOSITY default
SELECT * FROM actorstore.update_versioned('cart', 'a', '{"items": [3]}', 4);
SELECT value, version FROM actorstore.get('cart', 'a');

-- compare_and_swap: won, lost, nobody there.
SELECT * FROM actorstore.compare_and_swap('cart', 'a', 3, '{"items": [4]}');
SELECT * FROM actorstore.compare_and_swap('cart', 'a', 3, '{"items": [5]}');
SELECT * FROM actorstore.compare_and_swap('cart', 'a', -1, '{"items": [5]}');
SELECT * FROM actorstore.compare_and_swap('cart', 'nobody', 0, '{"items": [5]}');
SELECT value, version FROM actorstore.get('cart', 'a');
SELECT actorstore.get('cart', 'nobody') IS NULL AS nobody;

-- put: insert or update.
SELECT value, version, created_at = updated_at AS same_time FROM actorstore.put('cart', 'b', '1');
SELECT p.value, p.version, p.created_at = g.created_at AS created_stays
FROM actorstore.get('cart', 'b') AS g, actorstore.put('cart', 'b', '2') AS p;
SELECT value, version FROM actorstore.get('cart', 'b');

-- patch: a merge patch (more in the test patch).
SELECT value, version FROM actorstore.patch('cart', 'a', '{"items": null, "total": 7}');

-- delete: the deleted actor, or NULL; the id is free again and starts at 0.
SELECT actor_type, actor_id, value, version FROM actorstore.delete('cart', 'b');
SELECT actorstore.delete('cart', 'b') IS NULL AS already_gone, actorstore.get('cart', 'b') IS NULL AS gone;
SELECT value, version FROM actorstore.insert('cart', 'b', '3');

-- delete_versioned.
SELECT value, version FROM actorstore.update('cart', 'b', '4');
\set VERBOSITY sqlstate
SELECT * FROM actorstore.delete_versioned('cart', 'b', 0);
SELECT * FROM actorstore.delete_versioned('cart', 'nobody', 0);
\set VERBOSITY default
SELECT * FROM actorstore.delete_versioned('cart', 'b', 3);
SELECT value, version FROM actorstore.delete_versioned('cart', 'b', 1);
SELECT actorstore.get('cart', 'b') IS NULL AS gone;

-- Missing actors.
\set VERBOSITY sqlstate
SELECT * FROM actorstore.update('cart', 'nobody', '1');
SELECT * FROM actorstore.update_versioned('cart', 'nobody', '1', 0);
SELECT * FROM actorstore.patch('cart', 'nobody', '{}');
\set VERBOSITY default
SELECT * FROM actorstore.update('cart', 'nobody', '1');
SELECT count(*) FROM actorstore.actor;

-- JSON null is a value.
SELECT value, version FROM actorstore.insert('cart', 'null', 'null');
SELECT value, jsonb_typeof(value) FROM actorstore.get('cart', 'null');
SELECT value, version FROM actorstore.update('cart', 'null', 'null');
SELECT * FROM actorstore.compare_and_swap('cart', 'null', 1, 'null');

-- An actor is its type and its id: nothing is joined, nothing is folded.
SELECT actorstore.create_type('ca');
SELECT version FROM actorstore.insert('ca', 'rt:a', '"ca"');
SELECT version FROM actorstore.insert('cart', ':a', '"cart"');
SELECT version FROM actorstore.insert('cart', 'A', '"upper"');
SELECT version FROM actorstore.insert('cart', ' a', '"space"');
SELECT version FROM actorstore.insert('cart', 'a ', '"space after"');
SELECT actor_type, quote_literal(actor_id) AS actor_id, value, version FROM actorstore.actor
ORDER BY actor_type COLLATE "C", actor_id COLLATE "C";

-- Undone with the transaction, and with a part of it.
BEGIN;
SELECT version FROM actorstore.update('cart', 'a', '"in vain"');
SELECT version FROM actorstore.insert('cart', 'c', '"in vain"');
SELECT version FROM actorstore.delete('cart', 'A');
SELECT value, version FROM actorstore.get('cart', 'a');
ROLLBACK;
SELECT value, version FROM actorstore.get('cart', 'a');
SELECT actorstore.get('cart', 'c') IS NULL AS undone, (actorstore.get('cart', 'A')).value AS kept;
BEGIN;
SELECT version FROM actorstore.update('cart', 'a', '"one"');
SAVEPOINT s;
SELECT version FROM actorstore.update('cart', 'a', '"two"');
SELECT version FROM actorstore.put('cart', 'c', '"two"');
ROLLBACK TO s;
SELECT value, version FROM actorstore.get('cart', 'a');
SELECT version FROM actorstore.insert('cart', 'c', '"three"');
SAVEPOINT t;
SELECT value, version FROM actorstore.delete('cart', 'c');
ROLLBACK TO t;
SELECT value, version FROM actorstore.update('cart', 'c', '"four"');
RELEASE t;
SELECT value, version FROM actorstore.update('cart', 'a', '"five"');
COMMIT;
SELECT actor_id, value, version FROM actorstore.get_many('cart', '{a,c}');

-- Many writes of one actor in one transaction: each counts.
BEGIN;
SELECT count(*), max(u.version) FROM generate_series(1, 1000) AS i, actorstore.update('cart', 'c', to_jsonb(i)) AS u;
COMMIT;
SELECT value, version FROM actorstore.get('cart', 'c');

-- Deleted and inserted again within one transaction.
BEGIN;
SELECT version FROM actorstore.delete('cart', 'c');
SELECT version FROM actorstore.put('cart', 'c', '"again"');
SELECT version FROM actorstore.update('cart', 'c', '"and again"');
COMMIT;
SELECT value, version FROM actorstore.get('cart', 'c');

-- The version grows to the last bigint and no further; nothing wraps.
UPDATE actorstore.actor_cart SET version = 9223372036854775806 WHERE actor_id = 'c';
SELECT version FROM actorstore.update('cart', 'c', '"last"');
\set VERBOSITY sqlstate
SELECT version FROM actorstore.update('cart', 'c', '"over"');
SELECT version FROM actorstore.update_versioned('cart', 'c', '"over"', 9223372036854775807);
SELECT * FROM actorstore.compare_and_swap('cart', 'c', 9223372036854775807, '"over"');
SELECT version FROM actorstore.put('cart', 'c', '"over"');
SELECT version FROM actorstore.patch('cart', 'c', '{"over": 1}');
SELECT actorstore.put_many('cart', '{b,c}', '{1,1}');
\set VERBOSITY default
SELECT version FROM actorstore.update('cart', 'c', '"over"');
SELECT actorstore.get('cart', 'b') IS NULL AS not_written, (actorstore.get('cart', 'c')).value, (actorstore.get('cart', 'c')).version;
SELECT version FROM actorstore.delete_versioned('cart', 'c', 9223372036854775807);

-- A new version stands beside the last one, whoever writes it: no index is touched.
BEGIN;
SELECT version FROM actorstore.insert('cart', 'hot', '0');
SELECT pg_stat_get_xact_tuples_updated(t) AS updated, pg_stat_get_xact_tuples_hot_updated(t) AS hot FROM CAST('actorstore.actor_cart'::regclass AS oid) AS t \gset
SELECT version FROM actorstore.update('cart', 'hot', '1');
SELECT version FROM actorstore.update_versioned('cart', 'hot', '2', 1);
SELECT swapped FROM actorstore.compare_and_swap('cart', 'hot', 2, '3');
SELECT version FROM actorstore.put('cart', 'hot', '4');
SELECT version FROM actorstore.patch('cart', 'hot', '{"n": 5}');
SELECT actorstore.put_many('cart', '{hot}', '{6}');
SELECT pg_stat_get_xact_tuples_updated(t) - :updated AS updated, pg_stat_get_xact_tuples_hot_updated(t) - :hot AS hot
FROM CAST('actorstore.actor_cart'::regclass AS oid) AS t;
ROLLBACK;

-- Not in a read-only transaction; reads are.
\set VERBOSITY sqlstate
BEGIN READ ONLY;
SELECT value FROM actorstore.get('cart', 'A');
SELECT count(*) FROM actorstore.get_all('cart');
SELECT count(*) FROM actorstore.list('cart');
SELECT count(*) FROM actorstore.get_many('cart', '{A,"null"}');
SAVEPOINT s;
SELECT version FROM actorstore.insert('cart', 'ro', '1');
ROLLBACK TO s;
SELECT version FROM actorstore.update('cart', 'A', '1');
ROLLBACK TO s;
SELECT version FROM actorstore.update_versioned('cart', 'A', '1', 0);
ROLLBACK TO s;
SELECT * FROM actorstore.compare_and_swap('cart', 'A', 0, '1');
ROLLBACK TO s;
SELECT version FROM actorstore.put('cart', 'A', '1');
ROLLBACK TO s;
SELECT version FROM actorstore.patch('cart', 'A', '1');
ROLLBACK TO s;
SELECT version FROM actorstore.delete('cart', 'A');
ROLLBACK TO s;
SELECT version FROM actorstore.delete_versioned('cart', 'A', 0);
ROLLBACK TO s;
SELECT actorstore.insert_many('cart', '{ro}', '{1}');
ROLLBACK TO s;
SELECT actorstore.put_many('cart', '{A}', '{1}');
ROLLBACK TO s;
SELECT count(*) FROM actorstore.get_many('cart', '{A}', 'share');
ROLLBACK TO s;
SELECT count(*) FROM actorstore.get_many('cart', '{A}', 'update');
ROLLBACK TO s;
SELECT actorstore.create_type('ro');
ROLLBACK TO s;
SELECT actorstore.alter_type('cart', max_attempts => 2);
ROLLBACK TO s;
SELECT actorstore.drop_type('cart');
ROLLBACK TO s;
SELECT actorstore.set_handler('cart', 'm', NULL);
ROLLBACK TO s;
SELECT actorstore.grant_type('cart', current_user::regrole, '{read}');
ROLLBACK TO s;
SELECT actorstore.revoke_type('cart', current_user::regrole, '{read}');
ROLLBACK;
\set VERBOSITY default
SELECT value, version FROM actorstore.get('cart', 'A');
SELECT actorstore.get('cart', 'ro') IS NULL AS not_written;

SELECT actorstore.drop_type('cart'), actorstore.drop_type('ca');
SELECT count(*) FROM actorstore.actor;
