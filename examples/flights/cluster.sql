-- On every node of the cluster that `make demo-cluster` makes: the flights to choose from; a flight, which takes one aircraft
-- from its origin to its destination, wherever these two airports live; and what an airport does when it hears of one.

CREATE TABLE flight
(
	n           int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	date        text NOT NULL,
	delay       int NOT NULL,
	distance    int NOT NULL,
	origin      text NOT NULL,
	destination text NOT NULL
);
\copy flight (date, delay, distance, origin, destination) FROM PROGRAM 'gzip -dc examples/flights/flights-200k.csv.gz' WITH (FORMAT csv, HEADER)
ANALYZE flight;

-- The aircraft is moved in this transaction, on one node, two or three; the message goes with it, and arrives later.
-- True if it has flown: not where there is no aircraft. Both airports are locked before they are looked at.
CREATE FUNCTION fly() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	any_one int := 1 + floor(random() * 200000);
	f flight;
	airport actorstore.actor;
	at_origin jsonb;
	at_destination jsonb;
BEGIN
	SELECT * INTO f FROM flight WHERE n = any_one;
	FOR airport IN SELECT * FROM actorstore.get_many('airport', ARRAY[f.origin, f.destination], lock => 'update') LOOP
		IF airport.actor_id = f.origin THEN
			at_origin := airport.value;
		ELSE
			at_destination := airport.value;
		END IF;
	END LOOP;
	IF (at_origin->>'aircraft')::int = 0 OR f.origin = f.destination THEN
		RETURN false;
	END IF;
	PERFORM actorstore.patch('airport', f.origin, jsonb_build_object('aircraft', (at_origin->>'aircraft')::int - 1, 'departures', (at_origin->>'departures')::int + 1));
	PERFORM actorstore.patch('airport', f.destination, jsonb_build_object('aircraft', (at_destination->>'aircraft')::int + 1));
	PERFORM actorstore.send('airport', f.destination, 'arrival', jsonb_build_object('origin', f.origin));
	RETURN true;
END $$;

-- Tells ten airports how the weather is, and writes down, in this transaction, that it has. No airport need be in reach.
CREATE TABLE reported (n bigint NOT NULL);

CREATE FUNCTION report() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	any_ten text[] := ARRAY(SELECT destination FROM flight WHERE n IN (SELECT 1 + floor(random() * 200000) FROM generate_series(1, 10)));
BEGIN
	INSERT INTO reported VALUES (actorstore.send_many('airport', any_ten, 'report', array_fill('{"weather": "fair"}'::jsonb, ARRAY[cardinality(any_ten)])));
	RETURN true;
END $$;

-- What an airport does. An arrival is confirmed to the origin, by a message from one airport to the other.
CREATE FUNCTION one_more(state jsonb, counter text) RETURNS jsonb LANGUAGE sql IMMUTABLE
	AS $$ SELECT state || jsonb_build_object(counter, (state->>counter)::int + 1) $$;

CREATE FUNCTION on_arrival(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM actorstore.send('airport', body->>'origin', 'landed');
	RETURN one_more(state, 'arrivals');
END $$;

CREATE FUNCTION on_landed(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE
	AS $$ SELECT one_more(state, 'confirmed') $$;

CREATE FUNCTION on_report(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE
	AS $$ SELECT one_more(state, 'reports') $$;

-- All airports as of one moment, if they can be reached and locked together: each flight has happened at both ends, or at neither.
CREATE VIEW together AS
SELECT coalesce(sum((value->>'aircraft')::int), 0) AS aircraft, count(*) AS airports, coalesce(sum((value->>'departures')::int), 0) AS departures,
	coalesce(sum((value->>'arrivals')::int), 0) AS arrivals, coalesce(sum((value->>'confirmed')::int), 0) AS confirmed,
	coalesce(sum((value->>'reports')::int), 0) AS reports,
	count(*) FILTER (WHERE (value->>'confirmed')::int <> (value->>'departures')::int
		OR (value->>'aircraft')::int <> 100 - (value->>'departures')::int + (value->>'arrivals')::int) AS under_way
FROM actorstore.get_many('airport', ARRAY(SELECT origin FROM flight UNION SELECT destination FROM flight), lock => 'share');
