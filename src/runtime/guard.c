/*-------------------------------------------------------------------------
 *
 * guard.c
 *	  What the runtime wants to know of other commands.
 *
 *	- Handlers must not use temporary tables or LISTEN: both would stay in a
 *	  worker's session, and neither works in every turn.
 *	- Whoever drops, renames, moves or copies a database needs it for
 *	  himself: its workers leave first.  So they do for who drops the extension,
 *	  which locks one of its objects after another: a turn under way would hold
 *	  some and want others.
 *	- COMMIT PREPARED runs no callback of the transaction that it commits:
 *	  unless that is known to have nothing to tell (prepared.h), the mailboxes
 *	  are looked through, and what it may have changed in types is looked at.
 *	  So are the timers, then and after ROLLBACK PREPARED.
 *	- Where the extension comes or goes, the launcher looks.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/worker.h"

#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "lib/nap.h"
#include "lib/utility_hook.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "runtime/flow.h"
#include "runtime/lease.h"
#include "runtime/outgoing.h"
#include "runtime/prepared.h"
#include "runtime/sched.h"
#include "runtime/turn.h"
#include "runtime/timing.h"
#include "storage/ipc.h"

/* How long we wait for workers to leave; PostgreSQL itself waits 5 s more. */
#define MAX_WAIT_MS		5000
#define NAP_MS			10

static ProcessUtility_hook_type prev_process_utility = NULL;
static object_access_hook_type prev_object_access = NULL;

/* ---- Handlers ---- */

static bool
is_temporary(const RangeVar *relation)
{
	return relation != NULL &&
		(relation->relpersistence == RELPERSISTENCE_TEMP ||
		 (relation->schemaname != NULL &&
		  strncmp(relation->schemaname, "pg_temp", 7) == 0));
}

static bool
makes_temporary(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_CreateStmt:
			return is_temporary(((CreateStmt *) statement)->relation);
		case T_CreateTableAsStmt:
			return is_temporary(((CreateTableAsStmt *) statement)->into->rel);
		case T_CreateSeqStmt:
			return is_temporary(((CreateSeqStmt *) statement)->sequence);
		case T_ViewStmt:
			return is_temporary(((ViewStmt *) statement)->view);
		default:
			return false;
	}
}

static void
check_handler_command(Node *statement)
{
	if (makes_temporary(statement))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a handler cannot create temporary objects")));
	if (IsA(statement, ListenStmt) || IsA(statement, UnlistenStmt))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a handler cannot execute %s",
						IsA(statement, ListenStmt) ? "LISTEN" : "UNLISTEN")));
}

/*
 * There are many ways to make something temporary; what the statements above
 * do not show is found when the transaction is about to commit, after all that
 * was put off to its end.
 */
static void
check_handler_commit(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_COMMIT && as_sched_self >= 0 &&
		(MyXactFlags & XACT_FLAGS_ACCESSEDTEMPNAMESPACE) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a handler cannot use temporary objects")));
}

/* ---- Databases ---- */

/* Is this DROP EXTENSION actorstore, or of the schema of that name? */
static bool
drops_extension(const DropStmt *statement)
{
	ListCell   *cell;

	if (statement->removeType != OBJECT_EXTENSION &&
		statement->removeType != OBJECT_SCHEMA)
		return false;
	foreach(cell, statement->objects)
	{
		if (strcmp(strVal(lfirst(cell)), "actorstore") == 0)
			return true;
	}
	return false;
}

/* The database that no worker may be in during the command, or InvalidOid. */
static Oid
wanted_alone(Node *statement)
{
	const char *name = NULL;
	ListCell   *cell;

	switch (nodeTag(statement))
	{
		case T_DropdbStmt:
			name = ((DropdbStmt *) statement)->dbname;
			break;
		case T_RenameStmt:
			if (((RenameStmt *) statement)->renameType == OBJECT_DATABASE)
				name = ((RenameStmt *) statement)->subname;
			break;
		case T_AlterDatabaseStmt:
			foreach(cell, ((AlterDatabaseStmt *) statement)->options)
			{
				if (strcmp(((DefElem *) lfirst(cell))->defname, "tablespace") == 0)
					name = ((AlterDatabaseStmt *) statement)->dbname;
			}
			break;
		case T_CreatedbStmt:
			name = "template1";
			foreach(cell, ((CreatedbStmt *) statement)->options)
			{
				DefElem    *option = lfirst(cell);

				if (strcmp(option->defname, "template") == 0 &&
					option->arg != NULL)
					name = defGetString(option);
			}
			break;
		case T_DropStmt:
			if (drops_extension((DropStmt *) statement))
				return MyDatabaseId;
			break;
		default:
			break;
	}
	return name == NULL ? InvalidOid : get_database_oid(name, true);
}

static void
wait_till_alone(Oid database)
{
	for (int waited = 0; waited < MAX_WAIT_MS; waited += NAP_MS)
	{
		if (as_sched_workers_in(database) == 0)
			return;
		(void) as_nap(NAP_MS, AS_NAP_WORKERS);
		CHECK_FOR_INTERRUPTS();
	}
}

/* ---- Prepared transactions ---- */

/*
 * What a prepared transaction has sent is there, types that it has changed or
 * dropped are no longer what they were: let everything be looked at.
 */
