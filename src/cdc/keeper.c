/*-------------------------------------------------------------------------
 *
 * keeper.c
 *	  The past that new subscriptions may start from, and what the slots of
 *	  subscriptions leave behind.
 *
 * With actorstore.cdc_retention, each database that has the extension also
 * has a slot that nobody reads, the keeper.  It holds back the WAL of so much
 * time, and a subscription that starts in the past copies it.  How long ago a
 * position was the end of the WAL is in actorstore.cdc_mark.
 *
 * A launcher, one for the server, comes by every few seconds.  A slot can be
 * moved only from within its database, so the launcher starts a worker for
 * each database where there is something to do, one after another; it waits
 * for nobody for longer than a second, and so is in nobody's way.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cdc/keeper.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_type.h"
#include "cdc/slot.h"
#include "compat.h"
#include "executor/spi.h"
#include "lib/nap.h"
#include "lib/sequence.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/pg_lsn.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#define MAX_NAP_MS		10000
#define MIN_NAP_MS		1000

static char *
keeper_slot(void)
{
	return psprintf("%skeeper", as_slot_prefix(MyDatabaseId));
}

/*
 * Run one statement; returns the number of rows.  The first column of the
 * first row is then in *result, unless it is NULL.
 */
static uint64
run(const char *sql, int nargs, Oid *types, Datum *values, Datum *result)
{
	bool		isnull;

	if (SPI_execute_with_args(sql, nargs, types, values, NULL, false, 0) < 0)
		elog(ERROR, "SPI_execute_with_args failed for \"%s\": %s", sql,
			 SPI_result_code_string(SPI_result));
	if (result != NULL && SPI_processed > 0)
		*result = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
								1, &isnull);
	return SPI_processed;
}

/*
 * The same, as the owner of the extension's tables: what hangs on them must
 * not run as a superuser.
 */
static uint64
run_as_owner(const char *sql, int nargs, Oid *types, Datum *values,
			 Datum *result)
{
	Oid			table = get_relname_relid("cdc_mark",
										  get_namespace_oid("actorstore", false));
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
	Oid			user;
	int			context;
	Oid			owner;
	uint64		n;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", table);
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);

	/* an error ends the worker */
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(owner, context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	n = run(sql, nargs, types, values, result);
	SetUserIdAndSecContext(user, context);
	return n;
}

/* ---- For subscribe ---- */

bool
as_keeper_copy(const char *slot)
{
	char	   *keeper = keeper_slot();
	Oid			types[2] = {TEXTOID, TEXTOID};
	Datum		values[2] = {CStringGetTextDatum(keeper), CStringGetTextDatum(slot)};

	if (as_slot_state(keeper, NULL) != AS_SLOT_READY)
		return false;
	run("SELECT pg_catalog.pg_copy_logical_replication_slot($1::pg_catalog.name, $2::pg_catalog.name, true)",
		2, types, values, NULL);
	return true;
}

XLogRecPtr
as_keeper_position_at(TimestampTz time)
{
	Oid			types[1] = {TIMESTAMPTZOID};
	Datum		values[1] = {TimestampTzGetDatum(time)};
	Datum		lsn;

	if (run("SELECT lsn FROM actorstore.cdc_mark WHERE at <= $1 ORDER BY at DESC LIMIT 1",
			1, types, values, &lsn) == 0)
		return InvalidXLogRecPtr;
	return DatumGetLSN(lsn);
}

void
as_keeper_raise_too_old(const char *start)
{
	XLogRecPtr	oldest;
	AsSequence	sequence = {.number = PG_UINT32_MAX};
	char		text[AS_SEQUENCE_LEN];
	Datum		at;

	if (as_slot_state(keeper_slot(), &oldest) != AS_SLOT_READY ||
		run("SELECT min(at) FROM actorstore.cdc_mark HAVING min(at) IS NOT NULL",
			0, NULL, NULL, &at) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot start from \"%s\": no past is kept", start),
				 errdetail("The oldest start there is, is \"now\"."),
				 errhint("Start from \"beginning\", or set \"actorstore.cdc_retention\" for later subscriptions.")));
	sequence.lsn = oldest;
	as_sequence_print(sequence, text);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("cannot start from \"%s\": that is older than what is kept", start),
			 errdetail("The oldest sequence there is, is \"%.*s\", and the oldest time is \"%s\".",
					   AS_SEQUENCE_LEN, text,
					   timestamptz_to_str(DatumGetTimestampTz(at))),
			 errhint("Start from \"beginning\", or raise \"actorstore.cdc_retention\" for later subscriptions.")));
}

