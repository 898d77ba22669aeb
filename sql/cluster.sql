-- A cluster of one node: identity, places, maps of slots. In a database of its own.
SELECT current_database() AS db \gset
CREATE DATABASE regress_actorstore_cluster TEMPLATE template0 ENCODING 'UTF8';
\c regress_actorstore_cluster
SET client_min_messages = warning;
CREATE EXTENSION actorstore;
\set VERBOSITY terse

-- No node yet.
SELECT count(*) FROM actorstore.node;
SELECT count(*) FROM actorstore.placement;
SELECT actorstore.locate('cart', 'a');
SELECT actorstore.replicas('cart', 'a', 1);

-- Names, and who may.
SELECT actorstore.init_node(NULL);
SELECT actorstore.init_node('');
SELECT actorstore.init_node(repeat('n', 64));
SELECT actorstore.init_node(E'two\nlines');
CREATE ROLE regress_cluster;
SET ROLE regress_cluster;
SELECT actorstore.init_node('mine');
RESET ROLE;
GRANT EXECUTE ON FUNCTION actorstore.init_node(text, text) TO regress_cluster;
SET ROLE regress_cluster;
SELECT actorstore.init_node('mine');
RESET ROLE;
BEGIN READ ONLY;
SELECT actorstore.init_node('a');
ROLLBACK;

-- Undone.
BEGIN;
SELECT actorstore.init_node('undone');
SELECT actorstore.locate('cart', 'a');
ROLLBACK;
SELECT actorstore.locate('cart', 'a');
BEGIN;
SAVEPOINT s;
SELECT actorstore.init_node('undone');
SELECT actorstore.locate('cart', 'a');
ROLLBACK TO s;
SELECT actorstore.locate('cart', 'a');
ROLLBACK;

-- The first node owns everything; above READ COMMITTED as well.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM actorstore.node;
SELECT actorstore.init_node('first');
SELECT actorstore.locate('cart', 'a');
COMMIT;
SELECT node_number, node_name, conninfo, weight, node_uuid IS NOT NULL AS has_uuid, incarnation >> 32 AS incarnation,
	   incarnation & 4294967295 = (SELECT timeline_id FROM pg_control_checkpoint()) AS on_timeline, is_self FROM actorstore.node;
SELECT count(*), min(slot), max(slot), count(DISTINCT slot), min(node_name), max(node_name), min(epoch), max(epoch) FROM actorstore.placement;
SELECT actorstore.locate('cart', 'a'), actorstore.locate('no such type', 'no such actor');
SELECT actorstore.replicas('cart', 'a', 1), actorstore.replicas('cart', 'a', 3);
SELECT actorstore.init_node('again');
SELECT epoch, last_number, node_numbers, weights, cardinality(owners) FROM actorstore.epoch;

-- Slots, as docs/cluster.md has them.
SELECT actorstore.slot_of('cart', 'a'), actorstore.slot_of('cart', 'c-42'), actorstore.slot_of('airport', 'ATL'), actorstore.slot_of('ü', '€'),
	   actorstore.slot_of('device', repeat('0123456789', 4));

-- A node whose conninfo nobody knows decides alone, in the transaction at hand.
SELECT actorstore.set_node_weight('first', 7);
SELECT epoch, weights FROM actorstore.epoch ORDER BY epoch;
SELECT actorstore.set_node_weight('first', 100);
SELECT actorstore.set_node_weight('first', 0);
SELECT actorstore.set_node_weight('second', 1);
SELECT actorstore.remove_node('second');
SELECT actorstore.set_node_location('first', 'north', 'r1');
SELECT datacenter, rack FROM actorstore.node;
SELECT actorstore.add_node('second', 'service=second');
SELECT actorstore.add_node('second', 'service=second password=secret');

