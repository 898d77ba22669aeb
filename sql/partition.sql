-- A type's partition is a table like any other: a superuser may index, constrain and watch it, and the functions keep to that.
SELECT actorstore.create_type('bank');
SELECT actorstore.insert_many('bank', array_agg(i::text), array_agg(jsonb_build_object('owner', 'o' || i % 10, 'balance', i))) FROM generate_series(1, 100) AS i;

-- Query and join it, and all actors at once.
SELECT value ->> 'owner' AS owner, count(*), sum((value ->> 'balance')::int) FROM actorstore.actor_bank GROUP BY 1 ORDER BY 1 LIMIT 3;
SELECT count(*) FROM actorstore.actor AS a JOIN actorstore.actor_bank AS b USING (actor_type, actor_id);
SELECT count(*) FROM actorstore.actor_bank JOIN generate_series(95, 105) AS i ON actor_id = i::text;

-- Indexes on expressions, unique ones, partial ones: kept up by every function. What is asked comes by the index.
CREATE INDEX bank_owner ON actorstore.actor_bank ((value ->> 'owner'));
CREATE INDEX bank_balance ON actorstore.actor_bank (((value ->> 'balance')::int)) WHERE value ? 'balance';
CREATE INDEX bank_gin ON actorstore.actor_bank USING gin (value);
CREATE UNIQUE INDEX bank_iban ON actorstore.actor_bank ((value ->> 'iban'));
CREATE FUNCTION pg_temp.by_index(owner text) RETURNS TABLE (by_owner bigint, by_balance bigint, by_gin bigint) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_indexonlyscan = off AS $$
BEGIN
	RETURN QUERY SELECT (SELECT count(*) FROM actorstore.actor_bank WHERE value ->> 'owner' = owner),
		(SELECT count(*) FROM actorstore.actor_bank WHERE (value ->> 'balance')::int = -7 AND value ? 'balance'),
		(SELECT count(*) FROM actorstore.actor_bank WHERE value @> jsonb_build_object('owner', owner));
END $$;
SELECT * FROM pg_temp.by_index('o1');
SELECT version FROM actorstore.update('bank', '1', '{"owner": "new", "balance": -7}');
SELECT version FROM actorstore.update_versioned('bank', '11', '{"owner": "new", "balance": -7}', 0);
SELECT swapped FROM actorstore.compare_and_swap('bank', '21', 0, '{"owner": "new", "balance": -7}');
SELECT version FROM actorstore.put('bank', '31', '{"owner": "new", "balance": -7}');
SELECT version FROM actorstore.put('bank', 'new', '{"owner": "new", "balance": -7}');
SELECT version FROM actorstore.insert('bank', 'new too', '{"owner": "new", "balance": -7}');
SELECT version FROM actorstore.patch('bank', '41', '{"owner": "new", "balance": -7}');
SELECT actorstore.insert_many('bank', '{n1,n2}', ARRAY['{"owner": "new", "balance": -7}', '{"owner": "new", "balance": -7}']::jsonb[]);
SELECT actorstore.put_many('bank', '{n3,51}', ARRAY['{"owner": "new", "balance": -7}', '{"owner": "new", "balance": -7}']::jsonb[]);
SELECT version FROM actorstore.delete('bank', '61');
SELECT version FROM actorstore.delete_versioned('bank', '71', 0);
SELECT * FROM pg_temp.by_index('new');
SELECT * FROM pg_temp.by_index('o1');
-- Another index's uniqueness: 23505 from every writer, put too, and nothing written.
SELECT version FROM actorstore.patch('bank', '2', '{"iban": "X"}');
\set VERBOSITY sqlstate
SELECT actorstore.insert('bank', 'twin', '{"iban": "X"}');
SELECT actorstore.update('bank', '3', '{"iban": "X"}');
SELECT actorstore.update_versioned('bank', '3', '{"iban": "X"}', 0);
SELECT actorstore.compare_and_swap('bank', '3', 0, '{"iban": "X"}');
SELECT actorstore.put('bank', '3', '{"iban": "X"}');
SELECT actorstore.put('bank', 'twin', '{"iban": "X"}');
SELECT actorstore.patch('bank', '3', '{"iban": "X"}');
SELECT actorstore.insert_many('bank', '{twin,twin2}', ARRAY['{}', '{"iban": "X"}']::jsonb[]);
SELECT actorstore.put_many('bank', '{3,twin}', ARRAY['{}', '{"iban": "X"}']::jsonb[]);
\set VERBOSITY default
SELECT version, value FROM actorstore.put('bank', '2', '{"iban": "X"}');
SELECT version, value FROM actorstore.get_many('bank', '{2,3,twin,twin2}');
SELECT count(*) FROM actorstore.actor_bank WHERE value ->> 'iban' = 'X';
-- An invalid expression stops the write.
CREATE INDEX bank_cast ON actorstore.actor_bank (((value ->> 'number')::int));
\set VERBOSITY sqlstate
SELECT actorstore.update('bank', '4', '{"number": "none"}');
\set VERBOSITY default
SELECT version FROM actorstore.get('bank', '4');
DROP INDEX actorstore.bank_cast, actorstore.bank_gin, actorstore.bank_balance, actorstore.bank_owner;

