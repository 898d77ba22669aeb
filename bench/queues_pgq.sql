-- PGQ for the benchmarks of queues: one queue, one consumer.
CREATE EXTENSION pgq;
SELECT pgq.create_queue('bench'), pgq.register_consumer('bench', 'bench'),
	pgq.set_queue_config('bench', 'ticker_max_lag', '100 ms');

-- Handles a batch; returns how many events it had, or -1 if there is no batch. event_by_event: an UPDATE each, as a
-- handler would be called; otherwise summed up first, which only a handler that can be written so may do.
CREATE FUNCTION pgq_handle(event_by_event boolean) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	batch bigint := pgq.next_batch('bench', 'bench');
	actor_id text;
	n_taken int := 0;
BEGIN
	IF batch IS NULL THEN
		RETURN -1;
	END IF;
	IF event_by_event THEN
		FOR actor_id IN SELECT ev_extra1 FROM pgq.get_batch_events(batch) LOOP
			UPDATE counter SET n = n + 1 WHERE id = actor_id;
			n_taken := n_taken + 1;
		END LOOP;
	ELSE
		WITH sums AS (SELECT ev_extra1, count(*) AS n FROM pgq.get_batch_events(batch) GROUP BY 1),
			counted AS (UPDATE counter SET n = counter.n + sums.n FROM sums WHERE counter.id = ev_extra1)
		SELECT coalesce(sum(n), 0) FROM sums INTO n_taken;
	END IF;
	PERFORM pgq.finish_batch(batch);
	RETURN n_taken;
END $$;

-- Handles all there is, a batch a transaction, and says what was done when; or stops at a time.
CREATE PROCEDURE drain_pgq(event_by_event boolean, until timestamptz) LANGUAGE plpgsql AS $$
DECLARE
	n_taken int;
BEGIN
	RAISE INFO '% 0', extract(epoch FROM clock_timestamp());
	LOOP
		n_taken := pgq_handle(event_by_event);
		COMMIT;
		EXIT WHEN n_taken < 0;
		RAISE INFO '% %', extract(epoch FROM clock_timestamp()), n_taken;
		EXIT WHEN clock_timestamp() > until;
	END LOOP;
END $$;
