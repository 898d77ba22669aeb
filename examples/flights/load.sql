-- The extension, an actor type for the airports, and the raw file in a table, to check the actors against.

CREATE EXTENSION actorstore;
SELECT actorstore.create_type('airport') \g /dev/null

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

-- And what they are. A version starts at 0 and grows by 1 a write: one write for each departure and arrival.
CREATE VIEW airport_check AS
SELECT coalesce(a.actor_id, f.airport) AS airport, a.version, a.value,
	to_jsonb(f) - 'airport' AS expected,
	coalesce(a.value = to_jsonb(f) - 'airport' AND a.version + 1 = f.departures + f.arrivals, false) AS agrees
FROM actorstore.actor_airport a
FULL JOIN airport_from_file f ON f.airport = a.actor_id;