static void
after_commit_prepared(void)
{
	int			home = as_sched_home();

	if (home < 0)
		return;
	as_sched_lose(home);
	as_slots_doubt(home);
	as_sched_lower_due(home, 0);
	as_timing_doubt();
	as_leases_doubt(home);
	as_flow_doubt(home);
}

/* ---- The process exits ---- */

static Oid	barred = InvalidOid;	/* by us, now */

static bool committing = false; /* what is prepared; nobody was told */

static void
clean_up(int code, Datum arg)
{
	if (committing)
		after_commit_prepared();
	as_sched_end_commit();
	if (OidIsValid(barred))
		as_sched_unbar(barred);
}

/*
 * From now on, clean up if the process exits in the middle of a command.
 * (PG_ENSURE_ERROR_CLEANUP will not do: COMMIT PREPARED registers a callback
 * of its own, for good.)
 */
static void
begin_cleanup(void)
{
	static bool registered = false;

	if (!registered)
		before_shmem_exit(clean_up, (Datum) 0);
	registered = true;
}

/* ---- The hooks ---- */

/* What was sent is not taken note of till everything has been looked at. */
static void
commit_prepared(AS_UTILITY_PARAMS)
{
	const char *gid = ((TransactionStmt *) pstmt->utilityStmt)->gid;
	AsPrepared	prepared;
	bool		known = as_prepared_find(gid, &prepared);

	if (known && prepared.silent)
	{
		as_utility_next(prev_process_utility, AS_UTILITY_ARGS);
		if (!as_prepared_end(gid, prepared.xid))
			after_commit_prepared();
		return;
	}
	as_sched_begin_commit(as_sched_home(), 0);
	begin_cleanup();
	committing = true;
	PG_TRY();
	{
		as_utility_next(prev_process_utility, AS_UTILITY_ARGS);
		after_commit_prepared();
	}
	PG_FINALLY();
	{
		committing = false;
		as_sched_end_commit();
	}
	PG_END_TRY();
	if (known)
		(void) as_prepared_end(gid, prepared.xid);
}

static void
roll_back_prepared(AS_UTILITY_PARAMS)
{
	const char *gid = ((TransactionStmt *) pstmt->utilityStmt)->gid;
	AsPrepared	prepared;
	bool		known = as_prepared_find(gid, &prepared);

	as_utility_next(prev_process_utility, AS_UTILITY_ARGS);
	if (!(known && as_prepared_end(gid, prepared.xid) && prepared.silent))
		as_timing_doubt();
}

/* PREPARE TRANSACTION and what may come after it; false: it is none of these. */
static bool
run_prepared_command(AS_UTILITY_PARAMS)
{
	Node	   *statement = pstmt->utilityStmt;

	if (!IsA(statement, TransactionStmt))
		return false;
	switch (((TransactionStmt *) statement)->kind)
	{
		case TRANS_STMT_PREPARE:
			as_prepared_begin(((TransactionStmt *) statement)->gid);
			as_utility_next(prev_process_utility, AS_UTILITY_ARGS);
			return true;
		case TRANS_STMT_COMMIT_PREPARED:
			if (as_sched_home() < 0)
				return false;
			commit_prepared(AS_UTILITY_ARGS);
			return true;
		case TRANS_STMT_ROLLBACK_PREPARED:
			roll_back_prepared(AS_UTILITY_ARGS);
			return true;
		default:
			return false;
	}
}

/* Run a command while no worker is in the database, which is barred. */
static void
run_alone(Oid database, AS_UTILITY_PARAMS)
{
	begin_cleanup();
	barred = database;
	PG_TRY();
	{
		wait_till_alone(database);
		as_utility_next(prev_process_utility, AS_UTILITY_ARGS);
	}
	PG_FINALLY();
	{
		as_sched_unbar(database);
		barred = InvalidOid;
	}
	PG_END_TRY();
}

static void
process_utility(AS_UTILITY_PARAMS)
{
	Node	   *statement = pstmt->utilityStmt;
	Oid			database;

	if (as_sched_self >= 0 || as_turn_current != NULL)
		check_handler_command(statement);
	if (run_prepared_command(AS_UTILITY_ARGS))
		return;
	database = wanted_alone(statement);
	if (OidIsValid(database) && as_sched_active() && as_sched_bar(database))
		run_alone(database, AS_UTILITY_ARGS);
	else
		as_utility_next(prev_process_utility, AS_UTILITY_ARGS);
}

static void
object_access(ObjectAccessType access, Oid class, Oid object, int sub_id,
			  void *arg)
{
	if (prev_object_access != NULL)
		prev_object_access(access, class, object, sub_id, arg);
	if (class != ExtensionRelationId || !as_sched_active())
		return;
	if (access == OAT_POST_CREATE && as_sched_home() < 0)
		as_outgoing_note_database();
	else if (access == OAT_DROP)
	{
		char	   *name = get_extension_name(object);

		if (name != NULL && strcmp(name, "actorstore") == 0)
			as_outgoing_note_database();
	}
}

void
as_guard_init(void)
{
	prev_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
	prev_object_access = object_access_hook;
	object_access_hook = object_access;
	RegisterXactCallback(check_handler_commit, NULL);
}
