-- Timers: arguments, errors, rights, what is set and cancelled.  How they fire
-- is test/t/050_timers.pl's.
\set VERBOSITY terse
SET timezone = 'UTC';
SET client_min_messages = warning;
CREATE ROLE timers_owner;
CREATE ROLE timers_user;
GRANT CREATE ON DATABASE :DBNAME TO timers_owner;
CREATE VIEW shown AS
	SELECT actor_type, actor_id, name, message, body, due, every, missed, time_zone FROM actorstore.timers ORDER BY actor_id, name;
GRANT SELECT ON shown TO PUBLIC;

SET ROLE timers_owner;
SELECT actorstore.create_type('clock');

-- Arguments
\set VERBOSITY sqlstate
SELECT actorstore.set_timer(NULL, 'a', 'n', 'm', at => '2200-01-01');
SELECT actorstore.set_timer('clock', '', 'n', 'm', at => '2200-01-01');
SELECT actorstore.set_timer('clock', repeat('x', 513), 'n', 'm', at => '2200-01-01');
SELECT actorstore.set_timer('clock', 'a', NULL, 'm', at => '2200-01-01');
SELECT actorstore.set_timer('clock', 'a', '', 'm', at => '2200-01-01');
SELECT actorstore.set_timer('clock', 'a', repeat('x', 513), 'm', at => '2200-01-01');
SELECT actorstore.set_timer('clock', 'a', 'n', NULL, at => '2200-01-01');
SELECT actorstore.set_timer('clock', 'a', 'n', '$stop', at => '2200-01-01');
SELECT actorstore.set_timer('clock', 'a', 'n', 'm');
SELECT actorstore.set_timer('clock', 'a', 'n', 'm', after => '1 s', at => '2200-01-01');
SELECT actorstore.set_timer('clock', 'a', 'n', 'm', after => '-1 s');
SELECT actorstore.set_timer('clock', 'a', 'n', 'm', after => '300000 years');
SELECT actorstore.set_timer('clock', 'a', 'n', 'm', at => 'infinity');
SELECT actorstore.set_timer('clock', 'a', 'n', 'm', at => '-infinity');
SELECT actorstore.set_timer('clock', 'a', 'n', 'm', every => '0');
SELECT actorstore.set_timer('clock', 'a', 'n', 'm', every => '-1 s');
SELECT actorstore.set_timer('clock', 'a', 'n', 'm', every => '-1 month');
SELECT actorstore.set_timer('clock', 'a', 'n', 'm', every => '1 month -1 day');
SELECT actorstore.set_timer('clock', 'a', 'n', 'm', every => '1 day -1 hour');
SELECT actorstore.set_timer('clock', 'a', 'n', 'm', every => '150000 years');
SELECT actorstore.set_timer('clock', 'a', 'n', 'm', after => '1 h', missed => 'twice');
SELECT actorstore.set_timer('clock', 'a', 'n', 'm', after => '1 h', missed => NULL);
SELECT actorstore.set_timer('unknown', 'a', 'n', 'm', after => '1 h');
SELECT actorstore.cancel_timer('unknown', 'a', 'n');
SELECT actorstore.cancel_timer('clock', 'a', NULL);
SELECT actorstore.cancel_timer('clock', NULL, 'n');
RESET ROLE;
SET actorstore.max_message_size = '1kB';
SELECT actorstore.set_timer('clock', 'a', 'n', 'm', to_jsonb(repeat('x', 1100)), after => '1 h');
RESET actorstore.max_message_size;
SET ROLE timers_owner;
BEGIN READ ONLY;
SELECT actorstore.set_timer('clock', 'a', 'n', 'm', after => '1 h');
ROLLBACK;
BEGIN READ ONLY;
SELECT actorstore.cancel_timer('clock', 'a', 'n');
ROLLBACK;
SELECT count(*) FROM shown;

-- Set, replaced by name, cancelled
\set VERBOSITY terse
SELECT actorstore.set_timer('clock', 'a', 'one', 'ring', '{"n": 1}', at => '2200-01-01 12:00');
SELECT actorstore.set_timer('clock', 'a', 'two', 'ring', at => '2200-01-02', every => '1 week', missed => 'all');
SELECT actorstore.set_timer('clock', 'b', 'one', 'ring', 'null', at => '2200-01-03', every => '90 min', missed => 'skip');
SELECT * FROM shown;
SELECT actorstore.set_timer('clock', 'a', 'one', 'chime', at => '2200-02-01', every => '1 month', missed => 'skip');
SELECT actorstore.set_timer('clock', 'a', 'two', 'chime', '[2]', at => '2200-02-02');
SELECT * FROM shown;
SELECT actorstore.cancel_timer('clock', 'a', 'one'), actorstore.cancel_timer('clock', 'a', 'one'), actorstore.cancel_timer('clock', 'a', 'three');
SELECT actorstore.set_timer('clock', 'a', 'one', 'ring', at => '2200-03-01');
SELECT actor_id, name, due FROM shown;

