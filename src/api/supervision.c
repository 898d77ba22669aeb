/*-------------------------------------------------------------------------
 *
 * supervision.c
 *	  The SQL functions about links, monitors and supervisors.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "actorstore.h"

#include "api/args.h"
#include "api/chore.h"
#include "api/inside.h"
#include "api/supervise_there.h"
#include "catalog/pg_type.h"
#include "cluster/caller.h"
#include "cluster/route.h"
#include "miscadmin.h"
#include "runtime/links.h"
#include "runtime/supervise.h"
#include "state/catalog.h"
#include "state/owner.h"
#include "state/text_query.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(actorstore_link);
PG_FUNCTION_INFO_V1(actorstore_unlink);
PG_FUNCTION_INFO_V1(actorstore_monitor);
PG_FUNCTION_INFO_V1(actorstore_demonitor);
PG_FUNCTION_INFO_V1(actorstore_supervise);
PG_FUNCTION_INFO_V1(actorstore_unsupervise);
PG_FUNCTION_INFO_V1(actorstore_local_supervise);
PG_FUNCTION_INFO_V1(actorstore_purge_supervision_log);

/* ---- Links and monitors ---- */

static Datum
in_handler(FunctionCallInfo fcinfo, const char *function, AsPrivilege privilege,
		   void (*run) (AsTurn *turn, text *type, text *id))
{
	AsTurn	   *turn = as_need_turn(function);
	text	   *type = as_arg_type(fcinfo, 0);
	text	   *id = as_arg_id(fcinfo, 1);

	as_type_check(as_type_get(type), privilege);
	run(turn, type, id);
	PG_RETURN_VOID();
}

/* Whoever exits takes those linked to it along: that is as much as to write. */
Datum
actorstore_link(PG_FUNCTION_ARGS)
{
	return in_handler(fcinfo, "actorstore.link()", AS_PRIV_WRITE, as_link);
}

Datum
actorstore_unlink(PG_FUNCTION_ARGS)
{
	return in_handler(fcinfo, "actorstore.unlink()", AS_PRIV_WRITE, as_unlink);
}

Datum
actorstore_monitor(PG_FUNCTION_ARGS)
{
	return in_handler(fcinfo, "actorstore.monitor()", AS_PRIV_READ, as_monitor);
}

Datum
actorstore_demonitor(PG_FUNCTION_ARGS)
{
	return in_handler(fcinfo, "actorstore.demonitor()", AS_PRIV_READ,
					  as_demonitor);
}

/* ---- Supervisors ---- */

static text *
arg_word(FunctionCallInfo fcinfo, int n, const char *what,
		 const char *const *words)
{
	char	   *word;

	as_reject_null(fcinfo, n, what);
	word = text_to_cstring(PG_GETARG_TEXT_PP(n));
	for (int i = 0; i < 3; i++)
	{
		if (strcmp(word, words[i]) == 0)
			return PG_GETARG_TEXT_PP(n);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for %s: \"%s\"", what, word),
			 errhint("Valid values are: \"%s\", \"%s\", \"%s\".", words[0],
					 words[1], words[2])));
}

static text *
arg_max_restarts(FunctionCallInfo fcinfo, int n)
{
	as_reject_null(fcinfo, n, "max_restarts");
	if (PG_GETARG_INT32(n) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_restarts must not be negative")));
	return as_int_text(PG_GETARG_INT32(n));
}

static text *
arg_period(FunctionCallInfo fcinfo, int n)
{
	Interval	zero = {0};

	as_reject_null(fcinfo, n, "period");
	if (!DatumGetBool(DirectFunctionCall2(interval_gt, PG_GETARG_DATUM(n),
										  IntervalPGetDatum(&zero))))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("period must be greater than zero")));
	return cstring_to_text(DatumGetCString(DirectFunctionCall1(interval_out,
															   PG_GETARG_DATUM(n))));
}

/* The current role must own both types. */
static void
check_owner(const AsSupervision *supervision)
{
	as_type_check_owner(as_type_get(supervision->parent_type));
	as_type_check_owner(as_type_get(supervision->child_type));
}

static void
check_not_stopped(const AsSupervision *supervision, bool is_stopped)
{
	if (is_stopped)
		ereport(ERROR,
				(errcode(AS_ERRCODE_HALTED),
				 errmsg("actor (%s, %s) is stopped",
						text_to_cstring(supervision->parent_type),
						text_to_cstring(supervision->parent_id)),
				 errdetail("It cannot supervise others.")));
}

static void
supervise_here(AsSupervision *supervision)
{
	as_supervise_lock();
	check_owner(supervision);
	check_not_stopped(supervision,
					  as_actor_halt(as_type_get(supervision->parent_type),
									supervision->parent_type,
									supervision->parent_id) >= AS_STOPPED);
	as_supervise_check_circle(supervision);
	supervision->asked_at = GetCurrentTimestamp();
	as_supervise(supervision);

	/* those above might be elsewhere by now */
	AcceptInvalidationMessages();
	as_chore_check_epoch(!as_route_is_needed());
}

