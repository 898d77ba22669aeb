-- On both primaries, as superuser in the database "bank".
CREATE EXTENSION actorstore;
CREATE ROLE peer LOGIN PASSWORD 'secret-of-peer';
SELECT format('GRANT EXECUTE ON FUNCTION %s TO peer', oid::regprocedure) FROM pg_proc
WHERE pronamespace = 'actorstore'::regnamespace AND starts_with(proname, 'local_') \gexec
CREATE ROLE teller LOGIN PASSWORD 'secret-of-teller';
GRANT CREATE ON DATABASE bank TO teller;
