-- What outside programs rely on: names, argument order, defaults, result types, volatility,
-- the columns of the tables, and the settings.

-- All tests are written for this encoding.
SHOW server_encoding;

CREATE TEMP VIEW contract AS
SELECT w.place, w.name, p.oid, p.provolatile, p.proisstrict, p.proparallel, p.prosecdef
FROM unnest(ARRAY['insert', 'get', 'get_many', 'get_all', 'list', 'update', 'update_versioned', 'compare_and_swap',
				  'put', 'patch', 'delete', 'delete_versioned', 'insert_many', 'put_many', 'type_table',
				  'create_type', 'alter_type', 'drop_type', 'set_handler', 'grant_type', 'revoke_type'])
		WITH ORDINALITY AS w (name, place)
LEFT JOIN pg_proc p ON p.proname = w.name AND p.pronamespace = 'actorstore'::regnamespace;

-- One function a name: nothing is overloaded.
SELECT count(*), count(DISTINCT oid) FROM contract;

-- Arguments, in order, with their defaults.
\pset format unaligned
\pset tuples_only on
SELECT name || '(' || pg_get_function_arguments(oid) || ')' FROM contract ORDER BY place;

-- Results.
SELECT name, pg_get_function_result(oid) FROM contract WHERE name <> 'compare_and_swap' ORDER BY place;
\pset format aligned
\pset tuples_only off

-- The same of messages, timers, changes, operation, work done outside, and nodes.  What is no answer is void; a name that stands
-- twice is overloaded on purpose.
\pset format unaligned
\pset tuples_only on
SELECT w.name || '(' || pg_get_function_arguments(p.oid) || ')'
FROM unnest(ARRAY['send', 'send_many', 'cancel', 'tell', 'ask', 'call', 'context', 'reply', 'reject', 'retry_after', 'stop', 'spawn',
				  'link', 'unlink', 'monitor', 'demonitor', 'set_timer', 'cancel_timer', 'subscribe', 'fetch', 'ack', 'unsubscribe',
				  'cdc_stats', 'pause', 'resume', 'redrive', 'purge_dead_letters', 'supervise', 'unsupervise', 'doctor', 'unfence',
				  'checkout', 'complete', 'fail', 'extend_lease', 'init_node', 'add_node', 'remove_node', 'set_node_weight', 'set_node_location',
				  'locate', 'replicas', 'rebalance', 'resolve_in_doubt', 'node_check', 'execute_on_nodes'])
	WITH ORDINALITY AS w (name, place)
LEFT JOIN pg_proc p ON p.proname = w.name AND p.pronamespace = 'actorstore'::regnamespace
ORDER BY w.place, p.pronargs;
SELECT pg_get_function_result(oid), array_agg(proname ORDER BY proname)
FROM pg_proc
WHERE pronamespace = 'actorstore'::regnamespace AND cardinality(proargmodes) IS NULL
  AND proname IN ('send', 'send_many', 'cancel', 'tell', 'ask', 'call', 'reply', 'reject', 'retry_after', 'stop', 'spawn', 'link',
				  'unlink', 'monitor', 'demonitor', 'set_timer', 'cancel_timer', 'subscribe', 'fetch', 'ack', 'unsubscribe', 'pause',
				  'resume', 'redrive', 'purge_dead_letters', 'supervise', 'unsupervise', 'unfence', 'complete', 'fail',
				  'extend_lease', 'init_node', 'add_node', 'remove_node', 'set_node_weight', 'set_node_location', 'locate', 'replicas',
				  'resolve_in_doubt')
GROUP BY 1 ORDER BY 1;

