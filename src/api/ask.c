/*-------------------------------------------------------------------------
 *
 * ask.c
 *	  The SQL functions that have an actor handle something now.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "actorstore.h"

#include "access/detoast.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "api/args.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "runtime/ask.h"
#include "runtime/request.h"
#include "runtime/sched.h"
#include "runtime/send.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(actorstore_ask);
PG_FUNCTION_INFO_V1(actorstore_tell);
PG_FUNCTION_INFO_V1(actorstore_call);
PG_FUNCTION_INFO_V1(actorstore_requests_now);

/* The actor, the message and its body, as all three have them. */
static AsType *
take_args(FunctionCallInfo fcinfo, AsMessage *message, AsPrivilege privilege)
{
	AsType	   *type;

	memset(message, 0, sizeof(AsMessage));
	message->actor_type = as_arg_type(fcinfo, 0);
	message->actor_id = as_arg_id(fcinfo, 1);
	message->name = as_arg_message(fcinfo, 2);
	message->body = PG_ARGISNULL(3) ? (Datum) 0 : PG_GETARG_DATUM(3);
	type = as_type_get(message->actor_type);
	as_type_check(type, privilege);
	as_message_check_size(message);
	return type;
}

static void
need_workers(const char *function)
{
	PreventCommandDuringRecovery(function);
	PreventCommandIfParallelMode(function);
	if (!as_sched_active())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s needs actorstore to be preloaded", function),
				 errhint("Put this line into postgresql.conf and restart: shared_preload_libraries = 'actorstore'")));
}

/* An interval in microseconds from now, which must not be negative. */
static int64
arg_timeout(FunctionCallInfo fcinfo, int n)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz end;

	as_reject_null(fcinfo, n, "timeout");
	end = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
												  TimestampTzGetDatum(now),
												  PG_GETARG_DATUM(n)));
	if (end < now)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("timeout must not be negative")));
	return end - now;
}

static Datum
return_answer(FunctionCallInfo fcinfo, Datum answer)
{
	if (answer == (Datum) 0)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(answer);
}

Datum
actorstore_ask(PG_FUNCTION_ARGS)
{
	AsMessage	message;
	AsType	   *type = take_args(fcinfo, &message, AS_PRIV_ASK);
	int64		timeout = arg_timeout(fcinfo, 4);

	if (!PG_ARGISNULL(5))
	{
		message.dedup_key = PG_GETARG_TEXT_PP(5);
		as_check_name("dedup_key", message.dedup_key);
	}
	need_workers("actorstore.ask()");
	return return_answer(fcinfo, as_ask(type, &message, timeout));
}

Datum
actorstore_tell(PG_FUNCTION_ARGS)
{
	AsMessage	message;
	AsType	   *type = take_args(fcinfo, &message, AS_PRIV_SEND);

	need_workers("actorstore.tell()");
	as_tell(type, &message);
	PG_RETURN_VOID();
}

Datum
actorstore_call(PG_FUNCTION_ARGS)
{
	AsMessage	message;
	AsType	   *type = take_args(fcinfo, &message, AS_PRIV_ASK);

	PreventCommandIfReadOnly("actorstore.call()");
	PreventCommandIfParallelMode("actorstore.call()");
	return return_answer(fcinfo, as_call(type, &message));
}

/* The pool of requests, of all databases. */
Datum
actorstore_requests_now(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Datum		values[4];
	bool		nulls[4] = {false};
	uint64		told;
	uint64		lost;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (!as_sched_active())
		PG_RETURN_NULL();
	as_requests_count_told(&told, &lost);
	values[0] = Int64GetDatum(as_requests_size());
	values[1] = Int64GetDatum((int64) as_requests_size() - as_requests_free());
	values[2] = Int64GetDatum((int64) told);
	values[3] = Int64GetDatum((int64) lost);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values,
											 nulls));
}
