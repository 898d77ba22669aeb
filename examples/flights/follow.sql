-- What the demo needs to follow the airports: all of them folded into a table, and one shown live.

-- The states as the events tell them; no look at the actors.
CREATE TABLE followed (airport text PRIMARY KEY, value jsonb NOT NULL, version bigint NOT NULL);

-- Takes the next events, folds them in, and acknowledges them, all in one transaction; returns how many there were. A
-- later event of an airport replaces an earlier one, and each must continue where the ones before it ended.
CREATE FUNCTION fold(max_events int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	n bigint;
	last text;
	misfits bigint;
BEGIN
	CREATE TEMP TABLE IF NOT EXISTS event (LIKE actorstore.change_event) ON COMMIT DELETE ROWS;
	INSERT INTO event SELECT * FROM actorstore.fetch('airports', max_events);
	SELECT count(*), max(sequence COLLATE "C") INTO n, last FROM event;
	IF n = 0 THEN
		RETURN 0;
	END IF;

	SELECT count(*) INTO misfits
	FROM (SELECT actor_id, previous_version, lag(new_version) OVER (PARTITION BY actor_id ORDER BY sequence COLLATE "C") AS before FROM event) AS e
		LEFT JOIN followed AS f ON f.airport = e.actor_id
	WHERE previous_version IS DISTINCT FROM coalesce(e.before, f.version);
	IF misfits > 0 THEN
		RAISE EXCEPTION '% events do not continue the ones before them', misfits;
	END IF;

	INSERT INTO followed
	SELECT DISTINCT ON (actor_id) actor_id, new_value, new_version FROM event ORDER BY actor_id, sequence COLLATE "C" DESC
	ON CONFLICT (airport) DO UPDATE SET value = excluded.value, version = excluded.version;
	PERFORM actorstore.ack('airports', last);
	RETURN n;
END $$;

-- What has happened at one airport, as lines to read; waits a little for something to happen.
CREATE FUNCTION show() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	e actorstore.change_event;
BEGIN
	FOR e IN SELECT * FROM actorstore.fetch('one airport', 100, '1 s') LOOP
		RETURN NEXT format('%s version %s: %s departures, %s arrivals, %s minutes late in all', e.actor_id, e.new_version,
			e.new_value ->> 'departures', e.new_value ->> 'arrivals', e.new_value ->> 'total_delay');
	END LOOP;
	IF e.sequence IS NOT NULL THEN
		PERFORM actorstore.ack('one airport', e.sequence);
	END IF;
END $$;

SELECT actorstore.subscribe('airports', actor_types => '{airport}') \g /dev/null
SELECT actorstore.subscribe('one airport', actor_types => '{airport}', key_prefix => 'BRW') \g /dev/null