/* ---- Cleaning up ---- */

static bool
is_wanted(const char *slot)
{
	Oid			types[1] = {TEXTOID};
	Datum		values[1] = {CStringGetTextDatum(slot)};

	return run("SELECT 1 FROM actorstore.subscription WHERE slot = $1::pg_catalog.name",
			   1, types, values, NULL) > 0;
}

/*
 * Whoever is making a subscription has the lock till the row is there for all
 * to see, so the row is looked for again once we have the lock.
 */
void
as_keeper_sweep(void)
{
	char	   *keeper = keeper_slot();
	ListCell   *cell;

	/* an older snapshot does not show what has been committed since */
	if (IsolationUsesXactSnapshot())
		return;
	foreach(cell, as_slots_idle(MyDatabaseId))
	{
		char	   *slot = lfirst(cell);

		if (strcmp(slot, keeper) == 0 || is_wanted(slot) ||
			!as_slot_lock(slot) || is_wanted(slot))
			continue;
		as_slot_drop(slot);
		ereport(LOG,
				(errmsg("dropped replication slot \"%s\", which no subscription uses",
						slot)));
	}
}

static bool has_extension;

/* Where the extension has gone, its slots go. */
static void
look_for_extension(void)
{
	/* first: what comes later may belong to a new extension */
	List	   *slots = as_slots_idle(MyDatabaseId);
	ListCell   *cell;

	has_extension =
		run("SELECT 1 FROM pg_catalog.pg_extension WHERE extname = 'actorstore'",
			0, NULL, NULL, NULL) > 0;
	if (has_extension)
		return;
	foreach(cell, slots)
		as_slot_drop(lfirst(cell));
}

/* ---- The keeper's slot ---- */

static void
stop_keeping(void)
{
	as_slot_drop(keeper_slot());
	run_as_owner("DELETE FROM actorstore.cdc_mark", 0, NULL, NULL, NULL);
}

/* Make the keeper's slot; the transaction must not have written. */
static void
begin_keeping(void)
{
	Oid			types[1] = {TEXTOID};
	Datum		values[1] = {CStringGetTextDatum(keeper_slot())};

	run("SELECT pg_catalog.pg_create_logical_replication_slot($1::pg_catalog.name, 'actorstore'" AS_FOLLOWING_SLOT ")",
		1, types, values, NULL);
}

/* The newest mark that is older than the retention. */
static bool
find_old_mark(Datum *lsn)
{
	Oid			types[1] = {FLOAT8OID};
	Datum		values[1] = {Float8GetDatum(actorstore_cdc_retention)};

	return run_as_owner("SELECT lsn FROM actorstore.cdc_mark "
						"WHERE at <= pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => $1) "
						"ORDER BY at DESC LIMIT 1", 1, types, values, lsn) > 0;
}

/*
 * Note where the WAL ends now; let go what is older than the retention.
 *
 * The end is that of a record, as a slot whose position is within the record
 * of a commit would leave it out; and it is read before the clock, so that no
 * later commit has an earlier time.
 */
static void
go_on_keeping(void)
{
	char	   *keeper = keeper_slot();
	Oid			types[2] = {LSNOID, TIMESTAMPTZOID};
	Datum		values[2];
	XLogRecPtr	position;
	Datum		lsn;

	values[0] = LSNGetDatum(GetXLogInsertRecPtr());
	values[1] = TimestampTzGetDatum(GetCurrentTimestamp());
	run_as_owner("INSERT INTO actorstore.cdc_mark (lsn, at) VALUES ($1, $2)",
				 2, types, values, NULL);
	if (!find_old_mark(&lsn) ||
		as_slot_state(keeper, &position) != AS_SLOT_READY)
		return;
	values[0] = lsn;
	run_as_owner("DELETE FROM actorstore.cdc_mark WHERE lsn < $1",
				 1, types, values, NULL);
	if (DatumGetLSN(lsn) <= position)
		return;
	types[1] = TEXTOID;
	values[1] = CStringGetTextDatum(keeper);
	run("SELECT pg_catalog.pg_replication_slot_advance($2::pg_catalog.name, $1)",
		2, types, values, NULL);
}

