/*-------------------------------------------------------------------------
 *
 * messages.c
 *	  The SQL functions that send messages.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "actorstore.h"

#include "access/xact.h"
#include "api/args.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "runtime/send.h"
#include "runtime/turn.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(actorstore_send);
PG_FUNCTION_INFO_V1(actorstore_send_many);
PG_FUNCTION_INFO_V1(actorstore_cancel);

#define DEFAULT_PRIORITY	4

static void
check_may_send(const char *function)
{
	PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);
}

static AsType *
type_to_send_to(text *name)
{
	AsType	   *type = as_type_get(name);

	as_type_check(type, AS_PRIV_SEND);
	return type;
}

/* What an actor sends says so. */
static void
sign(AsMessage *message)
{
	if (as_turn_current == NULL)
		return;
	message->sender_type = as_turn_message()->actor_type;
	message->sender_id = as_turn_message()->actor_id;
}

static int
arg_priority(FunctionCallInfo fcinfo, int n)
{
	int			priority;

	as_reject_null(fcinfo, n, "priority");
	priority = PG_GETARG_INT32(n);
	if (priority < 0 || priority >= AS_LANES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid priority: %d", priority),
				 errhint("Priorities go from 0, the first, to %d.",
						 AS_LANES - 1)));
	return priority;
}

/* When the message is due, by its delay or by the time given; 0: at once. */
static TimestampTz
arg_due(FunctionCallInfo fcinfo, int delay, int deliver_at)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz due;

	if (!PG_ARGISNULL(delay) && !PG_ARGISNULL(deliver_at))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("delay and deliver_at must not be given together")));
	if (!PG_ARGISNULL(delay))
	{
		due = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
													  TimestampTzGetDatum(now),
													  PG_GETARG_DATUM(delay)));
		if (due < now)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("delay must not be negative")));
		if (TIMESTAMP_NOT_FINITE(due))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("delay must not be infinite")));
		return due == now ? 0 : due;
	}
	if (PG_ARGISNULL(deliver_at))
		return 0;
	due = PG_GETARG_TIMESTAMPTZ(deliver_at);
	if (TIMESTAMP_NOT_FINITE(due) ||
		due < GetCurrentTransactionStartTimestamp())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("deliver_at must be a time to come"),
				 errdetail("It is \"%s\".", timestamptz_to_str(due))));
	return due <= now ? 0 : due;
}

static Datum
arg_or_0(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? (Datum) 0 : PG_GETARG_DATUM(n);
}

static Datum
arg_headers(FunctionCallInfo fcinfo, int n)
{
	if (PG_ARGISNULL(n))
		return (Datum) 0;
	if (!JB_ROOT_IS_OBJECT(PG_GETARG_JSONB_P(n)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("headers must be a JSON object")));
	return PG_GETARG_DATUM(n);
}

Datum
actorstore_send(PG_FUNCTION_ARGS)
{
	AsMessage	message = {0};
	AsType	   *type;

	message.actor_type = as_arg_type(fcinfo, 0);
	message.actor_id = as_arg_id(fcinfo, 1);
	message.name = as_arg_message(fcinfo, 2);
	message.body = arg_or_0(fcinfo, 3);
	message.priority = arg_priority(fcinfo, 4);
	message.due = arg_due(fcinfo, 5, 6);
	if (!PG_ARGISNULL(7))
	{
		message.dedup_key = PG_GETARG_TEXT_PP(7);
		as_check_name("dedup_key", message.dedup_key);
	}
	message.headers = arg_headers(fcinfo, 8);
	message.expires_at = PG_ARGISNULL(9) ? 0 : as_expires_at(PG_GETARG_TIMESTAMPTZ(9));
	check_may_send("actorstore.send()");
	type = type_to_send_to(message.actor_type);
	sign(&message);
	(void) as_send(type, &message, 1);
	PG_RETURN_INT64(message.message_id);
}

Datum
actorstore_send_many(PG_FUNCTION_ARGS)
{
	text	   *type_name = as_arg_type(fcinfo, 0);
	int			n;
	text	  **ids;
	text	   *name = as_arg_message(fcinfo, 2);
	Datum	   *bodies;
	bool	   *nulls;
	int			nbodies;
	AsMessage  *messages;
	AsType	   *type;

	ids = as_arg_ids(fcinfo, 1, &n);
	as_reject_null(fcinfo, 3, "bodies");
	if (ARR_NDIM(PG_GETARG_ARRAYTYPE_P(3)) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("bodies must be a one-dimensional array")));
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(3), JSONBOID, -1, false,
					  TYPALIGN_INT, &bodies, &nulls, &nbodies);
	if (n != nbodies)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("actor_ids and bodies must have the same length"),
				 errdetail("There are %d ids and %d bodies.", n, nbodies)));
	check_may_send("actorstore.send_many()");
	type = type_to_send_to(type_name);
	if (n == 0)
		PG_RETURN_INT64(0);

	messages = palloc0(n * sizeof(AsMessage));
	for (int i = 0; i < n; i++)
	{
		messages[i].actor_type = type_name;
		messages[i].actor_id = ids[i];
		messages[i].name = name;
		messages[i].body = nulls[i] ? (Datum) 0 : bodies[i];
		messages[i].priority = DEFAULT_PRIORITY;
		sign(&messages[i]);
	}
	PG_RETURN_INT64(as_send(type, messages, n));
}

static void
check_may_cancel(AsMessage *message)
{
	AsType	   *type = as_type_find(message->actor_type);

	if (type != NULL)
		as_type_check(type, AS_PRIV_SEND);
	if (as_is_system(message->name))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("a message of the system cannot be cancelled")));
}

Datum
actorstore_cancel(PG_FUNCTION_ARGS)
{
	as_reject_null(fcinfo, 0, "message_id");
	check_may_send("actorstore.cancel()");
	PG_RETURN_BOOL(as_cancel(PG_GETARG_INT64(0), check_may_cancel));
}
