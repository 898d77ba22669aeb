/*-------------------------------------------------------------------------
 *
 * operate.c
 *	  The SQL functions for those who operate actors.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "actorstore.h"

#include "access/xlog.h"
#include "api/args.h"
#include "api/chore.h"
#include "catalog/pg_type.h"
#include "cluster/node.h"
#include "cluster/route.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "runtime/halt.h"
#include "runtime/outgoing.h"
#include "runtime/send.h"
#include "runtime/supervise.h"
#include "state/catalog.h"
#include "state/identity.h"
#include "state/rows_delete.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(actorstore_pause);
PG_FUNCTION_INFO_V1(actorstore_resume);
PG_FUNCTION_INFO_V1(actorstore_redrive);
PG_FUNCTION_INFO_V1(actorstore_purge_dead_letters);
PG_FUNCTION_INFO_V1(actorstore_unfence);
PG_FUNCTION_INFO_V1(actorstore_identity_changed);
PG_FUNCTION_INFO_V1(actorstore_has_type_privilege);

/* ---- What is done with actors ---- */

/* The type to be operated on, which the current role must own. */
static AsType *
own_type(text *name)
{
	AsType	   *type = as_type_get(name);

	as_type_check_owner(type);
	return type;
}

/* The actor, or all of the type, as the first arguments say. */
static void
arg_chore(FunctionCallInfo fcinfo, AsChore *chore, AsChoreKind kind,
		  const char *function)
{
	memset(chore, 0, sizeof(AsChore));
	chore->kind = kind;
	chore->type = as_arg_type(fcinfo, 0);
	if (kind != AS_CHORE_PURGE && !PG_ARGISNULL(1))
		chore->id = as_arg_id(fcinfo, 1);
	PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);
	(void) own_type(chore->type);
}

static int64
do_chore(AsChore *chore)
{
	return chore->id != NULL ? as_chore_do(chore) : as_chore_do_everywhere(chore);
}

Datum
actorstore_pause(PG_FUNCTION_ARGS)
{
	AsChore		chore;

	arg_chore(fcinfo, &chore, AS_CHORE_PAUSE, "actorstore.pause()");
	(void) do_chore(&chore);
	PG_RETURN_VOID();
}

/*
 * A type that is paused is so on a node that comes, too: either that one is told
 * of it, or this is told of that one (cluster/registry.h).
 */
static void
lock_registry(const AsChore *chore)
{
	if (chore->id == NULL && as_node_self() != NULL)
		LockRelationOid(as_catalog()->type, RowExclusiveLock);
}

int64
as_pause_here(const AsChore *chore)
{
	AsType	   *type = own_type(chore->type);

	lock_registry(chore);
	if (chore->id != NULL && as_actor_halt(type, chore->type, chore->id) >= AS_STOPPED)
		ereport(ERROR,
				(errcode(AS_ERRCODE_HALTED),
				 errmsg("actor (%s, %s) is stopped", text_to_cstring(chore->type),
						text_to_cstring(chore->id))));
	as_halt(chore->type, chore->id, AS_PAUSED, NULL);
	return 0;
}

Datum
actorstore_resume(PG_FUNCTION_ARGS)
{
	AsChore		chore;

	arg_chore(fcinfo, &chore, AS_CHORE_RESUME, "actorstore.resume()");
	PG_RETURN_BOOL(do_chore(&chore) > 0);
}

int64
as_resume_here(const AsChore *chore)
{
	AsType	   *type = own_type(chore->type);
	bool		stopped = chore->id != NULL &&
		as_actor_halt(type, chore->type, chore->id) >= AS_STOPPED;
	bool		halted;

	lock_registry(chore);
	halted = as_unhalt(chore->type, chore->id);
	if (halted && stopped)
		as_supervise_revived(chore->type, chore->id);
	return halted ? 1 : 0;
}

/*
 * What another node could not be sent for want of room is a dead letter here:
 * one actor's are sought here, too.
 */
