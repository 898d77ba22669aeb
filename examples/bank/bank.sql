-- A bank: accounts are actors, a transfer is a message, and the ledger is the bank's own table. Whatever happens, the money
-- in all accounts stays the same, and the ledger says where it went.
--
--     psql -f examples/bank/bank.sql
--
-- in a database where the extension may be created; leaves the types "account" and the table ledger behind.

\set ON_ERROR_STOP on
\set QUIET on
CREATE EXTENSION IF NOT EXISTS actorstore;
SELECT actorstore.create_type('account', mailbox_limit => 1000000) \g /dev/null

CREATE TABLE ledger (
	transfer bigint NOT NULL,
	account text NOT NULL,
	amount int NOT NULL,		-- negative: taken out
	PRIMARY KEY (transfer, account, amount)
);

-- {"to": account, "amount": n}: takes the money out, sends it on, and writes it down: all of it, or nothing. An account
-- that has not enough refuses: the message becomes a dead letter, and nothing of what its handler did remains.
CREATE FUNCTION withdraw(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	me record := actorstore.context();
	balance int := coalesce((state->>'balance')::int, 0) - (body->>'amount')::int;
BEGIN
	IF balance < 0 THEN
		PERFORM actorstore.reject('not enough money');
		RETURN NULL;
	END IF;
	INSERT INTO ledger VALUES (me.message_id, me.actor_id, -(body->>'amount')::int);
	PERFORM actorstore.send('account', body->>'to', 'deposit', jsonb_build_object('amount', body->'amount'),
		headers => jsonb_build_object('transfer', me.message_id), priority => 3);	-- before withdrawals that wait
	RETURN jsonb_build_object('balance', balance);
END $$;

CREATE FUNCTION deposit(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	me record := actorstore.context();
BEGIN
	INSERT INTO ledger VALUES (coalesce((me.headers->>'transfer')::bigint, me.message_id), me.actor_id, (body->>'amount')::int);
	RETURN jsonb_build_object('balance', coalesce((state->>'balance')::int, 0) + (body->>'amount')::int);
END $$;

SELECT actorstore.set_handler('account', 'withdraw', 'withdraw(jsonb, jsonb)') \g /dev/null
SELECT actorstore.set_handler('account', 'deposit', 'deposit(jsonb, jsonb)') \g /dev/null

-- Waits till no mail is left; messages send messages.
CREATE PROCEDURE settle() LANGUAGE plpgsql AS $$
BEGIN
	WHILE EXISTS (SELECT FROM actorstore.mailbox WHERE actor_type = 'account') LOOP
		COMMIT;
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;

-- A thousand accounts with 1,000 each.
SELECT actorstore.send_many('account', array_agg('a' || n), 'deposit', array_agg('{"amount": 1000}'::jsonb)) FROM generate_series(1, 1000) AS n \g /dev/null
CALL settle();

-- 20,000 transfers of up to 100 between accounts chosen by chance, a hundred to a transaction.
CREATE PROCEDURE transfer(batches int) LANGUAGE plpgsql AS $$
BEGIN
	FOR batch IN 1 .. batches LOOP
		PERFORM actorstore.send_many('account', array_agg('a' || 1 + floor(random() * 1000)::int), 'withdraw',
			array_agg(jsonb_build_object('to', 'a' || 1 + floor(random() * 1000)::int, 'amount', 1 + floor(random() * 100)::int)))
		FROM generate_series(1, 100);
		COMMIT;
	END LOOP;
END $$;

\echo 20,000 transfers
\timing on
CALL transfer(200);
CALL settle();
\timing off

-- The money is all there, no account owes any, and the ledger agrees with each.
SELECT count(*) AS accounts, sum((value->>'balance')::int) AS money, min((value->>'balance')::int) AS poorest,
	(SELECT count(*) FROM actorstore.dead_letter WHERE actor_type = 'account' AND reason = 'rejected') AS refused,
	(SELECT (count(*) - 1000) / 2 FROM ledger) AS transferred,
	count(*) FILTER (WHERE (value->>'balance')::int <> (SELECT sum(amount) FROM ledger WHERE account = actor_id)) AS differ_from_ledger
FROM actorstore.actor_account;
