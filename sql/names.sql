-- Types of any name: the partition gets a name that is safe and unique, and everything works on it.
CREATE TEMP TABLE odd (place int GENERATED ALWAYS AS IDENTITY, name text);
INSERT INTO odd (name) VALUES
	('plain'), ('with_underscore'), ('x1'), ('select'), ('table'), ('user'), ('all'), ('undeclared'), ('actor'), ('type'), ('actor_plain'),
	('Upper'), ('upper'), ('UPPER'), ('with space'), (' '), ('  '), ('trailing '), ('''quoted'''), ('"double"'), ('back\slash'), ('semi;colon'), ('--'), ('/*'),
	('$'), ('$$'), ('%s'), ('%n$s'), (E'line\nbreak'), (E'\t'), ('dot.dot'), ('dot'), ('a.b'), ('a_b'), ('a b'), ('a-b'), ('1'), ('1a'), ('_'), ('__'),
	('ä'), ('Ä'), ('ñandú'), ('日本語'), ('😀'), (repeat('日', 20)), (repeat('日', 21)), (repeat('日', 170)), (repeat('日', 170) || 'a'), (repeat('日', 170) || 'b'),
	(repeat('x', 56)), (repeat('x', 57)), (repeat('x', 58)), (repeat('x', 63)), (repeat('x', 64)), (repeat('x', 500)), (repeat('x', 499) || 'y'), (repeat('x', 512)),
	(repeat('"', 500)), (repeat('''', 500)), (repeat(' ', 500)), ('plain_pkey'), ('plain_idx'), ('NULL'), ('null'), ('DEFAULT'), ('pg_class'), ('actorstore');
SELECT count(*), count(DISTINCT name) FROM odd;

-- An actor each while they are undeclared.
SELECT count(*) FROM odd, LATERAL actorstore.insert(odd.name, odd.name, to_jsonb(odd.name));
SELECT count(*), count(DISTINCT actor_type) FROM actorstore.undeclared;
-- Every second is declared, and thereby moved; then a second actor each.
SELECT count(*) FROM (SELECT actorstore.create_type(name) FROM odd WHERE place % 2 = 0 ORDER BY place OFFSET 0) AS c;
SELECT count(*) FROM odd, LATERAL actorstore.put(odd.name, 'second', to_jsonb(odd.place));
-- Then the rest.
SELECT count(*) FROM (SELECT actorstore.create_type(name) FROM odd WHERE place % 2 = 1 ORDER BY place OFFSET 0) AS c;
SELECT count(*) FROM actorstore.undeclared;
SELECT count(*), count(DISTINCT actorstore.type_table(name)) AS tables,
	   count(*) FILTER (WHERE (SELECT relname FROM pg_class WHERE oid = actorstore.type_table(name)) LIKE 'actor\_%') AS start_as_agreed,
	   count(*) FILTER (WHERE (SELECT relname FROM pg_class WHERE oid = actorstore.type_table(name)) ~ '^[a-z_][a-z0-9_]*$') AS need_no_quotes
FROM odd;
-- Plain lower-case names keep theirs.
SELECT name, actorstore.type_table(name) FROM odd WHERE name ~ '^[a-z_][a-z0-9_]*$' AND length(name) <= 57 ORDER BY place;

-- Each finds its own, by each way.
SELECT count(*) FROM odd, LATERAL actorstore.get(odd.name, odd.name) AS g WHERE g.value = to_jsonb(odd.name) AND g.actor_type = odd.name AND g.version = 0;
SELECT count(*) FROM odd, LATERAL actorstore.update(odd.name, 'second', '"updated"') AS u WHERE u.version = 1 AND u.actor_type = odd.name;
SELECT count(*) FROM odd, LATERAL actorstore.list(odd.name) AS l WHERE l.actor_type = odd.name;
SELECT count(*) FROM odd JOIN actorstore.actor AS a ON a.actor_type = odd.name WHERE a.tableoid = actorstore.type_table(odd.name);
SELECT count(*) FROM odd, LATERAL actorstore.delete(odd.name, 'second') AS d WHERE d.value = '"updated"';
SELECT count(*) FROM odd, LATERAL actorstore.insert_many(odd.name, '{third,fourth}', '{3,4}') AS n WHERE n = 2;

-- All the rest of section 2 on them.
CREATE FUNCTION names_handler(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql RETURN body;
CREATE ROLE regress_names;
SELECT count(*) FROM (SELECT actorstore.alter_type(name, max_attempts => 2, persistence => 'unlogged') FROM odd OFFSET 0) AS a;
SELECT count(*) FROM (SELECT actorstore.grant_type(name, 'regress_names', '{read}') FROM odd OFFSET 0) AS g;
SELECT count(*) FROM (SELECT actorstore.set_handler(name, name, 'names_handler(jsonb, jsonb)') FROM odd WHERE name !~ '^\$' OFFSET 0) AS h;
SET ROLE regress_names;
SELECT count(*) FROM actorstore.get('"double"', '"double"');
SELECT actor_id, value FROM actorstore.list('''quoted''');
RESET ROLE;
SELECT count(*) FROM odd JOIN pg_class ON pg_class.oid = actorstore.type_table(name) WHERE relpersistence = 'u' AND has_table_privilege('regress_names', pg_class.oid, 'SELECT');
SELECT count(*) FROM odd JOIN actorstore.type ON actor_type = name WHERE max_attempts = 2 AND declared;
SELECT count(*) FROM odd JOIN actorstore.handler ON actor_type = name AND message = name;

-- A type whose name is that of another's partition, and one whose table's name is taken already.
SELECT actorstore.create_type('plain2');
CREATE TABLE actorstore.actor_taken (a int);
SELECT actorstore.create_type('taken');
SELECT version FROM actorstore.insert('taken', 'a', '1');
SELECT actorstore.type_table('taken') <> 'actorstore.actor_taken'::regclass AS another, (SELECT relkind FROM pg_class WHERE oid = actorstore.type_table('taken'));
SELECT count(*) FROM actorstore.actor_taken;
DROP TABLE actorstore.actor_taken;
CREATE TYPE actorstore.actor_word AS ENUM ('a');
SELECT actorstore.create_type('word');
SELECT version FROM actorstore.insert('word', 'a', '1');
SELECT actorstore.drop_type('word');
DROP TYPE actorstore.actor_word;

-- Types whose tables have been renamed: to whoever reads all anew they are not there, nor can they be dropped, till they are renamed back.
SELECT actorstore.create_type('renamed'), actorstore.create_type(E'o''d\\d');
SELECT relname AS odd_table FROM pg_class WHERE oid = actorstore.type_table(E'o''d\\d') \gset
ALTER TABLE actorstore.actor_renamed RENAME TO "else where";
ALTER TABLE actorstore.:"odd_table" RENAME TO elsewhere;
UPDATE actorstore.type SET declared = declared WHERE actor_type = 'renamed';	-- all is read anew
SELECT actorstore.get('renamed', 'a');
SELECT actorstore.drop_type('renamed');
\set VERBOSITY sqlstate
SELECT actorstore.drop_type(E'o''d\\d');
\set VERBOSITY default
ALTER TABLE actorstore."else where" RENAME TO actor_renamed;
ALTER TABLE actorstore.elsewhere RENAME TO :"odd_table";
SELECT version FROM actorstore.put('renamed', 'a', '1');
SELECT actorstore.drop_type('renamed'), actorstore.drop_type(E'o''d\\d');

-- Messages name them in quotes, cut nothing in the middle of a character, and are whole otherwise.
\set VERBOSITY terse
SELECT actorstore.update('ñandú', 'né', '1');
SELECT actorstore.create_type('with space');
SELECT actorstore.update(repeat('日', 170) || 'c', 'a', '1');
\set VERBOSITY default

SELECT count(*) FROM (SELECT actorstore.drop_type(actor_type) FROM (SELECT actor_type FROM actorstore.type ORDER BY 1) AS t OFFSET 0) AS d;
SELECT (SELECT count(*) FROM actorstore.actor) AS actors, (SELECT array_agg(inhrelid::regclass) FROM pg_inherits WHERE inhparent = 'actorstore.actor'::regclass) AS partitions;
DROP ROLE regress_names;
DROP FUNCTION names_handler;
