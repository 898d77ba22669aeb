-- What a statement sees of its own writes and of those before it; cursors, loops, COPY, triggers.
SELECT actorstore.create_type('n');
SELECT version FROM actorstore.insert('n', 'a', '0');

-- Calls in one statement see each other's effect, in the select list, in FROM and in both.
SELECT array_agg((actorstore.update('n', 'a', to_jsonb(i))).version) FROM generate_series(1, 5) AS i;
SELECT u.version, u.value FROM generate_series(6, 8) AS i, LATERAL actorstore.update('n', 'a', to_jsonb(i)) AS u;
SELECT i, c.* FROM generate_series(7, 10) AS i, LATERAL actorstore.compare_and_swap('n', 'a', i, to_jsonb('cas ' || i)) AS c;
SELECT (actorstore.put('n', 'new', '1')).version, (actorstore.put('n', 'new', '2')).version, (actorstore.delete('n', 'new')).version,
	   (actorstore.insert('n', 'new', '3')).version, (actorstore.update('n', 'new', '4')).value;
SELECT value, version FROM actorstore.get('n', 'new');
-- (f(…)).* calls f once a column, as the README warns: six writes.
SELECT count(*) FROM (SELECT (actorstore.update('n', 'new', '5')).* OFFSET 0) AS s;
SELECT version FROM actorstore.get('n', 'new');

-- Reads see the statement's snapshot, locking ones what the statement has written.
SELECT (actorstore.update('n', 'new', '6')).version, (actorstore.get('n', 'new')).version;
SELECT (actorstore.update('n', 'new', '7')).version, (SELECT version FROM actorstore.get_many('n', '{new}', 'share') WHERE version > 0);
SELECT (actorstore.get('n', 'new')).version;

-- In PL/pgSQL each statement sees the former, reads too.
DO $$
DECLARE
	r actorstore.actor;
	won boolean;
BEGIN
	r := actorstore.insert('n', 'loop', '0');
	FOR i IN 1..100 LOOP
		r := actorstore.get('n', 'loop');
		ASSERT r.version = i - 1 AND r.value = to_jsonb(i - 1);
		IF i % 3 = 0 THEN
			r := actorstore.update('n', 'loop', to_jsonb(i));
		ELSIF i % 3 = 1 THEN
			r := actorstore.put('n', 'loop', to_jsonb(i));
		ELSE
			SELECT swapped INTO STRICT won FROM actorstore.compare_and_swap('n', 'loop', r.version, to_jsonb(i));
			ASSERT won;
		END IF;
		ASSERT (SELECT count(*) FROM actorstore.get_all('n') AS g WHERE g.actor_id = 'loop' AND g.version = i) = 1;
	END LOOP;
	RAISE NOTICE 'version %', (actorstore.get('n', 'loop')).version;
END $$;
-- Errors caught in it undo their part only.
DO $$
BEGIN
	FOR i IN 1..10 LOOP
		BEGIN
			PERFORM actorstore.update('n', 'loop', '"undone"');
			IF i % 2 = 0 THEN
				PERFORM actorstore.insert('n', 'loop', '1');
			END IF;
		EXCEPTION
			WHEN unique_violation THEN
				RAISE NOTICE 'unique_violation at %', i;
		END;
	END LOOP;
	PERFORM actorstore.delete_versioned('n', 'loop', 0);
EXCEPTION
	WHEN serialization_failure THEN
		RAISE NOTICE 'serialization_failure';
END $$;
SELECT value, version FROM actorstore.get('n', 'loop');
DO $$
BEGIN
	PERFORM actorstore.update('n', 'nobody', '1');
EXCEPTION
	WHEN no_data_found THEN
		RAISE NOTICE 'no_data_found';
END $$;
-- Procedures that commit on their way.
CREATE PROCEDURE visibility_commits() LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..4 LOOP
		PERFORM actorstore.put('n', 'committed ' || i, to_jsonb(i));
		IF i % 2 = 0 THEN
			ROLLBACK;
		ELSE
			COMMIT;
		END IF;
	END LOOP;
END $$;
CALL visibility_commits();
SELECT actor_id, value FROM actorstore.list('n', 'committed');

-- A cursor sees what was there when it was opened.
BEGIN;
DECLARE by_list CURSOR FOR SELECT actor_id, value, version FROM actorstore.list('n', 'c');
DECLARE by_get CURSOR FOR SELECT (actorstore.get('n', 'a')).version;
DECLARE by_table CURSOR FOR SELECT actor_id, value FROM actorstore.actor_n WHERE actor_id LIKE 'c%' ORDER BY 1;
SELECT actorstore.put_many('n', '{"committed 1","committed 2","committed 3"}', ARRAY['"new"', '"new"', '"new"']::jsonb[]);
SELECT version FROM actorstore.update('n', 'a', '"new"');
FETCH ALL FROM by_list;
FETCH ALL FROM by_get;
FETCH ALL FROM by_table;
COMMIT;
DECLARE held CURSOR WITH HOLD FOR SELECT actor_id, value, version FROM actorstore.list('n', 'c');
FETCH 1 FROM held;
SELECT actorstore.put_many('n', '{"committed 1","committed 2"}', ARRAY['"newer"', '"newer"']::jsonb[]);
FETCH ALL FROM held;
CLOSE held;