static void
in_transaction(void (*step) (void))
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	step();
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/* ---- The worker, and the launcher ---- */

/* What the database's own settings say is for its users. */
static void
override(const char *name, const char *value)
{
	SetConfigOption(name, value, PGC_SUSET, PGC_S_OVERRIDE);
}

void
as_keeper_main(Datum database)
{
	AsSlotState state;

	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(database),
											  InvalidOid, 0);
	pgstat_report_activity(STATE_RUNNING, "looking after subscriptions");
	override("role", "none");
	override("search_path", "pg_catalog, pg_temp");
	override("default_transaction_isolation", "read committed");
	override("default_transaction_read_only", "off");
	override("session_replication_role", "origin");
	as_lift_transaction_timeout();

	/* to make a slot is to wait for all transactions; better try again */
	override("lock_timeout", "1s");

	in_transaction(look_for_extension);
	if (!has_extension)
		return;
	in_transaction(as_keeper_sweep);

	state = as_slot_state(keeper_slot(), NULL);
	if (state == AS_SLOT_LOST || state == AS_SLOT_UNGUARDED ||
		(state == AS_SLOT_READY && actorstore_cdc_retention == 0))
	{
		in_transaction(stop_keeping);
		state = AS_SLOT_MISSING;
	}
	if (actorstore_cdc_retention == 0)
		return;
	if (state == AS_SLOT_MISSING)
		in_transaction(begin_keeping);
	in_transaction(go_on_keeping);
}

/* The databases where a worker has something to do. */
static List *
databases_to_visit(void)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *databases = NIL;
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);
		MemoryContext old;

		if (!database->datallowconn ||
			((actorstore_cdc_retention == 0 || database->datistemplate) &&
			 as_slots_idle(database->oid) == NIL))
			continue;
		old = MemoryContextSwitchTo(context);
		databases = lappend_oid(databases, database->oid);
		MemoryContextSwitchTo(old);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
	return databases;
}

static void
visit(Oid database)
{
	BackgroundWorker worker = {
		.bgw_name = "actorstore keeper",
		.bgw_type = "actorstore keeper",
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = BGW_NEVER_RESTART,
		.bgw_library_name = "actorstore",
		.bgw_function_name = "as_keeper_main",
		.bgw_main_arg = ObjectIdGetDatum(database),
		.bgw_notify_pid = MyProcPid
	};
	BackgroundWorkerHandle *handle;
	static bool complained = false;

	if (RegisterDynamicBackgroundWorker(&worker, &handle))
	{
		(void) WaitForBackgroundWorkerShutdown(handle);
		complained = false;
	}
	else if (!complained)
	{
		ereport(LOG,
				(errmsg("no background worker is free to look after subscriptions"),
				 errhint("Consider increasing the configuration parameter \"max_worker_processes\".")));
		complained = true;
	}
}

void
as_keeper_launcher_main(Datum arg)
{
	MemoryContext context;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	as_lift_transaction_timeout();
	context = AllocSetContextCreate(TopMemoryContext, "actorstore launcher",
									ALLOCSET_DEFAULT_SIZES);
	for (;;)
	{
		ListCell   *cell;
		long		nap = MAX_NAP_MS;

		MemoryContextSwitchTo(context);
		foreach(cell, databases_to_visit())
			visit(lfirst_oid(cell));
		MemoryContextReset(context);

		if (actorstore_cdc_retention > 0)
			nap = Max(MIN_NAP_MS,
					  Min(MAX_NAP_MS, actorstore_cdc_retention * 100L));
		(void) as_nap(nap, AS_NAP_KEEPER_MAIN);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
	}
}

void
as_keeper_init(void)
{
	BackgroundWorker launcher = {
		.bgw_name = "actorstore keeper launcher",
		.bgw_type = "actorstore keeper launcher",
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = 10,
		.bgw_library_name = "actorstore",
		.bgw_function_name = "as_keeper_launcher_main"
	};

	if (!IsBinaryUpgrade)
		RegisterBackgroundWorker(&launcher);
}
