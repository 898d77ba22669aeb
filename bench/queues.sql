-- What the benchmarks of queues run against the server: messages, the counters of the peers, and the peers' consumers.
-- Those of PGQ are in bench/queues_pgq.sql.

-- A message's body of some 100 bytes.
CREATE FUNCTION body_of(number bigint) RETURNS jsonb LANGUAGE sql STABLE AS $$
	SELECT jsonb_build_object('number', number, 'customer', md5(number::text), 'note', 'leave at the door')
$$;

-- Messages for producers: 100 batches of 100 for 1,000 actors chosen at random, made once, uncompressed.
CREATE TABLE batch (n int PRIMARY KEY, ids text[] NOT NULL, bodies jsonb[] NOT NULL, texts text[] NOT NULL);
ALTER TABLE batch ALTER ids SET STORAGE EXTERNAL, ALTER bodies SET STORAGE EXTERNAL, ALTER texts SET STORAGE EXTERNAL;
INSERT INTO batch
	SELECT m / 100, array_agg((1 + floor(random() * 1000))::int::text), array_agg(body_of(m)), array_agg(body_of(m)::text)
	FROM generate_series(0, 9999) AS m GROUP BY 1;
VACUUM ANALYZE batch;

-- ---- actorstore: the same counter as a state, by handlers in two languages; that in C is bench/plugin/handler.c --------

CREATE FUNCTION count_plpgsql(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	RETURN jsonb_build_object('count', coalesce((state->>'count')::bigint, 0) + 1);
END $$;

CREATE FUNCTION count_many(state jsonb, bodies jsonb[]) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	RETURN jsonb_build_object('count', coalesce((state->>'count')::bigint, 0) + cardinality(bodies));
END $$;
CREATE FUNCTION count_sql(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('count', coalesce((state->>'count')::bigint, 0) + 1)
$$;

-- How far a type has got: an INFO every 20 ms until all messages are handled. The numbers come from shared memory. It commits each time: a
-- snapshot that stays for the whole drain would keep old versions of all states from being pruned, and few updates would be HOT.
CREATE PROCEDURE progress(wanted_type text, messages bigint)
LANGUAGE plpgsql AS $$
DECLARE
	since timestamptz := clock_timestamp();
	reached bigint := -1;
	so_far bigint;
BEGIN
	LOOP
		so_far := coalesce((SELECT s.handled FROM actorstore.stat_types AS s WHERE s.actor_type = wanted_type), 0);
		COMMIT;
		RAISE INFO '%|%', extract(epoch FROM clock_timestamp()), so_far;
		EXIT WHEN so_far >= messages;
		IF so_far > reached THEN
			reached := so_far;
			since := clock_timestamp();
		ELSIF clock_timestamp() > since + interval '20 s' THEN
			RAISE 'stuck: % of % messages of % are handled', so_far, messages, wanted_type;
		END IF;
		PERFORM pg_sleep(0.02);
		COMMIT;
	END LOOP;
END $$;

-- ---- The peers' counters, and a table with SKIP LOCKED ---------------------------------------------------------------

CREATE TABLE counter (id text PRIMARY KEY, n bigint NOT NULL) WITH (fillfactor = 50);
CREATE TABLE queue (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, actor_id text NOT NULL, body jsonb NOT NULL);

-- Takes so many messages and counts them, one by one, in the order of the actors, so that consumers do not deadlock.
-- It uses the index whatever the planner knew of the table when it made the plan: it may have been empty.
CREATE FUNCTION handle_some(max_messages int) RETURNS int LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
	id_taken text;
	n_taken int := 0;
BEGIN
	FOR id_taken IN
		WITH taken AS (DELETE FROM queue WHERE id = ANY (ARRAY(
				SELECT id FROM queue ORDER BY id LIMIT max_messages FOR UPDATE SKIP LOCKED))
			RETURNING actor_id)
		SELECT actor_id FROM taken ORDER BY actor_id
	LOOP
		UPDATE counter SET n = n + 1 WHERE id = id_taken;
		n_taken := n_taken + 1;
	END LOOP;
	RETURN n_taken;
END $$;

-- Empties the table, 100 messages a transaction, and says what was done when; or stops at a time.
CREATE PROCEDURE drain_handmade(until timestamptz) LANGUAGE plpgsql AS $$
DECLARE
	n_taken int;
BEGIN
	RAISE INFO '% 0', extract(epoch FROM clock_timestamp());
	LOOP
		n_taken := handle_some(100);
		COMMIT;
		EXIT WHEN n_taken = 0;
		RAISE INFO '% %', extract(epoch FROM clock_timestamp()), n_taken;
		EXIT WHEN clock_timestamp() > until;
	END LOOP;
END $$;