-- EXECUTE: everybody's, as rights are those of the type; but not of administration, and of the cluster.
SELECT w.is_public, array_agg(DISTINCT p.proname ORDER BY p.proname) FILTER (WHERE has_function_privilege('public', p.oid, 'EXECUTE') <> w.is_public) AS others
FROM (SELECT true, name FROM contract
	  UNION ALL SELECT true, unnest(ARRAY['send', 'send_many', 'cancel', 'tell', 'ask', 'call', 'context', 'reply', 'reject', 'retry_after', 'stop',
				  'spawn', 'link', 'unlink', 'monitor', 'demonitor', 'set_timer', 'cancel_timer', 'subscribe', 'fetch', 'ack', 'unsubscribe',
				  'cdc_stats', 'checkout', 'complete', 'fail', 'extend_lease', 'doctor'])
	  UNION ALL SELECT false, unnest(ARRAY['pause', 'resume', 'redrive', 'purge_dead_letters', 'supervise', 'unsupervise', 'unfence', 'init_node',
				  'add_node', 'remove_node', 'set_node_weight', 'set_node_location', 'locate', 'replicas', 'rebalance', 'resolve_in_doubt', 'node_check',
				  'execute_on_nodes'])) AS w (is_public, name)
JOIN pg_proc p ON p.proname = w.name AND p.pronamespace = 'actorstore'::regnamespace
GROUP BY 1 ORDER BY 1;

-- Views, the rows of changes, and the mail that waits.
SELECT c.relname || '(' || string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum) || ')'
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = 'actorstore'::regnamespace
  AND c.relname IN ('message', 'mailbox', 'dead_letter', 'change_event', 'stat_types', 'stat_actors', 'stat_workers',
					'stat_scheduler', 'stat_latency', 'stat_subscriptions', 'node', 'placement', 'in_doubt', 'stat_peers')
GROUP BY c.relname ORDER BY c.relname;
\pset format aligned
\pset tuples_only off

-- compare_and_swap: one row of these columns.
SELECT version FROM actorstore.insert('contract', 'a', '1');
SELECT * FROM actorstore.compare_and_swap('contract', 'a', 0, '2');
SELECT pg_typeof(swapped) AS swapped, pg_typeof(version) AS version, pg_typeof(value) AS value
FROM actorstore.compare_and_swap('contract', 'a', 0, '2');

-- Reads are STABLE, all else is VOLATILE; none may run in a parallel worker and write.
SELECT provolatile, array_agg(name ORDER BY place) AS functions
FROM contract WHERE name <> 'type_table' GROUP BY provolatile ORDER BY 1;
SELECT name FROM contract WHERE provolatile = 'v' AND proparallel = 's';

-- NULL arguments are errors or defaults, never a silent NULL: none is STRICT.
SELECT name FROM contract WHERE proisstrict;

-- Every object that users see has a comment, and so has the extension.
SELECT p.oid::regprocedure AS uncommented FROM pg_proc p
WHERE p.pronamespace = 'actorstore'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL;
SELECT c.oid::regclass AS uncommented FROM pg_class c
WHERE c.relnamespace = 'actorstore'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
  AND NOT c.relispartition AND obj_description(c.oid, 'pg_class') IS NULL
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'i');
SELECT t.oid::regtype AS uncommented FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
WHERE t.typnamespace = 'actorstore'::regnamespace AND t.typcategory <> 'A' AND coalesce(c.relkind, 'c') = 'c'
  AND obj_description(t.oid, 'pg_type') IS NULL;
SELECT o.oid::regoperator AS uncommented FROM pg_operator o
WHERE o.oprnamespace = 'actorstore'::regnamespace AND obj_description(o.oid, 'pg_operator') IS NULL;
SELECT a.amname AS uncommented FROM pg_opclass o JOIN pg_am a ON a.oid = o.opcmethod
WHERE o.opcnamespace = 'actorstore'::regnamespace AND obj_description(o.oid, 'pg_opclass') IS NULL;

-- Every SECURITY DEFINER function pins its search_path.
SELECT p.oid::regprocedure AS unpinned FROM pg_proc p
WHERE p.pronamespace = 'actorstore'::regnamespace AND p.prosecdef
  AND NOT EXISTS (SELECT FROM unnest(p.proconfig) AS s WHERE s LIKE 'search_path=%');

-- The table, its row type, and what it is made of.
SELECT attname, format_type(atttypid, atttypmod) AS type, attnotnull AS not_null
FROM pg_attribute WHERE attrelid = 'actorstore.actor'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum;
SELECT c.relkind, pg_get_partkeydef(c.oid) AS partitioned_by,
	   (SELECT count(*) FROM pg_index i WHERE i.indrelid = c.oid) AS indexes_of_the_parent
