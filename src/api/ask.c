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
#include "api/ask_there.h"
#include "cluster/caller.h"
#include "cluster/route.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "runtime/ask.h"
#include "runtime/request.h"
#include "runtime/sched.h"
#include "runtime/send.h"
#include "state/owner.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(actorstore_ask);
PG_FUNCTION_INFO_V1(actorstore_tell);
PG_FUNCTION_INFO_V1(actorstore_call);
PG_FUNCTION_INFO_V1(actorstore_local_ask);
PG_FUNCTION_INFO_V1(actorstore_requests_now);

/* The actor, the message and its body, as all three have them, from the nth on. */
static AsType *
take_args(FunctionCallInfo fcinfo, int n, AsMessage *message, AsPrivilege privilege)
{
	AsType	   *type;

	memset(message, 0, sizeof(AsMessage));
	message->actor_type = as_arg_type(fcinfo, n);
	message->actor_id = as_arg_id(fcinfo, n + 1);
	message->name = as_arg_message(fcinfo, n + 2);
	message->body = PG_ARGISNULL(n + 3) ? (Datum) 0 : PG_GETARG_DATUM(n + 3);
	type = as_type_get(message->actor_type);
	as_type_check(type, privilege);
	as_message_check_size(message);
	return type;
}

static void
need_workers(const char *function)
{
	if (!as_sched_active())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s needs actorstore to be preloaded", function),
				 errhint("Put this line into postgresql.conf and restart: shared_preload_libraries = 'actorstore'")));
}

static Datum
return_answer(FunctionCallInfo fcinfo, Datum answer)
{
	if (answer == (Datum) 0)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(answer);
}

static void
take_dedup_key(FunctionCallInfo fcinfo, int n, AsMessage *message)
{
	if (PG_ARGISNULL(n))
		return;
	message->dedup_key = PG_GETARG_TEXT_PP(n);
	as_check_name("dedup_key", message->dedup_key);
}

static Datum
ask_here(AsType *type, AsMessage *message, int64 timeout)
{
	need_workers("actorstore.ask()");
	return as_ask(type, message, timeout);
}

/*
 * False if the actor has got another owner before its turn: that was rolled back,
 * with all it had done.
 */
static bool
try_to_ask_here(AsType *type, AsMessage *message, int64 timeout, Datum *answer)
{
	MemoryContext context = CurrentMemoryContext;
	ErrorData  *volatile refused = NULL;

	PG_TRY();
	{
		*answer = ask_here(type, message, timeout);
	}
	PG_CATCH();
	{
		if (geterrcode() != AS_ERRCODE_NOT_THE_OWNER)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		refused = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	if (refused == NULL)
		return true;
	if (!as_owner_has_moved(message->actor_type, message->actor_id))
		ReThrowError(refused);
	*answer = (Datum) 0;
	return false;
}

static void
tell_here(AsType *type, AsMessage *message)
{
	need_workers("actorstore.tell()");
	as_tell(type, message);
}

Datum
actorstore_ask(PG_FUNCTION_ARGS)
{
	AsMessage	message;
	AsQuestion	question = {.kind = AS_QUESTION_ASK, .message = &message};
	Datum		answer;

	question.type = take_args(fcinfo, 0, &message, AS_PRIV_ASK);
	question.timeout = as_arg_span(fcinfo, 4, "timeout");
	take_dedup_key(fcinfo, 5, &message);
	PreventCommandDuringRecovery("actorstore.ask()");
	PreventCommandIfParallelMode("actorstore.ask()");
	if (!as_ask_there(&question, &answer) &&
		!try_to_ask_here(question.type, &message, question.timeout, &answer) &&
		!as_ask_there(&question, &answer))
		answer = ask_here(question.type, &message, question.timeout);
	return return_answer(fcinfo, answer);
}

Datum
actorstore_tell(PG_FUNCTION_ARGS)
{
	AsMessage	message;
	AsQuestion	question = {.kind = AS_QUESTION_TELL, .message = &message};
	Datum		answer;

	question.type = take_args(fcinfo, 0, &message, AS_PRIV_SEND);
	PreventCommandDuringRecovery("actorstore.tell()");
	PreventCommandIfParallelMode("actorstore.tell()");
	if (!as_ask_there(&question, &answer))
		tell_here(question.type, &message);
	PG_RETURN_VOID();
}

Datum
actorstore_call(PG_FUNCTION_ARGS)
{
	AsMessage	message;
	AsQuestion	question = {.kind = AS_QUESTION_CALL, .message = &message};
	Datum		answer;

	question.type = take_args(fcinfo, 0, &message, AS_PRIV_ASK);
	PreventCommandIfReadOnly("actorstore.call()");
	PreventCommandIfParallelMode("actorstore.call()");
	if (!as_ask_there(&question, &answer))
		answer = as_call(question.type, &message);
	return return_answer(fcinfo, answer);
}

/* ---- For other nodes ---- */

/* Arguments of local_ask() */
enum
{
	ARG_CALLER,
	ARG_EPOCH,
	ARG_KIND,
	ARG_TYPE,
	ARG_ID,
	ARG_MESSAGE,
	ARG_BODY,
	ARG_TIMEOUT,
	ARG_DEDUP_KEY
};

/* False if the actor lives here no more. */
static bool
answer_question(FunctionCallInfo fcinfo, Datum *answer)
{
	char		kind = PG_GETARG_CHAR(ARG_KIND);
	AsMessage	message;
	AsType	   *type = take_args(fcinfo, ARG_TYPE, &message,
								 kind == AS_QUESTION_TELL ? AS_PRIV_SEND : AS_PRIV_ASK);

	take_dedup_key(fcinfo, ARG_DEDUP_KEY, &message);
	switch (kind)
	{
		case AS_QUESTION_CALL:
			PreventCommandIfReadOnly("actorstore.call()");
			*answer = as_call(type, &message);
			return true;
		case AS_QUESTION_ASK:
			return try_to_ask_here(type, &message, Max(0, Min(PG_GETARG_INT64(ARG_TIMEOUT), PG_INT64_MAX / 2)), answer);
		case AS_QUESTION_TELL:
			tell_here(type, &message);
			return true;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("another node asks for what this one does not know"),
					 errhint("Install the same version on both.")));
	}
}

static bool
lives_here(FunctionCallInfo fcinfo)
{
	text	   *type = as_arg_type(fcinfo, ARG_TYPE);
	text	   *id = as_arg_id(fcinfo, ARG_ID);

	if (!as_route_is_mine(type, id, PG_GETARG_INT64(ARG_EPOCH)))
		return false;
	return PG_GETARG_CHAR(ARG_KIND) == AS_QUESTION_CALL ? as_owner_try(type, id) :
		!as_owner_has_moved(type, id);
}

Datum
actorstore_local_ask(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	AsCaller	caller;
	Datum		values[2] = {0};
	bool		nulls[2] = {false};
	bool		is_mine;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	as_caller_become(fcinfo, &caller);
	as_reject_null(fcinfo, ARG_EPOCH, "epoch");
	as_reject_null(fcinfo, ARG_KIND, "kind");
	as_reject_null(fcinfo, ARG_TIMEOUT, "timeout");
	as_caller_stand_in(fcinfo, as_arg_type(fcinfo, ARG_TYPE));
	is_mine = lives_here(fcinfo) && answer_question(fcinfo, &values[1]);
	as_caller_return(&caller);
	values[0] = BoolGetDatum(is_mine);
	nulls[1] = (values[1] == (Datum) 0);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/* ---- What is under way ---- */

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