-- Bad input.
SELECT actorstore.locate(NULL, 'a');
SELECT actorstore.locate('cart', NULL);
SELECT actorstore.locate('cart', '');
SELECT actorstore.locate(repeat('t', 513), 'a');
SELECT actorstore.replicas('cart', 'a', 0);
SELECT actorstore.set_node_location(NULL, 'north');
SELECT actorstore.set_node_location('second', 'north');
\set VERBOSITY default
SELECT actorstore.set_node_location('first', '');
SELECT actorstore.set_node_location('first', repeat('n', 64));
SELECT actorstore.set_node_location('first', 'north', '');
SELECT actorstore.set_node_location('second', NULL);
\set VERBOSITY terse
SELECT actorstore.set_node_location('first', NULL, E'two\nlines');
SELECT datacenter, rack FROM actorstore.node;
SELECT actorstore.set_node_location('first', repeat('n', 63), 'ü');
SELECT datacenter = repeat('n', 63) AS longest, rack FROM actorstore.node;
BEGIN;
SELECT actorstore.set_node_location('first', NULL);
ROLLBACK;
SELECT actorstore.set_node_location('first', NULL);
SELECT datacenter, rack, (SELECT max(epoch) FROM actorstore.epoch) AS epoch FROM actorstore.node;
SELECT actorstore.set_node_location('first', NULL);
SELECT max(epoch) FROM actorstore.epoch;
SELECT actorstore.replicas('cart', 'a', NULL);

-- Everybody may see where slots are, and so actors, not how nodes are reached, and change nothing; who is granted it may ask.
SET ROLE regress_cluster;
SELECT node_name, weight, datacenter, rack FROM actorstore.node;
SELECT count(*) FROM actorstore.placement;
SELECT node_name FROM actorstore.placement WHERE slot = actorstore.slot_of('cart', 'a');
SELECT actorstore.locate('cart', 'a');
SELECT actorstore.replicas('cart', 'a', 1);
RESET ROLE;
GRANT EXECUTE ON FUNCTION actorstore.locate(text, text), actorstore.replicas(text, text, int) TO regress_cluster;
SET ROLE regress_cluster;
SELECT actorstore.locate('cart', 'a'), actorstore.replicas('cart', 'a', 1);
SELECT conninfo FROM actorstore.node;
SELECT owners FROM actorstore.epoch;
INSERT INTO actorstore.node VALUES (2, 'evil', 'host=evil', 1, gen_random_uuid(), 1);
UPDATE actorstore.epoch SET owners = array_fill(2::smallint, '{4096}');
DELETE FROM actorstore.node;
SELECT proposal FROM actorstore.ballot;
SELECT actorstore.add_node('second', 'service=second');
SELECT actorstore.remove_node('first');
SELECT actorstore.set_node_weight('first', 1);
SELECT actorstore.set_node_location('first', 'north');
SELECT actorstore.local_learn('{}');
SELECT actorstore.local_accept(2, 1, '{}');
RESET ROLE;

-- What the tables say is what every session goes by; a place in the order of nodes depends on their weights.
BEGIN;
INSERT INTO actorstore.node VALUES (2, 'second', 'service=second', 100, gen_random_uuid(), 1), (3, 'third', 'service=third', 300, gen_random_uuid(), 1);
INSERT INTO actorstore.epoch SELECT 9, 3, '{1,2,3}', '{100,100,300}', array_agg(CASE WHEN s < 2048 THEN 1 ELSE 2 END::smallint ORDER BY s) FROM generate_series(0, 4095) AS s;
SELECT actorstore.locate('cart', 'a'), actorstore.locate('airport', 'ATL');
SELECT actorstore.replicas('cart', 'a', 1), actorstore.replicas('cart', 'a', 3), cardinality(actorstore.replicas('cart', 'a', 9));
SELECT node_name, count(*), min(slot), max(slot), min(epoch) FROM actorstore.placement GROUP BY 1 ORDER BY 1;
-- The owner first, then the heavier one more often.
SELECT owner = r[1] AS owner_first, bool_and(cardinality(r) = 3 AND r[2] <> r[1] AND r[3] NOT IN (r[1], r[2])) AS all_others,
	   count(*) FILTER (WHERE r[2] = 'third') > 2 * count(*) FILTER (WHERE r[2] <> 'third') AS heavier_next