FROM pg_class c WHERE c.oid = 'actorstore.actor'::regclass;
SELECT c.oid::regclass AS partition, pg_get_expr(c.relpartbound, c.oid) AS bound, c.relreplident AS replica_identity,
	   (SELECT array_agg(a.attname ORDER BY k.place)
		FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
		JOIN pg_attribute a USING (attnum)
		WHERE i.indrelid = c.oid AND i.indisprimary AND a.attrelid = c.oid) AS primary_key
FROM pg_class c WHERE c.oid = 'actorstore.undeclared'::regclass;
SELECT option_value::int < 100 AS fillfactor_leaves_room
FROM pg_options_to_table((SELECT reloptions FROM pg_class WHERE oid = 'actorstore.undeclared'::regclass))
WHERE option_name = 'fillfactor';

-- The registry's columns that the contract names.
SELECT attrelid::regclass AS registry, array_agg(attname::text ORDER BY attnum) @> w.columns AS has_them
FROM (VALUES ('actorstore.type'::regclass,
			  ARRAY['actor_type', 'owner', 'declared', 'persistence', 'mailbox_limit', 'on_full', 'max_attempts',
					'backoff', 'backoff_max', 'turn_timeout', 'on_exhausted']),
			 ('actorstore.handler', ARRAY['actor_type', 'message', 'function', 'search_path']),
			 ('actorstore.type_grant', ARRAY['actor_type', 'grantee', 'privilege'])) AS w (registry, columns)
JOIN pg_attribute ON attrelid = w.registry AND attnum > 0 AND NOT attisdropped
GROUP BY attrelid, w.columns ORDER BY 1;
SELECT attrelid::regclass AS registry, attname, format_type(atttypid, atttypmod) AS type
FROM pg_attribute
WHERE (attrelid, attname) IN (('actorstore.type'::regclass, 'owner'), ('actorstore.type'::regclass, 'declared'),
							  ('actorstore.handler'::regclass, 'function'),
							  ('actorstore.type_grant'::regclass, 'privilege'))
ORDER BY 1, attnum;

-- pg_upgrade refuses user tables with reg* columns other than regclass, regrole and regtype.
SELECT attrelid::regclass, attname, atttypid::regtype FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid
WHERE c.relnamespace = 'actorstore'::regnamespace AND c.relkind IN ('r', 'p', 'm')
  AND atttypid IN ('regproc'::regtype, 'regprocedure'::regtype, 'regoper'::regtype, 'regoperator'::regtype,
				   'regconfig'::regtype, 'regdictionary'::regtype, 'regnamespace'::regtype, 'regcollation'::regtype);

-- Settings: defaults, and when they may be changed.
SELECT name, boot_val, unit, context FROM pg_settings
WHERE name IN ('actorstore.workers', 'actorstore.worker_queue_capacity', 'actorstore.global_queue_capacity', 'actorstore.mailbox_limit',
			   'actorstore.batch_size', 'actorstore.max_spin_cycles', 'actorstore.max_active_actors', 'actorstore.message_pool_size',
			   'actorstore.arena_size', 'actorstore.enable_work_stealing', 'actorstore.enable_batching', 'actorstore.max_message_size',
			   'actorstore.dedup_window', 'actorstore.cdc_retention')
ORDER BY name COLLATE "C";

SELECT name, min_val, max_val FROM pg_settings WHERE name IN ('actorstore.workers', 'actorstore.batch_size', 'actorstore.mailbox_limit') ORDER BY name COLLATE "C";

-- One of them: shown in a size, set by superusers only.
SHOW actorstore.max_value_size;
SELECT context, vartype, unit, boot_val FROM pg_settings WHERE name = 'actorstore.max_value_size';
CREATE ROLE regress_contract;
SET ROLE regress_contract;
\set VERBOSITY sqlstate
SET actorstore.max_value_size = '1MB';
\set VERBOSITY default
RESET ROLE;
DROP ROLE regress_contract;
SET actorstore.max_value_size = '1MB';
SHOW actorstore.max_value_size;
RESET actorstore.max_value_size;

-- No other setting of the extension's own prefix can be invented.
\set VERBOSITY sqlstate
SET actorstore.no_such_setting = 1;
\set VERBOSITY default

SELECT actorstore.drop_type('contract');
