/*-------------------------------------------------------------------------
 *
 * type_ddl.c
 *	  Declaring, changing and dropping actor types.
 *
 * These run one at a time in a database: each first takes a lock on
 * actorstore.type that conflicts with itself, but neither with reading the
 * table nor with a first insert that declares a type.
 *
 * Whoever calls a function of ours holds a lock on a partition, and may then
 * want a momentary one on actorstore.actor, whose row type the functions
 * return.  So DROP TABLE, which locks all of them, must get the type's
 * partition first, then actorstore.undeclared, then actorstore.actor.
 *
 * A declared type has a partition of its own.  It is made as a table that
 * stands alone, and attached: that needs no stronger lock on actorstore.actor
 * than SHARE UPDATE EXCLUSIVE, so that only undeclared types must wait.
 *
 * Rows that only change their table are no changes of actors.  Their WAL
 * records carry DoNotReplicateId as their replication origin (a reserved
 * number, nothing is registered under it), by which logical decoding can
 * leave them out, record by record, whatever else the transaction does.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "state/type_ddl.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "lib/table_name.h"
#include "miscadmin.h"
#include "replication/origin.h"
#include "state/actor.h"
#include "state/catalog.h"
#include "state/rows_delete.h"
#include "state/text_query.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/*
 * Room for the next version beside the last one, and vacuum before dead rows
 * are many: actors are updated in place for ever.
 */
#define PARTITION_OPTIONS \
	"fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, " \
	"autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0"

static void
lock_registry(void)
{
	LockRelationOid(as_catalog()->type, ShareUpdateExclusiveLock);
}

AsType *
as_type_lock(text *name)
{
	AsType	   *type = as_type_get(name);

	as_type_check_owner(type);
	lock_registry();

	/* it may have been dropped, or given to somebody else, before that */
	type = as_type_get(name);
	as_type_check_owner(type);
	return type;
}

/* A name for the type's table that nothing in our schema has yet. */
static char *
choose_table_name(text *type)
{
	char	   *name = palloc0(NAMEDATALEN);	/* all of it is stored */

	for (uint32 attempt = 0;; attempt++)
	{
		if (as_table_name(VARDATA_ANY(type), VARSIZE_ANY_EXHDR(type), attempt,
						  name) &&
			!OidIsValid(as_catalog_relation(name)) &&
			!OidIsValid(GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid,
										CStringGetDatum(name),
										ObjectIdGetDatum(as_catalog()->schema))))
			return name;
	}
}

/*
 * Run statements that change no actor, out of sight of change data capture.
 */
static void
execute_unseen(const char *sql, int expected, int nargs, Oid *types,
			   Datum *values)
{
	RepOriginId saved = replorigin_session_origin;

	replorigin_session_origin = DoNotReplicateId;
	PG_TRY();
	{
		as_admin_execute(sql, expected, nargs, types, values, NULL);
	}
	PG_FINALLY();
	{
		replorigin_session_origin = saved;
	}
	PG_END_TRY();
}

/* Does the type have actors among the undeclared ones? */
static bool
has_rows(text *name)
{
	Oid			types[1] = {TEXTOID};
	Datum		values[1] = {PointerGetDatum(name)};

	return as_admin_execute("SELECT FROM actorstore.undeclared"
							" WHERE actor_type = $1 LIMIT 1",
							SPI_OK_SELECT, 1, types, values, NULL) > 0;
}

/* An administrator's triggers must not fire because rows change their table. */
static void
check_movable(void)
{
	Relation	undeclared = table_open(as_catalog()->undeclared, NoLock);
	bool		has_triggers = undeclared->trigdesc != NULL;

	table_close(undeclared, NoLock);
	if (has_triggers)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot move actors out of table \"undeclared\" because it has triggers"),
				 errhint("Foreign keys that refer to the table count as triggers.")));
}

/* Make an empty table for the type, standing alone; returns its name. */
static const char *
make_table(text *name, bool unlogged)
{
	char	   *table = choose_table_name(name);

	as_admin_utility("CREATE %s TABLE %s (LIKE actorstore.actor) USING heap WITH (%s)",
					 unlogged ? "UNLOGGED" : "",
					 quote_qualified_identifier("actorstore", table),
					 PARTITION_OPTIONS);
	return table;
}

