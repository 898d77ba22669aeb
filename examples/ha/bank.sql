-- On both primaries: what clients call, and what is kept of it to be counted. The tables are the node's own.
SET ROLE teller;
CREATE SCHEMA bank;
SET search_path = bank;
CREATE TABLE transfer (client text, number bigint);		-- made here
CREATE TABLE note (client text, number bigint);			-- handled here
CREATE TABLE followed (actor_id text PRIMARY KEY, value jsonb, version bigint);		-- what events say

-- Money goes from one account to another, wherever they are, and a note to each of them, in one transaction.
CREATE FUNCTION transfer(client text, number bigint, source text, target text, amount int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	balance jsonb;
BEGIN
	SELECT jsonb_object_agg(actor_id, value->'balance') INTO balance
	FROM actorstore.get_many('account', ARRAY[source, target], lock => 'update');
	PERFORM actorstore.patch('account', source, jsonb_build_object('balance', (balance->>source)::int - amount)),
		actorstore.patch('account', target, jsonb_build_object('balance', (balance->>target)::int + amount)),
		actorstore.send('book', 'of ' || source, 'note', jsonb_build_object('client', client, 'number', number)),
		actorstore.send('book', 'of ' || target, 'note', jsonb_build_object('client', client, 'number', number));
	INSERT INTO bank.transfer VALUES (client, number);
END $$;

CREATE FUNCTION note(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO bank.note VALUES (body->>'client', (body->>'number')::bigint);
	RETURN to_jsonb(coalesce(state::int, 0) + 1);
END $$;

-- The next events, folded into the table; true if there were any.
CREATE FUNCTION follow() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	event record;
	seen text;
BEGIN
	FOR event IN SELECT * FROM actorstore.fetch('accounts', 1000, '1 s') LOOP
		INSERT INTO bank.followed VALUES (event.actor_id, event.new_value, event.new_version)
		ON CONFLICT (actor_id) DO UPDATE SET value = excluded.value, version = excluded.version;
		seen := event.sequence;
	END LOOP;
	IF seen IS NOT NULL THEN
		PERFORM actorstore.ack('accounts', seen);
	END IF;
	RETURN seen IS NOT NULL;
END $$;
