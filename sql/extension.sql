-- CREATE EXTENSION takes nothing over; DROP EXTENSION leaves nothing behind. In a database of its own.
SELECT current_database() AS db \gset
CREATE DATABASE regress_actorstore_extension TEMPLATE template0 ENCODING 'UTF8';
\c regress_actorstore_extension
CREATE TEMP TABLE before AS
SELECT 'class' AS kind, oid FROM pg_class WHERE relnamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_(temp|toast)')
UNION ALL SELECT 'type', oid FROM pg_type WHERE typnamespace <> 'pg_toast'::regnamespace UNION ALL SELECT 'function', oid FROM pg_proc UNION ALL SELECT 'schema', oid FROM pg_namespace
UNION ALL SELECT 'operator', oid FROM pg_operator UNION ALL SELECT 'cast', oid FROM pg_cast UNION ALL SELECT 'event trigger', oid FROM pg_event_trigger
UNION ALL SELECT 'extension', oid FROM pg_extension UNION ALL SELECT 'default acl', oid FROM pg_default_acl UNION ALL SELECT 'origin', roident FROM pg_replication_origin;
CREATE VIEW pg_temp.after AS
SELECT 'class' AS kind, oid FROM pg_class WHERE relnamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_(temp|toast)')
UNION ALL SELECT 'type', oid FROM pg_type WHERE typnamespace <> pg_my_temp_schema() AND typnamespace <> 'pg_toast'::regnamespace UNION ALL SELECT 'function', oid FROM pg_proc
UNION ALL SELECT 'schema', oid FROM pg_namespace WHERE oid <> pg_my_temp_schema() AND nspname NOT LIKE 'pg\_toast\_temp%'
UNION ALL SELECT 'operator', oid FROM pg_operator UNION ALL SELECT 'cast', oid FROM pg_cast UNION ALL SELECT 'event trigger', oid FROM pg_event_trigger
UNION ALL SELECT 'extension', oid FROM pg_extension UNION ALL SELECT 'default acl', oid FROM pg_default_acl UNION ALL SELECT 'origin', roident FROM pg_replication_origin;
SELECT count(*) AS left_behind FROM (TABLE pg_temp.after EXCEPT TABLE before) AS d;

-- A schema of that name that is somebody else's, empty or not.
CREATE SCHEMA actorstore;
\set VERBOSITY sqlstate
CREATE EXTENSION actorstore;
CREATE TABLE actorstore.actor (a int);
CREATE EXTENSION actorstore;
DROP TABLE actorstore.actor;
DROP SCHEMA actorstore;
-- Not into a schema of the user's choice.
CREATE SCHEMA elsewhere;
CREATE EXTENSION actorstore SCHEMA elsewhere;
DROP SCHEMA elsewhere;
\set VERBOSITY default
SELECT count(*) AS extensions FROM pg_extension WHERE extname = 'actorstore';

-- Not by an ordinary user.
CREATE ROLE regress_extension;
GRANT CREATE ON DATABASE regress_actorstore_extension TO regress_extension;
SET ROLE regress_extension;
\set VERBOSITY sqlstate
CREATE EXTENSION actorstore;
\set VERBOSITY default
RESET ROLE;

-- Whatever default_tablespace says; it says so still.
SET default_tablespace = pg_default;
CREATE EXTENSION actorstore;
SHOW default_tablespace;
SELECT actorstore.create_type('cart');
DROP EXTENSION actorstore;
RESET default_tablespace;

-- Made, used, dropped, with types, actors, handlers and rights, without CASCADE.
CREATE EXTENSION actorstore;
SELECT nspname FROM pg_namespace WHERE nspname = 'actorstore';
SELECT count(*) AS not_members FROM pg_proc WHERE pronamespace = 'actorstore'::regnamespace
AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = pg_proc.oid AND deptype = 'e');
CREATE FUNCTION handle(jsonb, jsonb) RETURNS jsonb LANGUAGE sql RETURN $1;
SELECT actorstore.create_type('cart'), actorstore.create_type('odd name', 'unlogged'), actorstore.set_handler('cart', '*', 'handle(jsonb, jsonb)'),
	   actorstore.grant_type('cart', 'regress_extension', '{read,write,send,ask}'), actorstore.grant_type('odd name', 'regress_extension', '{read}');
SELECT (actorstore.insert(t, 'a', '1')).version FROM unnest(ARRAY['cart', 'odd name', 'loose']) AS t;
SELECT actorstore.create_type('loose');
SELECT count(*) FROM actorstore.actor;
-- There is one a database.
\set VERBOSITY sqlstate
CREATE EXTENSION actorstore;
\set VERBOSITY default
DROP EXTENSION actorstore;
DROP FUNCTION handle;
SELECT kind, count(*) AS left_behind FROM (TABLE pg_temp.after EXCEPT TABLE before) AS d GROUP BY 1 ORDER BY 1;
SELECT nspname FROM pg_namespace WHERE nspname LIKE '%actorstore%';
SELECT count(*) AS dependencies_of_the_role FROM pg_shdepend WHERE refobjid = 'regress_extension'::regrole AND classid <> 'pg_database'::regclass;

-- A view of the user's on a partition keeps it.
CREATE EXTENSION actorstore;
SELECT count(*) FROM actorstore.actor;
SELECT actorstore.create_type('cart');
CREATE VIEW of_the_user AS SELECT * FROM actorstore.actor_cart;
\set VERBOSITY sqlstate
DROP EXTENSION actorstore;
SELECT actorstore.drop_type('cart');
\set VERBOSITY default
SELECT version FROM actorstore.insert('cart', 'still works', '1');
SELECT actor_id FROM of_the_user;
DROP VIEW of_the_user;
SELECT actorstore.drop_type('cart');
DROP EXTENSION actorstore;

-- Dropped and made again in one transaction, in one session that has used the former one; undone as well.
CREATE EXTENSION actorstore;
SELECT actorstore.create_type('cart');
SELECT version FROM actorstore.insert('cart', 'a', '"first"');
SELECT actorstore.send('cart', 'b', 'add', dedup_key => 'once') > 0 AS sent;
BEGIN;
DROP EXTENSION actorstore;
CREATE EXTENSION actorstore;
SELECT actorstore.get('cart', 'a') IS NULL AS new_one;
SELECT version FROM actorstore.insert('cart', 'a', '"second"');
SELECT actorstore.create_type('cart');
SELECT actorstore.send('cart', 'c', 'add', dedup_key => 'once') > 0 AS sent;
SELECT actor_id FROM actorstore.dedup;
ROLLBACK;
SELECT actorstore.send('cart', 'd', 'add', dedup_key => 'once') > 0 AS sent;
SELECT actor_id FROM actorstore.dedup ORDER BY 1;
SELECT value FROM actorstore.get('cart', 'a');
BEGIN;
DROP EXTENSION actorstore;
CREATE EXTENSION actorstore;
SELECT actorstore.create_type('cart');
SELECT version FROM actorstore.insert('cart', 'a', '"third"');
COMMIT;
SELECT value FROM actorstore.get('cart', 'a');
DROP EXTENSION actorstore;
SELECT kind, count(*) AS left_behind FROM (TABLE pg_temp.after EXCEPT TABLE before) AS d GROUP BY 1 ORDER BY 1;

-- Functions of an extension that is gone.
\set VERBOSITY sqlstate
SELECT actorstore.get('cart', 'a');
\set VERBOSITY default
REVOKE ALL ON DATABASE regress_actorstore_extension FROM regress_extension;
DROP ROLE regress_extension;
\c :db
DROP DATABASE regress_actorstore_extension;