/*
 * Make the type's own partition and move its rows there.
 *
 * It cannot be attached while actorstore.undeclared has rows of the type, and
 * should not be filled before it is attached: a subscriber to a publication
 * of actorstore.actor would see the rows go, and never come.  So they wait in
 * an unlogged table in between.
 */
static void
make_partition(text *name, bool unlogged, Oid owner)
{
	const char *table;
	const char *quoted;
	const char *waiting = NULL;
	Oid			types[2] = {TEXTOID, NAMEOID};
	Datum		values[2] = {PointerGetDatum(name)};

	LockRelationOid(as_catalog()->actor, ShareUpdateExclusiveLock);
	LockRelationOid(as_catalog()->undeclared, AccessExclusiveLock);

	table = make_table(name, unlogged);
	quoted = quote_qualified_identifier("actorstore", table);
	values[1] = CStringGetDatum(table);
	(void) as_undo_default_privileges(RelationRelationId, as_catalog_relation(table));
	as_admin_utility("ALTER TABLE %s REPLICA IDENTITY FULL", quoted);
	as_admin_utility("ALTER TABLE %s ADD PRIMARY KEY (actor_type, actor_id)",
					 quoted);

	if (has_rows(name))
	{
		check_movable();
		waiting = quote_qualified_identifier("actorstore",
											 make_table(name, true));
		execute_unseen(psprintf("WITH moved AS (DELETE FROM actorstore.undeclared"
								" WHERE actor_type = $1 RETURNING *)"
								" INSERT INTO %s SELECT * FROM moved", waiting),
					   SPI_OK_INSERT, 1, types, values);
	}
	as_admin_utility("ALTER TABLE actorstore.actor ATTACH PARTITION %s FOR VALUES IN (%s)",
					 quoted, quote_literal_cstr(text_to_cstring(name)));
	if (waiting != NULL)
	{
		execute_unseen(psprintf("INSERT INTO %s SELECT * FROM %s ORDER BY actor_id",
								quoted, waiting),
					   SPI_OK_INSERT, 0, NULL, NULL);
		as_admin_utility("DROP TABLE %s", waiting);
	}

	if (as_role_exists(owner))
		as_admin_utility("GRANT SELECT ON %s TO %s", quoted,
						 quote_identifier(GetUserNameFromId(owner, false)));
	as_admin_execute("UPDATE actorstore.type SET declared = true, partition = $2"
					 " WHERE actor_type = $1",
					 SPI_OK_UPDATE, 2, types, values, NULL);
}

/* Those who may read an implicit type may read its partition. */
static void
grant_readers(text *name)
{
	AsType	   *type = as_type_get(name);

	for (int i = 0; i < type->ngrants; i++)
	{
		if ((type->grants[i].privileges & AS_PRIV_READ) != 0 &&
			as_role_exists(type->grants[i].grantee))
			as_partition_grant(type, type->grants[i].grantee, true);
	}
}

/* Tell those who follow the changes that they will see none, or some again. */
static void
announce_persistence(text *name, bool unlogged)
{
	char	   *message = psprintf("%s %s", unlogged ? "unlogged" : "logged",
								   text_to_cstring(name));

	as_log_message(AS_PERSISTENCE_MESSAGE, message, strlen(message));
}

void
as_type_create(text *name, AsTypeOptions *options, bool anyway)
{
	Oid			user = GetUserId();
	Oid			types[2] = {TEXTOID, OIDOID};
	Datum		values[2] = {PointerGetDatum(name), ObjectIdGetDatum(user)};
	bool		unlogged;
	AsType	   *type;
	AsAdmin		admin;

	as_check_name("actor_type", name);
	as_type_check_options(options);
	unlogged = !options->nulls[AS_OPT_PERSISTENCE] &&
		strcmp(TextDatumGetCString(options->values[AS_OPT_PERSISTENCE]),
			   "unlogged") == 0;
	if (!anyway && as_database_aclcheck(MyDatabaseId, user, ACL_CREATE) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_DATABASE,
					   get_database_name(MyDatabaseId));

	lock_registry();
	as_admin_begin(&admin);
	as_admin_execute("INSERT INTO actorstore.type (actor_type, owner, declared)"
					 " VALUES ($1, $2, false) ON CONFLICT DO NOTHING",
					 SPI_OK_INSERT, 2, types, values, NULL);
	as_admin_end(&admin);
	CommandCounterIncrement();

	type = as_type_lock(name);
	if (type->declared)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("actor type \"%s\" already exists",
						as_type_name(type)),
				 errhint("To change it, use actorstore.alter_type().")));

	as_admin_begin(&admin);
	as_type_store_options(name, options);
	make_partition(name, unlogged, type->owner);
	grant_readers(name);
	if (unlogged)
		announce_persistence(name, true);
	as_admin_end(&admin);
}