-- COPY, CREATE TABLE AS, INSERT ... SELECT and WITH run them like any query.
COPY (SELECT actor_id, value, version FROM actorstore.list('n', 'c')) TO STDOUT;
CREATE TEMP TABLE copied AS SELECT p.actor_id, p.version FROM generate_series(1, 3) AS i, LATERAL actorstore.put('n', 'cta ' || i, '1') AS p;
INSERT INTO copied SELECT p.actor_id, p.version FROM copied AS c, LATERAL actorstore.put('n', c.actor_id, '2') AS p;
SELECT * FROM copied ORDER BY 1, 2;
WITH w AS MATERIALIZED (SELECT * FROM actorstore.put('n', 'cte', '1')) SELECT version FROM w;
SELECT value, version FROM actorstore.get('n', 'cte');

-- Called from a trigger of the user's table: together or not at all.
CREATE TABLE visibility_orders (id int PRIMARY KEY, total int CHECK (total < 100));
CREATE FUNCTION visibility_count() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM actorstore.put('n', 'orders', to_jsonb(COALESCE(((actorstore.get('n', 'orders')).value)::int, 0) + NEW.total));
	RETURN NEW;
END $$;
CREATE TRIGGER counted BEFORE INSERT ON visibility_orders FOR EACH ROW EXECUTE FUNCTION visibility_count();
INSERT INTO visibility_orders VALUES (1, 10), (2, 20), (3, 30);
SELECT value, version FROM actorstore.get('n', 'orders');
\set VERBOSITY sqlstate
INSERT INTO visibility_orders VALUES (4, 40), (5, 500);
\set VERBOSITY default
SELECT value, version FROM actorstore.get('n', 'orders');
DROP TABLE visibility_orders;
DROP FUNCTION visibility_count;

-- Prepared statements, with a generic plan too, go on through changes of the type.
PREPARE g (text) AS SELECT value, version FROM actorstore.get('n', $1);
PREPARE p (text, jsonb) AS SELECT version FROM actorstore.put('n', $1, $2);
PREPARE t AS SELECT count(*) FROM actorstore.actor WHERE actor_type = 'n';
SET plan_cache_mode = force_generic_plan;
EXECUTE p ('prepared', '1');
EXECUTE g ('prepared');
SELECT actorstore.drop_type('n');
EXECUTE g ('prepared');
EXECUTE p ('prepared', '2');
EXECUTE t;
SELECT actorstore.create_type('n');
EXECUTE g ('prepared');
EXECUTE p ('prepared', '3');
EXECUTE t;
SELECT actorstore.alter_type('n', persistence => 'unlogged');
EXECUTE g ('prepared');
EXECUTE p ('prepared', '4');
EXECUTE t;
DEALLOCATE ALL;
RESET plan_cache_mode;

-- In a transaction with DDL on the type itself, undone.
BEGIN;
SELECT actorstore.create_type('brief');
SELECT version FROM actorstore.insert('brief', 'a', '1');
SELECT tableoid::regclass FROM actorstore.actor WHERE actor_type = 'brief';
SAVEPOINT s;
SELECT actorstore.drop_type('brief');
SELECT actorstore.get('brief', 'a') IS NULL AS dropped;
SELECT version FROM actorstore.insert('brief', 'a', '"undeclared"');
ROLLBACK TO s;
SELECT value FROM actorstore.get('brief', 'a');
ROLLBACK;
SELECT actorstore.get('brief', 'a') IS NULL AS undone, to_regclass('actorstore.actor_brief') IS NULL AS no_table,
	   (SELECT count(*) FROM actorstore.type WHERE actor_type = 'brief') AS types;
-- An implicit declaration is undone too.
BEGIN;
SELECT version FROM actorstore.insert('brief', 'a', '1');
ROLLBACK;
SELECT count(*) FROM actorstore.type WHERE actor_type = 'brief';
\set VERBOSITY sqlstate
SELECT actorstore.update('brief', 'a', '1');
\set VERBOSITY default
BEGIN;
SAVEPOINT s;
SELECT version FROM actorstore.put('brief', 'a', '1');
ROLLBACK TO s;
SELECT version FROM actorstore.put('brief', 'a', '2');
COMMIT;
SELECT value, version FROM actorstore.get('brief', 'a');

DROP PROCEDURE visibility_commits;
SELECT actorstore.drop_type('n'), actorstore.drop_type('brief');
