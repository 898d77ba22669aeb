-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION actorstore" to load this file. \quit

-- Plain CREATE everywhere: an object that exists already makes this fail.
CREATE SCHEMA actorstore;
COMMENT ON SCHEMA actorstore IS 'durable actors: state, types, rights, changes';

--
-- Types, handlers, rights
--
-- No foreign keys between tables that pg_dump carries: pg_restore -j would load one before the other.  drop_type() leaves
-- nothing behind.
--

CREATE TABLE actorstore.type (
	actor_type text COLLATE "C" PRIMARY KEY,
	owner regrole NOT NULL,
	declared boolean NOT NULL,
	partition name,
	persistence text NOT NULL DEFAULT 'logged',
	mailbox_limit int DEFAULT 65536,	-- NULL: that of actorstore.mailbox_limit
	on_full text NOT NULL DEFAULT 'error',
	max_attempts int NOT NULL DEFAULT 5,
	backoff interval NOT NULL DEFAULT '1 s',
	backoff_max interval NOT NULL DEFAULT '1 min',
	turn_timeout interval NOT NULL DEFAULT '30 s',
	on_exhausted text NOT NULL DEFAULT 'dead_letter',
	rate_limit float8,
	max_concurrency int,
	order_by_deadline boolean NOT NULL DEFAULT false,
	CHECK (declared = (partition IS NOT NULL))
);
COMMENT ON TABLE actorstore.type IS 'actor types: declared ones have a partition of actorstore.actor of their own';

CREATE TABLE actorstore.handler (
	actor_type text COLLATE "C" NOT NULL,
	message text COLLATE "C" NOT NULL,
	function text NOT NULL,
	search_path text NOT NULL,
	PRIMARY KEY (actor_type, message)
);
COMMENT ON TABLE actorstore.handler IS 'functions that answer messages, and the search_path they run under';

CREATE TABLE actorstore.type_grant (
	actor_type text COLLATE "C" NOT NULL,
	grantee regrole NOT NULL,
	privilege text COLLATE "C" NOT NULL CHECK (privilege IN ('read', 'write', 'send', 'ask', 'serve')),
	PRIMARY KEY (actor_type, grantee, privilege)
);
COMMENT ON TABLE actorstore.type_grant IS 'rights on actor types beside their owner''s; grantee - stands for PUBLIC';

CREATE FUNCTION actorstore.registry_changed() RETURNS trigger
AS 'MODULE_PATHNAME', 'actorstore_registry_changed' LANGUAGE C;
COMMENT ON FUNCTION actorstore.registry_changed() IS 'internal: makes every backend read the types anew';
REVOKE ALL ON FUNCTION actorstore.registry_changed() FROM PUBLIC;

CREATE TRIGGER registry_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON actorstore.type
	EXECUTE FUNCTION actorstore.registry_changed();
ALTER TABLE actorstore.type ENABLE ALWAYS TRIGGER registry_changed;
CREATE TRIGGER registry_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON actorstore.handler
	EXECUTE FUNCTION actorstore.registry_changed();
ALTER TABLE actorstore.handler ENABLE ALWAYS TRIGGER registry_changed;
CREATE TRIGGER registry_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON actorstore.type_grant
	EXECUTE FUNCTION actorstore.registry_changed();
ALTER TABLE actorstore.type_grant ENABLE ALWAYS TRIGGER registry_changed;

--
-- State
--

-- No index on the parent: pg_restore could not attach partitions to an
-- index that belongs to the extension.  Each partition has its own.
--
-- A partitioned table cannot be made while default_tablespace names the database's own: nothing means the same.
CREATE FUNCTION actorstore.make_actor() RETURNS void LANGUAGE sql SET default_tablespace FROM CURRENT AS $$
	SELECT pg_catalog.set_config('default_tablespace', '', true)
	FROM pg_catalog.pg_database AS d JOIN pg_catalog.pg_tablespace AS t ON t.oid = d.dattablespace
	WHERE d.datname = pg_catalog.current_database() AND t.spcname::text = pg_catalog.current_setting('default_tablespace');
	CREATE TABLE actorstore.actor (
		actor_type text COLLATE "C" NOT NULL,
		actor_id text COLLATE "C" NOT NULL,
		value jsonb NOT NULL,
		version bigint NOT NULL,
		created_at timestamptz NOT NULL,
		updated_at timestamptz NOT NULL
	) PARTITION BY LIST (actor_type);
$$;
COMMENT ON FUNCTION actorstore.make_actor() IS 'internal: for a moment, to make the table';
SELECT actorstore.make_actor();
DROP FUNCTION actorstore.make_actor();
-- for those who publish all partitions as this table (publish_via_partition_root)
ALTER TABLE actorstore.actor REPLICA IDENTITY FULL;
COMMENT ON TABLE actorstore.actor IS 'the state of all actors, a partition for each declared type';

CREATE TABLE actorstore.undeclared
	PARTITION OF actorstore.actor (PRIMARY KEY (actor_type, actor_id)) DEFAULT
	USING heap
	WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05,
		  autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE actorstore.undeclared REPLICA IDENTITY FULL;
COMMENT ON TABLE actorstore.undeclared IS 'the state of actors whose types have no partition of their own';

CREATE FUNCTION actorstore.insert(actor_type text, actor_id text, value jsonb)
RETURNS actorstore.actor
AS 'MODULE_PATHNAME', 'actorstore_insert' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.insert(text, text, jsonb)
	IS 'create an actor with this value, at version 0';

CREATE FUNCTION actorstore.get(actor_type text, actor_id text)
RETURNS actorstore.actor
AS 'MODULE_PATHNAME', 'actorstore_get' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION actorstore.get(text, text)
	IS 'an actor, or NULL';

CREATE FUNCTION actorstore.get_many(actor_type text, actor_ids text[], lock text DEFAULT NULL)
RETURNS SETOF actorstore.actor
AS 'MODULE_PATHNAME', 'actorstore_get_many' LANGUAGE C VOLATILE ROWS 100;
COMMENT ON FUNCTION actorstore.get_many(text, text[], text)
	IS 'the actors of these ids that exist, in the order asked; lock is share, update or NULL';

CREATE FUNCTION actorstore.get_all(actor_type text)
RETURNS SETOF actorstore.actor
AS 'MODULE_PATHNAME', 'actorstore_get_all' LANGUAGE C STABLE PARALLEL SAFE ROWS 1000;
COMMENT ON FUNCTION actorstore.get_all(text)
	IS 'all actors of a type, in any order';

CREATE FUNCTION actorstore.list(actor_type text, id_prefix text DEFAULT NULL, after text DEFAULT NULL, max_rows int DEFAULT 100)
RETURNS SETOF actorstore.actor
AS 'MODULE_PATHNAME', 'actorstore_list' LANGUAGE C STABLE PARALLEL SAFE ROWS 100;
COMMENT ON FUNCTION actorstore.list(text, text, text, int)
	IS 'actors of a type by id, page by page: those behind the id given as after';

CREATE FUNCTION actorstore.update(actor_type text, actor_id text, value jsonb)
RETURNS actorstore.actor
AS 'MODULE_PATHNAME', 'actorstore_update' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.update(text, text, jsonb)
	IS 'give an actor a new value and its next version';

CREATE FUNCTION actorstore.update_versioned(actor_type text, actor_id text, value jsonb, expected_version bigint)
RETURNS actorstore.actor
AS 'MODULE_PATHNAME', 'actorstore_update_versioned' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.update_versioned(text, text, jsonb, bigint)
	IS 'give an actor a new value if it has the expected version';

CREATE FUNCTION actorstore.compare_and_swap(actor_type text, actor_id text, expected_version bigint, value jsonb,
	OUT swapped boolean, OUT version bigint, OUT value jsonb)
AS 'MODULE_PATHNAME', 'actorstore_compare_and_swap' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.compare_and_swap(text, text, bigint, jsonb)
	IS 'the same, but a lost race is a result: the actual version and value';

CREATE FUNCTION actorstore.put(actor_type text, actor_id text, value jsonb)
RETURNS actorstore.actor
AS 'MODULE_PATHNAME', 'actorstore_put' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.put(text, text, jsonb)
	IS 'create an actor or give it a new value';

CREATE FUNCTION actorstore.patch(actor_type text, actor_id text, patch jsonb)
RETURNS actorstore.actor
AS 'MODULE_PATHNAME', 'actorstore_patch' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.patch(text, text, jsonb)
	IS 'change an actor''s value by a JSON merge patch (RFC 7396)';

CREATE FUNCTION actorstore.delete(actor_type text, actor_id text)
RETURNS actorstore.actor
AS 'MODULE_PATHNAME', 'actorstore_delete' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.delete(text, text)
	IS 'delete an actor and return it, or NULL if there was none';

CREATE FUNCTION actorstore.delete_versioned(actor_type text, actor_id text, expected_version bigint)
RETURNS actorstore.actor
AS 'MODULE_PATHNAME', 'actorstore_delete_versioned' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.delete_versioned(text, text, bigint)
	IS 'delete an actor if it has the expected version, and return it';

CREATE FUNCTION actorstore.insert_many(actor_type text, actor_ids text[], new_values jsonb[])
RETURNS bigint
AS 'MODULE_PATHNAME', 'actorstore_insert_many' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.insert_many(text, text[], jsonb[])
	IS 'create many actors, all or none; returns how many';

CREATE FUNCTION actorstore.put_many(actor_type text, actor_ids text[], new_values jsonb[])
RETURNS bigint
AS 'MODULE_PATHNAME', 'actorstore_put_many' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.put_many(text, text[], jsonb[])
	IS 'create or change many actors, all or none; returns how many';

--
-- Administration of types
--

CREATE FUNCTION actorstore.create_type(actor_type text, persistence text DEFAULT 'logged',
	mailbox_limit int DEFAULT 65536, on_full text DEFAULT 'error', max_attempts int DEFAULT 5,
	backoff interval DEFAULT '1 s', backoff_max interval DEFAULT '1 min',
	turn_timeout interval DEFAULT '30 s', on_exhausted text DEFAULT 'dead_letter',
	rate_limit float8 DEFAULT NULL, max_concurrency int DEFAULT NULL, order_by_deadline boolean DEFAULT false)
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_create_type' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.create_type(text, text, int, text, int, interval, interval, interval, text, float8, int, boolean)
	IS 'declare an actor type: it gets a table of its own';

CREATE FUNCTION actorstore.alter_type(actor_type text, persistence text DEFAULT NULL,
	mailbox_limit int DEFAULT NULL, on_full text DEFAULT NULL, max_attempts int DEFAULT NULL,
	backoff interval DEFAULT NULL, backoff_max interval DEFAULT NULL,
	turn_timeout interval DEFAULT NULL, on_exhausted text DEFAULT NULL,
	rate_limit float8 DEFAULT NULL, max_concurrency int DEFAULT NULL, order_by_deadline boolean DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_alter_type' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.alter_type(text, text, int, text, int, interval, interval, interval, text, float8, int, boolean)
	IS 'change an actor type; NULL keeps an option as it is';

CREATE FUNCTION actorstore.drop_type(actor_type text, events boolean DEFAULT true)
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_drop_type' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.drop_type(text, boolean)
	IS 'drop an actor type with its actors, handlers and rights';

CREATE FUNCTION actorstore.type_table(actor_type text)
RETURNS regclass
AS 'MODULE_PATHNAME', 'actorstore_type_table' LANGUAGE C STABLE;
COMMENT ON FUNCTION actorstore.type_table(text)
	IS 'the table that a type''s actors live in';

CREATE FUNCTION actorstore.set_handler(actor_type text, message text, handler regprocedure)
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_set_handler' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.set_handler(text, text, regprocedure)
	IS 'let a function answer the messages of that name; * answers any other; NULL removes';

CREATE FUNCTION actorstore.grant_type(actor_type text, role regrole, privileges text[])
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_grant_type' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.grant_type(text, regrole, text[])
	IS 'grant rights on a type: read, write, send, ask, serve';

CREATE FUNCTION actorstore.revoke_type(actor_type text, role regrole, privileges text[])
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_revoke_type' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.revoke_type(text, regrole, text[])
	IS 'take rights on a type back';

--
-- Messages
--

CREATE SEQUENCE actorstore.message_number AS bigint INCREMENT 65536 START 65536 MAXVALUE 281474976645120 CACHE 1;
COMMENT ON SEQUENCE actorstore.message_number IS 'blocks of message ids; the server hands the ids of a block out';

CREATE TABLE actorstore.message (
	message_id bigint NOT NULL,
	actor_type text COLLATE "C" NOT NULL,
	actor_id text COLLATE "C" NOT NULL,
	message text COLLATE "C" NOT NULL,
	body jsonb,
	key_hash bigint NOT NULL,
	position bigint NOT NULL,
	priority smallint NOT NULL,
	lane smallint NOT NULL,
	attempts int NOT NULL,
	sent_at timestamptz NOT NULL,
	due timestamptz,
	expires_at timestamptz,
	headers jsonb,
	sender_type text COLLATE "C",
	sender_id text COLLATE "C",
	dedup_key text COLLATE "C"
) USING heap
	WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0,
		autovacuum_vacuum_insert_threshold = -1, vacuum_truncate = off, autovacuum_analyze_threshold = 100000);
CREATE INDEX message_key ON actorstore.message (key_hash, lane, position);
CREATE INDEX message_due ON actorstore.message (due) WHERE due IS NOT NULL;
-- Only of those that wait for a time: an index of all costs a third of what sending does, and cancel() alone would use it.
CREATE INDEX message_later ON actorstore.message (message_id) WHERE due IS NOT NULL;
COMMENT ON TABLE actorstore.message IS 'messages that wait for their actors; written by the extension only';

CREATE TABLE actorstore.dead_message (
	message_id bigint PRIMARY KEY,
	actor_type text COLLATE "C" NOT NULL,
	actor_id text COLLATE "C" NOT NULL,
	message text COLLATE "C" NOT NULL,
	body jsonb,
	headers jsonb,
	priority int NOT NULL,
	attempts int NOT NULL,
	sent_at timestamptz NOT NULL,
	sender_type text COLLATE "C",
	sender_id text COLLATE "C",
	dedup_key text COLLATE "C",
	reason text NOT NULL,
	sqlstate text,
	error text,
	detail text,
	context text,
	died_at timestamptz NOT NULL
);
CREATE INDEX dead_message_actor ON actorstore.dead_message (actor_type, actor_id, message_id);
COMMENT ON TABLE actorstore.dead_message IS 'messages that were given up, and why';

