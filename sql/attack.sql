--
-- What went wrong once, found by attacking the functions on purpose.
--
\set VERBOSITY sqlstate
CREATE EXTENSION amcheck;
CREATE ROLE regress_attack_owner;
CREATE ROLE regress_attack_gone;

-- A primary key that carries more than its columns: the functions must fill
-- in what it carries.
SELECT actorstore.create_type('carrying');
SELECT version FROM actorstore.insert('carrying', 'a', '1');
ALTER TABLE actorstore.actor_carrying DROP CONSTRAINT actor_carrying_pkey,
	ADD PRIMARY KEY (actor_type, actor_id) INCLUDE (value);
SELECT version FROM actorstore.put('carrying', 'b', '2');
SELECT version FROM actorstore.put('carrying', 'a', '3');
SELECT actorstore.put_many('carrying', '{a,b,c}', '{4,5,6}');
SELECT bt_index_check('actorstore.actor_carrying_pkey', true);
SELECT actor_id, value, version FROM actorstore.list('carrying');

-- What a trigger does when a type is dropped, it does with the rights of the
-- caller, not of the extension's owner.
CREATE TABLE regress_attack_log (who name, id text);
GRANT INSERT ON regress_attack_log TO PUBLIC;
CREATE FUNCTION regress_attack_note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.regress_attack_log VALUES (current_user, old.actor_id);
	RETURN NULL;
END $$;
DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO regress_attack_owner', current_database()); END $$;
SET ROLE regress_attack_owner;
SELECT actorstore.create_type('noted');
SELECT actorstore.insert_many('noted', '{a,b}', '{1,2}');
SELECT version FROM actorstore.insert('noted loosely', 'c', '3');
RESET ROLE;
CREATE TRIGGER note AFTER DELETE ON actorstore.actor_noted FOR EACH ROW EXECUTE FUNCTION regress_attack_note();
CREATE TRIGGER note AFTER DELETE ON actorstore.undeclared FOR EACH ROW EXECUTE FUNCTION regress_attack_note();
SET ROLE regress_attack_owner;
SELECT actorstore.drop_type('noted');
-- rows that move to another table are not deleted: no trigger may say so
SELECT actorstore.create_type('noted loosely');
SELECT actorstore.drop_type('noted loosely');
SELECT version FROM actorstore.insert('noted never', 'd', '4');
-- without events, their own changes would be lost to those who follow
SELECT actorstore.drop_type('noted never', events => false);
SELECT version FROM actorstore.get('noted never', 'd');
RESET ROLE;
SELECT * FROM regress_attack_log ORDER BY id;
DROP TRIGGER note ON actorstore.undeclared;
SELECT actorstore.drop_type('noted never', events => false);

-- A trigger that keeps the row, or a newer version of it, makes delete fail.
CREATE FUNCTION regress_attack_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF old.value = '"softly"' THEN
		PERFORM actorstore.update(old.actor_type, old.actor_id, '"deleted"');
	END IF;
	RETURN NULL;
END $$;
SELECT actorstore.create_type('kept');
CREATE TRIGGER keep BEFORE DELETE ON actorstore.actor_kept FOR EACH ROW EXECUTE FUNCTION regress_attack_keep();
SELECT actorstore.insert_many('kept', '{a,b}', '{1,"\"softly\""}');
SELECT actorstore.delete('kept', 'a');
SELECT actorstore.delete('kept', 'b');
SELECT actor_id, value, version FROM actorstore.list('kept');

-- A trigger that inserts what is there already ends put, it does not turn
-- for ever.
CREATE FUNCTION regress_attack_echo() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO actorstore.actor_echo SELECT new.*;
	RETURN NULL;
END $$;
SELECT actorstore.create_type('echo');
CREATE TRIGGER echo AFTER INSERT ON actorstore.actor_echo FOR EACH ROW EXECUTE FUNCTION regress_attack_echo();
SELECT actorstore.put('echo', 'a', '1');
SELECT count(*) FROM actorstore.get_all('echo');

-- Foreign keys that cascade leave nothing open (a WARNING would say so).
\set VERBOSITY default
SELECT actorstore.create_type('parent');
CREATE TABLE regress_attack_child (actor_type text COLLATE "C", actor_id text COLLATE "C",
	FOREIGN KEY (actor_type, actor_id) REFERENCES actorstore.actor_parent ON DELETE CASCADE);
CREATE FUNCTION regress_attack_nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER nothing AFTER DELETE ON regress_attack_child FOR EACH ROW EXECUTE FUNCTION regress_attack_nothing();
SELECT version FROM actorstore.insert('parent', 'a', '1');
INSERT INTO regress_attack_child VALUES ('parent', 'a');
SELECT version FROM actorstore.delete('parent', 'a');
SELECT count(*) FROM regress_attack_child;
DROP TABLE regress_attack_child;
\set VERBOSITY sqlstate

-- Roles that are gone: their grants stop nobody, and can be taken back.
SELECT version FROM actorstore.insert('orphaned', 'a', '1');
SELECT actorstore.grant_type('orphaned', 'regress_attack_gone', '{read,write}');
SELECT actorstore.create_type('declared');
SELECT actorstore.grant_type('declared', 'regress_attack_gone', '{send}');
SELECT 'regress_attack_gone'::regrole::oid AS gone \gset
DROP ROLE regress_attack_gone;
SELECT actorstore.create_type('orphaned');
SELECT actorstore.revoke_type('orphaned', :gone, '{read,write}');
SELECT actorstore.revoke_type('declared', :gone, '{send}');
SELECT count(*) FROM actorstore.type_grant WHERE grantee = :gone;
SELECT actorstore.grant_type('declared', :gone, '{send}');

-- A table dropped by hand: the type can still be dropped, also where it is
-- cached, and made anew.
SELECT actorstore.create_type('tableless');
SELECT actorstore.get('tableless', 'a');
DROP TABLE actorstore.actor_tableless;
SELECT actorstore.get('tableless', 'a');
SELECT actorstore.put('tableless', 'a', '1');
SELECT actorstore.alter_type('tableless', persistence => 'unlogged');
SELECT actorstore.drop_type('tableless');
SELECT actorstore.get('tableless', 'a');
SELECT actorstore.create_type('tableless');
SELECT version FROM actorstore.put('tableless', 'a', '1');

-- Names that no type has leave nothing in memory.
SELECT actorstore.get('known', 'a');
SELECT total_bytes AS before FROM pg_backend_memory_contexts WHERE name = 'actorstore types' \gset
SELECT count(actorstore.get('unknown ' || i, 'a')) FROM generate_series(1, 10000) AS i;
SELECT total_bytes = :before AS unchanged FROM pg_backend_memory_contexts WHERE name = 'actorstore types';

-- A cursor that is older than our own create_type finds the rows.
BEGIN;
SELECT version FROM actorstore.insert('moving', 'a', '"moved"');
DECLARE c CURSOR FOR SELECT value FROM actorstore.get('moving', 'a');
SELECT actorstore.create_type('moving');
FETCH c;
ROLLBACK;

SELECT actorstore.drop_type(actor_type) FROM actorstore.type
	WHERE actor_type IN ('carrying', 'echo', 'parent', 'orphaned', 'declared', 'tableless');
DROP TRIGGER keep ON actorstore.actor_kept;
SELECT actorstore.drop_type('kept');
DROP FUNCTION regress_attack_keep, regress_attack_note, regress_attack_nothing, regress_attack_echo CASCADE;
DROP TABLE regress_attack_log;
DROP EXTENSION amcheck;
DROP OWNED BY regress_attack_owner;
DROP ROLE regress_attack_owner;