void
as_type_alter(text *name, AsTypeOptions *options)
{
	AsType	   *type;
	AsAdmin		admin;

	as_type_check_options(options);
	type = as_type_lock(name);
	if (!options->nulls[AS_OPT_PERSISTENCE] && !type->declared)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("actor type \"%s\" has no table of its own",
						as_type_name(type)),
				 errhint("Declare it with actorstore.create_type() to choose its persistence.")));

	as_admin_begin(&admin);
	if (!options->nulls[AS_OPT_PERSISTENCE])
	{
		bool		unlogged = strcmp(TextDatumGetCString(options->values[AS_OPT_PERSISTENCE]),
									  "unlogged") == 0;
		const char *table = as_partition_name(type);
		bool		is_unlogged = get_rel_persistence(type->relation) ==
		RELPERSISTENCE_UNLOGGED;

		if (unlogged != is_unlogged)
		{
			as_admin_utility("ALTER TABLE %s SET %s", table,
							 unlogged ? "UNLOGGED" : "LOGGED");
			announce_persistence(name, unlogged);
		}
	}
	as_type_store_options(name, options);
	as_admin_end(&admin);
}

typedef struct Deletion
{
	AsPartition *partition;
	MemoryContext context;		/* reset with each row */
} Deletion;

static void
delete_row(TupleTableSlot *slot, void *arg)
{
	Deletion   *deletion = arg;
	MemoryContext old = MemoryContextSwitchTo(deletion->context);
	AsWrite		write = {0};
	bool		isnull;
	Datum		id = slot_getattr(slot, Anum_actor_id, &isnull);

	if (as_actor_delete(deletion->partition, DatumGetTextPCopy(id),
						&write) != AS_DONE)
		as_raise_serialization_failure();
	MemoryContextSwitchTo(old);
	MemoryContextReset(deletion->context);
}

/*
 * Delete all actors of a type.  Where an administrator has hung triggers on
 * the table, row by row and as the caller: what the triggers do must not
 * happen with the rights of the extension's owner.
 */
static void
delete_rows(text *name, const char *quoted, bool events)
{
	AsPartition partition;
	bool		triggers;

	if (!as_partition_open(&partition, name, RowExclusiveLock))
		elog(ERROR, "actor type has gone");
	triggers = partition.rel->trigdesc != NULL;
	if (triggers && !events)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot drop actor type \"%s\" without events",
						text_to_cstring(name)),
				 errdetail("Table \"%s\" has triggers, and what they write would give no events either.",
						   RelationGetRelationName(partition.rel)),
				 errhint("Drop the triggers, or drop the type with events.")));
	if (triggers)
	{
		Deletion	deletion = {&partition, AllocSetContextCreate(CurrentMemoryContext,
																  "actorstore deletion",
																  ALLOCSET_DEFAULT_SIZES)};
		Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());

		as_actor_scan(&partition, snapshot, delete_row, &deletion);
		UnregisterSnapshot(snapshot);
		MemoryContextDelete(deletion.context);
	}
	as_partition_close(&partition);

	if (!triggers)
	{
		Oid			types[1] = {TEXTOID};
		Datum		values[1] = {PointerGetDatum(name)};
		const char *sql = psprintf("DELETE FROM %s WHERE actor_type = $1",
								   quoted);
		AsAdmin		admin;

		as_admin_begin(&admin);
		if (events)
			as_admin_execute(sql, SPI_OK_DELETE, 1, types, values, NULL);
		else
			execute_unseen(sql, SPI_OK_DELETE, 1, types, values);
		as_admin_end(&admin);
	}
}

/*
 * The table is not there under its name: under another one it would stay, and nobody
 * could put the type's actors anywhere any more.
 */
