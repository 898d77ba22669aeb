-- Purses that live on all nodes of a cluster, seen from any of them: state, the consistent read, a transfer over two nodes in
-- one transaction, and a message to another node.
--
--     psql -f examples/remote_actors/purses.sql
--
-- on a node, as a superuser; leaves the type "purse", the function deposit on each node, and here the table receipt behind.

\set ON_ERROR_STOP on
\set QUIET on
\pset pager off
\pset footer off

-- A handler is an ordinary function, and must exist on every node; a type is declared on all nodes at once.
SELECT actorstore.execute_on_nodes($create$
	CREATE FUNCTION deposit(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE
		AS $$ SELECT jsonb_build_object('coins', coalesce((state->>'coins')::int, 0) + (body->>'coins')::int) $$
$create$) \g /dev/null
SELECT actorstore.create_type('purse') \g /dev/null
SELECT actorstore.set_handler('purse', 'deposit', 'deposit(jsonb, jsonb)') \g /dev/null
CREATE TABLE receipt (giver text, taker text, coins int);

\echo Nine purses with ten coins each, wherever they live
SELECT actorstore.insert_many('purse', array_agg(owner), array_agg('{"coins": 10}'::jsonb)) AS purses
FROM unnest('{ada,bob,cy,di,eve,fay,gus,hal,ida}'::text[]) AS owner;
SELECT actorstore.locate('purse', actor_id) AS node, string_agg(actor_id, ' ' ORDER BY actor_id) AS purses FROM actorstore.get_all('purse') GROUP BY 1 ORDER BY 1;

-- One that lives on this node and one that lives on another.
SELECT (array_agg(actor_id ORDER BY actor_id) FILTER (WHERE is_self))[1] AS near, (array_agg(actor_id ORDER BY actor_id) FILTER (WHERE NOT is_self))[1] AS far
FROM actorstore.get_all('purse') JOIN actorstore.node ON node_name = actorstore.locate('purse', actor_id) \gset
SELECT actorstore.locate('purse', :'near') AS here, actorstore.locate('purse', :'far') AS there \gset
\echo :near lives here, on :here, :far on :there

\echo
\echo State is read and written alike, here and there
SELECT version, value FROM actorstore.get('purse', :'far');
SELECT version, value FROM actorstore.patch('purse', :'far', '{"coins": 11}');
SELECT * FROM actorstore.compare_and_swap('purse', :'far', 0, '{"coins": 99}');
SELECT swapped, version FROM actorstore.compare_and_swap('purse', :'far', 1, '{"coins": 10}');

-- Both purses are locked before they are looked at; what is changed on two nodes, and the receipt, commits on all or on none.
CREATE FUNCTION transfer(giver text, taker text, coins int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	purse actorstore.actor;
	before jsonb := '{}';
BEGIN
	FOR purse IN SELECT * FROM actorstore.get_many('purse', ARRAY[giver, taker], lock => 'update') LOOP
		before := before || jsonb_build_object(purse.actor_id, purse.value->'coins');
	END LOOP;
	IF (before->>giver)::int < coins THEN
		RAISE EXCEPTION '% has only % coins', giver, before->>giver USING ERRCODE = 'check_violation';
	END IF;
	PERFORM actorstore.patch('purse', giver, jsonb_build_object('coins', (before->>giver)::int - coins));
	PERFORM actorstore.patch('purse', taker, jsonb_build_object('coins', (before->>taker)::int + coins));
	INSERT INTO receipt VALUES (giver, taker, coins);
END $$;

\echo A transfer over two nodes
BEGIN;
SELECT transfer(:'near', :'far', 3) \g /dev/null
COMMIT;
SELECT state, node_names FROM actorstore.global_transaction WHERE pid = pg_backend_pid();

\echo One that is undone on both, after a savepoint, and one that is refused
BEGIN;
SAVEPOINT before;
SELECT transfer(:'near', :'far', 3) \g /dev/null
ROLLBACK TO before;
COMMIT;
\set ON_ERROR_STOP off
SELECT transfer(:'near', :'far', 8);
\set ON_ERROR_STOP on

\echo
\echo All purses at one moment: ninety coins, whatever others do meanwhile
SELECT count(*) AS purses, sum((value->>'coins')::int) AS coins
FROM actorstore.get_many('purse', '{ada,bob,cy,di,eve,fay,gus,hal,ida}', lock => 'share');
SELECT * FROM receipt;

\echo A message leaves with the transaction that sends it, and is handled where the purse lives
BEGIN;
SELECT actorstore.send('purse', :'far', 'deposit', '{"coins": 5}') >> 48 AS number_of_the_sending_node;
COMMIT;
DO $$
DECLARE
	until timestamptz := clock_timestamp() + interval '1 min';
BEGIN
	WHILE (SELECT sum((value->>'coins')::int) FROM actorstore.get_all('purse')) < 95 AND clock_timestamp() < until LOOP
		COMMIT;
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
SELECT actor_id, version, value FROM actorstore.get_many('purse', ARRAY[:'near', :'far']);