-- CHECK constraints.
ALTER TABLE actorstore.actor_bank ADD CONSTRAINT solvent CHECK (COALESCE((value ->> 'balance')::int, 0) >= -10);
\set VERBOSITY sqlstate
SELECT actorstore.insert('bank', 'poor', '{"balance": -11}');
SELECT actorstore.update('bank', '5', '{"balance": -11}');
SELECT actorstore.update_versioned('bank', '5', '{"balance": -11}', 0);
SELECT actorstore.compare_and_swap('bank', '5', 0, '{"balance": -11}');
SELECT actorstore.put('bank', '5', '{"balance": -11}');
SELECT actorstore.put('bank', 'poor', '{"balance": -11}');
SELECT actorstore.patch('bank', '5', '{"balance": -11}');
SELECT actorstore.insert_many('bank', '{rich,poor}', ARRAY['{"balance": 11}', '{"balance": -11}']::jsonb[]);
SELECT actorstore.put_many('bank', '{5,6}', ARRAY['{"balance": 11}', '{"balance": -11}']::jsonb[]);
\set VERBOSITY default
SELECT actor_id, value, version FROM actorstore.get_many('bank', '{5,6,poor,rich}');
SELECT version FROM actorstore.patch('bank', '5', '{"balance": -10}');

-- Foreign keys: to it and from it.
CREATE TABLE partition_card (card int PRIMARY KEY, actor_type text DEFAULT 'bank', actor_id text,
	FOREIGN KEY (actor_type, actor_id) REFERENCES actorstore.actor_bank (actor_type, actor_id) ON DELETE CASCADE);
INSERT INTO partition_card (card, actor_id) VALUES (1, '7'), (2, '7'), (3, '8');
\set VERBOSITY sqlstate
INSERT INTO partition_card (card, actor_id) VALUES (4, 'nobody');
\set VERBOSITY default
SELECT version FROM actorstore.update('bank', '7', '{"owner": "with cards"}');
SELECT version FROM actorstore.delete('bank', '7');
SELECT card, actor_id FROM partition_card ORDER BY 1;
ALTER TABLE partition_card DROP CONSTRAINT partition_card_actor_type_actor_id_fkey,
	ADD FOREIGN KEY (actor_type, actor_id) REFERENCES actorstore.actor_bank (actor_type, actor_id);
\set VERBOSITY sqlstate
SELECT actorstore.delete('bank', '8');
SELECT actorstore.delete_versioned('bank', '8', 0);
\set VERBOSITY default
SELECT version FROM actorstore.update('bank', '8', '{}');
DROP TABLE partition_card;
CREATE TABLE partition_kind (kind text PRIMARY KEY);
INSERT INTO partition_kind VALUES ('8'), ('9'), ('allowed');
ALTER TABLE actorstore.actor_bank ADD CONSTRAINT kind FOREIGN KEY (actor_id) REFERENCES partition_kind NOT VALID;
SELECT version FROM actorstore.insert('bank', 'allowed', '{}');
\set VERBOSITY sqlstate
SELECT actorstore.insert('bank', 'not allowed', '{}');
SELECT actorstore.insert_many('bank', '{not,"not allowed"}', '{1,1}');
SELECT actorstore.put('bank', 'not allowed', '{}');
\set VERBOSITY default
SELECT actor_id FROM actorstore.get_many('bank', '{allowed,not,"not allowed"}');
ALTER TABLE actorstore.actor_bank DROP CONSTRAINT kind;
DROP TABLE partition_kind;

-- Triggers for rows, before and after; then one that changes and refuses.
CREATE TABLE partition_log (place int GENERATED ALWAYS AS IDENTITY, what text);
CREATE FUNCTION partition_log_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO partition_log (what) VALUES (concat_ws(' ', TG_WHEN, TG_OP, TG_TABLE_NAME, COALESCE(NEW.actor_id, OLD.actor_id), OLD.version, '->', NEW.version));
	RETURN COALESCE(NEW, OLD);