Datum
actorstore_redrive(PG_FUNCTION_ARGS)
{
	AsChore		chore;
	int64		done = 0;

	arg_chore(fcinfo, &chore, AS_CHORE_REDRIVE, "actorstore.redrive()");
	if (!PG_ARGISNULL(2) && PG_GETARG_INT32(2) < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_rows must be at least 1")));
	chore.amount = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT32(2);
	if (chore.id != NULL && as_route_find(chore.type, chore.id) != NULL)
	{
		done = as_redrive_here(&chore);
		if (chore.amount > 0 && (chore.amount -= done) <= 0)
			PG_RETURN_INT64(done);
	}
	PG_RETURN_INT64(done + do_chore(&chore));
}

int64
as_redrive_here(const AsChore *chore)
{
	return as_redrive(own_type(chore->type), chore->type, chore->id, chore->amount);
}

Datum
actorstore_purge_dead_letters(PG_FUNCTION_ARGS)
{
	AsChore		chore;

	arg_chore(fcinfo, &chore, AS_CHORE_PURGE, "actorstore.purge_dead_letters()");
	as_reject_null(fcinfo, 1, "before");
	chore.amount = PG_GETARG_TIMESTAMPTZ(1);
	PG_RETURN_INT64(do_chore(&chore));
}

int64
as_purge_here(const AsChore *chore)
{
	Oid			types[2] = {TEXTOID, TIMESTAMPTZOID};
	Datum		values[2] = {PointerGetDatum(chore->type), TimestampTzGetDatum(chore->amount)};
	AsAdmin		admin;
	int64		n;

	(void) own_type(chore->type);
	as_admin_begin(&admin);
	n = (int64) as_admin_execute("DELETE FROM actorstore.dead_message WHERE actor_type = $1 AND died_at < $2",
								 SPI_OK_DELETE, 2, types, values, NULL);
	as_admin_leave(&admin);
	return n;
}

/* ---- Copies of a database ---- */

/* Other nodes shall see that this is not the database that they knew. */
static void
raise_incarnation(void)
{
	Oid			types[1] = {INT8OID};
	Datum		values[1] = {Int64GetDatum((int64) as_identity_timeline())};

	as_admin_execute("UPDATE actorstore.node SET incarnation = (((incarnation >> 32) + 1) << 32) | $1 WHERE is_self",
					 SPI_OK_UPDATE, 1, types, values, NULL);
}

/* Let this copy of a database live as one of its own. */
Datum
actorstore_unfence(PG_FUNCTION_ARGS)
{
	Oid			types[AS_IDENTITY_COLUMNS + 1];
	Datum		values[AS_IDENTITY_COLUMNS + 1];
	AsAdmin		admin;
	bool		fenced;

	PreventCommandIfReadOnly("actorstore.unfence()");
	PreventCommandIfParallelMode("actorstore.unfence()");
	as_identity_now(types, values);
	types[AS_IDENTITY_COLUMNS] = INT4OID;
	values[AS_IDENTITY_COLUMNS] = Int32GetDatum(as_identity_next_era());
	as_admin_begin(&admin);
	fenced = as_identity_is_copy() &&
		as_admin_execute("DELETE FROM actorstore.identity", SPI_OK_DELETE, 0, NULL, NULL, NULL) > 0;
	as_admin_execute("INSERT INTO actorstore.identity (system_identifier, database, timeline, backup, era)"
					 " SELECT $1, $2, $3, $4, $5 WHERE NOT EXISTS (SELECT FROM actorstore.identity)",
					 SPI_OK_INSERT, AS_IDENTITY_COLUMNS + 1, types, values, NULL);

	/* another cluster may have wanted it as a node: it does not become one */
	as_admin_execute("DELETE FROM actorstore.arrival WHERE NOT EXISTS (SELECT FROM actorstore.node)",
					 SPI_OK_DELETE, 0, NULL, NULL, NULL);

	if (fenced)
	{
		/* what was checked out there is not ours */
		as_rows_delete(as_catalog()->lease, NULL);
		raise_incarnation();
	}
	as_admin_leave(&admin);
	as_outgoing_note_database();
	PG_RETURN_BOOL(fenced);
}

/* Trigger on the identity: is this the original, or a copy? */
Datum
actorstore_identity_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function was not called by trigger manager")));
	as_outgoing_note_database();
	return PointerGetDatum(NULL);
}

Datum
actorstore_has_type_privilege(PG_FUNCTION_ARGS)
{
	AsPrivilege privilege = as_privilege_parse(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	AsType	   *type = as_type_find(PG_GETARG_TEXT_PP(0));

	if (type == NULL)
		PG_RETURN_NULL();
	PG_RETURN_BOOL(as_type_has(type, privilege));
}