-- The first time: after a while, after one period, or at once what is over
SELECT actorstore.set_timer('clock', 'c', 'after', 'ring', after => '1 hour 30 min'),
	actorstore.set_timer('clock', 'c', 'after, every', 'ring', after => '1 day', every => '1 hour'),
	actorstore.set_timer('clock', 'c', 'every', 'ring', every => '2 hours');
SELECT name, due BETWEEN now() + i - interval '1 min' AND now() + i + interval '1 min' AS due FROM shown
	JOIN (VALUES ('after', interval '90 min'), ('after, every', '1 day'), ('every', '2 hours')) AS v (name, i) USING (name);

-- Several times in one command; a name in another type or actor is another timer
SELECT count(actorstore.set_timer('clock', 'd', 'n', 'ring', to_jsonb(i), at => '2200-01-01'::timestamptz + i * interval '1 day')) FROM generate_series(1, 100) AS i;
SELECT name, body, due FROM shown WHERE actor_id = 'd';

-- With the transaction
BEGIN;
SELECT actorstore.set_timer('clock', 'e', 'n', 'ring', at => '2200-01-01');
SELECT actorstore.cancel_timer('clock', 'd', 'n');
SAVEPOINT s;
SELECT actorstore.set_timer('clock', 'e', 'n', 'ring', at => '2200-01-02');
SELECT actorstore.set_timer('clock', 'f', 'n', 'ring', at => '2200-01-02');
ROLLBACK TO s;
SELECT actor_id, due FROM shown WHERE actor_id IN ('d', 'e', 'f');
ROLLBACK;
SELECT actor_id, due FROM shown WHERE actor_id IN ('d', 'e', 'f');
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT actorstore.set_timer('clock', 'd', 'n', 'ring', at => '2200-01-01');
SELECT actorstore.set_timer('clock', 'd', 'n', 'ring', at => '2200-01-02');
SELECT actorstore.set_timer('clock', 'e', 'n', 'ring', at => '2200-01-03');
COMMIT;
SELECT actor_id, due FROM shown WHERE actor_id IN ('d', 'e', 'f');

-- A body that lives outside of its row
RESET ROLE;
CREATE TABLE large AS SELECT jsonb_agg(md5(i::text)) AS body FROM generate_series(1, 5000) AS i;
SELECT actorstore.set_timer('clock', 'large', 'n', 'ring', body, at => '2200-01-01') FROM large;
DROP TABLE large;
SELECT actorstore.set_timer('clock', 'large', 'n', 'ring', body, at => '2200-01-02') FROM shown WHERE actor_id = 'large';
SELECT md5(body::text) = md5((SELECT jsonb_agg(md5(i::text)) FROM generate_series(1, 5000) AS i)::text) AS kept, due FROM shown WHERE actor_id = 'large';

-- Rights: to send, and to read; nobody writes the table
SET ROLE timers_user;
SELECT actorstore.set_timer('clock', 'a', 'n', 'm', after => '1 h');
SELECT actorstore.cancel_timer('clock', 'a', 'one');
SELECT count(*) FROM shown;
SELECT count(*) FROM actorstore.timer;
DELETE FROM actorstore.timer;
DELETE FROM actorstore.timers;
RESET ROLE;
SELECT actorstore.grant_type('clock', 'timers_user', ARRAY['send']);
SET ROLE timers_user;
SELECT actorstore.set_timer('clock', 'u', 'n', 'm', at => '2200-01-01');
SELECT actorstore.cancel_timer('clock', 'u', 'n');
SELECT count(*) FROM actorstore.timers;
RESET ROLE;
SELECT actorstore.revoke_type('clock', 'timers_user', ARRAY['send']);
SELECT actorstore.grant_type('clock', 'timers_user', ARRAY['read']);
SET ROLE timers_user;
SELECT count(*) > 0 AS read FROM actorstore.timers WHERE actor_type = 'clock';
SELECT actorstore.cancel_timer('clock', 'a', 'one');
RESET ROLE;

-- An undeclared type; one that is declared later
SET ROLE timers_owner;
SELECT version FROM actorstore.insert('implicit', 'a', '1');
SELECT actorstore.set_timer('implicit', 'a', 'n', 'm', at => '2200-01-01');
SELECT actorstore.create_type('implicit');
SELECT actor_type, name FROM actorstore.timers WHERE actor_type = 'implicit';

-- They go with their type, and not with their actor
SELECT actor_id FROM actorstore.delete('implicit', 'a');
SELECT count(*) FROM actorstore.timers WHERE actor_type = 'implicit';
SELECT actorstore.drop_type('implicit');
RESET ROLE;
SELECT DISTINCT actor_type FROM actorstore.timer;
SELECT actorstore.drop_type('clock');
SELECT count(*) FROM actorstore.timer;

DROP VIEW shown;
REVOKE CREATE ON DATABASE :DBNAME FROM timers_owner;
DROP ROLE timers_owner, timers_user;
