/*-------------------------------------------------------------------------
 *
 * catalog.c
 *	  See catalog.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "state/catalog.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

static AsCatalog catalog;
static bool catalog_valid = false;

static void
forget_catalog(Datum arg, int cacheid, uint32 hashvalue)
{
	catalog_valid = false;
}

/* The owner of the tables may have changed. */
static void
forget_owner(Datum arg, Oid relid)
{
	if (!OidIsValid(relid) || relid == catalog.actor)
		catalog_valid = false;
}

void
as_catalog_init(void)
{
	CacheRegisterRelcacheCallback(forget_owner, (Datum) 0);

	/* the extension cannot come or go without its schema */
	CacheRegisterSyscacheCallback(NAMESPACEOID, forget_catalog, (Datum) 0);
}

static Oid
need_relation(const char *name)
{
	Oid			oid = get_relname_relid(name, catalog.schema);

	if (!OidIsValid(oid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("relation \"actorstore.%s\" does not exist", name),
				 errhint("Create the extension anew: CREATE EXTENSION actorstore.")));
	return oid;
}

static void
load_catalog(void)
{
	HeapTuple	tuple;

	catalog.schema = get_namespace_oid("actorstore", false);
	catalog.actor = need_relation("actor");
	catalog.actor_rowtype = get_rel_type_id(catalog.actor);
	catalog.undeclared = need_relation("undeclared");
	catalog.type = need_relation("type");
	catalog.grants = need_relation("type_grant");
	catalog.handler = need_relation("handler");
	catalog.halted = need_relation("halted");
	catalog.halted_actor = need_relation("halted_actor");
	catalog.message = need_relation("message");
	catalog.message_number = need_relation("message_number");
	catalog.lease = need_relation("lease");
	catalog.timer = need_relation("timer");
	catalog.decision = need_relation("decision");
	catalog.receipt = need_relation("receipt");

	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(catalog.actor));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", catalog.actor);
	catalog.owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
}

const AsCatalog *
as_catalog(void)
{
	if (catalog_valid)
		return &catalog;

	/*
	 * catalog_valid is set before an invalidation that comes while we look
	 * could unset it, and unset again if we fail.
	 */
	catalog_valid = true;
	PG_TRY();
	{
		load_catalog();
	}
	PG_CATCH();
	{
		catalog_valid = false;
		PG_RE_THROW();
	}
	PG_END_TRY();
	return &catalog;
}

Oid
as_catalog_relation(const char *name)
{
	return get_relname_relid(name, as_catalog()->schema);
}

bool
as_catalog_is_registry(Oid relation)
{
	return !catalog_valid || !OidIsValid(relation) ||
		relation == catalog.type || relation == catalog.grants;
}

bool
as_catalog_is_halted(Oid relation)
{
	return !catalog_valid || !OidIsValid(relation) || relation == catalog.halted_actor;
}

void
as_catalog_tell_halted(void)
{
	CacheInvalidateRelcacheByRelid(as_catalog()->halted_actor);
}

static void
set_locally(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

void
as_admin_begin(AsAdmin *admin)
{
	GetUserIdAndSecContext(&admin->user, &admin->sec_context);
	SetUserIdAndSecContext(as_catalog()->owner,
						   admin->sec_context | SECURITY_LOCAL_USERID_CHANGE);

	admin->guc_level = NewGUCNestLevel();
	set_locally("search_path", "pg_catalog, pg_temp");
	set_locally("default_tablespace", "");
	set_locally("session_replication_role", "origin");

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
}

void
as_admin_leave(AsAdmin *admin)
{
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	AtEOXact_GUC(true, admin->guc_level);
	SetUserIdAndSecContext(admin->user, admin->sec_context);
}

void
as_admin_end(AsAdmin *admin)
{
	as_admin_leave(admin);
	CacheInvalidateRelcacheByRelid(as_catalog()->type);
}

static SPIPlanPtr
prepare(const char *sql, int nargs, Oid *types, int options)
{
	SPIPlanPtr	plan = SPI_prepare_cursor(sql, nargs, types, options);

	if (plan == NULL)
		elog(ERROR, "SPI_prepare_cursor failed for \"%s\": %s",
			 sql, SPI_result_code_string(SPI_result));
	return plan;
}

static uint64
execute(SPIPlanPtr plan, const char *sql, int expected, Datum *values, const char *nulls)
{
	Snapshot	test = InvalidSnapshot;
	Snapshot	crosscheck = InvalidSnapshot;
	int			result;

	/* as the foreign-key triggers do */
	if (IsolationUsesXactSnapshot())
	{
		CommandCounterIncrement();
		test = GetLatestSnapshot();
		crosscheck = GetTransactionSnapshot();
	}
	result = SPI_execute_snapshot(plan, values, nulls, test, crosscheck,
								  false, true, 0);
	if (result != expected)
		elog(ERROR, "SPI_execute_snapshot failed for \"%s\": %s",
			 sql, SPI_result_code_string(result));
	return SPI_processed;
}

uint64
as_admin_execute(const char *sql, int expected, int nargs,
				 Oid *types, Datum *values, const char *nulls)
{
	return execute(prepare(sql, nargs, types, 0), sql, expected, values, nulls);
}

uint64
as_admin_execute_kept(SPIPlanPtr *plan, const char *sql, int expected, int nargs,
					  Oid *types, Datum *values, const char *nulls)
{
	if (*plan == NULL)
	{
		SPIPlanPtr	made = prepare(sql, nargs, types, CURSOR_OPT_GENERIC_PLAN);

		if (SPI_keepplan(made) != 0)
			elog(ERROR, "SPI_keepplan failed");
		*plan = made;
	}
	set_locally("enable_seqscan", "off");
	return execute(*plan, sql, expected, values, nulls);
}

void
as_admin_utility(const char *fmt,...)
{
	StringInfoData sql;
	int			result;

	initStringInfo(&sql);
	for (;;)
	{
		va_list		args;
		int			needed;

		va_start(args, fmt);
		needed = appendStringInfoVA(&sql, fmt, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&sql, needed);
	}

	result = SPI_execute(sql.data, false, 0);
	if (result != SPI_OK_UTILITY)
		elog(ERROR, "SPI_execute failed for \"%s\": %s",
			 sql.data, SPI_result_code_string(result));
	pfree(sql.data);
}