CREATE TABLE actorstore.dedup (
	actor_type text COLLATE "C" NOT NULL,
	actor_id text COLLATE "C" NOT NULL,
	dedup_key text COLLATE "C" NOT NULL,
	message_id bigint NOT NULL,
	handled_at timestamptz,
	reply jsonb,
	PRIMARY KEY (actor_type, actor_id, dedup_key)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX dedup_handled ON actorstore.dedup (handled_at) WHERE handled_at IS NOT NULL;
COMMENT ON TABLE actorstore.dedup IS 'dedup_keys of messages that wait, or were handled not long ago';

CREATE TABLE actorstore.halted (
	actor_type text COLLATE "C" NOT NULL,
	actor_id text COLLATE "C" NOT NULL,
	stopped boolean NOT NULL,
	restarting boolean NOT NULL DEFAULT false,
	reason text,
	since timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (actor_type, actor_id),
	CHECK (stopped OR NOT restarting)
);
COMMENT ON TABLE actorstore.halted IS 'actors that are paused or stopped; an empty actor_id stands for the whole type';
CREATE TRIGGER registry_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON actorstore.halted
	EXECUTE FUNCTION actorstore.registry_changed();
ALTER TABLE actorstore.halted ENABLE ALWAYS TRIGGER registry_changed;

--
-- Lives of actors: what they began with, who is told of their exit, who restarts them, and what groups they are in.  Each
-- row belongs to one actor and is written in its turns; see src/runtime/lifecycle.h, links.h, supervise.h.
--

CREATE TABLE actorstore.spawned (
	actor_type text COLLATE "C" NOT NULL,
	actor_id text COLLATE "C" NOT NULL,
	state jsonb NOT NULL,
	PRIMARY KEY (actor_type, actor_id)
);
COMMENT ON TABLE actorstore.spawned IS 'the states given to actors at spawn(), which a restart puts back';

CREATE TABLE actorstore.link (
	actor_type text COLLATE "C" NOT NULL,
	actor_id text COLLATE "C" NOT NULL,
	peer_type text COLLATE "C" NOT NULL,
	peer_id text COLLATE "C" NOT NULL,
	number bigint NOT NULL,
	PRIMARY KEY (actor_type, actor_id, peer_type, peer_id, number)
);
COMMENT ON TABLE actorstore.link IS 'links between actors, each from both sides';

CREATE TABLE actorstore.monitor (
	actor_type text COLLATE "C" NOT NULL,
	actor_id text COLLATE "C" NOT NULL,
	peer_type text COLLATE "C" NOT NULL,
	peer_id text COLLATE "C" NOT NULL,
	number bigint NOT NULL,
	PRIMARY KEY (actor_type, actor_id, peer_type, peer_id)
);
CREATE INDEX monitor_peer ON actorstore.monitor (peer_type, peer_id);
COMMENT ON TABLE actorstore.monitor IS 'who wants to know when a peer exits';

CREATE TABLE actorstore.watcher (
	actor_type text COLLATE "C" NOT NULL,
	actor_id text COLLATE "C" NOT NULL,
	watcher_type text COLLATE "C" NOT NULL,
	watcher_id text COLLATE "C" NOT NULL,
	number bigint NOT NULL,
	PRIMARY KEY (actor_type, actor_id, watcher_type, watcher_id, number)
);
COMMENT ON TABLE actorstore.watcher IS 'in a node, monitors as their targets know them';

CREATE TABLE actorstore.supervisor (
	actor_type text COLLATE "C" NOT NULL,
	actor_id text COLLATE "C" NOT NULL,
	strategy text NOT NULL CHECK (strategy IN ('one_for_one', 'one_for_all', 'rest_for_one')),
	max_restarts int NOT NULL,
	period interval NOT NULL,
	asked_at bigint NOT NULL,
	PRIMARY KEY (actor_type, actor_id)
);
COMMENT ON TABLE actorstore.supervisor IS 'actors that supervise others, and how';

CREATE TABLE actorstore.supervised (
	actor_type text COLLATE "C" NOT NULL,
	actor_id text COLLATE "C" NOT NULL,
	child_type text COLLATE "C" NOT NULL,
	child_id text COLLATE "C" NOT NULL,
	relation bigint NOT NULL,
	number bigint NOT NULL,
	restart text NOT NULL CHECK (restart IN ('permanent', 'transient', 'temporary')),
	keep_state boolean NOT NULL,
	asked_at bigint NOT NULL,
	PRIMARY KEY (actor_type, actor_id, child_type, child_id)
);
COMMENT ON TABLE actorstore.supervised IS 'supervised actors as their supervisors know them; number is their place in the order of starting';

CREATE TABLE actorstore.child (
	actor_type text COLLATE "C" NOT NULL,
	actor_id text COLLATE "C" NOT NULL,
	parent_type text COLLATE "C" NOT NULL,
	parent_id text COLLATE "C" NOT NULL,
	relation bigint NOT NULL,
	number bigint NOT NULL,
	restart text NOT NULL CHECK (restart IN ('permanent', 'transient', 'temporary')),
	keep_state boolean NOT NULL,
	strategy text NOT NULL CHECK (strategy IN ('one_for_one', 'one_for_all', 'rest_for_one')),
	max_restarts int NOT NULL,
	period interval NOT NULL,
	asked_at bigint NOT NULL,
	PRIMARY KEY (actor_type, actor_id)
);
COMMENT ON TABLE actorstore.child IS 'supervised actors as they know it themselves, and what was last asked for them';

CREATE SEQUENCE actorstore.supervision_step_number;
COMMENT ON SEQUENCE actorstore.supervision_step_number IS 'numbers of steps of supervisors';

CREATE TABLE actorstore.supervision_step (
	step bigint NOT NULL,
	place bigint NOT NULL,
	actor_type text COLLATE "C" NOT NULL,
	actor_id text COLLATE "C" NOT NULL,
	action text NOT NULL CHECK (action IN ('stop', 'start', 'exit', 'tell', 'report', 'start_all')),
	child_type text COLLATE "C",
	child_id text COLLATE "C",
	reason text,
	sent boolean NOT NULL DEFAULT false,
	answers bigint NOT NULL DEFAULT 0,
	ordered boolean NOT NULL DEFAULT false,
	gave_up boolean NOT NULL DEFAULT false,
	at bigint NOT NULL DEFAULT 0,
	PRIMARY KEY (actor_type, actor_id, step)
);
COMMENT ON TABLE actorstore.supervision_step IS 'what supervisors have still to do';

CREATE TABLE actorstore.supervision_restart (
	actor_type text COLLATE "C" NOT NULL,
	actor_id text COLLATE "C" NOT NULL,
	at bigint NOT NULL
);
-- So that a publication FOR ALL TABLES forbids nothing (src/state/rows_delete.h).
ALTER TABLE actorstore.supervision_restart REPLICA IDENTITY FULL;
CREATE INDEX supervision_restart_key ON actorstore.supervision_restart (actor_type, actor_id, at);
COMMENT ON TABLE actorstore.supervision_restart IS 'when supervisors have restarted children lately, in microseconds since 2000';

CREATE TABLE actorstore.supervision_event (
	number bigint NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	at timestamptz NOT NULL DEFAULT clock_timestamp(),
	parent_type text COLLATE "C",
	parent_id text COLLATE "C",
	child_type text COLLATE "C" NOT NULL,
	child_id text COLLATE "C" NOT NULL,
	event text NOT NULL,
	reason text,
	strategy text,
	restarts int
);
CREATE INDEX supervision_event_child ON actorstore.supervision_event (child_type, at);
COMMENT ON TABLE actorstore.supervision_event IS 'what became of supervised actors, and of others that failed';

CREATE TABLE actorstore.group_member (
	group_name text COLLATE "C" NOT NULL,
	actor_type text COLLATE "C" NOT NULL,
	actor_id text COLLATE "C" NOT NULL,
	owner regrole NOT NULL,
	PRIMARY KEY (group_name, actor_type, actor_id)
);
CREATE INDEX group_member_actor ON actorstore.group_member (actor_type, actor_id);
COMMENT ON TABLE actorstore.group_member IS 'named groups of actors, and whose they are';

-- A copy of the database has another identity than the one it was made with.
CREATE TABLE actorstore.identity (
	system_identifier bigint NOT NULL,
	database oid NOT NULL,
	timeline int NOT NULL,
	backup bigint NOT NULL,
	era int NOT NULL DEFAULT 0
);
ALTER TABLE actorstore.identity REPLICA IDENTITY FULL;	-- as above
COMMENT ON COLUMN actorstore.identity.era IS 'grows with each promotion and unfence(); it stands above the numbers of turns that are checked out';
COMMENT ON TABLE actorstore.identity IS 'the database that this was when actors last ran in it';

CREATE FUNCTION actorstore.identity_now(OUT system_identifier bigint, OUT database oid, OUT timeline int, OUT backup bigint)
RETURNS record
AS 'MODULE_PATHNAME', 'actorstore_identity_now' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.identity_now() IS 'internal: what actorstore.identity should say here and now';

CREATE FUNCTION actorstore.is_copy()
RETURNS boolean
AS 'MODULE_PATHNAME', 'actorstore_is_copy' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.is_copy() IS 'internal: whether this database is a copy, whose actors stand still until unfence()';
REVOKE ALL ON FUNCTION actorstore.identity_now(), actorstore.is_copy() FROM PUBLIC;

-- A dump brings the original's identity after CREATE EXTENSION, when workers may be here already.
CREATE FUNCTION actorstore.identity_changed() RETURNS trigger
AS 'MODULE_PATHNAME', 'actorstore_identity_changed' LANGUAGE C;
COMMENT ON FUNCTION actorstore.identity_changed() IS 'internal: lets the launcher look whether the database is a copy';
REVOKE ALL ON FUNCTION actorstore.identity_changed() FROM PUBLIC;
CREATE TRIGGER identity_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON actorstore.identity
	EXECUTE FUNCTION actorstore.identity_changed();
ALTER TABLE actorstore.identity ENABLE ALWAYS TRIGGER identity_changed;
INSERT INTO actorstore.identity SELECT * FROM actorstore.identity_now();

CREATE FUNCTION actorstore.send(actor_type text, actor_id text, message text, body jsonb DEFAULT NULL,
	priority int DEFAULT 4, delay interval DEFAULT NULL, deliver_at timestamptz DEFAULT NULL,
	dedup_key text DEFAULT NULL, headers jsonb DEFAULT NULL, expires_at timestamptz DEFAULT NULL)
RETURNS bigint
AS 'MODULE_PATHNAME', 'actorstore_send' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.send(text, text, text, jsonb, int, interval, timestamptz, text, jsonb, timestamptz)
	IS 'send a message to an actor, if this transaction commits; returns its id';

CREATE FUNCTION actorstore.send_many(actor_type text, actor_ids text[], message text, bodies jsonb[])
RETURNS bigint
AS 'MODULE_PATHNAME', 'actorstore_send_many' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.send_many(text, text[], text, jsonb[])
	IS 'send a message to each of many actors; returns how many were sent';

CREATE FUNCTION actorstore.cancel(message_id bigint)
RETURNS boolean
AS 'MODULE_PATHNAME', 'actorstore_cancel' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.cancel(bigint)
	IS 'take a message back; false if it waits no longer';

CREATE FUNCTION actorstore.ask(actor_type text, actor_id text, message text, body jsonb DEFAULT NULL,
	timeout interval DEFAULT '5 s', dedup_key text DEFAULT NULL)
RETURNS jsonb
AS 'MODULE_PATHNAME', 'actorstore_ask' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.ask(text, text, text, jsonb, interval, text)
	IS 'have an actor handle a message now, in a transaction of its own, and return its answer';

CREATE FUNCTION actorstore.tell(actor_type text, actor_id text, message text, body jsonb DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_tell' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.tell(text, text, text, jsonb)
	IS 'tell an actor something at once, outside of this transaction; lost if the server crashes';

CREATE FUNCTION actorstore.call(actor_type text, actor_id text, message text, body jsonb DEFAULT NULL)
RETURNS jsonb
AS 'MODULE_PATHNAME', 'actorstore_call' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.call(text, text, text, jsonb)
	IS 'have an actor handle a message in this transaction, and return its answer';

--
-- Timers
--

-- nth, start, time_zone: see grid.c.  spread tells timers of one time apart.
CREATE TABLE actorstore.timer (
	actor_type text COLLATE "C" NOT NULL,
	actor_id text COLLATE "C" NOT NULL,
	name text COLLATE "C" NOT NULL,
	message text COLLATE "C" NOT NULL,
	body jsonb,
	due timestamptz NOT NULL,
	spread int NOT NULL,
	missed smallint NOT NULL,
	every interval,
	start timestamptz,
	nth bigint,
	time_zone text,
	PRIMARY KEY (actor_type, actor_id, name)
) USING heap
	WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0,
		autovacuum_vacuum_insert_threshold = -1, vacuum_truncate = off);
CREATE INDEX timer_due ON actorstore.timer (due, spread);
COMMENT ON TABLE actorstore.timer IS 'timers that are set; written by the extension only';

CREATE FUNCTION actorstore.set_timer(actor_type text, actor_id text, name text, message text, body jsonb DEFAULT NULL,
	after interval DEFAULT NULL, at timestamptz DEFAULT NULL, every interval DEFAULT NULL, missed text DEFAULT 'once')
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_set_timer' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.set_timer(text, text, text, text, jsonb, interval, timestamptz, interval, text)
	IS 'send an actor a message at a time, or again and again; replaces the actor''s timer of that name';

CREATE FUNCTION actorstore.cancel_timer(actor_type text, actor_id text, name text)
RETURNS boolean
AS 'MODULE_PATHNAME', 'actorstore_cancel_timer' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.cancel_timer(text, text, text)
	IS 'delete a timer; false if there is none of that name';

--
-- In handlers
--

CREATE FUNCTION actorstore.context(OUT actor_type text, OUT actor_id text, OUT version bigint, OUT message_id bigint,
	OUT message text, OUT attempt int, OUT sender_type text, OUT sender_id text, OUT headers jsonb)
AS 'MODULE_PATHNAME', 'actorstore_context' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.context()
	IS 'in a handler: the actor, and the message that it handles';

CREATE FUNCTION actorstore.reply(body jsonb)
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_reply' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.reply(jsonb)
	IS 'in a handler: the answer, for who waits for one';

CREATE FUNCTION actorstore.reject(reason text)
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_reject' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.reject(text)
	IS 'in a handler: undo what it did, and put the message among the dead letters';

CREATE FUNCTION actorstore.retry_after("interval" interval)
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_retry_after' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.retry_after(interval)
	IS 'in a handler: undo what it did, and handle the message later';

CREATE FUNCTION actorstore.stop(reason text DEFAULT 'normal')
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_stop' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.stop(text)
	IS 'in a handler: this actor handles no more messages';

CREATE FUNCTION actorstore.spawn(actor_type text, actor_id text, state jsonb)
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_spawn' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.spawn(text, text, jsonb)
	IS 'in a handler: create an actor, or begin anew with one that was stopped';

CREATE FUNCTION actorstore.link(actor_type text, actor_id text)
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_link' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.link(text, text)
	IS 'in a handler: if one of the two actors fails, so does the other';

CREATE FUNCTION actorstore.unlink(actor_type text, actor_id text)
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_unlink' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.unlink(text, text)
	IS 'in a handler: undo link()';

CREATE FUNCTION actorstore.monitor(actor_type text, actor_id text)
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_monitor' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.monitor(text, text)
	IS 'in a handler: have $down sent to this actor when the other one exits';

CREATE FUNCTION actorstore.demonitor(actor_type text, actor_id text)
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_demonitor' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.demonitor(text, text)
	IS 'in a handler: undo monitor()';

CREATE FUNCTION actorstore.join_group(group_name text, actor_type text, actor_id text)
RETURNS boolean
AS 'MODULE_PATHNAME', 'actorstore_join_group' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.join_group(text, text, text)
	IS 'let an actor join a group, which is made if need be; false if it is in it already';

CREATE FUNCTION actorstore.leave_group(group_name text, actor_type text, actor_id text)
RETURNS boolean
AS 'MODULE_PATHNAME', 'actorstore_leave_group' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.leave_group(text, text, text)
	IS 'let an actor leave a group; false if it is not in it';

CREATE FUNCTION actorstore.broadcast(group_name text, message text, body jsonb DEFAULT NULL)
RETURNS bigint
AS 'MODULE_PATHNAME', 'actorstore_broadcast' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.broadcast(text, text, jsonb)
	IS 'send a message to each member of a group, if this transaction commits; returns how many were sent';

CREATE FUNCTION actorstore.has_type_privilege(actor_type text, privilege text)
RETURNS boolean
AS 'MODULE_PATHNAME', 'actorstore_has_type_privilege' LANGUAGE C STABLE STRICT;
COMMENT ON FUNCTION actorstore.has_type_privilege(text, text)
	IS 'do you have this right on the type?';

CREATE VIEW actorstore.mailbox WITH (security_barrier) AS
SELECT message_id, actor_type, actor_id, message, body, headers, priority::int AS priority, attempts, sent_at, due, expires_at,
	sender_type, sender_id, dedup_key
FROM actorstore.message
WHERE actorstore.has_type_privilege(actor_type, 'read');
COMMENT ON VIEW actorstore.mailbox IS 'messages that wait, of the types you may read';

CREATE VIEW actorstore.timers WITH (security_barrier) AS
SELECT actor_type, actor_id, name, message, body, due, every, (ARRAY['once', 'all', 'skip'])[missed + 1] AS missed, time_zone
FROM actorstore.timer
WHERE actorstore.has_type_privilege(actor_type, 'read');
COMMENT ON VIEW actorstore.timers IS 'timers that are set, of the types you may read, and when they are due next';

CREATE VIEW actorstore.dead_letter WITH (security_barrier) AS
SELECT message_id, actor_type, actor_id, message, body, headers, priority, attempts, sent_at, died_at, reason, sqlstate, error,
	detail, context, sender_type, sender_id, dedup_key
FROM actorstore.dead_message
WHERE actorstore.has_type_privilege(actor_type, 'read');
COMMENT ON VIEW actorstore.dead_letter IS 'messages that were given up, of the types you may read';

CREATE VIEW actorstore.group_members WITH (security_barrier) AS
SELECT group_name, actor_type, actor_id, owner
FROM actorstore.group_member
WHERE actorstore.has_type_privilege(actor_type, 'read');
COMMENT ON VIEW actorstore.group_members IS 'groups and their members, of the types you may read';

CREATE VIEW actorstore.halted_actor WITH (security_barrier) AS
SELECT actor_type, nullif(actor_id, '') AS actor_id,
	CASE WHEN restarting THEN 'restarting' WHEN stopped THEN 'stopped' ELSE 'paused' END AS state, reason, since
FROM actorstore.halted
WHERE actorstore.has_type_privilege(actor_type, 'read');
COMMENT ON VIEW actorstore.halted_actor IS 'actors (and types: no actor_id) that are paused, stopped or about to be restarted, of the types you may read';

CREATE VIEW actorstore.supervision WITH (security_barrier) AS
SELECT c.actor_type AS parent_type, c.actor_id AS parent_id, c.child_type, c.child_id, s.strategy, s.max_restarts, s.period,
	c.restart, c.keep_state, row_number() OVER (PARTITION BY c.actor_type, c.actor_id ORDER BY c.number) AS start_order
FROM actorstore.supervised AS c JOIN actorstore.supervisor AS s USING (actor_type, actor_id)
WHERE actorstore.has_type_privilege(c.child_type, 'read');
COMMENT ON VIEW actorstore.supervision IS 'whom the actors of this node supervise, of the types you may read';

CREATE VIEW actorstore.supervision_log WITH (security_barrier) AS
SELECT at, parent_type, parent_id, child_type, child_id, event, reason, strategy, restarts
FROM actorstore.supervision_event
WHERE actorstore.has_type_privilege(child_type, 'read')
ORDER BY number;
COMMENT ON VIEW actorstore.supervision_log IS 'what became of supervised actors, and of others that failed, of the types you may read';

--
-- Work done outside
--

CREATE TABLE actorstore.lease (
	turn_id bigint NOT NULL,
	token bigint NOT NULL,
	key_hash bigint NOT NULL,
	lease_until timestamptz NOT NULL,
	taken_at timestamptz NOT NULL,
	version bigint NOT NULL,
	requests int NOT NULL,
	messages int NOT NULL,
	role regrole NOT NULL,
	actor_type text COLLATE "C" NOT NULL,
	actor_id text COLLATE "C" NOT NULL,
	worker text NOT NULL,
	places bytea NOT NULL
) USING heap
	WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0,
		autovacuum_vacuum_insert_threshold = -1, vacuum_truncate = off, autovacuum_analyze_threshold = 100000);
