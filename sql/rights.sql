-- Who may do what: owner, read, write, send, ask, superusers; CREATE on the database; nobody but superusers has DML.
CREATE FUNCTION regress_try(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END $$;
SELECT current_database() AS db \gset
CREATE ROLE regress_owner;
CREATE ROLE regress_reader;
CREATE ROLE regress_writer;
CREATE ROLE regress_both;
CREATE ROLE regress_sender;
CREATE ROLE regress_stranger;
CREATE ROLE regress_super SUPERUSER;
CREATE ROLE regress_group;
CREATE ROLE regress_member IN ROLE regress_group;
CREATE ROLE regress_no_inherit NOINHERIT IN ROLE regress_group;
CREATE ROLE regress_of_owner IN ROLE regress_owner;
GRANT CREATE ON DATABASE :"db" TO regress_owner;

-- The first insert and create_type need CREATE on the database.
SET ROLE regress_stranger;
SELECT regress_try($$SELECT actorstore.insert('implicit', 'a', '1')$$) AS insert, regress_try($$SELECT actorstore.put('implicit', 'a', '1')$$) AS put,
	   regress_try($$SELECT actorstore.insert_many('implicit', '{a}', '{1}')$$) AS insert_many, regress_try($$SELECT actorstore.put_many('implicit', '{a}', '{1}')$$) AS put_many,
	   regress_try($$SELECT actorstore.create_type('doc')$$) AS create_type;
\set VERBOSITY terse
SELECT actorstore.insert('implicit', 'a', '1');
SET ROLE regress_owner;
SELECT version FROM actorstore.insert('implicit', 'a', '1');
SELECT actorstore.create_type('doc');
SELECT actorstore.insert_many('doc', '{a,b}', '{1,2}');
RESET ROLE;
SELECT actor_type, owner, declared FROM actorstore.type ORDER BY 1;
-- Whoever comes second finds it taken, even with CREATE on the database; only the owner may declare it.
GRANT CREATE ON DATABASE :"db" TO regress_stranger;
SET ROLE regress_stranger;
SELECT actorstore.insert('implicit', 'b', '1');
SELECT actorstore.create_type('implicit');
SELECT actorstore.create_type('doc');
RESET ROLE;
REVOKE CREATE ON DATABASE :"db" FROM regress_stranger;
\set VERBOSITY default

-- Grants.
SET ROLE regress_owner;
SELECT actorstore.grant_type(t, 'regress_reader', '{read}'), actorstore.grant_type(t, 'regress_writer', '{write}'),
	   actorstore.grant_type(t, 'regress_both', '{read,write}'), actorstore.grant_type(t, 'regress_sender', '{send,ask}'),
	   actorstore.grant_type(t, 'regress_group', '{write}')
FROM unnest(ARRAY['doc', 'implicit']) AS t;
RESET ROLE;
SELECT actor_type, grantee::regrole AS grantee, array_agg(privilege ORDER BY privilege) AS privileges FROM actorstore.type_grant
WHERE grantee <> 'regress_owner'::regrole GROUP BY 1, 2 ORDER BY 1, grantee::regrole::text;

-- Every function as every role, on a declared and on an implicit type. Each call is undone where it succeeds.
CREATE TABLE regress_call (place int GENERATED ALWAYS AS IDENTITY, name text, statement text);
INSERT INTO regress_call (name, statement) VALUES
	('get', $$SELECT actorstore.get(%L, 'a')$$), ('get of nobody', $$SELECT actorstore.get(%L, 'nobody')$$),
	('get_many', $$SELECT actorstore.get_many(%L, '{a}')$$),
	('get_many share', $$SELECT actorstore.get_many(%L, '{a}', 'share')$$), ('get_many update', $$SELECT actorstore.get_many(%L, '{a}', 'update')$$),
	('get_all', $$SELECT actorstore.get_all(%L)$$), ('list', $$SELECT actorstore.list(%L)$$),
	('insert', $$SELECT actorstore.insert(%L, 'z', '1')$$), ('update', $$SELECT actorstore.update(%L, 'a', '1')$$),
	('update_versioned', $$SELECT actorstore.update_versioned(%L, 'a', '1', 0)$$), ('compare_and_swap', $$SELECT actorstore.compare_and_swap(%L, 'a', 0, '1')$$),
	('put', $$SELECT actorstore.put(%L, 'a', '1')$$), ('put new', $$SELECT actorstore.put(%L, 'z', '1')$$), ('patch', $$SELECT actorstore.patch(%L, 'a', '{}')$$),
	('delete', $$SELECT actorstore.delete(%L, 'a')$$), ('delete of nobody', $$SELECT actorstore.delete(%L, 'nobody')$$),
	('delete_versioned', $$SELECT actorstore.delete_versioned(%L, 'a', 0)$$),
	('insert_many', $$SELECT actorstore.insert_many(%L, '{z}', '{1}')$$), ('put_many', $$SELECT actorstore.put_many(%L, '{a,z}', '{1,1}')$$),
	('alter_type', $$SELECT actorstore.alter_type(%L, max_attempts => 2)$$), ('drop_type', $$SELECT actorstore.drop_type(%L)$$),
	('set_handler', $$SELECT actorstore.set_handler(%L, 'm', NULL)$$), ('grant_type', $$SELECT actorstore.grant_type(%L, 'regress_stranger', '{read}')$$),
	('revoke_type', $$SELECT actorstore.revoke_type(%L, 'regress_stranger', '{read}')$$);
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
\set matrix 'SELECT name, regress_as($$regress_owner$$, s) AS owner, regress_as($$regress_reader$$, s) AS read, regress_as($$regress_writer$$, s) AS write, regress_as($$regress_both$$, s) AS both, regress_as($$regress_sender$$, s) AS send_ask, regress_as($$regress_stranger$$, s) AS stranger, regress_as($$regress_member$$, s) AS by_group, regress_as($$regress_no_inherit$$, s) AS no_inherit, regress_as($$regress_of_owner$$, s) AS of_owner, regress_as($$regress_super$$, s) AS super FROM regress_call, LATERAL format(statement, :type) AS s ORDER BY place;'
\set type '$$doc$$'
:matrix
\set type '$$implicit$$'
:matrix

-- An unknown type: reads find nothing, for whomever.
SELECT regress_as('regress_stranger', $$SELECT actorstore.get('unknown', 'a')$$) AS get, regress_as('regress_stranger', $$SELECT actorstore.get_all('unknown')$$) AS get_all,
	   regress_as('regress_stranger', $$SELECT actorstore.update('unknown', 'a', '1')$$) AS update, regress_as('regress_stranger', $$SELECT actorstore.drop_type('unknown')$$) AS drop_type;

-- SELECT on the partition follows read; nobody has more.
SELECT r AS role, has_table_privilege(r, 'actorstore.actor_doc', 'SELECT') AS "select",
	   has_table_privilege(r, 'actorstore.actor_doc', 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER') AS more,
	   has_table_privilege(r, 'actorstore.undeclared', 'SELECT') AS of_others
FROM unnest(ARRAY['regress_owner', 'regress_reader', 'regress_writer', 'regress_both', 'regress_sender', 'regress_stranger', 'regress_member']) AS r;
SET ROLE regress_reader;
SELECT actor_id, value FROM actorstore.actor_doc ORDER BY 1;
RESET ROLE;
SET ROLE regress_owner;
SELECT count(*) FROM actorstore.actor_doc;
\set VERBOSITY sqlstate
INSERT INTO actorstore.actor_doc VALUES ('doc', 'q', '1', 0, now(), now());
UPDATE actorstore.actor_doc SET version = 7;
DELETE FROM actorstore.actor_doc;
TRUNCATE actorstore.actor_doc;
CREATE TRIGGER t BEFORE INSERT ON actorstore.actor_doc FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
ALTER TABLE actorstore.actor_doc ADD CHECK (true);
DROP TABLE actorstore.actor_doc;
INSERT INTO actorstore.handler (actor_type, message) VALUES ('doc', 'm');
UPDATE actorstore.type SET owner = 'regress_stranger'::regrole;
DELETE FROM actorstore.type_grant;
\set VERBOSITY default
RESET ROLE;
SELECT c.oid::regclass AS relation, r.rolname, p AS privilege
FROM pg_class AS c, pg_roles AS r, unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS p
WHERE c.relnamespace = 'actorstore'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT r.rolsuper AND r.rolname !~ '^pg_'
  AND has_table_privilege(r.oid, c.oid, p);
SELECT r.rolname FROM pg_roles AS r WHERE NOT r.rolsuper AND has_schema_privilege(r.oid, 'actorstore', 'CREATE');

-- A policy on the table binds those who query it; the functions do not look at it.
ALTER TABLE actorstore.actor_doc ENABLE ROW LEVEL SECURITY;
CREATE POLICY only_a ON actorstore.actor_doc USING (actor_id = 'a');
SET ROLE regress_reader;
SELECT actor_id FROM actorstore.actor_doc ORDER BY 1;
SELECT actor_id FROM actorstore.list('doc');
SELECT actor_id FROM actorstore.get('doc', 'b');
RESET ROLE;
SELECT regress_as('regress_writer', $$SELECT actorstore.update('doc', 'b', '1')$$) AS update;
DROP POLICY only_a ON actorstore.actor_doc;
ALTER TABLE actorstore.actor_doc DISABLE ROW LEVEL SECURITY;

-- Granting twice is granting once; revoking takes one right, then all; what is not there may be revoked.
SET ROLE regress_owner;
SELECT actorstore.grant_type('doc', 'regress_both', '{read,read,write}');
SELECT actorstore.revoke_type('doc', 'regress_both', '{read}');
RESET ROLE;
SELECT privilege FROM actorstore.type_grant WHERE grantee = 'regress_both'::regrole AND actor_type = 'doc' ORDER BY 1;
SELECT regress_as('regress_both', $$SELECT actorstore.get('doc', 'a')$$) AS read, regress_as('regress_both', $$SELECT actorstore.update('doc', 'a', '1')$$) AS write,
	   regress_as('regress_both', $$SELECT actorstore.get('implicit', 'a')$$) AS read_other, has_table_privilege('regress_both', 'actorstore.actor_doc', 'SELECT') AS "select";
SET ROLE regress_owner;
SELECT actorstore.revoke_type('doc', 'regress_both', '{read,write,send,ask}');
SELECT actorstore.revoke_type('doc', 'regress_both', '{read,write,send,ask}');
SELECT actorstore.revoke_type('doc', 'regress_stranger', '{read}');
SELECT actorstore.grant_type('doc', 'regress_stranger', '{}');
RESET ROLE;
SELECT count(*) FROM actorstore.type_grant WHERE actor_type = 'doc' AND grantee IN ('regress_both'::regrole, 'regress_stranger'::regrole);
SELECT regress_as('regress_both', $$SELECT actorstore.update('doc', 'a', '1')$$) AS write;
-- The owner's own cannot be revoked: ownership is enough.
SELECT actorstore.revoke_type('doc', 'regress_owner', '{read,write}');
SELECT regress_as('regress_owner', $$SELECT actorstore.get('doc', 'a')$$) AS read, regress_as('regress_owner', $$SELECT actorstore.update('doc', 'a', '1')$$) AS write,
	   regress_as('regress_owner', $$SELECT * FROM actorstore.actor_doc$$) AS "select";

-- Words that are no rights, NULLs, roles that do not exist.
SELECT p::text AS privileges, regress_try(format('SELECT actorstore.grant_type(''doc'', ''regress_both'', %L)', p)) AS "grant",
	   regress_try(format('SELECT actorstore.revoke_type(''doc'', ''regress_both'', %L)', p)) AS "revoke"
FROM unnest(ARRAY['{own}', '{read,select}', '{READ}', '{""}', '{all}', '{NULL}', '{read,NULL}', NULL]) AS p;
SELECT regress_try($$SELECT actorstore.grant_type('doc', NULL, '{read}')$$) AS "grant", regress_try($$SELECT actorstore.revoke_type('doc', NULL, '{read}')$$) AS "revoke",
	   regress_try($$SELECT actorstore.grant_type('doc', 'regress_nobody', '{read}')$$) AS no_role, regress_try($$SELECT actorstore.grant_type('doc', '4294967295', '{read}')$$) AS no_oid;
\set VERBOSITY terse
SELECT actorstore.grant_type('doc', 'regress_both', '{own}');
SET ROLE regress_stranger;
SELECT actorstore.get('doc', 'a');
SELECT actorstore.update('doc', 'a', '1');
SELECT actorstore.alter_type('doc', max_attempts => 2);
RESET ROLE;
\set VERBOSITY default
SELECT count(*) FROM actorstore.type_grant WHERE grantee = 'regress_both'::regrole AND actor_type = 'doc';

-- Read given before the type is declared gives SELECT once it is, and outlives being unlogged.
SET ROLE regress_owner;
SELECT actorstore.create_type('implicit');
SELECT actorstore.alter_type('implicit', persistence => 'unlogged');
RESET ROLE;
SELECT r AS role, has_table_privilege(r, 'actorstore.actor_implicit', 'SELECT') AS "select", regress_as(r, $$SELECT actorstore.get('implicit', 'a')$$) AS get,
	   regress_as(r, $$SELECT actorstore.update('implicit', 'a', '1')$$) AS update
FROM unnest(ARRAY['regress_owner', 'regress_reader', 'regress_writer', 'regress_both', 'regress_stranger']) AS r;

-- Dropped and made again, a type remembers nobody's rights.
SET ROLE regress_owner;
SELECT actorstore.drop_type('doc');
SELECT actorstore.create_type('doc');
SELECT version FROM actorstore.insert('doc', 'a', '1');
RESET ROLE;
SELECT r AS role, has_table_privilege(r, 'actorstore.actor_doc', 'SELECT') AS "select", regress_as(r, $$SELECT actorstore.get('doc', 'a')$$) AS get
FROM unnest(ARRAY['regress_owner', 'regress_reader', 'regress_both']) AS r;

-- Inside SECURITY DEFINER the rights of the function's owner hold.
CREATE FUNCTION regress_definer() RETURNS jsonb LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp RETURN (actorstore.get('doc', 'a')).value;
ALTER FUNCTION regress_definer() OWNER TO regress_owner;
SET ROLE regress_stranger;
SELECT regress_definer();
RESET ROLE;

DROP FUNCTION regress_definer, regress_as, regress_try(text);
DROP TABLE regress_call;
SELECT actorstore.drop_type(actor_type) FROM (SELECT actor_type FROM actorstore.type ORDER BY 1) AS t;
REVOKE ALL ON DATABASE :"db" FROM regress_owner;
DROP ROLE regress_owner, regress_reader, regress_writer, regress_both, regress_sender, regress_stranger, regress_super, regress_group, regress_member,
	regress_no_inherit, regress_of_owner;
