-- The extension, an actor type for the airports and who answers its messages, and the raw file in a table, to check the
-- actors against.

CREATE EXTENSION actorstore;
SELECT actorstore.create_type('airport', mailbox_limit => 1000000) \g /dev/null

-- A handler is an ordinary function: state and message in, new state out.
CREATE FUNCTION count_flight(state jsonb, delay int, departures int, arrivals int) RETURNS jsonb LANGUAGE sql STABLE AS $$
	SELECT jsonb_build_object(
		'departures', coalesce((state->>'departures')::int, 0) + departures,
		'arrivals', coalesce((state->>'arrivals')::int, 0) + arrivals,
		'total_delay', coalesce((state->>'total_delay')::int, 0) + delay,
		'worst_delay', greatest((state->>'worst_delay')::int, delay))
$$;
CREATE FUNCTION departure(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql STABLE
	AS $$ SELECT count_flight(state, (body->>'delay')::int, 1, 0) $$;
CREATE FUNCTION arrival(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql STABLE
	AS $$ SELECT count_flight(state, (body->>'delay')::int, 0, 1) $$;
SELECT actorstore.set_handler('airport', 'departure', 'departure(jsonb, jsonb)') \g /dev/null
SELECT actorstore.set_handler('airport', 'arrival', 'arrival(jsonb, jsonb)') \g /dev/null

-- What the replaying clients call: the batch's messages and the note that it is sent commit together. A client that has
-- lost its connection calls it again, and the note says whether there is anything left to do.
CREATE TABLE sent_batch (batch bigint PRIMARY KEY);
CREATE FUNCTION send_batch(new_batch bigint, origins text[], destinations text[], bodies jsonb[]) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO sent_batch VALUES (new_batch) ON CONFLICT DO NOTHING;
	IF NOT FOUND THEN
		RETURN false;
	END IF;
	PERFORM actorstore.send_many('airport', origins, 'departure', bodies);
	PERFORM actorstore.send_many('airport', destinations, 'arrival', bodies);
	RETURN true;
END $$;

CREATE TABLE flight
(
	date        text NOT NULL,		-- MMDDhhmm
	delay       int NOT NULL,		-- minutes, negative: early
	distance    int NOT NULL,		-- miles
	origin      text NOT NULL,
	destination text NOT NULL
);
\copy flight FROM PROGRAM 'gzip -dc examples/flights/flights-200k.csv.gz' WITH (FORMAT csv, HEADER)

-- What the airports' states must be: one aggregate over the file. Every flight counts at both of its ends.
CREATE VIEW airport_from_file AS
SELECT airport,
	count(*) FILTER (WHERE departs) AS departures,
	count(*) FILTER (WHERE NOT departs) AS arrivals,
	sum(delay) AS total_delay,
	max(delay) AS worst_delay
FROM flight, LATERAL (VALUES (origin, true), (destination, false)) AS flight_end (airport, departs)
GROUP BY airport;

-- And what they are.
CREATE VIEW airport_check AS
SELECT coalesce(a.actor_id, f.airport) AS airport, a.version, a.value,
	to_jsonb(f) - 'airport' AS expected,
	coalesce(a.value = to_jsonb(f) - 'airport', false) AS agrees
FROM actorstore.actor_airport a
FULL JOIN airport_from_file f ON f.airport = a.actor_id;
