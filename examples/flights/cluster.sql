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
	PERFORM actorstore.send('airport', f.destination, 'arrival');
	RETURN true;
END $$;

CREATE FUNCTION count_arrival(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE
	AS $$ SELECT state || jsonb_build_object('arrivals', (state->>'arrivals')::int + 1) $$;