static void
check_renamed(text *name)
{
	AsRows		rows;

	if (as_text_query(&rows, SPI_OK_SELECT,
					  "SELECT c.oid::regclass::text, format('%I.%I', 'actorstore', t.partition)"
					  " FROM actorstore.type AS t, pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid"
					  " WHERE t.actor_type = $1 AND i.inhparent = 'actorstore.actor'::regclass"
					  " AND pg_get_expr(c.relpartbound, c.oid) = 'FOR VALUES IN (''' || replace($1, '''', '''''') || ''')'",
					  1, &name) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the table of actor type \"%s\" has another name, %s", text_to_cstring(name),
						text_to_cstring(as_cell(&rows, 0, 0))),
				 errhint("Give it back its own, %s.", text_to_cstring(as_cell(&rows, 0, 1)))));
}

void
as_type_drop(text *name, bool events)
{
	Oid			types[1] = {TEXTOID};
	Datum		values[1] = {PointerGetDatum(name)};
	AsType	   *type = as_type_lock(name);
	bool		declared = type->declared;
	Oid			relation = type->relation;
	const char *quoted;
	AsAdmin		admin;

	if (get_rel_name(relation) == NULL)
	{
		check_renamed(name);
		quoted = NULL;			/* somebody has dropped it already */
	}
	else
	{
		quoted = as_partition_name(type);
		LockRelationOid(relation,
						declared ? AccessExclusiveLock : ExclusiveLock);
		if (declared)
		{
			LockRelationOid(as_catalog()->undeclared, AccessExclusiveLock);
			LockRelationOid(as_catalog()->actor, AccessExclusiveLock);
		}
	}

	if (quoted != NULL && (events || !declared))
		delete_rows(name, quoted, events);
	as_admin_begin(&admin);
	if (quoted != NULL && declared)
		as_admin_utility("DROP TABLE %s", quoted);

	/* who follows the type and may read it, may read its last events */
	as_admin_execute("UPDATE actorstore.subscription AS s SET gone_types = array_append(gone_types, $1)"
					 " WHERE $1 = ANY (actor_types) AND EXISTS (SELECT FROM actorstore.type AS t"
					 "  LEFT JOIN actorstore.type_grant AS g ON g.actor_type = t.actor_type AND g.privilege = 'read'"
					 "  WHERE t.actor_type = $1 AND (pg_has_role(s.owner::oid, t.owner::oid, 'USAGE')"
					 "   OR g.grantee::oid = 0 OR pg_has_role(s.owner::oid, g.grantee::oid, 'USAGE')))",
					 SPI_OK_UPDATE, 1, types, values, NULL);
	as_admin_execute("UPDATE actorstore.subscription AS s SET barred = true"
					 " WHERE actor_types IS NULL AND NOT barred AND NOT EXISTS (SELECT FROM actorstore.type AS t"
					 "  WHERE t.actor_type = $1 AND pg_has_role(s.owner::oid, t.owner::oid, 'USAGE'))",
					 SPI_OK_UPDATE, 1, types, values, NULL);

	/* its open turns, its mail and its timers go with its actors */
	as_rows_delete(as_catalog()->lease, name);
	as_admin_execute("DELETE FROM actorstore.timer WHERE actor_type = $1",
					 SPI_OK_DELETE, 1, types, values, NULL);
	as_rows_delete(as_catalog()->message, name);
	as_admin_execute("DELETE FROM actorstore.dead_message WHERE actor_type = $1",
					 SPI_OK_DELETE, 1, types, values, NULL);
	as_admin_execute("DELETE FROM actorstore.dedup WHERE actor_type = $1",
					 SPI_OK_DELETE, 1, types, values, NULL);

	/* and so do handlers, grants, and who is halted */
	as_admin_execute("DELETE FROM actorstore.handler WHERE actor_type = $1",
					 SPI_OK_DELETE, 1, types, values, NULL);
	as_admin_execute("DELETE FROM actorstore.type_grant WHERE actor_type = $1",
					 SPI_OK_DELETE, 1, types, values, NULL);
	as_admin_execute("DELETE FROM actorstore.halted WHERE actor_type = $1",
					 SPI_OK_DELETE, 1, types, values, NULL);
	as_admin_execute("DELETE FROM actorstore.type WHERE actor_type = $1",
					 SPI_OK_DELETE, 1, types, values, NULL);
	as_admin_end(&admin);
}
