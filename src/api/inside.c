/*-------------------------------------------------------------------------
 *
 * inside.c
 *	  The SQL functions that only a handler may call.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "actorstore.h"

#include "api/args.h"
#include "api/inside.h"
#include "funcapi.h"
#include "runtime/said.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(actorstore_context);
PG_FUNCTION_INFO_V1(actorstore_reply);
PG_FUNCTION_INFO_V1(actorstore_reject);
PG_FUNCTION_INFO_V1(actorstore_retry_after);
PG_FUNCTION_INFO_V1(actorstore_stop);

AsTurn *
as_need_turn(const char *function)
{
	if (as_turn_current == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s can be called only in a handler", function)));
	return as_turn_current;
}

/* A copy that lives as long as the turn. */
static char *
keep_text(AsTurn *turn, text *value)
{
	return MemoryContextStrdup(GetMemoryChunkContext(turn->messages),
							   text_to_cstring(value));
}

Datum
actorstore_context(PG_FUNCTION_ARGS)
{
	AsTurn	   *turn = as_need_turn("actorstore.context()");
	AsMessage  *message = as_turn_message();
	TupleDesc	desc;
	Datum		values[9];
	bool		nulls[9] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = PointerGetDatum(message->actor_type);
	values[1] = PointerGetDatum(message->actor_id);
	values[2] = Int64GetDatum(turn->version);
	nulls[2] = turn->version < 0;
	values[3] = Int64GetDatum(message->message_id);
	nulls[3] = message->message_id == 0;
	values[4] = PointerGetDatum(message->name);
	values[5] = Int32GetDatum(message->attempts + 1);
	values[6] = PointerGetDatum(message->sender_type);
	nulls[6] = message->sender_type == NULL;
	values[7] = PointerGetDatum(message->sender_id);
	nulls[7] = message->sender_id == NULL;
	values[8] = message->headers;
	nulls[8] = message->headers == (Datum) 0;
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values,
											 nulls));
}

Datum
actorstore_reply(PG_FUNCTION_ARGS)
{
	AsTurn	   *turn = as_need_turn("actorstore.reply()");
	MemoryContext old;

	if (turn->says.replied)
		ereport(WARNING,
				(errmsg("the handler has replied already"),
				 errdetail("The last reply stands.")));
	as_said_keep(turn);
	turn->says.replied = true;
	turn->says.reply = (Datum) 0;
	if (PG_ARGISNULL(0))
		PG_RETURN_VOID();
	old = MemoryContextSwitchTo(GetMemoryChunkContext(turn->messages));
	turn->says.reply = PointerGetDatum(PG_DETOAST_DATUM_COPY(PG_GETARG_DATUM(0)));
	MemoryContextSwitchTo(old);
	PG_RETURN_VOID();
}

Datum
actorstore_reject(PG_FUNCTION_ARGS)
{
	AsTurn	   *turn = as_need_turn("actorstore.reject()");

	as_said_keep(turn);
	turn->says.verdict = AS_VERDICT_REJECT;
	turn->says.reject_reason = PG_ARGISNULL(0) ? "" :
		keep_text(turn, PG_GETARG_TEXT_PP(0));
	PG_RETURN_VOID();
}

Datum
actorstore_retry_after(PG_FUNCTION_ARGS)
{
	AsTurn	   *turn = as_need_turn("actorstore.retry_after()");
	int64		span = as_arg_span(fcinfo, 0, "interval");

	as_said_keep(turn);
	turn->says.retry_after = span;
	turn->says.verdict = AS_VERDICT_RETRY;
	PG_RETURN_VOID();
}

Datum
actorstore_stop(PG_FUNCTION_ARGS)
{
	AsTurn	   *turn = as_need_turn("actorstore.stop()");

	as_reject_null(fcinfo, 0, "reason");
	as_said_keep(turn);
	turn->says.stop_reason = keep_text(turn, PG_GETARG_TEXT_PP(0));
	PG_RETURN_VOID();
}
