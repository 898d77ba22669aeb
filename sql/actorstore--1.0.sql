-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION actorstore" to load this file. \quit

-- Plain CREATE everywhere: an object that exists already makes this fail.
CREATE SCHEMA actorstore;
COMMENT ON SCHEMA actorstore IS 'durable actors: state, types, rights, changes';
GRANT USAGE ON SCHEMA actorstore TO PUBLIC;

--
-- Types, handlers, rights
--

CREATE TABLE actorstore.type (
	actor_type text COLLATE "C" PRIMARY KEY,
	owner regrole NOT NULL,
	declared boolean NOT NULL,
	partition name,
	persistence text NOT NULL DEFAULT 'logged',
	mailbox_limit int NOT NULL DEFAULT 65536,
	on_full text NOT NULL DEFAULT 'error',
	max_attempts int NOT NULL DEFAULT 5,
	backoff interval NOT NULL DEFAULT '1 s',
	backoff_max interval NOT NULL DEFAULT '1 min',
	turn_timeout interval NOT NULL DEFAULT '30 s',
	on_exhausted text NOT NULL DEFAULT 'dead_letter',
	CHECK (declared = (partition IS NOT NULL))
);
COMMENT ON TABLE actorstore.type IS 'actor types: declared ones have a partition of actorstore.actor of their own';

CREATE TABLE actorstore.handler (
	actor_type text COLLATE "C" NOT NULL REFERENCES actorstore.type ON DELETE CASCADE,
	message text COLLATE "C" NOT NULL,
	function text NOT NULL,
	search_path text NOT NULL,
	PRIMARY KEY (actor_type, message)
);
COMMENT ON TABLE actorstore.handler IS 'functions that answer messages, and the search_path they run under';

CREATE TABLE actorstore.type_grant (
	actor_type text COLLATE "C" NOT NULL REFERENCES actorstore.type ON DELETE CASCADE,
	grantee regrole NOT NULL,
	privilege text COLLATE "C" NOT NULL CHECK (privilege IN ('read', 'write', 'send', 'ask')),
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
CREATE TABLE actorstore.actor (
	actor_type text COLLATE "C" NOT NULL,
	actor_id text COLLATE "C" NOT NULL,
	value jsonb NOT NULL,
	version bigint NOT NULL,
	created_at timestamptz NOT NULL,
	updated_at timestamptz NOT NULL
) PARTITION BY LIST (actor_type);
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
	turn_timeout interval DEFAULT '30 s', on_exhausted text DEFAULT 'dead_letter')
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_create_type' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.create_type(text, text, int, text, int, interval, interval, interval, text)
	IS 'declare an actor type: it gets a table of its own';

CREATE FUNCTION actorstore.alter_type(actor_type text, persistence text DEFAULT NULL,
	mailbox_limit int DEFAULT NULL, on_full text DEFAULT NULL, max_attempts int DEFAULT NULL,
	backoff interval DEFAULT NULL, backoff_max interval DEFAULT NULL,
	turn_timeout interval DEFAULT NULL, on_exhausted text DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_alter_type' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.alter_type(text, text, int, text, int, interval, interval, interval, text)
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
	IS 'grant rights on a type: read, write, send, ask';

CREATE FUNCTION actorstore.revoke_type(actor_type text, role regrole, privileges text[])
RETURNS void
AS 'MODULE_PATHNAME', 'actorstore_revoke_type' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION actorstore.revoke_type(text, regrole, text[])
	IS 'take rights on a type back';

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

CREATE VIEW actorstore.stat_subscriptions WITH (security_barrier) AS
SELECT s.subscription, s.owner, s.actor_types, s.key_prefix, s.start_from, s.created_at,
	CASE WHEN r.slot_name IS NULL OR r.restart_lsn IS NULL THEN 'lost' WHEN s.reading THEN 'reading' ELSE 'streaming' END AS state,
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
GRANT SELECT ON actorstore.stat_subscriptions TO PUBLIC;

CREATE FUNCTION actorstore.cdc_stats(OUT total_events bigint, OUT current_sequence text, OUT retained_bytes bigint,
	OUT active_subscriptions bigint, OUT events_dropped bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT coalesce(sum(s.nevents), 0)::bigint,
		(SELECT upper(lpad(to_hex(pg_wal_lsn_diff(lsn, '0/0')::bigint), 16, '0')) || '-FFFFFFFF'
		FROM (SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END AS lsn) AS w),
		(SELECT coalesce(max(pg_wal_lsn_diff(
			CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END, restart_lsn)), 0)::bigint
		FROM pg_replication_slots
		WHERE database = current_database() AND slot_name LIKE 'actorstore\_%'),
		count(r.restart_lsn), count(*) - count(r.restart_lsn)
	FROM actorstore.subscription AS s
		LEFT JOIN pg_replication_slots AS r ON r.slot_name = s.slot AND r.database = current_database()
$$;
COMMENT ON FUNCTION actorstore.cdc_stats()
	IS 'events returned to the subscriptions there are, the sequence of this moment, WAL held back by all, subscriptions that can go on, and those that have lost events';

--
-- Operation
--

CREATE FUNCTION actorstore.doctor(OUT item text, OUT ok boolean, OUT detail text, OUT hint text)
RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	WITH slots AS (
		SELECT r.slot_name, r.restart_lsn, s.subscription
		FROM pg_replication_slots AS r FULL JOIN actorstore.subscription AS s ON s.slot = r.slot_name
		WHERE s.subscription IS NOT NULL OR
			(r.database = current_database() AND r.slot_name LIKE format('actorstore\_%s\_%%', (SELECT oid FROM pg_database WHERE datname = current_database())))
	), checks (number, item, ok, detail, hint) AS (
		SELECT 1, 'shared_preload_libraries', setting ~ '(^|[ ,"''])actorstore($|[ ,"''])', setting,
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
		FROM slots WHERE subscription IS NOT NULL AND restart_lsn IS NULL
		UNION ALL
		SELECT 8, 'orphaned slots', count(*) = 0, format('%s belong to no subscription', count(*)),
			'The keeper drops them within seconds where actorstore is preloaded, the next subscribe anywhere.'
		FROM slots WHERE subscription IS NULL AND slot_name NOT LIKE '%\_keeper'
	)
	SELECT item, ok, detail, CASE WHEN NOT ok THEN hint END FROM checks ORDER BY number
$$;
COMMENT ON FUNCTION actorstore.doctor() IS 'what the extension needs, whether it has it, and what to do';

--
-- What pg_dump carries beside the partitions made at run time.  A grantee
-- that no longer exists would be dumped as a number.
--

SELECT pg_catalog.pg_extension_config_dump('actorstore.type', '');
SELECT pg_catalog.pg_extension_config_dump('actorstore.handler', '');
SELECT pg_catalog.pg_extension_config_dump('actorstore.type_grant',
	'WHERE grantee::oid = 0 OR EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.oid = grantee::oid)');
SELECT pg_catalog.pg_extension_config_dump('actorstore.undeclared', '');
