-- The functions of the module; see stress.h.
CREATE SCHEMA stress;

CREATE FUNCTION stress.new(ring_capacity bigint, deque_capacity bigint, deques int, producers int, quota bigint, start bigint DEFAULT 0)
RETURNS bigint LANGUAGE C STRICT AS 'actorstore_stress', 'stress_new';

CREATE FUNCTION stress.drop(handle bigint)
RETURNS void LANGUAGE C STRICT AS 'actorstore_stress', 'stress_drop';

-- role: producer, consumer, owner, thief
CREATE FUNCTION stress.launch(handle bigint, seat int, role text)
RETURNS int LANGUAGE C STRICT AS 'actorstore_stress', 'stress_launch';

-- at: anywhere, push, pop, take, steal
CREATE FUNCTION stress.stop(handle bigint, seat int, at text)
RETURNS void LANGUAGE C STRICT AS 'actorstore_stress', 'stress_stop';

CREATE FUNCTION stress.finish(handle bigint)
RETURNS void LANGUAGE C STRICT AS 'actorstore_stress', 'stress_finish';

-- pid 0: nobody sits there
CREATE FUNCTION stress.seat(handle bigint, seat int, OUT pid int, OUT operations bigint)
LANGUAGE C STRICT AS 'actorstore_stress', 'stress_seat';

CREATE FUNCTION stress.report(handle bigint, OUT pushed bigint, OUT popped bigint, OUT kept bigint, OUT taken bigint, OUT stolen bigint,
	OUT recorded bigint, OUT missing bigint, OUT duplicates bigint, OUT strangers bigint, OUT out_of_order bigint, OUT "full" bigint, OUT empty bigint)
LANGUAGE C STRICT AS 'actorstore_stress', 'stress_report';