FROM (SELECT actorstore.locate('cart', i::text) AS owner, actorstore.replicas('cart', i::text, 3) AS r FROM generate_series(1, 2000) AS i) AS x
GROUP BY 1;
-- Labels: other data centres come first, then other racks; owners stay.  The same labels everywhere change nothing, and so does a rack of another data centre.
INSERT INTO actorstore.node VALUES (4, 'fourth', 'service=fourth', 100, gen_random_uuid(), 1), (5, 'fifth', 'service=fifth', 100, gen_random_uuid(), 1);
CREATE TEMPORARY TABLE ring AS SELECT i, actorstore.locate('cart', i::text) AS owner, actorstore.replicas('cart', i::text, 5) AS r FROM generate_series(1, 500) AS i;
UPDATE actorstore.node SET datacenter = 'north', rack = 'r1';
SELECT count(*) FILTER (WHERE actorstore.replicas('cart', i::text, 5) = r) AS as_before FROM ring;
UPDATE actorstore.node SET datacenter = CASE WHEN node_number < 4 THEN 'north' ELSE 'south' END, rack = CASE WHEN node_number IN (1, 4) THEN 'r1' ELSE 'r2' END;
SELECT count(*) FILTER (WHERE actorstore.locate('cart', i::text) = owner AND n[1] = owner) AS owner_first, count(*) FILTER (WHERE cardinality(n) = 5) AS all_nodes,
	   count(*) FILTER (WHERE (n[1] IN ('fourth', 'fifth')) <> (n[2] IN ('fourth', 'fifth'))) AS two_datacenters,
	   count(*) FILTER (WHERE ('fourth' = ANY (n[1:4])) AND ('fifth' = ANY (n[1:4])) AND ('first' = ANY (n[1:4]))) AS four_racks,
	   count(*) FILTER (WHERE n[1:2] = actorstore.replicas('cart', i::text, 2)) AS first_ones_of_more,
	   count(*) FILTER (WHERE n <> r) > 100 AS another_order
FROM (SELECT *, actorstore.replicas('cart', i::text, 5) AS n FROM ring) AS x;
-- Those without a label are one more data centre.
UPDATE actorstore.node SET datacenter = NULL, rack = NULL WHERE node_number < 4;
SELECT count(*) FILTER (WHERE (n[1] IN ('fourth', 'fifth')) <> (n[2] IN ('fourth', 'fifth'))) AS two_datacenters,
	   count(*) FILTER (WHERE ('fourth' = ANY (n[1:3])) AND ('fifth' = ANY (n[1:3]))) AS three_racks
FROM (SELECT actorstore.replicas('cart', i::text, 5) AS n FROM ring) AS x;
ROLLBACK;
SELECT actorstore.locate('cart', 'a'), actorstore.replicas('airport', 'ATL', 3);

-- A copy of the database is no node, until it takes the original's place: then its incarnation is another one.
SELECT node_uuid AS uuid, incarnation AS incarnation FROM actorstore.node \gset
\c postgres
CREATE DATABASE regress_actorstore_clone TEMPLATE regress_actorstore_cluster;
\c regress_actorstore_clone
SELECT actorstore.locate('cart', 'a');
SELECT actorstore.init_node('clone');
SELECT actorstore.unfence();
SELECT actorstore.locate('cart', 'a');
SELECT node_uuid = :'uuid' AS same_node, incarnation > :incarnation AS later FROM actorstore.node;
SELECT actorstore.unfence();
SELECT (incarnation >> 32) - (:incarnation::bigint >> 32) AS raised FROM actorstore.node;
\c postgres
DROP DATABASE regress_actorstore_clone;

-- The extension goes and comes in one session: no node any more.
\c regress_actorstore_cluster
SET client_min_messages = warning;
SELECT actorstore.locate('cart', 'a');
DROP EXTENSION actorstore;
CREATE EXTENSION actorstore;
SELECT actorstore.locate('cart', 'a');
SELECT actorstore.init_node('anew');
SELECT node_name, node_uuid = :'uuid' AS same_node FROM actorstore.node;
DROP ROLE regress_cluster;
\c :db
DROP DATABASE regress_actorstore_cluster;