END $$;
CREATE TRIGGER before_row BEFORE INSERT OR UPDATE OR DELETE ON actorstore.actor_bank FOR EACH ROW EXECUTE FUNCTION partition_log_row();
CREATE TRIGGER after_row AFTER INSERT OR UPDATE OR DELETE ON actorstore.actor_bank FOR EACH ROW EXECUTE FUNCTION partition_log_row();
SELECT version FROM actorstore.insert('bank', 't1', '1');
SELECT version FROM actorstore.update('bank', 't1', '2');
SELECT version FROM actorstore.update_versioned('bank', 't1', '3', 1);
SELECT swapped FROM actorstore.compare_and_swap('bank', 't1', 2, '4');
SELECT swapped FROM actorstore.compare_and_swap('bank', 't1', 2, '5');
SELECT version FROM actorstore.put('bank', 't1', '6');
SELECT version FROM actorstore.put('bank', 't2', '1');
SELECT version FROM actorstore.patch('bank', 't1', '{}');
SELECT actorstore.insert_many('bank', '{t3,t4}', '{1,1}');
SELECT actorstore.put_many('bank', '{t4,t5}', '{2,1}');
SELECT version FROM actorstore.delete('bank', 't1');
SELECT version FROM actorstore.delete_versioned('bank', 't2', 0);
SELECT version FROM actorstore.delete('bank', 'nobody');
SELECT what FROM partition_log WHERE what LIKE 'AFTER%' ORDER BY place;
SELECT count(*) FROM partition_log WHERE what LIKE 'BEFORE%';
DROP TRIGGER before_row ON actorstore.actor_bank;
DROP TRIGGER after_row ON actorstore.actor_bank;
CREATE FUNCTION partition_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.value = '"refuse"' THEN
		RAISE EXCEPTION 'refused' USING ERRCODE = 'ZZ001';
	END IF;
	NEW.value := jsonb_build_object('changed', NEW.value);
	RETURN NEW;
END $$;
CREATE TRIGGER change BEFORE INSERT OR UPDATE ON actorstore.actor_bank FOR EACH ROW EXECUTE FUNCTION partition_change();
SELECT value, version FROM actorstore.insert('bank', 'c1', '1');
SELECT value, version FROM actorstore.update('bank', 'c1', '2');
SELECT swapped, value, version FROM actorstore.compare_and_swap('bank', 'c1', 1, '3');
SELECT value, version FROM actorstore.put('bank', 'c2', '4');
SELECT actorstore.insert_many('bank', '{c3}', '{5}');
SELECT actorstore.put_many('bank', '{c3,c4}', '{6,7}');
SELECT actor_id, value, version FROM actorstore.get_many('bank', '{c1,c2,c3,c4}');
\set VERBOSITY sqlstate
SELECT actorstore.update('bank', 'c1', '"refuse"');
SELECT actorstore.put_many('bank', '{c1,c5}', ARRAY['1', '"refuse"']::jsonb[]);
\set VERBOSITY default
SELECT actor_id, value, version FROM actorstore.get_many('bank', '{c1,c5}');
DROP TRIGGER change ON actorstore.actor_bank;

-- What a superuser does to it behind the functions' back: remembered places are hints only.
SELECT actorstore.create_type('moved');
SELECT actorstore.insert_many('moved', array_agg(i::text), array_agg(to_jsonb(i))) FROM generate_series(1, 200) AS i;
SELECT sum((actorstore.update('moved', i::text, to_jsonb(i))).version) FROM generate_series(1, 200) AS i;
DELETE FROM actorstore.actor_moved WHERE actor_id::int % 2 = 0;
VACUUM FULL actorstore.actor_moved;
SELECT sum((actorstore.update('moved', i::text, to_jsonb(i))).version) FROM generate_series(1, 200, 2) AS i;
SELECT count(*) FROM generate_series(2, 200, 2) AS i WHERE actorstore.get('moved', i::text) IS NULL;
INSERT INTO actorstore.actor_moved SELECT 'moved', (i * 2)::text, '"by hand"', 40, now(), now() FROM generate_series(100, 1, -1) AS i;
SELECT sum(u.version) FROM generate_series(1, 200) AS i, LATERAL actorstore.update('moved', i::text, to_jsonb(i)) AS u WHERE u.actor_id = i::text AND u.value = to_jsonb(i);
SELECT relname AS key FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid WHERE indrelid = 'actorstore.actor_moved'::regclass AND indisprimary \gset
CLUSTER actorstore.actor_moved USING :"key";
SELECT sum(u.version) FROM generate_series(1, 200) AS i, LATERAL actorstore.update('moved', i::text, to_jsonb(i)) AS u WHERE u.actor_id = i::text AND u.value = to_jsonb(i);
TRUNCATE actorstore.actor_moved;
SELECT count(*) FROM generate_series(1, 200) AS i WHERE actorstore.get('moved', i::text) IS NULL;
SELECT sum(p.version) FROM generate_series(200, 1, -1) AS i, LATERAL actorstore.put('moved', i::text, to_jsonb(-i)) AS p;
SELECT sum(p.version) FROM generate_series(1, 200) AS i, LATERAL actorstore.put('moved', i::text, to_jsonb(i)) AS p WHERE p.actor_id = i::text;
REINDEX TABLE actorstore.actor_moved;
SELECT count(*), sum(version), count(*) FILTER (WHERE value = to_jsonb(actor_id::int)) AS right FROM actorstore.get_all('moved');

SELECT actorstore.drop_type('bank'), actorstore.drop_type('moved');
DROP FUNCTION partition_log_row, partition_change;
DROP TABLE partition_log;