/* The supervisor, those above it, and the child may live on any node. */
static void
supervise_anywhere(AsSupervision *supervision)
{
	check_owner(supervision);
	check_not_stopped(supervision, as_supervise_climb(supervision));
	as_supervise_there(supervision);
}

/* Arguments of supervise(), from the first one on */
static void
arg_supervision(FunctionCallInfo fcinfo, int first, AsSupervision *supervision)
{
	static const char *const strategies[] =
	{"one_for_one", "one_for_all", "rest_for_one"};
	static const char *const restarts[] =
	{"permanent", "transient", "temporary"};

	supervision->parent_type = as_arg_type(fcinfo, first);
	supervision->parent_id = as_arg_id(fcinfo, first + 1);
	supervision->child_type = as_arg_type(fcinfo, first + 2);
	supervision->child_id = as_arg_id(fcinfo, first + 3);
	supervision->strategy = arg_word(fcinfo, first + 4, "strategy", strategies);
	supervision->max_restarts = arg_max_restarts(fcinfo, first + 5);
	supervision->period = arg_period(fcinfo, first + 6);
	as_reject_null(fcinfo, first + 7, "keep_state");
	supervision->keep_state = cstring_to_text(PG_GETARG_BOOL(first + 7) ? "true" : "false");
	supervision->restart = arg_word(fcinfo, first + 8, "restart", restarts);
}

Datum
actorstore_supervise(PG_FUNCTION_ARGS)
{
	AsSupervision supervision;

	arg_supervision(fcinfo, 0, &supervision);
	PreventCommandIfReadOnly("actorstore.supervise()");
	PreventCommandIfParallelMode("actorstore.supervise()");
	if (as_route_is_needed())
		supervise_anywhere(&supervision);
	else
		supervise_here(&supervision);
	PG_RETURN_VOID();
}

/*
 * local_supervise(caller, epoch, the arguments of supervise(), asked_at): false if
 * the child does not live here.  The tree was looked at, with locks.
 */
Datum
actorstore_local_supervise(PG_FUNCTION_ARGS)
{
	AsSupervision supervision;
	AsCaller	caller;
	bool		is_mine;

	as_reject_null(fcinfo, 1, "epoch");
	as_reject_null(fcinfo, 11, "asked_at");
	arg_supervision(fcinfo, 2, &supervision);
	supervision.asked_at = PG_GETARG_INT64(11);
	if (!IS_VALID_TIMESTAMP(supervision.asked_at))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("asked_at is out of range")));
	PreventCommandIfReadOnly("actorstore.local_supervise()");
	PreventCommandIfParallelMode("actorstore.local_supervise()");
	as_caller_become(fcinfo, &caller);
	as_supervise_lock();
	as_caller_stand_in(fcinfo, supervision.parent_type);
	as_type_check_owner(as_type_get(supervision.parent_type));
	as_caller_stand_in(fcinfo, supervision.child_type);
	as_type_check_owner(as_type_get(supervision.child_type));
	is_mine = as_route_is_mine(supervision.child_type, supervision.child_id, PG_GETARG_INT64(1)) &&
		as_owner_try(supervision.child_type, supervision.child_id);
	if (is_mine)
		as_supervise(&supervision);
	as_caller_return(&caller);
	PG_RETURN_BOOL(is_mine);
}

Datum
actorstore_unsupervise(PG_FUNCTION_ARGS)
{
	AsChore		chore = {
		.kind = AS_CHORE_UNSUPERVISE, .type = as_arg_type(fcinfo, 0),
		.id = as_arg_id(fcinfo, 1)
	};

	PreventCommandIfReadOnly("actorstore.unsupervise()");
	PreventCommandIfParallelMode("actorstore.unsupervise()");
	as_type_check_owner(as_type_get(chore.type));
	PG_RETURN_BOOL(as_chore_do(&chore) > 0);
}

int64
as_unsupervise_here(const AsChore *chore)
{
	as_type_check_owner(as_type_get(chore->type));
	return as_unsupervise(chore->type, chore->id) ? 1 : 0;
}

Datum
actorstore_purge_supervision_log(PG_FUNCTION_ARGS)
{
	text	   *type = as_arg_type(fcinfo, 0);
	Oid			types[2] = {TEXTOID, TIMESTAMPTZOID};
	Datum		values[2] = {PointerGetDatum(type)};
	AsAdmin		admin;
	int64		n;

	PreventCommandIfReadOnly("actorstore.purge_supervision_log()");
	PreventCommandIfParallelMode("actorstore.purge_supervision_log()");
	as_type_check_owner(as_type_get(type));
	as_reject_null(fcinfo, 1, "before");
	values[1] = PG_GETARG_DATUM(1);
	as_admin_begin(&admin);
	n = (int64) as_admin_execute("DELETE FROM actorstore.supervision_event WHERE child_type = $1 AND at < $2",
								 SPI_OK_DELETE, 2, types, values, NULL);
	as_admin_leave(&admin);
	PG_RETURN_INT64(n);
}