ALTER TABLE actorstore.lease ALTER COLUMN places SET STORAGE PLAIN;
CREATE INDEX lease_turn ON actorstore.lease (turn_id);
COMMENT ON TABLE actorstore.lease IS 'turns that clients have checked out; written by the extension only';

CREATE FUNCTION actorstore.outside(state jsonb, body jsonb)
RETURNS jsonb
AS 'MODULE_PATHNAME', 'actorstore_outside' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.outside(jsonb, jsonb)
	IS 'the handler of messages that clients handle outside the database; give it to set_handler()';

CREATE FUNCTION actorstore.checkout(worker text, actor_types text[], max_turns int DEFAULT 1, lease interval DEFAULT '30 s',
	max_wait interval DEFAULT '0', max_messages int DEFAULT NULL,
	OUT turn_id bigint, OUT token bigint, OUT actor_type text, OUT actor_id text, OUT state jsonb, OUT version bigint,
	OUT messages jsonb, OUT lease_until timestamptz)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'actorstore_checkout' LANGUAGE C VOLATILE ROWS 10;
COMMENT ON FUNCTION actorstore.checkout(text, text[], int, interval, interval, int)
	IS 'take turns of actors of these types, to handle their messages outside the database';

CREATE FUNCTION actorstore.complete(turn_id bigint, token bigint, state jsonb DEFAULT NULL, sends jsonb DEFAULT NULL,
	replies jsonb DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_complete' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.complete(bigint, bigint, jsonb, jsonb, jsonb)
	IS 'end a turn that was checked out: its messages are handled, if this transaction commits';

CREATE FUNCTION actorstore.complete_many(turn_ids bigint[], tokens bigint[], states jsonb[] DEFAULT NULL, sends jsonb[] DEFAULT NULL,
	replies jsonb[] DEFAULT NULL)
RETURNS text[]
AS 'MODULE_PATHNAME', 'actorstore_complete_many' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.complete_many(bigint[], bigint[], jsonb[], jsonb[], jsonb[])
	IS 'the same for many turns; returns for each NULL, or the SQLSTATE of why it could not be completed';

CREATE FUNCTION actorstore.fail(turn_id bigint, token bigint, error text, retry_after interval DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_fail' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.fail(bigint, bigint, text, interval)
	IS 'a turn that was checked out has failed: its messages are to be handled again, or become dead letters';

CREATE FUNCTION actorstore.extend_lease(turn_id bigint, token bigint, lease interval)
RETURNS timestamptz
AS 'MODULE_PATHNAME', 'actorstore_extend_lease' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.extend_lease(bigint, bigint, interval)
	IS 'keep a turn that was checked out for so long from now on; returns until when';

CREATE VIEW actorstore.stat_leases WITH (security_barrier) AS
SELECT turn_id, actor_type,
	CASE WHEN actorstore.has_type_privilege(actor_type, 'read') OR actorstore.has_type_privilege(actor_type, 'serve') THEN actor_id END AS actor_id,
	worker, role, messages, requests, taken_at, lease_until
FROM actorstore.lease
WHERE actorstore.has_type_privilege(actor_type, 'read') OR actorstore.has_type_privilege(actor_type, 'serve')
	OR pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW actorstore.stat_leases IS 'turns that are checked out, of the types you may read or serve; with pg_monitor all of them, without their actors';

--
-- Change data capture
--

CREATE TYPE actorstore.change_event AS (
	sequence text,
	operation text,
	actor_type text,
	actor_id text,
	previous_value jsonb,
	previous_version bigint,
	new_value jsonb,
	new_version bigint,
	"timestamp" timestamptz
);
COMMENT ON TYPE actorstore.change_event IS 'a committed change of an actor';

CREATE TABLE actorstore.subscription (
	subscription text COLLATE "C" PRIMARY KEY,
	owner regrole NOT NULL,
	slot name NOT NULL UNIQUE,
	actor_types text[],
	key_prefix text COLLATE "C",
	start_from text NOT NULL,
	start_lsn pg_lsn NOT NULL,
	since timestamptz,
	created_at timestamptz NOT NULL DEFAULT now(),
	reading boolean NOT NULL,
	read_type text COLLATE "C",
	read_id text COLLATE "C",
	nread bigint NOT NULL DEFAULT 0,
	fetched text COLLATE "C",
	fetched_time timestamptz,
	acked text COLLATE "C",
	acked_time timestamptz,
	nevents bigint NOT NULL DEFAULT 0,
	gone_types text[],
	barred boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50);
COMMENT ON TABLE actorstore.subscription IS 'who follows changes, and how far they have come';

CREATE TABLE actorstore.subscription_page (
	subscription text COLLATE "C" NOT NULL REFERENCES actorstore.subscription ON DELETE CASCADE,
	number bigint NOT NULL,
	last_type text COLLATE "C",
	last_id text COLLATE "C",
	reader xid8 NOT NULL,
	snapshot pg_snapshot NOT NULL,
	taken_at pg_lsn NOT NULL,
	PRIMARY KEY (subscription, number)
);
COMMENT ON TABLE actorstore.subscription_page IS 'with which snapshots a subscription from the beginning has read the actors, by ranges of their keys';

CREATE TABLE actorstore.subscription_actor (
	subscription text COLLATE "C" NOT NULL REFERENCES actorstore.subscription ON DELETE CASCADE,
	number bigint NOT NULL,
	actor_type text COLLATE "C" NOT NULL,
	actor_id text COLLATE "C" NOT NULL,
	value jsonb NOT NULL,
	version bigint NOT NULL,
	updated_at timestamptz NOT NULL,
	PRIMARY KEY (subscription, number)
);
COMMENT ON TABLE actorstore.subscription_actor IS 'actors that a subscription from the beginning has read, until they are acknowledged';

CREATE TABLE actorstore.cdc_mark (
	at timestamptz PRIMARY KEY,
	lsn pg_lsn NOT NULL
);
COMMENT ON TABLE actorstore.cdc_mark IS 'when the WAL kept for later subscriptions ended where';

CREATE FUNCTION actorstore.subscribe(subscription text, start_from text DEFAULT 'now', actor_types text[] DEFAULT NULL,
	key_prefix text DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_subscribe' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.subscribe(text, text, text[], text)
	IS 'follow changes from now, the beginning, a sequence or a timestamp on';

CREATE FUNCTION actorstore.fetch(subscription text, max_events int DEFAULT 1000, max_wait interval DEFAULT '0')
RETURNS SETOF actorstore.change_event
AS 'MODULE_PATHNAME', 'actorstore_fetch' LANGUAGE C VOLATILE ROWS 1000;
COMMENT ON FUNCTION actorstore.fetch(text, int, interval)
	IS 'the next events of a subscription, the same ones until they are acknowledged';

CREATE FUNCTION actorstore.ack(subscription text, up_to text)
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_ack' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.ack(text, text)
	IS 'acknowledge the events up to a sequence';

CREATE FUNCTION actorstore.unsubscribe(subscription text)
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_unsubscribe' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.unsubscribe(text)
	IS 'end a subscription';

CREATE FUNCTION actorstore.slot_is_lost(slot name)
RETURNS boolean
AS 'MODULE_PATHNAME', 'actorstore_slot_is_lost' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION actorstore.slot_is_lost(name) IS 'internal: whether a replication slot of this database is not there, or has lost what it needs';

CREATE VIEW actorstore.stat_subscriptions WITH (security_barrier) AS
SELECT s.subscription, s.owner, s.actor_types, s.key_prefix, s.start_from, s.created_at,
	CASE WHEN actorstore.slot_is_lost(s.slot) THEN 'lost' WHEN s.reading THEN 'reading' ELSE 'streaming' END AS state,
	s.fetched, s.acked, s.nevents AS events, r.active_pid,
	pg_wal_lsn_diff(w.lsn, r.restart_lsn)::bigint AS retained_bytes,
	pg_wal_lsn_diff(w.lsn, r.confirmed_flush_lsn)::bigint AS lag_bytes,
	CASE WHEN r.confirmed_flush_lsn >= w.lsn THEN '0'::interval
		ELSE clock_timestamp() - coalesce(s.acked_time, s.created_at) END AS lag
FROM actorstore.subscription AS s
	CROSS JOIN (SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END AS lsn) AS w
	LEFT JOIN pg_catalog.pg_replication_slots AS r ON r.slot_name = s.slot AND r.database = current_database()
WHERE pg_has_role(s.owner::oid, 'USAGE') OR pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW actorstore.stat_subscriptions IS 'your subscriptions: how far they have come and what they hold back; all of them for pg_monitor';

CREATE FUNCTION actorstore.cdc_stats(OUT total_events bigint, OUT current_sequence text, OUT retained_bytes bigint,
	OUT active_subscriptions bigint, OUT events_dropped bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT coalesce(sum(s.nevents), 0)::bigint,
		(SELECT upper(lpad(to_hex(pg_wal_lsn_diff(lsn, '0/0')::bigint), 16, '0')) || '-FFFFFFFF'
		FROM (SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END AS lsn) AS w),
		(SELECT coalesce(max(pg_wal_lsn_diff(
			CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END, restart_lsn)), 0)::bigint
		FROM pg_replication_slots
		WHERE database = current_database() AND starts_with(slot_name::text, 'actorstore_')),
		count(*) FILTER (WHERE NOT actorstore.slot_is_lost(s.slot)), count(*) FILTER (WHERE actorstore.slot_is_lost(s.slot))
	FROM actorstore.subscription AS s
$$;
COMMENT ON FUNCTION actorstore.cdc_stats()
	IS 'events returned to the subscriptions there are, the sequence of this moment, WAL held back by all, subscriptions that can go on, and those that have lost events';

--
-- Operation
--

CREATE FUNCTION actorstore.pause(actor_type text, actor_id text DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_pause' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.pause(text, text)
	IS 'let the messages of an actor, or of all actors of a type, wait';

CREATE FUNCTION actorstore.resume(actor_type text, actor_id text DEFAULT NULL)
RETURNS boolean
AS 'MODULE_PATHNAME', 'actorstore_resume' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.resume(text, text)
	IS 'let an actor, or a type, that was paused or stopped go on; false if it was not';

CREATE FUNCTION actorstore.redrive(actor_type text, actor_id text DEFAULT NULL, max_rows int DEFAULT NULL)
RETURNS bigint
AS 'MODULE_PATHNAME', 'actorstore_redrive' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.redrive(text, text, int)
	IS 'send dead letters once more, the oldest first; returns how many';

CREATE FUNCTION actorstore.purge_dead_letters(actor_type text, before timestamptz)
RETURNS bigint
AS 'MODULE_PATHNAME', 'actorstore_purge_dead_letters' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.purge_dead_letters(text, timestamptz)
	IS 'delete dead letters given up before a time; returns how many';

CREATE FUNCTION actorstore.supervise(parent_type text, parent_id text, child_type text, child_id text,
	strategy text DEFAULT 'one_for_one', max_restarts int DEFAULT 3, period interval DEFAULT '5 s',
	keep_state boolean DEFAULT false, restart text DEFAULT 'transient')
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_supervise' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.supervise(text, text, text, text, text, int, interval, boolean, text)
	IS 'let an actor restart another one when it fails';

CREATE FUNCTION actorstore.unsupervise(child_type text, child_id text)
RETURNS boolean
AS 'MODULE_PATHNAME', 'actorstore_unsupervise' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.unsupervise(text, text)
	IS 'undo supervise(); false if the actor has no supervisor';

CREATE FUNCTION actorstore.purge_supervision_log(actor_type text, before timestamptz)
RETURNS bigint
AS 'MODULE_PATHNAME', 'actorstore_purge_supervision_log' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.purge_supervision_log(text, timestamptz)
	IS 'delete what the supervision log says of actors of a type before a time; returns how many lines';

CREATE FUNCTION actorstore.unfence()
RETURNS boolean
AS 'MODULE_PATHNAME', 'actorstore_unfence' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.unfence()
	IS 'let the actors of a restored copy run; false if they were running';

REVOKE ALL ON FUNCTION actorstore.pause(text, text), actorstore.resume(text, text), actorstore.redrive(text, text, int),
	actorstore.purge_dead_letters(text, timestamptz), actorstore.unfence(),
	actorstore.supervise(text, text, text, text, text, int, interval, boolean, text), actorstore.unsupervise(text, text),
	actorstore.purge_supervision_log(text, timestamptz) FROM PUBLIC;

CREATE FUNCTION actorstore.type_counts(OUT actor_type text, OUT handled bigint, OUT turns bigint, OUT created bigint,
	OUT failed bigint, OUT retried bigint, OUT dead bigint,
	OUT waiting_p50 float8, OUT waiting_p95 float8, OUT waiting_p99 float8,
	OUT handling_p50 float8, OUT handling_p95 float8, OUT handling_p99 float8, OUT answered bigint, OUT timed_out bigint,
	OUT ask_waiting_p50 float8, OUT ask_waiting_p95 float8, OUT ask_waiting_p99 float8,
	OUT ask_handling_p50 float8, OUT ask_handling_p95 float8, OUT ask_handling_p99 float8,
	OUT round_trip_p50 float8, OUT round_trip_p95 float8, OUT round_trip_p99 float8,
	OUT conflicts bigint, OUT waiting_time float8, OUT waiting_mean float8, OUT handling_time float8, OUT handling_mean float8)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'actorstore_type_counts' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.type_counts() IS 'internal: see stat_types and stat_latency';

CREATE FUNCTION actorstore.conflicts_now(OUT actor_type text, OUT actor_id text, OUT conflicts bigint, OUT last_at timestamptz)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'actorstore_conflicts_now' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.conflicts_now() IS 'internal: see stat_conflicts';

CREATE FUNCTION actorstore.workers_now(OUT worker int, OUT pid int, OUT database oid, OUT state text, OUT key_hash bigint,
	OUT turns bigint, OUT messages bigint, OUT commits bigint, OUT failures bigint, OUT steals bigint, OUT sleeps bigint,
	OUT queued bigint)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'actorstore_workers_now' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.workers_now() IS 'internal: see stat_workers';

CREATE FUNCTION actorstore.scheduler_now(OUT queued bigint, OUT slots bigint, OUT used_slots bigint, OUT scheduled bigint,
	OUT running bigint, OUT overflows bigint, OUT sweeps bigint, OUT swept boolean, OUT next_due timestamptz,
	OUT workers int, OUT starved boolean)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'actorstore_scheduler_now' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.scheduler_now() IS 'internal: see stat_scheduler';

CREATE FUNCTION actorstore.requests_now(OUT cells bigint, OUT used_cells bigint, OUT told bigint, OUT lost bigint)
RETURNS record
AS 'MODULE_PATHNAME', 'actorstore_requests_now' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.requests_now() IS 'internal: see stat_requests';

CREATE VIEW actorstore.stat_requests AS
SELECT r.cells, r.used_cells, r.told, r.lost FROM actorstore.requests_now() AS r;
COMMENT ON VIEW actorstore.stat_requests IS 'the pool of requests (ask, tell) of the server, and how many that were told were handled and lost';

CREATE VIEW actorstore.stat_types WITH (security_barrier) AS
SELECT t.actor_type, coalesce(c.handled, 0) AS handled, coalesce(c.turns, 0) AS turns, coalesce(c.created, 0) AS created,
	coalesce(c.failed, 0) AS failed, coalesce(c.retried, 0) AS retried, coalesce(c.dead, 0) AS dead,
	coalesce(c.answered, 0) AS answered, coalesce(c.timed_out, 0) AS timed_out, coalesce(c.conflicts, 0) AS conflicts,
	coalesce(c.waiting_time, 0) AS waiting_time, coalesce(c.handling_time, 0) AS handling_time
FROM actorstore.type AS t LEFT JOIN actorstore.type_counts() AS c USING (actor_type)
WHERE actorstore.has_type_privilege(t.actor_type, 'read') OR pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW actorstore.stat_types IS 'what actors have done since the server started, by type; waiting_time and handling_time: milliseconds of all messages together';

CREATE VIEW actorstore.stat_latency WITH (security_barrier) AS
SELECT t.actor_type, c.waiting_p50, c.waiting_p95, c.waiting_p99, c.handling_p50, c.handling_p95, c.handling_p99,
	c.ask_waiting_p50, c.ask_waiting_p95, c.ask_waiting_p99, c.ask_handling_p50, c.ask_handling_p95, c.ask_handling_p99,
	c.round_trip_p50, c.round_trip_p95, c.round_trip_p99,
	c.waiting_mean, c.handling_mean
FROM actorstore.type AS t JOIN actorstore.type_counts() AS c USING (actor_type);
COMMENT ON VIEW actorstore.stat_latency IS 'milliseconds that messages have waited, and taken to handle, since the server started; ask_: those that were asked, and from the question to its answer';

CREATE VIEW actorstore.stat_conflicts AS
SELECT c.actor_type, c.actor_id, c.conflicts, c.last_at FROM actorstore.conflicts_now() AS c WHERE c.conflicts > 0;
COMMENT ON VIEW actorstore.stat_conflicts IS 'actors that were found at another version than expected: how often at least since the server started, and when last';

CREATE FUNCTION actorstore.waiting_now(OUT actor_type text, OUT actor_id text, OUT depth bigint, OUT oldest timestamptz,
	OUT next_due timestamptz, OUT attempts int)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'actorstore_waiting_now' LANGUAGE C STABLE;
COMMENT ON FUNCTION actorstore.waiting_now() IS 'internal: see stat_actors';

CREATE FUNCTION actorstore.queues_now(OUT actor_type text, OUT depth bigint, OUT delayed bigint, OUT ready timestamptz)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'actorstore_queues_now' LANGUAGE C STABLE;
COMMENT ON FUNCTION actorstore.queues_now() IS 'internal: see stat_queues';

CREATE VIEW actorstore.stat_actors AS
SELECT w.actor_type, w.actor_id, sum(w.depth)::bigint AS depth, min(w.oldest) AS oldest, max(w.attempts) AS attempts, min(w.next_due) AS next_due
FROM actorstore.waiting_now() AS w
GROUP BY w.actor_type, w.actor_id;
COMMENT ON VIEW actorstore.stat_actors IS 'actors with mail: how much, and since when';

CREATE VIEW actorstore.stat_queues WITH (security_barrier) AS
SELECT t.actor_type, coalesce(q.depth, 0) AS depth, coalesce(q.delayed, 0) AS delayed, clock_timestamp() - q.ready AS oldest_age
FROM actorstore.type AS t LEFT JOIN actorstore.queues_now() AS q USING (actor_type)
WHERE actorstore.has_type_privilege(t.actor_type, 'read') OR pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW actorstore.stat_queues IS 'how many messages wait, by type, how many of them for a time, and how long the first one that does not';

CREATE VIEW actorstore.stat_workers AS
SELECT w.worker, w.pid, d.datname AS database, w.state, w.turns, w.messages, w.commits, w.failures, w.steals, w.sleeps, w.queued,
	w.key_hash
FROM actorstore.workers_now() AS w LEFT JOIN pg_catalog.pg_database AS d ON d.oid = w.database;
COMMENT ON VIEW actorstore.stat_workers IS 'the workers of the server, and what they have done since they were first started';

CREATE VIEW actorstore.stat_scheduler AS
SELECT s.queued, s.scheduled, s.running, s.used_slots, s.slots, s.overflows, s.sweeps, s.swept, s.next_due,
	(SELECT coalesce(sum(steals), 0)::bigint FROM actorstore.workers_now()) AS steals
FROM actorstore.scheduler_now() AS s;
COMMENT ON VIEW actorstore.stat_scheduler IS 'queues and slots of this database';

CREATE FUNCTION actorstore.trace_now(OUT entry bigint, OUT happened_at timestamptz, OUT event text, OUT verb text,
	OUT message_id bigint, OUT actor_type text, OUT actor_id text, OUT message text, OUT sent_at timestamptz, OUT attempts int,
	OUT worker int, OUT pid int, OUT turn bigint, OUT sqlstate text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'actorstore_trace_now' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.trace_now() IS 'internal: see trace';

CREATE VIEW actorstore.trace AS
SELECT t.entry, t.happened_at, t.event, t.verb, t.message_id, t.actor_type, t.actor_id, t.message, t.sent_at, t.attempts, t.worker,
	t.pid, t.turn, t.sqlstate
FROM actorstore.trace_now() AS t;
COMMENT ON VIEW actorstore.trace IS 'what has happened last to the messages that actorstore.trace_messages follows, of types you may read';


--
-- Nodes, and where actors live
--

-- None is carried by pg_dump: what is restored elsewhere is another database, and no node.
CREATE TABLE actorstore.node (
	node_number smallint PRIMARY KEY CHECK (node_number > 0),
	node_name text COLLATE "C" UNIQUE NOT NULL,
	conninfo text,
	weight int NOT NULL CHECK (weight BETWEEN 0 AND 1000000),
	node_uuid uuid UNIQUE NOT NULL,
	incarnation bigint NOT NULL,
	is_self boolean NOT NULL DEFAULT false,
	detour text,	-- stands in for conninfo, which does not lead there: src/cluster/seeds.h
	datacenter text COLLATE "C",
	rack text COLLATE "C"
);
CREATE UNIQUE INDEX node_self ON actorstore.node (is_self) WHERE is_self;
COMMENT ON TABLE actorstore.node IS 'the databases that share the actors; how they are reached is for superusers to read';

CREATE TABLE actorstore.epoch (
	epoch bigint PRIMARY KEY,
	last_number smallint NOT NULL,
	node_numbers smallint[] NOT NULL,
	weights int[] NOT NULL,
	owners smallint[] NOT NULL CHECK (cardinality(owners) = 4096),
	moving jsonb NOT NULL DEFAULT '{}',
	rebalancing boolean NOT NULL DEFAULT false,
	decided_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	lost jsonb NOT NULL DEFAULT '{}'		-- nodes that will never return, by uuid: src/cluster/force.h
);
COMMENT ON TABLE actorstore.epoch IS 'maps of slots: which node owns each of the 4,096; the highest number is in force';

CREATE FUNCTION actorstore.cluster_changed() RETURNS trigger
AS 'MODULE_PATHNAME', 'actorstore_cluster_changed' LANGUAGE C;
COMMENT ON FUNCTION actorstore.cluster_changed() IS 'internal: makes every backend read the nodes anew';
REVOKE ALL ON FUNCTION actorstore.cluster_changed() FROM PUBLIC;
CREATE TRIGGER cluster_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON actorstore.node
	EXECUTE FUNCTION actorstore.cluster_changed();
ALTER TABLE actorstore.node ENABLE ALWAYS TRIGGER cluster_changed;
CREATE TRIGGER cluster_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON actorstore.epoch
	EXECUTE FUNCTION actorstore.cluster_changed();
ALTER TABLE actorstore.epoch ENABLE ALWAYS TRIGGER cluster_changed;

-- What this node has promised and accepted for the epoch to come, and the slots it has given away by that.
CREATE TABLE actorstore.ballot (
	epoch bigint PRIMARY KEY,
	promised bigint NOT NULL,
	accepted bigint,
	proposal jsonb,
	given smallint[] NOT NULL DEFAULT '{}',
	closing smallint[] NOT NULL DEFAULT '{}',
	closed_by bigint,
	closed_at timestamptz,
	CHECK ((accepted IS NULL) = (proposal IS NULL)),
	CHECK (closing = '{}' OR (closed_by IS NOT NULL AND closed_at IS NOT NULL))
);
COMMENT ON TABLE actorstore.ballot IS 'how this node has voted on the next epoch, and the slots that it has closed or given away for it';
CREATE TRIGGER cluster_changed AFTER INSERT OR UPDATE OF given, closing OR DELETE OR TRUNCATE ON actorstore.ballot
	EXECUTE FUNCTION actorstore.cluster_changed();
ALTER TABLE actorstore.ballot ENABLE ALWAYS TRIGGER cluster_changed;

-- Slots that are moving, and those that did and are not open to senders yet: src/cluster/transit.h.
CREATE TABLE actorstore.transit (
	slot smallint PRIMARY KEY,
	taker smallint NOT NULL,
	state "char" NOT NULL CHECK (state IN ('p', 'f', 'h', 't', 'o')),
	since timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE actorstore.transit IS 'slots that are on their way to another node';
CREATE TRIGGER cluster_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON actorstore.transit
	EXECUTE FUNCTION actorstore.cluster_changed();
ALTER TABLE actorstore.transit ENABLE ALWAYS TRIGGER cluster_changed;

-- A database that was asked to become a node, and is not told yet that it is one.
CREATE TABLE actorstore.arrival (
	node_uuid uuid PRIMARY KEY
);
COMMENT ON TABLE actorstore.arrival IS 'the node that this database is about to become, or has become while older transactions may still run';
CREATE TRIGGER cluster_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON actorstore.arrival
	EXECUTE FUNCTION actorstore.cluster_changed();
ALTER TABLE actorstore.arrival ENABLE ALWAYS TRIGGER cluster_changed;

-- What has come of each address that actorstore.seeds leads to.
CREATE TABLE actorstore.seed (
	seed text NOT NULL,
	address text NOT NULL,
	state text NOT NULL CHECK (state IN ('member', 'self', 'refused', 'unreachable', 'unresolved')),
	node_name text,
	detail text,
	refused bigint NOT NULL,
	since timestamptz NOT NULL DEFAULT now(),
	tried_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (seed, address)
);
COMMENT ON TABLE actorstore.seed IS 'where other nodes are looked for, and who was met there the last time';

CREATE FUNCTION actorstore.init_node(node_name text, conninfo text DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_init_node' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.init_node(text, text)
	IS 'make this database a node, the only one so far, which owns all actors';

CREATE FUNCTION actorstore.locate(actor_type text, actor_id text)
RETURNS text
AS 'MODULE_PATHNAME', 'actorstore_locate' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION actorstore.locate(text, text)
	IS 'the name of the node that an actor lives on, whether it exists or not';

CREATE FUNCTION actorstore.replicas(actor_type text, actor_id text, count int)
RETURNS text[]
AS 'MODULE_PATHNAME', 'actorstore_replicas' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION actorstore.replicas(text, text, int)
	IS 'the names of the node that an actor lives on and of those that would be next, at most so many; different data centres first, then racks';

CREATE VIEW actorstore.placement AS
SELECT (o.place - 1)::int AS slot, n.node_name, e.epoch
FROM (SELECT epoch, owners FROM actorstore.epoch ORDER BY epoch DESC LIMIT 1) AS e,
	unnest(e.owners) WITH ORDINALITY AS o (node_number, place)
	LEFT JOIN actorstore.node AS n USING (node_number);
COMMENT ON VIEW actorstore.placement IS 'which node owns each slot, and since which epoch this map is in force';

CREATE FUNCTION actorstore.add_node(node_name text, conninfo text, weight int DEFAULT 100)
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_add_node' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.add_node(text, text, int)
	IS 'take a database in as a node; it gets its share of the slots that are empty; takes effect at once';

CREATE FUNCTION actorstore.remove_node(node_name text, force boolean DEFAULT false, slots_lost boolean DEFAULT false)
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_remove_node' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.remove_node(text, boolean, boolean)
	IS 'let a node go; what it holds moves to the others first; with force, one that will never return, and what it held is lost';

CREATE FUNCTION actorstore.set_node_weight(node_name text, weight int)
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_set_node_weight' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.set_node_weight(text, int)
	IS 'how large a node''s share shall be, beside the others''; empty slots move at once';

CREATE FUNCTION actorstore.set_node_location(node_name text, datacenter text, rack text DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_set_node_location' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.set_node_location(text, text, text)
	IS 'in which data centre, and in which rack there, a node is: replicas() names nodes of different ones first; NULL: not said';

CREATE FUNCTION actorstore.local_promise(epoch bigint, ballot bigint, OUT epoch_in_force bigint, OUT agreed boolean, OUT promised bigint,
	OUT accepted bigint, OUT proposal jsonb)
AS 'MODULE_PATHNAME', 'actorstore_local_promise' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION actorstore.local_promise(bigint, bigint) IS 'for other nodes: accept no lower ballot for this epoch';

CREATE FUNCTION actorstore.local_close(epoch bigint, ballot bigint, proposed jsonb, OUT epoch_in_force bigint, OUT agreed boolean,
	OUT promised bigint, OUT accepted bigint, OUT proposal jsonb)
AS 'MODULE_PATHNAME', 'actorstore_local_close' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION actorstore.local_close(bigint, bigint, jsonb) IS 'for other nodes: close the slots that a proposal takes to new actors';

CREATE FUNCTION actorstore.local_withdraw(epoch bigint, ballot bigint)
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_local_withdraw' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION actorstore.local_withdraw(bigint, bigint) IS 'for other nodes: open them again';

CREATE FUNCTION actorstore.local_consent(epoch bigint, ballot bigint, OUT epoch_in_force bigint, OUT agreed boolean, OUT promised bigint,
	OUT accepted bigint, OUT proposal jsonb)
AS 'MODULE_PATHNAME', 'actorstore_local_consent' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION actorstore.local_consent(bigint, bigint) IS 'for other nodes: give away the slots that were closed';

CREATE FUNCTION actorstore.local_accept(epoch bigint, ballot bigint, proposed jsonb, OUT epoch_in_force bigint, OUT agreed boolean, OUT promised bigint,
	OUT accepted bigint, OUT proposal jsonb)
AS 'MODULE_PATHNAME', 'actorstore_local_accept' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION actorstore.local_accept(bigint, bigint, jsonb) IS 'for other nodes: accept what is proposed for this epoch';

CREATE FUNCTION actorstore.local_learn(proposal jsonb)
RETURNS boolean
AS 'MODULE_PATHNAME', 'actorstore_local_learn' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION actorstore.local_learn(jsonb) IS 'for other nodes: put an epoch in force that was decided';

CREATE FUNCTION actorstore.local_in_force()
RETURNS jsonb
AS 'MODULE_PATHNAME', 'actorstore_local_in_force' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.local_in_force() IS 'for other nodes: the epoch in force here';

CREATE FUNCTION actorstore.local_epoch()
RETURNS bigint
AS 'MODULE_PATHNAME', 'actorstore_local_epoch' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.local_epoch() IS 'for other nodes: the number of the epoch in force here';

CREATE FUNCTION actorstore.local_answers(node_number smallint)
RETURNS boolean
AS 'MODULE_PATHNAME', 'actorstore_local_answers' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION actorstore.local_answers(smallint) IS 'for other nodes: does that node answer this one?';

CREATE FUNCTION actorstore.local_occupied()
RETURNS SETOF int
AS 'MODULE_PATHNAME', 'actorstore_local_occupied' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.local_occupied() IS 'for other nodes: the slots that hold something here';

CREATE FUNCTION actorstore.local_join(types jsonb, OUT node_uuid uuid, OUT incarnation bigint, OUT is_new boolean)
AS 'MODULE_PATHNAME', 'actorstore_local_join' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION actorstore.local_join(jsonb) IS 'for other nodes: take their types before becoming one of them';

CREATE FUNCTION actorstore.local_settle()
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_local_settle' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.local_settle() IS 'for other nodes: wait for those who still use actors here';

CREATE FUNCTION actorstore.local_leave()
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_local_leave' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.local_leave() IS 'for other nodes: nothing has come of it';

CREATE FUNCTION actorstore.slot_of(actor_type text, actor_id text)
RETURNS int
AS 'MODULE_PATHNAME', 'actorstore_slot_of' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION actorstore.slot_of(text, text) IS 'the slot of an actor';

CREATE FUNCTION actorstore.rebalance(dry_run boolean DEFAULT true, OUT from_node text, OUT to_node text, OUT slots int)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'actorstore_rebalance' LANGUAGE C VOLATILE ROWS 10;
COMMENT ON FUNCTION actorstore.rebalance(boolean)
	IS 'how many slots have to move so that each node has its share; unless it is a dry run, let them move, in the background';

CREATE FUNCTION actorstore.stop_rebalance()
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_stop_rebalance' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.stop_rebalance() IS 'let no more slots move; those that are under way arrive';

CREATE FUNCTION actorstore.moves_now(OUT from_node text, OUT to_node text, OUT slots int, OUT moving int, OUT kept int, OUT reason text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'actorstore_moves_now' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.moves_now() IS 'internal: see stat_rebalance';

CREATE VIEW actorstore.stat_rebalance AS
SELECT m.from_node, m.to_node, m.slots, m.moving, m.kept, m.reason,
	(SELECT e.rebalancing FROM actorstore.epoch AS e ORDER BY e.epoch DESC LIMIT 1) AS rebalancing
FROM actorstore.moves_now() AS m;
COMMENT ON VIEW actorstore.stat_rebalance
	IS 'slots that are not where they should be: how many are moving now, how many of this node''s cannot move, and why';

CREATE FUNCTION actorstore.local_drained(epoch bigint)
RETURNS boolean
AS 'MODULE_PATHNAME', 'actorstore_local_drained' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION actorstore.local_drained(bigint) IS 'for other nodes: has all arrived that was sent to slots which are moving?';

CREATE FUNCTION actorstore.local_take(table_name text, moved text[])
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_local_take' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION actorstore.local_take(text, text[]) IS 'for other nodes: take rows of actors whose slots move here';

CREATE FUNCTION actorstore.local_take_actors(moved bytea)
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_local_take_actors' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION actorstore.local_take_actors(bytea) IS 'for other nodes: take actors whose slots move here';

CREATE FUNCTION actorstore.local_taken(slots smallint[])
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_local_taken' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION actorstore.local_taken(smallint[]) IS 'for other nodes: all that was in these slots is here';

CREATE FUNCTION actorstore.local_has_taken(slots smallint[])
RETURNS boolean
AS 'MODULE_PATHNAME', 'actorstore_local_has_taken' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION actorstore.local_has_taken(smallint[]) IS 'for other nodes: is that committed here?';

CREATE FUNCTION actorstore.local_has_sent(node_number smallint)
RETURNS boolean
AS 'MODULE_PATHNAME', 'actorstore_local_has_sent' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION actorstore.local_has_sent(smallint) IS 'for other nodes: is nothing on its way to that node, or from it, and no transaction over it in doubt?';

REVOKE ALL ON FUNCTION actorstore.local_has_sent(smallint), actorstore.local_answers(smallint), actorstore.rebalance(boolean), actorstore.stop_rebalance(), actorstore.moves_now(), actorstore.local_drained(bigint),
	actorstore.local_take(text, text[]), actorstore.local_take_actors(bytea), actorstore.local_taken(smallint[]), actorstore.local_has_taken(smallint[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION actorstore.locate(text, text), actorstore.replicas(text, text, int), actorstore.init_node(text, text), actorstore.add_node(text, text, int), actorstore.remove_node(text, boolean, boolean),
	actorstore.set_node_weight(text, int), actorstore.set_node_location(text, text, text), actorstore.local_promise(bigint, bigint),
	actorstore.local_close(bigint, bigint, jsonb), actorstore.local_consent(bigint, bigint),
	actorstore.local_withdraw(bigint, bigint), actorstore.local_settle(), actorstore.local_leave(), actorstore.local_accept(bigint, bigint, jsonb),
	actorstore.local_learn(jsonb), actorstore.local_in_force(), actorstore.local_epoch(), actorstore.local_occupied(), actorstore.local_join(jsonb)
	FROM PUBLIC;

--
-- Transactions over several nodes
--

CREATE FUNCTION actorstore.local_identity(OUT node_uuid uuid, OUT node_name text, OUT incarnation bigint,
	OUT extension_version text, OUT in_recovery boolean, OUT max_prepared_transactions int)
RETURNS record
AS 'MODULE_PATHNAME', 'actorstore_local_identity' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.local_identity() IS 'for other nodes: which node this is';

CREATE FUNCTION actorstore.node_check(node_name text, OUT ok boolean, OUT round_trip interval, OUT detail text)
RETURNS record
AS 'MODULE_PATHNAME', 'actorstore_node_check' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.node_check(text)
	IS 'whether this node can speak to another one, how long question and answer take, and what is wrong';

CREATE FUNCTION actorstore.peers_now(OUT node_number smallint, OUT connections bigint, OUT connected bigint, OUT refused bigint,
	OUT lost bigint, OUT round_trips bigint, OUT one_phase bigint, OUT prepared bigint, OUT committed bigint,
	OUT rolled_back bigint, OUT resolved bigint)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'actorstore_peers_now' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.peers_now() IS 'internal: see stat_peers';

CREATE FUNCTION actorstore.health_now(OUT node_number smallint, OUT health text, OUT phi double precision,
	OUT rtt_p50 double precision, OUT rtt_p95 double precision, OUT rtt_p99 double precision,
	OUT sent bigint, OUT answered bigint, OUT retries bigint, OUT reconnects bigint, OUT received bigint)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'actorstore_health_now' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.health_now() IS 'internal: see stat_peers';

CREATE VIEW actorstore.stat_peers AS
SELECT n.node_name, coalesce(p.connections, 0) AS connections, coalesce(p.connected, 0) AS connected,
	coalesce(p.refused, 0) AS refused, coalesce(p.lost, 0) AS lost, coalesce(p.round_trips, 0) AS round_trips,
	coalesce(p.one_phase, 0) AS one_phase, coalesce(p.prepared, 0) AS prepared, coalesce(p.committed, 0) AS committed,
	coalesce(p.rolled_back, 0) AS rolled_back, coalesce(p.resolved, 0) AS resolved,
	coalesce(h.health, 'unknown') AS health, h.phi, h.rtt_p50, h.rtt_p95, h.rtt_p99,
	coalesce(h.sent, 0) AS heartbeats_sent, coalesce(h.answered, 0) AS heartbeats_answered, coalesce(h.received, 0) AS heartbeats_received,
	coalesce(h.retries, 0) AS retries, coalesce(h.reconnects, 0) AS reconnects
FROM actorstore.node AS n LEFT JOIN actorstore.peers_now() AS p USING (node_number)
	LEFT JOIN actorstore.health_now() AS h USING (node_number)
WHERE NOT n.is_self;
COMMENT ON VIEW actorstore.stat_peers
	IS 'each other node: connections of this database''s sessions to it, what became of transactions there since the server started, and whether it answers';

-- A visible row says: this transaction is committed, on all nodes named.
CREATE TABLE actorstore.decision (
	full_xid xid8 PRIMARY KEY,
	incarnation bigint NOT NULL,
	decided_at timestamptz NOT NULL,
	nodes smallint[] NOT NULL,
	gids text[] NOT NULL,
	lost smallint[]
);
COMMENT ON TABLE actorstore.decision IS 'transactions over several nodes that this node has committed and whose participants have not all confirmed';

-- After a crash a server may use a transaction's number again: the number of the start makes it another one.
CREATE TABLE actorstore.boot (
	boot bigint PRIMARY KEY,
	started_at timestamptz NOT NULL
);
COMMENT ON TABLE actorstore.boot IS 'starts of the server under which transactions over several nodes were begun';

-- Inserted in a participant's part of a transaction: visible, it proves that the part is committed.
CREATE TABLE actorstore.receipt (
	coordinator uuid NOT NULL,
	incarnation bigint NOT NULL,
	full_xid xid8 NOT NULL,
	gid text NOT NULL,
	received_at timestamptz NOT NULL,
	PRIMARY KEY (coordinator, full_xid, gid)
);
COMMENT ON TABLE actorstore.receipt IS 'parts of other nodes'' transactions that were committed here, till their coordinators know';

CREATE FUNCTION actorstore.local_prepared(coordinator uuid)
RETURNS SETOF text
LANGUAGE sql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT gid FROM pg_prepared_xacts
	WHERE database = current_database() AND starts_with(gid, 'actorstore_' || coordinator || '_')
$$;
COMMENT ON FUNCTION actorstore.local_prepared(uuid) IS 'for other nodes: parts of their transactions that are prepared here';

CREATE FUNCTION actorstore.local_receipts(coordinator uuid, gids text[])
RETURNS SETOF text
LANGUAGE sql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	-- by the whole key, of which the transaction's number stands in the global id: there may be thousands of both
	SELECT r.gid FROM unnest($2) AS asked (gid)
	JOIN actorstore.receipt AS r ON r.coordinator = $1 AND r.gid = asked.gid AND r.full_xid = nullif(split_part(asked.gid, '_', 5), '')::xid8
$$;
COMMENT ON FUNCTION actorstore.local_receipts(uuid, text[]) IS 'for other nodes: which of these parts of their transactions are committed here';

CREATE FUNCTION actorstore.local_forget(coordinator uuid, incarnation bigint, before xid8)
RETURNS bigint
LANGUAGE sql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	WITH gone AS (
		DELETE FROM actorstore.receipt AS r WHERE r.coordinator = $1 AND r.incarnation <= $2 AND r.full_xid < $3
		RETURNING 1
	)
	SELECT count(*) FROM gone
$$;
COMMENT ON FUNCTION actorstore.local_forget(uuid, bigint, xid8) IS 'for other nodes: delete receipts that they need no more';

CREATE FUNCTION actorstore.local_acknowledged()
RETURNS boolean
AS 'MODULE_PATHNAME', 'actorstore_sync_acknowledged' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.local_acknowledged()
	IS 'for other nodes: whether the synchronous standbys, if there are any, have all that can be seen here';

CREATE FUNCTION actorstore.local_state(caller text, epoch bigint, errand "char", actor_type text, actor_id text, value jsonb,
	expected_version bigint)
RETURNS bytea
AS 'MODULE_PATHNAME', 'actorstore_local_state' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.local_state(text, bigint, "char", text, text, jsonb, bigint)
	IS 'for other nodes: read or write an actor that lives here, in the name of a role; the answer is theirs to read';

CREATE FUNCTION actorstore.local_get_many(caller text, epoch bigint, actor_type text, actor_ids text[], lock text)
RETURNS SETOF bytea
AS 'MODULE_PATHNAME', 'actorstore_local_get_many' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.local_get_many(text, bigint, text, text[], text)
	IS 'for other nodes: the actors of these ids that live here, in the name of a role';

CREATE FUNCTION actorstore.local_scan(caller text, actor_type text, sorted boolean, id_prefix text, after text, max_rows bigint)
RETURNS SETOF bytea
AS 'MODULE_PATHNAME', 'actorstore_local_scan' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.local_scan(text, text, boolean, text, text, bigint)
	IS 'for other nodes: the actors of a type that live here, in the name of a role';

CREATE FUNCTION actorstore.local_write_many(caller text, epoch bigint, errand "char", actor_type text, actors bytea)
RETURNS "char"
AS 'MODULE_PATHNAME', 'actorstore_local_write_many' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.local_write_many(text, bigint, "char", text, bytea)
	IS 'for other nodes: insert or put many actors that live here, in the name of a role';

CREATE FUNCTION actorstore.execute_on_nodes(statement text, params text[] DEFAULT '{}', node_names text[] DEFAULT NULL,
	OUT node_name text, OUT row_count bigint)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'actorstore_execute_on_nodes' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.execute_on_nodes(text, text[], text[])
	IS 'execute a statement on the nodes named, or on all, in parallel and in this transaction: on all or on none';

CREATE FUNCTION actorstore.restore_point(point_name text, OUT node_name text, OUT lsn pg_lsn)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'actorstore_restore_point' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.restore_point(text)
	IS 'write a named point into the WAL of all nodes, between decisions and messages: to it all of them can be recovered together';

CREATE FUNCTION actorstore.local_hold()
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_local_hold' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.local_hold()
	IS 'for other nodes: till this transaction ends, nothing is decided here, no message arrives and no map of slots comes into force';

CREATE FUNCTION actorstore.local_restore_point(point_name text)
RETURNS pg_lsn
AS 'MODULE_PATHNAME', 'actorstore_local_restore_point' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION actorstore.local_restore_point(text) IS 'for other nodes: write a named point into the WAL, after local_hold()';

REVOKE ALL ON FUNCTION actorstore.restore_point(text), actorstore.local_hold(), actorstore.local_restore_point(text) FROM PUBLIC;

CREATE FUNCTION actorstore.resolve_in_doubt()
RETURNS bigint
AS 'MODULE_PATHNAME', 'actorstore_resolve_in_doubt' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.resolve_in_doubt()
	IS 'let the resolver look at all nodes now and wait for it; returns how many prepared transactions it has ended meanwhile';

CREATE FUNCTION actorstore.resolve_in_doubt(gid text, commit boolean)
RETURNS bigint
AS 'MODULE_PATHNAME', 'actorstore_decide_in_doubt' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.resolve_in_doubt(text, boolean)
	IS 'end a transaction whose coordinator will never return, on all nodes that have a part of it prepared; how many these were';

CREATE VIEW actorstore.in_doubt AS
SELECT 'coordinator' AS role, d.full_xid, n.node_name, u.gid,
	CASE WHEN u.node = ANY (d.lost) THEN 'lost' ELSE 'committed' END AS state, d.decided_at AS since
FROM actorstore.decision AS d CROSS JOIN unnest(d.nodes, d.gids) AS u (node, gid)
	LEFT JOIN actorstore.node AS n ON n.node_number = u.node
UNION ALL
SELECT 'participant', split_part(p.gid, '_', 5)::xid8,
	coalesce(n.node_name, (SELECT e.lost -> split_part(p.gid, '_', 2) ->> 'node_name' FROM actorstore.epoch AS e ORDER BY e.epoch DESC LIMIT 1)),
	p.gid, 'prepared', p.prepared
FROM pg_catalog.pg_prepared_xacts AS p LEFT JOIN actorstore.node AS n ON n.node_uuid::text = split_part(p.gid, '_', 2)
WHERE p.database = current_database() AND p.gid ~ '^actorstore_[-0-9a-f]{36}_[0-9]+_[0-9]+_[0-9]+_[0-9]+$';
COMMENT ON VIEW actorstore.in_doubt
	IS 'transactions over several nodes that are not over: decided here and not confirmed by a node, or prepared here for a node';

CREATE FUNCTION actorstore.global_transactions_now(OUT pid int, OUT full_xid xid8, OUT state text, OUT began_at timestamptz,
	OUT since timestamptz, OUT nodes smallint[], OUT pids int[], OUT virtual_transaction text, OUT boot bigint)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'actorstore_global_transactions_now' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.global_transactions_now() IS 'internal: see global_transaction';

CREATE VIEW actorstore.global_transaction AS
SELECT g.pid, g.full_xid, g.state, g.began_at, g.since,
	ARRAY(SELECT n.node_name FROM actorstore.node AS n WHERE n.node_number = ANY (g.nodes) ORDER BY n.node_number) AS node_names
FROM actorstore.global_transactions_now() AS g;
COMMENT ON VIEW actorstore.global_transaction
	IS 'the last transaction over several nodes of each session: begin, active, preparing, prepared, committing, committed, aborting, aborted';

-- What a look for deadlocks over several nodes needs of each node, and does there.
CREATE FUNCTION actorstore.local_transactions(OUT pid int, OUT virtual_transaction text, OUT boot bigint, OUT state text,
	OUT began_at bigint, OUT full_xid xid8, OUT node_number smallint, OUT node_pid int)
RETURNS SETOF record
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT g.pid, g.virtual_transaction, g.boot, g.state, (extract(epoch FROM g.began_at) * 1000000)::bigint, g.full_xid, u.node, u.pid
	FROM actorstore.global_transactions_now() AS g LEFT JOIN LATERAL unnest(g.nodes, g.pids) AS u (node, pid) ON true
	WHERE g.state IN ('begin', 'active', 'preparing')
$$;
COMMENT ON FUNCTION actorstore.local_transactions()
	IS 'for other nodes: transactions over several nodes that this one coordinates, a row for each session that works for one elsewhere';

CREATE FUNCTION actorstore.waits_now(OUT waiting_pid int, OUT wait_start bigint, OUT waits_for text,
	OUT waiter int, OUT waiter_transaction text, OUT waiter_coordinator text,
	OUT blocker int, OUT blocker_transaction text, OUT blocker_coordinator text, OUT blocker_xid xid)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'actorstore_waits_now' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.waits_now() IS 'internal: see local_waits';

CREATE FUNCTION actorstore.local_waits(OUT waiting_pid int, OUT wait_start bigint, OUT waits_for text,
	OUT waiter int, OUT waiter_transaction text, OUT waiter_coordinator text,
	OUT blocker int, OUT blocker_transaction text, OUT blocker_coordinator text, OUT blocker_gid text)
RETURNS SETOF record
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT w.waiting_pid, w.wait_start, w.waits_for, w.waiter, w.waiter_transaction, w.waiter_coordinator,
		w.blocker, w.blocker_transaction, w.blocker_coordinator, p.gid
	FROM actorstore.waits_now() AS w LEFT JOIN pg_prepared_xacts AS p ON p.transaction = w.blocker_xid
$$;
COMMENT ON FUNCTION actorstore.local_waits()
	IS 'for other nodes: who waits for a lock here, since when, for whom, and in whose name';

CREATE FUNCTION actorstore.local_deadlock_tell(pid int, virtual_transaction text, detail text)
RETURNS boolean
AS 'MODULE_PATHNAME', 'actorstore_local_deadlock_tell' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION actorstore.local_deadlock_tell(int, text, text)
	IS 'for other nodes: what a transaction over several nodes says once it is the victim of a deadlock';

CREATE FUNCTION actorstore.local_deadlock_end(waiting_pid int, wait_start bigint)
RETURNS boolean
AS 'MODULE_PATHNAME', 'actorstore_local_deadlock_end' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION actorstore.local_deadlock_end(int, bigint)
	IS 'for other nodes: end this wait of a transaction over several nodes, if it goes on, as the victim of a deadlock';

REVOKE ALL ON FUNCTION actorstore.local_transactions(), actorstore.waits_now(), actorstore.local_waits(),
	actorstore.local_deadlock_tell(int, text, text), actorstore.local_deadlock_end(int, bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION actorstore.local_identity(), actorstore.local_prepared(uuid),
	actorstore.local_receipts(uuid, text[]), actorstore.local_forget(uuid, bigint, xid8), actorstore.local_acknowledged(),
	actorstore.local_state(text, bigint, "char", text, text, jsonb, bigint),
	actorstore.local_get_many(text, bigint, text, text[], text), actorstore.local_scan(text, text, boolean, text, text, bigint),
	actorstore.local_write_many(text, bigint, "char", text, bytea),
	actorstore.node_check(text), actorstore.peers_now(), actorstore.health_now(), actorstore.execute_on_nodes(text, text[], text[]),
	actorstore.resolve_in_doubt(), actorstore.resolve_in_doubt(text, boolean), actorstore.global_transactions_now() FROM PUBLIC;

--
-- What one node does for a caller of another one (caller: his role, NULL for a superuser)
--

CREATE FUNCTION actorstore.local_type(caller text, epoch bigint, change text, actor_type text, events boolean,
	message text, handler text, search_path text, grantee text, privileges int,
	persistence text, mailbox_limit int, on_full text, max_attempts int, backoff interval, backoff_max interval,
	turn_timeout interval, on_exhausted text, rate_limit float8, max_concurrency int, order_by_deadline boolean)
RETURNS text
AS 'MODULE_PATHNAME', 'actorstore_local_type' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.local_type(text, bigint, text, text, boolean, text, text, text, text, int,
	text, int, text, int, interval, interval, interval, text, float8, int, boolean)
	IS 'for other nodes: change a type, its handlers or its rights here as well; returns its owner';

CREATE FUNCTION actorstore.local_chore(caller text, epoch bigint, kind "char", actor_type text, actor_id text, amount bigint,
	group_name text, owner text, OUT is_mine boolean, OUT result bigint)
AS 'MODULE_PATHNAME', 'actorstore_local_chore' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.local_chore(text, bigint, "char", text, text, bigint, text, text)
	IS 'for other nodes: pause or resume an actor that lives here, let it join or leave a group, see to its dead letters, end its supervision';

CREATE FUNCTION actorstore.local_group_owner(caller text, epoch bigint, group_name text, OUT is_mine boolean, OUT owner text)
AS 'MODULE_PATHNAME', 'actorstore_local_group_owner' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.local_group_owner(text, bigint, text) IS 'for other nodes: whose a group is, by what is known here';

CREATE FUNCTION actorstore.local_group_members(caller text, epoch bigint, group_name text, OUT actor_type text, OUT actor_id text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'actorstore_local_group_members' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.local_group_members(text, bigint, text) IS 'for other nodes: who is in a group here';

REVOKE ALL ON FUNCTION actorstore.local_chore(text, bigint, "char", text, text, bigint, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION actorstore.local_group_owner(text, bigint, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION actorstore.local_group_members(text, bigint, text) FROM PUBLIC;

CREATE FUNCTION actorstore.local_ask(caller text, epoch bigint, kind "char", actor_type text, actor_id text, message text, body jsonb,
	timeout_us bigint, dedup_key text, OUT is_mine boolean, OUT answer jsonb)
AS 'MODULE_PATHNAME', 'actorstore_local_ask' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.local_ask(text, bigint, "char", text, text, text, jsonb, bigint, text)
	IS 'for other nodes: call, ask or tell an actor that lives here';

REVOKE ALL ON FUNCTION actorstore.local_ask(text, bigint, "char", text, text, text, jsonb, bigint, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION actorstore.local_type(text, bigint, text, text, boolean, text, text, text, text, int,
	text, int, text, int, interval, interval, interval, text, float8, int, boolean) FROM PUBLIC;

CREATE FUNCTION actorstore.local_cancel_timer(caller text, epoch bigint, actor_type text, actor_id text, name text,
	origin uuid, incarnation bigint, batch bigint)
RETURNS "char"
AS 'MODULE_PATHNAME', 'actorstore_local_cancel_timer' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.local_cancel_timer(text, bigint, text, text, text, uuid, bigint, bigint)
	IS 'for other nodes: cancel a timer of an actor that lives here, once what they had sent before is here';
REVOKE ALL ON FUNCTION actorstore.local_cancel_timer(text, bigint, text, text, text, uuid, bigint, bigint) FROM PUBLIC;

CREATE FUNCTION actorstore.local_spawn(caller text, epoch bigint, actor_type text, actor_id text, state jsonb)
RETURNS boolean
AS 'MODULE_PATHNAME', 'actorstore_local_spawn' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.local_spawn(text, bigint, text, text, jsonb)
	IS 'for other nodes: begin an actor that lives here, in the name of a role';
REVOKE ALL ON FUNCTION actorstore.local_spawn(text, bigint, text, text, jsonb) FROM PUBLIC;

CREATE FUNCTION actorstore.local_supervisor(caller text, epoch bigint, actor_type text, actor_id text, OUT is_mine boolean,
	OUT parent_type text, OUT parent_id text, OUT is_stopped boolean, OUT looked_at bigint)
AS 'MODULE_PATHNAME', 'actorstore_local_supervisor' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.local_supervisor(text, bigint, text, text)
	IS 'for other nodes: who supervises an actor that lives here, which stays so until the transaction ends';

CREATE FUNCTION actorstore.local_supervise(caller text, epoch bigint, parent_type text, parent_id text, child_type text, child_id text,
	strategy text, max_restarts int, period interval, keep_state boolean, restart text, asked_at bigint)
RETURNS boolean
AS 'MODULE_PATHNAME', 'actorstore_local_supervise' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.local_supervise(text, bigint, text, text, text, text, text, int, interval, boolean, text, bigint)
	IS 'for other nodes: have an actor that lives here supervised';

REVOKE ALL ON FUNCTION actorstore.local_supervisor(text, bigint, text, text),
	actorstore.local_supervise(text, bigint, text, text, text, text, text, int, interval, boolean, text, bigint) FROM PUBLIC;

--
-- Messages to other nodes
--

CREATE TABLE actorstore.outbox (
	node_number smallint NOT NULL,
	message_id bigint NOT NULL,
	actor_type text COLLATE "C" NOT NULL,
	actor_id text COLLATE "C" NOT NULL,
	message text COLLATE "C" NOT NULL,
	body jsonb,
	headers jsonb,
	priority smallint NOT NULL,
	sent_at timestamptz NOT NULL,
	due timestamptz,
	expires_at timestamptz,
	sender_type text COLLATE "C",
	sender_id text COLLATE "C",
	dedup_key text COLLATE "C",
	kind smallint NOT NULL,		-- 0: a message; 1: a timer, named by dedup_key
	PRIMARY KEY (node_number, message_id)
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0,
	autovacuum_vacuum_insert_threshold = -1, vacuum_truncate = off);
COMMENT ON TABLE actorstore.outbox IS 'messages for actors of other nodes that have not left yet';

-- Made, numbered without gaps, and kept for a while after the other node has them.
CREATE TABLE actorstore.outbox_batch (
	node_number smallint NOT NULL,
	incarnation bigint NOT NULL,
	batch bigint NOT NULL,
	nmessages int NOT NULL,
	envelope bytea NOT NULL,
	made_at timestamptz NOT NULL,
	PRIMARY KEY (node_number, incarnation, batch)
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0,
	autovacuum_vacuum_insert_threshold = -1);
ALTER TABLE actorstore.outbox_batch ALTER COLUMN envelope SET STORAGE EXTERNAL;
COMMENT ON TABLE actorstore.outbox_batch IS 'batches of messages that have been sent to other nodes, or are about to be';

-- The last batch that has come from each node, or rather from each incarnation of it.
CREATE TABLE actorstore.inbox (
	origin uuid NOT NULL,
	incarnation bigint NOT NULL,
	batch bigint NOT NULL,
	PRIMARY KEY (origin, incarnation)
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE actorstore.inbox IS 'the last batch of messages that has come from each node';

CREATE FUNCTION actorstore.local_deliver(origin uuid, incarnation bigint, batch bigint, epoch bigint, envelope bytea,
	OUT watermark bigint, OUT crowded boolean)
RETURNS record
AS 'MODULE_PATHNAME', 'actorstore_local_deliver' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION actorstore.local_deliver(uuid, bigint, bigint, bigint, bytea)
	IS 'for other nodes: take a batch of messages, if it is the next one; the last one that is here';

CREATE FUNCTION actorstore.local_watermarks(origin uuid, OUT incarnation bigint, OUT batch bigint)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'actorstore_local_watermarks' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION actorstore.local_watermarks(uuid) IS 'for other nodes: the last batches of theirs that are here';

CREATE FUNCTION actorstore.local_skip(origin uuid, incarnation bigint, batch bigint)
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_local_skip' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION actorstore.local_skip(uuid, bigint, bigint) IS 'for other nodes: batches up to there are lost, go on without them';

CREATE FUNCTION actorstore.lanes_now(OUT node_number smallint, OUT connected boolean, OUT on_their_way bigint,
	OUT forwarded bigint, OUT batches bigint, OUT repeated bigint, OUT failures bigint, OUT received bigint, OUT refused bigint, OUT limited bigint,
	OUT duplicates bigint, OUT acked_in bigint, OUT acked bigint)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'actorstore_lanes_now' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.lanes_now() IS 'internal: see stat_outbox';

CREATE VIEW actorstore.stat_outbox AS
SELECT n.node_name, coalesce(l.connected, false) AS connected, coalesce(l.on_their_way, 0) AS on_their_way,
	coalesce(l.forwarded, 0) AS forwarded, coalesce(l.batches, 0) AS batches, coalesce(l.repeated, 0) AS repeated,
	coalesce(l.failures, 0) AS failures
FROM actorstore.node AS n LEFT JOIN actorstore.lanes_now() AS l USING (node_number)
WHERE NOT n.is_self;
COMMENT ON VIEW actorstore.stat_outbox
	IS 'messages to each other node since the server started: on their way, acknowledged, in how many batches';

CREATE VIEW actorstore.stat_inbox AS
SELECT CASE WHEN NOT n.is_self THEN n.node_name END AS node_name, coalesce(l.received, 0) AS received, coalesce(l.refused, 0) AS refused,
	coalesce(l.limited, 0) AS limited, coalesce(l.duplicates, 0) AS duplicates
FROM actorstore.node AS n LEFT JOIN actorstore.lanes_now() AS l USING (node_number);
COMMENT ON VIEW actorstore.stat_inbox
	IS 'messages from each other node, and from nodes that are not known, since the server started; batches that were refused as bad or repeated, and as too many; how many of them were here already';

REVOKE ALL ON FUNCTION actorstore.local_deliver(uuid, bigint, bigint, bigint, bytea), actorstore.local_watermarks(uuid),
	actorstore.local_skip(uuid, bigint, bigint), actorstore.lanes_now() FROM PUBLIC;

--
-- What is wrong
--

CREATE FUNCTION actorstore.doubtful_now(OUT age int)
RETURNS SETOF int
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT NULL::int FROM actorstore.decision
	WHERE lost IS NULL AND decided_at < clock_timestamp() - current_setting('actorstore.in_doubt_alarm')::interval
	UNION ALL
	SELECT age(transaction) FROM pg_prepared_xacts
	WHERE database = current_database() AND starts_with(gid, 'actorstore_') AND prepared < clock_timestamp() - current_setting('actorstore.in_doubt_alarm')::interval
$$;
COMMENT ON FUNCTION actorstore.doubtful_now()
	IS 'internal: what has been in doubt for longer than actorstore.in_doubt_alarm; of what is prepared here, how many transactions ago it began';
REVOKE ALL ON FUNCTION actorstore.doubtful_now() FROM PUBLIC;

CREATE FUNCTION actorstore.doctor(OUT item text, OUT ok boolean, OUT detail text, OUT hint text)
RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	WITH slots AS (
		SELECT r.slot_name, s.slot, s.subscription
		FROM pg_replication_slots AS r FULL JOIN actorstore.subscription AS s ON s.slot = r.slot_name
		WHERE s.subscription IS NOT NULL OR
			(r.database = current_database() AND starts_with(r.slot_name::text, format('actorstore_%s_', (SELECT oid FROM pg_database WHERE datname = current_database()))))
	), checks (number, item, ok, detail, hint) AS (
		SELECT 1, 'shared_preload_libraries', setting ~ '(^|[ ,"''/])actorstore($|[ ,"''])', setting,
			'Put actorstore into shared_preload_libraries in postgresql.conf and restart.'
		FROM pg_settings WHERE name = 'shared_preload_libraries'
		UNION ALL
		SELECT 2, 'wal_level', setting = 'logical', setting,
			'Subscriptions need ALTER SYSTEM SET wal_level = logical and a restart.'
		FROM pg_settings WHERE name = 'wal_level'
		UNION ALL
		SELECT 3, 'output_plugin_libraries', setting ~ '(^|[ ,])actorstore($|[ ,])', setting,
			'Subscriptions need ALTER SYSTEM SET output_plugin_libraries = pgoutput, test_decoding, actorstore and a reload.'
		FROM pg_settings WHERE name = 'output_plugin_libraries'
		UNION ALL
		SELECT 4, 'max_replication_slots', (SELECT count(*) FROM pg_replication_slots) < setting::int,
			format('%s of %s are in use', (SELECT count(*) FROM pg_replication_slots), setting),
			'Raise max_replication_slots and restart, or drop slots that nobody uses.'
		FROM pg_settings WHERE name = 'max_replication_slots'
		UNION ALL
		SELECT 5, 'max_slot_wal_keep_size', setting <> '-1' OR NOT EXISTS (SELECT FROM slots), setting,
			'A subscription that nobody reads can fill the disk: set max_slot_wal_keep_size.'
		FROM pg_settings WHERE name = 'max_slot_wal_keep_size'
		UNION ALL
		SELECT 6, 'keeper launcher', count(*) > 0, format('%s running', count(*)),
			'Raise max_worker_processes and restart, or look into the server log.'
		FROM pg_stat_activity WHERE backend_type = 'actorstore keeper launcher'
		HAVING (SELECT setting FROM pg_settings WHERE name = 'shared_preload_libraries') ~ 'actorstore'
		UNION ALL
		SELECT 7, 'lost subscriptions', count(*) = 0, format('%s have lost events', count(*)),
			'See stat_subscriptions; unsubscribe, and subscribe from the beginning.'
		FROM slots WHERE subscription IS NOT NULL AND actorstore.slot_is_lost(slot)
		UNION ALL
		SELECT 8, 'orphaned slots', count(*) = 0, format('%s belong to no subscription', count(*)),
			'The keeper drops them within seconds where actorstore is preloaded, the next subscribe anywhere.'
		FROM slots WHERE subscription IS NULL AND right(slot_name::text, 7) <> '_keeper'
		UNION ALL
		SELECT 9, 'fence', NOT copy, CASE WHEN copy THEN 'this database is a copy: its actors stand still' ELSE 'this database is the original' END,
			'Once the original runs no more, SELECT actorstore.unfence().'
		FROM actorstore.is_copy() AS copy
		UNION ALL
		SELECT 10, 'launcher', count(*) > 0, format('%s running, which shares %s workers among the databases', count(*),
			(SELECT count(*) FROM actorstore.workers_now())),
			'Raise max_worker_processes and restart, or look into the server log.'
		FROM pg_stat_activity WHERE backend_type = 'actorstore launcher'
		HAVING (SELECT setting FROM pg_settings WHERE name = 'shared_preload_libraries') ~ 'actorstore'
		UNION ALL
		SELECT 11, 'waiting mail', count(*) = 0, format('%s messages have waited for more than a minute for actors that may run', count(*)),
			'See actorstore.stat_actors and actorstore.stat_workers.'
		FROM actorstore.message AS m
		WHERE greatest(sent_at, due) < clock_timestamp() - interval '1 minute'
			AND NOT EXISTS (SELECT FROM actorstore.halted AS h WHERE h.actor_type = m.actor_type AND h.actor_id IN ('', m.actor_id))
		UNION ALL
		SELECT 12, 'steward', count(*) > 0 OR NOT EXISTS (SELECT FROM actorstore.timer),
			format('%s running, which fires timers', count(*)),
			'Workers fire timers meanwhile. Raise max_worker_processes and restart, or look into the server log.'
		FROM pg_stat_activity WHERE backend_type = 'actorstore steward' AND datid = (SELECT oid FROM pg_database WHERE datname = current_database())
		HAVING (SELECT setting FROM pg_settings WHERE name = 'shared_preload_libraries') ~ 'actorstore'
		UNION ALL
		SELECT 13, 'workers', NOT s.starved, format('%s of %s run', (SELECT count(*) FROM actorstore.workers_now()), s.workers),
			'No process is left for the others: raise max_worker_processes and restart, or set actorstore.workers.'
		FROM actorstore.scheduler_now() AS s
		UNION ALL
		SELECT 20, 'resolver', count(*) > 0, format('%s running, which ends transactions over several nodes', count(*)),
			'Raise max_worker_processes and restart, or look into the server log.'
		FROM pg_stat_activity WHERE backend_type = 'actorstore resolver' AND datid = (SELECT oid FROM pg_database WHERE datname = current_database())
		HAVING (SELECT count(*) FROM actorstore.node) > 1 AND NOT pg_is_in_recovery()
		UNION ALL
		SELECT 21, 'max_prepared_transactions', setting::int >= current_setting('max_connections')::int AND
			(SELECT count(*) FROM pg_prepared_xacts) < 0.8 * setting::int,
			format('%s, of which %s are in use', setting, (SELECT count(*) FROM pg_prepared_xacts)),
			format('Set max_prepared_transactions = %s, or more, in postgresql.conf and restart; see actorstore.in_doubt.', current_setting('max_connections'))
		FROM pg_settings WHERE name = 'max_prepared_transactions' AND (SELECT count(*) FROM actorstore.node) > 1
		UNION ALL
		SELECT 22, 'max_worker_processes', setting::int >= needed,
			format('%s, of which this node''s processes and the server''s own need %s', setting, needed),
			format('Set max_worker_processes = %s, or more, in postgresql.conf and restart: a resolver, a process that looks after the other nodes'' health, one that moves slots to them, and a forwarder for each are among them.', needed + 3)
		FROM pg_settings, (SELECT count(*) + (SELECT count(*) FROM actorstore.stat_workers) + 7 + (coalesce(current_setting('actorstore.seeds', true), '') <> '')::int AS needed
			FROM actorstore.node) AS n
		WHERE name = 'max_worker_processes' AND (SELECT count(*) FROM actorstore.node) > 1
		UNION ALL
		SELECT 23, 'in doubt', count(*) = 0,
			format('%s parts of transactions have been in doubt for more than %s', count(*), current_setting('actorstore.in_doubt_alarm')) ||
				format('; what is prepared here holds back vacuum by %s transactions', max(age)),
			'See actorstore.in_doubt and the server log: a prepared transaction keeps its locks and holds back vacuum.'
		FROM actorstore.doubtful_now()
		HAVING count(*) > 0 OR (SELECT count(*) FROM actorstore.node) > 1
		UNION ALL
		SELECT 24, 'lost transactions', false, format('%s transactions are committed here and lost on another node', count(*)),
			'See actorstore.in_doubt; put right what is missing there, then delete the row from actorstore.decision.'
		FROM actorstore.decision WHERE lost IS NOT NULL
		HAVING count(*) > 0
		UNION ALL
		SELECT 25, 'outbox', false, format(CASE WHEN w.known THEN 'messages to node %s have been on their way for more than a minute'
				ELSE 'node %s has not been asked since this server started whether it has messages that left more than a minute ago' END, n.node_name),
			'Can it be reached (node_check())? Is a background worker free for the forwarder (max_worker_processes)? See stat_outbox and the server log.'
		FROM actorstore.node AS n LEFT JOIN actorstore.lanes_now() AS l USING (node_number),
			LATERAL (SELECT coalesce(l.acked_in, 0) > 0 OR EXISTS (SELECT FROM actorstore.outbox AS o
				WHERE o.node_number = n.node_number AND o.sent_at < clock_timestamp() - interval '1 minute') AS known) AS w
		WHERE EXISTS (SELECT FROM actorstore.outbox AS o WHERE o.node_number = n.node_number AND o.sent_at < clock_timestamp() - interval '1 minute')
			-- or it refuses what has left; what it has is not known before it was asked, which is tried as soon as the server has started
			OR ((l.acked_in > 0 OR l.failures > 0 OR pg_postmaster_start_time() < clock_timestamp() - interval '1 minute')
				AND EXISTS (SELECT FROM actorstore.outbox_batch AS b WHERE b.node_number = n.node_number
				AND (b.incarnation, b.batch) > (coalesce(l.acked_in, 0), coalesce(l.acked, 0)) AND b.made_at < clock_timestamp() - interval '1 minute'))
		UNION ALL
		SELECT 26, 'synchronous_standby_names', current_setting('synchronous_standby_names') <> '',
			format('%s standbys, of which COMMIT waits for %s', count(*), coalesce(nullif(current_setting('synchronous_standby_names'), ''), 'none')),
			'After a failover to a standby that was behind, this node has lost what others have committed. Set synchronous_standby_names, and let only those take over.'
		FROM pg_stat_replication AS r
		WHERE r.state IN ('streaming', 'catchup')
			AND NOT EXISTS (SELECT FROM pg_replication_slots AS s WHERE s.active_pid = r.pid AND s.slot_type = 'logical')
		HAVING (count(*) > 0 OR EXISTS (SELECT FROM actorstore.node WHERE is_self AND conninfo ~ 'host(addr)?[[:space:]]*=[[:space:]]*[^[:space:],]+,'))
			AND (SELECT count(*) FROM actorstore.node) > 1 AND NOT pg_is_in_recovery()
		UNION ALL
		SELECT 27, 'in doubt for ever', false,
			format('%s parts of transactions are prepared here for nodes that were declared lost', count(*)),
			'See actorstore.in_doubt, find out what each was about, and call resolve_in_doubt(gid, true) to commit it, or false to roll it back, on all nodes.'
		FROM pg_prepared_xacts AS p, (SELECT lost FROM actorstore.epoch ORDER BY epoch DESC LIMIT 1) AS e
		WHERE p.database = current_database() AND starts_with(p.gid, 'actorstore_') AND e.lost ? split_part(p.gid, '_', 2)
		HAVING count(*) > 0
		UNION ALL
		SELECT 28, 'crash safety', bool_and(setting = 'on'), string_agg(format('%s = %s', name, setting), ', ' ORDER BY name),
			'After a crash the database may be damaged beyond repair: ALTER SYSTEM SET fsync = on, ALTER SYSTEM SET full_page_writes = on, and reload.'
		FROM pg_settings WHERE name IN ('fsync', 'full_page_writes')
		UNION ALL
		SELECT 29, 'synchronous_commit', reset_val NOT IN ('off', 'local'), reset_val,
			'Sessions are told of a commit that a crash, or a failover, can still undo: set synchronous_commit = on, in postgresql.conf or for the database.'
		FROM pg_settings
		WHERE name = 'synchronous_commit' AND (current_setting('synchronous_standby_names') <> '' OR (SELECT count(*) FROM actorstore.node) > 1)
		UNION ALL
		SELECT 30, 'synchronous standbys', there >= needed, format('%s, and COMMIT waits for %s', there, needed),
			'Commits wait until more standbys follow: start them, and look into their logs.'
		FROM (SELECT count(*) AS there FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')) AS r,
			coalesce(substring(current_setting('synchronous_standby_names') FROM '^[[:space:]]*(?:[Aa][Nn][Yy][[:space:]]+|[Ff][Ii][Rr][Ss][Tt][[:space:]]+)?([0-9]+)[[:space:]]*[(]')::int, 1) AS needed
		WHERE current_setting('synchronous_standby_names') <> '' AND NOT pg_is_in_recovery()
		UNION ALL
		SELECT 31, 'hot_standby', setting = 'on', setting,
			'Nobody can look into a standby, as what lets it take over has to: set hot_standby = on in postgresql.conf and restart.'
		FROM pg_settings
		WHERE name = 'hot_standby' AND (current_setting('synchronous_standby_names') <> '' OR EXISTS (SELECT FROM pg_stat_replication))
		UNION ALL
		SELECT 32, 'replay', state = 'not paused', state,
			'This standby cannot take over with all that was committed. Its max_prepared_transactions, max_connections, max_worker_processes, max_wal_senders and max_locks_per_transaction must be those of the primary, or more: raise them and restart; if somebody has paused it, SELECT pg_wal_replay_resume().'
		FROM (SELECT CASE WHEN pg_is_in_recovery() THEN pg_get_wal_replay_pause_state() END AS state) AS s
		WHERE state IS NOT NULL
		UNION ALL
		SELECT 33, 'seeds', count(*) = 0 OR (bool_or(state = 'member') AND bool_and(state NOT IN ('refused', 'unresolved'))),
			format('of %s addresses %s lead to other members, %s here, %s are refused, %s are out of reach, %s are no addresses', count(*),
				count(*) FILTER (WHERE state = 'member'), count(*) FILTER (WHERE state = 'self'), count(*) FILTER (WHERE state = 'refused'),
				count(*) FILTER (WHERE state = 'unreachable'), count(*) FILTER (WHERE state = 'unresolved')),
			'See the table actorstore.seed, and correct actorstore.seeds.'
		FROM actorstore.seed
		HAVING current_setting('actorstore.seeds', true) <> '' AND (SELECT count(*) FROM actorstore.node) > 1
		UNION ALL
		SELECT 34, 'detours', false, format('nodes are reached where their conninfo does not lead: %s', string_agg(node_name, ', ' ORDER BY node_number)),
			'Correct the service that conninfo names, or the column conninfo in the table actorstore.node, on every node.'
		FROM actorstore.node WHERE detour IS NOT NULL
		HAVING count(*) > 0
		UNION ALL
		SELECT 36, 'rights on tables', false, format('%s tables of the extension can be written by %s', count(DISTINCT c.oid), string_agg(DISTINCT coalesce(r.rolname, 'PUBLIC'), ', ')),
			'Who writes them bypasses the rights on types, or has his own code run as others: REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA actorstore from these. ALTER DEFAULT PRIVILEGES may have granted it when a dump was restored.'
		FROM pg_class AS c CROSS JOIN aclexplode(c.relacl) AS a LEFT JOIN pg_roles AS r ON r.oid = a.grantee
		WHERE c.relnamespace = 'actorstore'::regnamespace AND c.relkind IN ('r', 'p') AND a.grantee <> c.relowner AND NOT coalesce(r.rolsuper, false)
			AND a.privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')
		HAVING count(*) > 0
		UNION ALL
		SELECT 37, 'default_transaction_read_only', false, reset_val,
			'Other nodes do not connect, nor end what they have prepared here: ALTER DATABASE, ALTER ROLE or ALTER SYSTEM RESET default_transaction_read_only.'
		FROM pg_settings
		WHERE name = 'default_transaction_read_only' AND reset_val = 'on' AND (SELECT count(*) FROM actorstore.node) > 1 AND NOT pg_is_in_recovery()
		UNION ALL
		-- the columns are there since 17, and so is the setting
		SELECT 35, 'synchronized slots', count(*) = count(*) FILTER (WHERE (to_jsonb(r) ->> 'synced')::boolean AND NOT r.temporary AND NOT actorstore.slot_is_lost(s.slot)),
			format('of %s subscriptions %s would go on here', count(*),
				count(*) FILTER (WHERE (to_jsonb(r) ->> 'synced')::boolean AND NOT r.temporary AND NOT actorstore.slot_is_lost(s.slot))),
			'Subscriptions follow to this standby with sync_replication_slots = on, hot_standby_feedback = on, primary_slot_name and a dbname in primary_conninfo, each once it has been read on. Slots that this server has from when it was the primary are in the way: drop them with pg_drop_replication_slot().'
		FROM actorstore.subscription AS s LEFT JOIN pg_replication_slots AS r ON r.slot_name = s.slot
		WHERE pg_is_in_recovery()
		HAVING count(*) > 0 AND current_setting('sync_replication_slots', true) IS NOT NULL
	)
	SELECT item, ok, detail, CASE WHEN NOT ok THEN hint END FROM checks ORDER BY number
$$;
COMMENT ON FUNCTION actorstore.doctor() IS 'what the extension needs, whether it has it, and what to do';

CREATE FUNCTION actorstore.monitor_node(node_name text)
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_monitor_node' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.monitor_node(text)
	IS 'in a handler: have $nodedown sent to this actor when the node goes down, and $nodeup when it is up again';

CREATE FUNCTION actorstore.demonitor_node(node_name text)
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_demonitor_node' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.demonitor_node(text)
	IS 'in a handler: do no longer tell this actor of the node';

-- Vector clocks (src/lib/vclock.h).
CREATE TYPE actorstore.vclock;

CREATE FUNCTION actorstore.vclock_in(cstring) RETURNS actorstore.vclock
AS 'MODULE_PATHNAME', 'actorstore_vclock_in' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION actorstore.vclock_in(cstring) IS 'input';

CREATE FUNCTION actorstore.vclock_out(actorstore.vclock) RETURNS cstring
AS 'MODULE_PATHNAME', 'actorstore_vclock_out' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION actorstore.vclock_out(actorstore.vclock) IS 'output';

CREATE FUNCTION actorstore.vclock_recv(internal) RETURNS actorstore.vclock
AS 'MODULE_PATHNAME', 'actorstore_vclock_recv' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION actorstore.vclock_recv(internal) IS 'binary input';

CREATE FUNCTION actorstore.vclock_send(actorstore.vclock) RETURNS bytea
AS 'MODULE_PATHNAME', 'actorstore_vclock_send' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION actorstore.vclock_send(actorstore.vclock) IS 'binary output';

CREATE TYPE actorstore.vclock (
	INPUT = actorstore.vclock_in,
	OUTPUT = actorstore.vclock_out,
	RECEIVE = actorstore.vclock_recv,
	SEND = actorstore.vclock_send,
	INTERNALLENGTH = VARIABLE,
	ALIGNMENT = double,
	STORAGE = extended
);
COMMENT ON TYPE actorstore.vclock IS 'vector clock: a counter for each node, as {1:5,2:7}';

CREATE FUNCTION actorstore.vclock_eq(actorstore.vclock, actorstore.vclock) RETURNS boolean
AS 'MODULE_PATHNAME', 'actorstore_vclock_eq' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION actorstore.vclock_eq(actorstore.vclock, actorstore.vclock) IS 'implementation of = operator';

CREATE FUNCTION actorstore.vclock_ne(actorstore.vclock, actorstore.vclock) RETURNS boolean
AS 'MODULE_PATHNAME', 'actorstore_vclock_ne' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION actorstore.vclock_ne(actorstore.vclock, actorstore.vclock) IS 'implementation of <> operator';

CREATE FUNCTION actorstore.vclock_before(actorstore.vclock, actorstore.vclock) RETURNS boolean
AS 'MODULE_PATHNAME', 'actorstore_vclock_before' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION actorstore.vclock_before(actorstore.vclock, actorstore.vclock) IS 'implementation of < operator';

CREATE FUNCTION actorstore.vclock_after(actorstore.vclock, actorstore.vclock) RETURNS boolean
AS 'MODULE_PATHNAME', 'actorstore_vclock_after' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION actorstore.vclock_after(actorstore.vclock, actorstore.vclock) IS 'implementation of > operator';

CREATE FUNCTION actorstore.vclock_before_eq(actorstore.vclock, actorstore.vclock) RETURNS boolean
AS 'MODULE_PATHNAME', 'actorstore_vclock_before_eq' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION actorstore.vclock_before_eq(actorstore.vclock, actorstore.vclock) IS 'implementation of <= operator';

CREATE FUNCTION actorstore.vclock_after_eq(actorstore.vclock, actorstore.vclock) RETURNS boolean
AS 'MODULE_PATHNAME', 'actorstore_vclock_after_eq' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION actorstore.vclock_after_eq(actorstore.vclock, actorstore.vclock) IS 'implementation of >= operator';

CREATE FUNCTION actorstore.vclock_concurrent(actorstore.vclock, actorstore.vclock) RETURNS boolean
AS 'MODULE_PATHNAME', 'actorstore_vclock_concurrent' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION actorstore.vclock_concurrent(actorstore.vclock, actorstore.vclock) IS 'implementation of || operator';

CREATE FUNCTION actorstore.vclock_lt(actorstore.vclock, actorstore.vclock) RETURNS boolean
AS 'MODULE_PATHNAME', 'actorstore_vclock_lt' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION actorstore.vclock_lt(actorstore.vclock, actorstore.vclock) IS 'implementation of #<# operator';

CREATE FUNCTION actorstore.vclock_le(actorstore.vclock, actorstore.vclock) RETURNS boolean
AS 'MODULE_PATHNAME', 'actorstore_vclock_le' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION actorstore.vclock_le(actorstore.vclock, actorstore.vclock) IS 'implementation of #<=# operator';

CREATE FUNCTION actorstore.vclock_gt(actorstore.vclock, actorstore.vclock) RETURNS boolean
AS 'MODULE_PATHNAME', 'actorstore_vclock_gt' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION actorstore.vclock_gt(actorstore.vclock, actorstore.vclock) IS 'implementation of #># operator';

CREATE FUNCTION actorstore.vclock_ge(actorstore.vclock, actorstore.vclock) RETURNS boolean
AS 'MODULE_PATHNAME', 'actorstore_vclock_ge' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION actorstore.vclock_ge(actorstore.vclock, actorstore.vclock) IS 'implementation of #>=# operator';

CREATE OPERATOR actorstore.= (
	LEFTARG = actorstore.vclock, RIGHTARG = actorstore.vclock, FUNCTION = actorstore.vclock_eq,
	COMMUTATOR = OPERATOR(actorstore.=),
	NEGATOR = OPERATOR(actorstore.<>),
	RESTRICT = eqsel, JOIN = eqjoinsel, HASHES, MERGES
);
COMMENT ON OPERATOR actorstore.= (actorstore.vclock, actorstore.vclock) IS 'equal';

CREATE OPERATOR actorstore.<> (
	LEFTARG = actorstore.vclock, RIGHTARG = actorstore.vclock, FUNCTION = actorstore.vclock_ne,
	COMMUTATOR = OPERATOR(actorstore.<>),
	NEGATOR = OPERATOR(actorstore.=),
	RESTRICT = neqsel, JOIN = neqjoinsel
);
COMMENT ON OPERATOR actorstore.<> (actorstore.vclock, actorstore.vclock) IS 'not equal';

CREATE OPERATOR actorstore.< (
	LEFTARG = actorstore.vclock, RIGHTARG = actorstore.vclock, FUNCTION = actorstore.vclock_before,
	COMMUTATOR = OPERATOR(actorstore.>),
	RESTRICT = contsel, JOIN = contjoinsel
);
COMMENT ON OPERATOR actorstore.< (actorstore.vclock, actorstore.vclock) IS 'every counter at most as high, and one lower';

CREATE OPERATOR actorstore.> (
	LEFTARG = actorstore.vclock, RIGHTARG = actorstore.vclock, FUNCTION = actorstore.vclock_after,
	COMMUTATOR = OPERATOR(actorstore.<),
	RESTRICT = contsel, JOIN = contjoinsel
);
COMMENT ON OPERATOR actorstore.> (actorstore.vclock, actorstore.vclock) IS 'every counter at least as high, and one higher';

CREATE OPERATOR actorstore.<= (
	LEFTARG = actorstore.vclock, RIGHTARG = actorstore.vclock, FUNCTION = actorstore.vclock_before_eq,
	COMMUTATOR = OPERATOR(actorstore.>=),
	RESTRICT = contsel, JOIN = contjoinsel
);
COMMENT ON OPERATOR actorstore.<= (actorstore.vclock, actorstore.vclock) IS 'every counter at most as high';

CREATE OPERATOR actorstore.>= (
	LEFTARG = actorstore.vclock, RIGHTARG = actorstore.vclock, FUNCTION = actorstore.vclock_after_eq,
	COMMUTATOR = OPERATOR(actorstore.<=),
	RESTRICT = contsel, JOIN = contjoinsel
);
COMMENT ON OPERATOR actorstore.>= (actorstore.vclock, actorstore.vclock) IS 'every counter at least as high';

CREATE OPERATOR actorstore.|| (
	LEFTARG = actorstore.vclock, RIGHTARG = actorstore.vclock, FUNCTION = actorstore.vclock_concurrent,
	COMMUTATOR = OPERATOR(actorstore.||),
	RESTRICT = contsel, JOIN = contjoinsel
);
COMMENT ON OPERATOR actorstore.|| (actorstore.vclock, actorstore.vclock) IS 'each has a counter that is higher: neither knew of the other';

CREATE OPERATOR actorstore.#<# (
	LEFTARG = actorstore.vclock, RIGHTARG = actorstore.vclock, FUNCTION = actorstore.vclock_lt,
	COMMUTATOR = OPERATOR(actorstore.#>#),
	NEGATOR = OPERATOR(actorstore.#>=#),
	RESTRICT = scalarltsel, JOIN = scalarltjoinsel
);
COMMENT ON OPERATOR actorstore.#<# (actorstore.vclock, actorstore.vclock) IS 'less than, in the total order of indexes';

CREATE OPERATOR actorstore.#<=# (
	LEFTARG = actorstore.vclock, RIGHTARG = actorstore.vclock, FUNCTION = actorstore.vclock_le,
	COMMUTATOR = OPERATOR(actorstore.#>=#),
	NEGATOR = OPERATOR(actorstore.#>#),
	RESTRICT = scalarlesel, JOIN = scalarlejoinsel
);
COMMENT ON OPERATOR actorstore.#<=# (actorstore.vclock, actorstore.vclock) IS 'less than or equal, in the total order of indexes';

CREATE OPERATOR actorstore.#># (
	LEFTARG = actorstore.vclock, RIGHTARG = actorstore.vclock, FUNCTION = actorstore.vclock_gt,
	COMMUTATOR = OPERATOR(actorstore.#<#),
	NEGATOR = OPERATOR(actorstore.#<=#),
	RESTRICT = scalargtsel, JOIN = scalargtjoinsel
);
COMMENT ON OPERATOR actorstore.#># (actorstore.vclock, actorstore.vclock) IS 'greater than, in the total order of indexes';

CREATE OPERATOR actorstore.#>=# (
	LEFTARG = actorstore.vclock, RIGHTARG = actorstore.vclock, FUNCTION = actorstore.vclock_ge,
	COMMUTATOR = OPERATOR(actorstore.#<=#),
	NEGATOR = OPERATOR(actorstore.#<#),
	RESTRICT = scalargesel, JOIN = scalargejoinsel
);
COMMENT ON OPERATOR actorstore.#>=# (actorstore.vclock, actorstore.vclock) IS 'greater than or equal, in the total order of indexes';

CREATE FUNCTION actorstore.vclock_cmp(actorstore.vclock, actorstore.vclock) RETURNS int
AS 'MODULE_PATHNAME', 'actorstore_vclock_cmp' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION actorstore.vclock_cmp(actorstore.vclock, actorstore.vclock) IS 'less than, equal to or greater than 0, in the total order of indexes';

CREATE FUNCTION actorstore.vclock_hash(actorstore.vclock) RETURNS int
AS 'MODULE_PATHNAME', 'actorstore_vclock_hash' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION actorstore.vclock_hash(actorstore.vclock) IS 'hash';

CREATE FUNCTION actorstore.vclock_hash_extended(actorstore.vclock, bigint) RETURNS bigint
AS 'MODULE_PATHNAME', 'actorstore_vclock_hash_extended' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION actorstore.vclock_hash_extended(actorstore.vclock, bigint) IS 'hash';

CREATE OPERATOR CLASS actorstore.vclock_ops DEFAULT FOR TYPE actorstore.vclock USING btree AS
	OPERATOR 1 actorstore.#<#, OPERATOR 2 actorstore.#<=#, OPERATOR 3 actorstore.=, OPERATOR 4 actorstore.#>=#, OPERATOR 5 actorstore.#>#,
	FUNCTION 1 actorstore.vclock_cmp(actorstore.vclock, actorstore.vclock);
COMMENT ON OPERATOR CLASS actorstore.vclock_ops USING btree IS 'a total order of vector clocks, which agrees with the partial one';

CREATE OPERATOR CLASS actorstore.vclock_ops DEFAULT FOR TYPE actorstore.vclock USING hash AS
	OPERATOR 1 actorstore.=,
	FUNCTION 1 actorstore.vclock_hash(actorstore.vclock), FUNCTION 2 actorstore.vclock_hash_extended(actorstore.vclock, bigint);
COMMENT ON OPERATOR CLASS actorstore.vclock_ops USING hash IS 'equality of vector clocks';

CREATE FUNCTION actorstore.merge(actorstore.vclock, actorstore.vclock) RETURNS actorstore.vclock
AS 'MODULE_PATHNAME', 'actorstore_vclock_merge' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION actorstore.merge(actorstore.vclock, actorstore.vclock) IS 'the higher counter of each node';

CREATE FUNCTION actorstore.increment(clock actorstore.vclock, node_number int) RETURNS actorstore.vclock
AS 'MODULE_PATHNAME', 'actorstore_vclock_increment' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION actorstore.increment(actorstore.vclock, int) IS 'the clock with the counter of one node one higher';

CREATE FUNCTION actorstore.counter(clock actorstore.vclock, node_number int) RETURNS bigint
AS 'MODULE_PATHNAME', 'actorstore_vclock_counter' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION actorstore.counter(actorstore.vclock, int) IS 'the counter of one node: 0 if it is not in the clock';

CREATE AGGREGATE actorstore.merge(actorstore.vclock) (
	SFUNC = actorstore.merge, STYPE = actorstore.vclock, COMBINEFUNC = actorstore.merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE actorstore.merge(actorstore.vclock) IS 'the highest counter of each node';

-- The health of nodes (src/cluster/health.h).
CREATE FUNCTION actorstore.local_heartbeat(target uuid, origin smallint, heard bigint, heard_clock actorstore.vclock, told bigint[],
	OUT hash bigint, OUT clock actorstore.vclock, OUT opinions bigint[])
RETURNS record
AS 'MODULE_PATHNAME', 'actorstore_local_heartbeat' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.local_heartbeat(uuid, smallint, bigint, actorstore.vclock, bigint[])
	IS 'for other nodes: say that we are there, and what we have heard of all nodes';
REVOKE ALL ON FUNCTION actorstore.local_heartbeat(uuid, smallint, bigint, actorstore.vclock, bigint[]) FROM PUBLIC;

--
-- Who may do what, but for functions that are revoked above.  ALTER DEFAULT PRIVILEGES may have given our tables to others: whoever can
-- write them can have his own code run as somebody else.  It may also have taken functions from PUBLIC: who then grants all of them grants too many.
--

CREATE FUNCTION actorstore.undo_default_privileges(class oid, object oid) RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_undo_default_privileges' LANGUAGE C;
SELECT actorstore.undo_default_privileges('pg_catalog.pg_namespace'::pg_catalog.regclass, 'actorstore'::pg_catalog.regnamespace);
SELECT actorstore.undo_default_privileges('pg_catalog.pg_class'::pg_catalog.regclass, oid)
	FROM pg_catalog.pg_class WHERE relnamespace = 'actorstore'::pg_catalog.regnamespace;
SELECT actorstore.undo_default_privileges('pg_catalog.pg_proc'::pg_catalog.regclass, oid)
	FROM pg_catalog.pg_proc WHERE pronamespace = 'actorstore'::pg_catalog.regnamespace;
DROP FUNCTION actorstore.undo_default_privileges(oid, oid);

GRANT USAGE ON SCHEMA actorstore TO PUBLIC;
GRANT SELECT ON actorstore.mailbox, actorstore.timers, actorstore.dead_letter, actorstore.group_members, actorstore.halted_actor,
	actorstore.supervision, actorstore.supervision_log, actorstore.stat_leases, actorstore.stat_subscriptions, actorstore.trace,
	actorstore.stat_types, actorstore.stat_latency, actorstore.stat_conflicts, actorstore.stat_actors, actorstore.stat_queues, actorstore.stat_workers,
	actorstore.stat_scheduler, actorstore.stat_requests, actorstore.placement TO PUBLIC;
GRANT SELECT (node_number, node_name, weight, node_uuid, incarnation, is_self, datacenter, rack) ON actorstore.node TO PUBLIC;
GRANT EXECUTE ON FUNCTION actorstore.peers_now(), actorstore.health_now(), actorstore.lanes_now() TO pg_monitor;
GRANT SELECT ON actorstore.stat_peers, actorstore.stat_outbox, actorstore.stat_inbox TO pg_monitor;

--
-- What pg_dump carries beside the partitions made at run time.  A grantee
-- that no longer exists would be dumped as a number.
--

SELECT pg_catalog.pg_extension_config_dump('actorstore.type', '');
SELECT pg_catalog.pg_extension_config_dump('actorstore.handler', '');
SELECT pg_catalog.pg_extension_config_dump('actorstore.type_grant',
	'WHERE grantee::oid = 0 OR EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.oid = grantee::oid)');
SELECT pg_catalog.pg_extension_config_dump('actorstore.undeclared', '');
SELECT pg_catalog.pg_extension_config_dump('actorstore.message', '');
SELECT pg_catalog.pg_extension_config_dump('actorstore.message_number', '');
SELECT pg_catalog.pg_extension_config_dump('actorstore.timer', '');
SELECT pg_catalog.pg_extension_config_dump('actorstore.dead_message', '');
SELECT pg_catalog.pg_extension_config_dump('actorstore.dedup', '');
SELECT pg_catalog.pg_extension_config_dump('actorstore.halted', '');
SELECT pg_catalog.pg_extension_config_dump('actorstore.spawned', '');
SELECT pg_catalog.pg_extension_config_dump('actorstore.link', '');
SELECT pg_catalog.pg_extension_config_dump('actorstore.monitor', '');
SELECT pg_catalog.pg_extension_config_dump('actorstore.supervisor', '');
SELECT pg_catalog.pg_extension_config_dump('actorstore.supervised', '');
SELECT pg_catalog.pg_extension_config_dump('actorstore.child', '');
SELECT pg_catalog.pg_extension_config_dump('actorstore.supervision_step', '');
SELECT pg_catalog.pg_extension_config_dump('actorstore.supervision_step_number', '');
SELECT pg_catalog.pg_extension_config_dump('actorstore.supervision_restart', '');
SELECT pg_catalog.pg_extension_config_dump('actorstore.supervision_event', '');
SELECT pg_catalog.pg_extension_config_dump('actorstore.supervision_event_number_seq', '');
SELECT pg_catalog.pg_extension_config_dump('actorstore.group_member',
	'WHERE EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.oid = owner::oid)');
SELECT pg_catalog.pg_extension_config_dump('actorstore.identity', '');
