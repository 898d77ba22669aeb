-- Parallel workers: what writes or waits is for leaders only, and refuses a function that is wrongly said to be safe.
SELECT p.oid::regprocedure FROM pg_proc AS p WHERE pronamespace = 'actorstore'::regnamespace AND proparallel <> 'u' AND NOT starts_with(proname, 'vclock') ORDER BY 1;

SET client_min_messages = warning;
CREATE FUNCTION regress_wait(condition text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	holds boolean;
BEGIN
	FOR i IN 1 .. 18000 LOOP
		EXECUTE 'SELECT ' || condition INTO holds;
		IF holds THEN RETURN true; END IF;
		PERFORM pg_sleep(0.01);
	END LOOP;
	RETURN false;
END $$;
CREATE FUNCTION regress_add(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql PARALLEL SAFE
	RETURN to_jsonb(coalesce(state::int, 0) + body::int);
SELECT actorstore.create_type('parallel'), actorstore.set_handler('parallel', '*', 'regress_add(jsonb, jsonb)');
SELECT count(actorstore.put('parallel', i::text, '0')) FROM generate_series(1, 9) AS i;
CREATE ROLE regress_parallel;

-- A function that lies.  It does run in a worker.
CREATE FUNCTION regress_lie(statement text) RETURNS text LANGUAGE plpgsql PARALLEL SAFE AS $$
DECLARE
	answer text;
BEGIN
	EXECUTE statement INTO answer;
	RETURN answer;
END $$;
SELECT count(set_config(name, 'on', false)) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');
SELECT pg_backend_pid() AS leader \gset
SELECT regress_lie('SELECT pg_backend_pid()')::int <> :leader AS in_a_worker;

-- Reads may be there.
SELECT regress_lie($$SELECT value FROM actorstore.get('parallel', '1')$$);
SELECT regress_lie($$SELECT count(*) FROM actorstore.get_all('parallel')$$);
SELECT regress_lie($$SELECT string_agg(actor_id, ' ') FROM actorstore.list('parallel', max_rows => 3)$$);
SELECT regress_lie($$SELECT count(*) FROM actorstore.get_many('parallel', '{1,2}')$$);

\set VERBOSITY sqlstate
-- Nothing that writes or waits
SELECT regress_lie($$SELECT actorstore.ask('parallel', '1', 'm', '1')$$);
SELECT regress_lie($$SELECT actorstore.tell('parallel', '1', 'm', '1')$$);
SELECT regress_lie($$SELECT actorstore.call('parallel', '1', 'm', '1')$$);
SELECT regress_lie($$SELECT actorstore.send('parallel', '1', 'm', '1')$$);
SELECT regress_lie($$SELECT actorstore.send_many('parallel', '{1}', 'm', '{1}')$$);
SELECT regress_lie($$SELECT actorstore.cancel(1)$$);
SELECT regress_lie($$SELECT actorstore.set_timer('parallel', '1', 'n', 'm', after => '1 day')$$);
SELECT regress_lie($$SELECT actorstore.cancel_timer('parallel', '1', 'n')$$);
SELECT regress_lie($$SELECT actorstore.insert('parallel', 'x', '1')$$);
SELECT regress_lie($$SELECT actorstore.put('parallel', '1', '1')$$);
SELECT regress_lie($$SELECT actorstore.update('parallel', '1', '1')$$);
SELECT regress_lie($$SELECT actorstore.patch('parallel', '1', '1')$$);
SELECT regress_lie($$SELECT actorstore.delete('parallel', '1')$$);
SELECT regress_lie($$SELECT actorstore.get_many('parallel', '{1}', 'share')$$);
SELECT regress_lie($$SELECT actorstore.put_many('parallel', '{1}', '{1}')$$);
SELECT regress_lie($$SELECT actorstore.pause('parallel', '1')$$);
SELECT regress_lie($$SELECT actorstore.pause('parallel')$$);
SELECT regress_lie($$SELECT actorstore.resume('parallel')$$);
SELECT regress_lie($$SELECT actorstore.redrive('parallel')$$);
SELECT regress_lie($$SELECT actorstore.purge_dead_letters('parallel', 'infinity')$$);
SELECT regress_lie($$SELECT actorstore.supervise('parallel', '1', 'parallel', '2')$$);
SELECT regress_lie($$SELECT actorstore.unsupervise('parallel', '2')$$);
SELECT regress_lie($$SELECT actorstore.purge_supervision_log('parallel', 'infinity')$$);
SELECT regress_lie($$SELECT actorstore.join_group('g', 'parallel', '1')$$);
SELECT regress_lie($$SELECT actorstore.leave_group('g', 'parallel', '1')$$);
SELECT regress_lie($$SELECT actorstore.broadcast('g', 'm')$$);
SELECT regress_lie($$SELECT actorstore.create_type('parallel2')$$);
SELECT regress_lie($$SELECT actorstore.alter_type('parallel', max_attempts => 3)$$);
SELECT regress_lie($$SELECT actorstore.drop_type('parallel')$$);
SELECT regress_lie($$SELECT actorstore.set_handler('parallel', '*', NULL)$$);
SELECT regress_lie($$SELECT actorstore.grant_type('parallel', 'regress_parallel', '{read}')$$);
SELECT regress_lie($$SELECT actorstore.revoke_type('parallel', 'regress_parallel', '{read}')$$);
-- What is for handlers
SELECT regress_lie($$SELECT actorstore.spawn('parallel', 'x', '1')$$);
SELECT regress_lie($$SELECT actorstore.reply('1')$$);
SELECT regress_lie($$SELECT actorstore.stop()$$);
SELECT regress_lie($$SELECT actorstore.link('parallel', '1')$$);
SELECT regress_lie($$SELECT actorstore.monitor('parallel', '1')$$);
SELECT regress_lie($$SELECT actorstore.reject('no')$$);
SELECT regress_lie($$SELECT actorstore.retry_after('1 s')$$);
SELECT regress_lie($$SELECT actorstore.context()$$);
\set VERBOSITY default

-- Nothing of it has had an effect, and in a leader all goes on.
SELECT count(*), sum(value::int), sum(version) FROM actorstore.actor_parallel;
SELECT count(*) FROM actorstore.mailbox WHERE actor_type = 'parallel';
SELECT actorstore.ask('parallel', '1', 'm', '1', timeout => '3 min'), actorstore.call('parallel', '1', 'm', '1');
SELECT actorstore.tell('parallel', '2', 'm', '1'), actorstore.send('parallel', '3', 'm', '1') > 0 AS sent;
SELECT regress_wait($$(SELECT sum(value::int) = 4 FROM actorstore.actor_parallel)$$);
SELECT count(actorstore.call('parallel', i::text, 'm', '1')) FROM generate_series(4, 9) AS i;

SELECT count(set_config(name, 'off', false)) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');
SELECT actorstore.drop_type('parallel');
DROP ROLE regress_parallel;
DROP FUNCTION regress_lie(text), regress_wait(text), regress_add(jsonb, jsonb);
