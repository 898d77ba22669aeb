/*-------------------------------------------------------------------------
 *
 * turn_handle.c
 *	  One message of a turn: who answers it, the call, the answer.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/turn.h"

#include "access/detoast.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "lib/same_text.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "runtime/lifecycle.h"
#include "runtime/session.h"
#include "state/actor.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

AsTurn	   *as_turn_current = NULL;

/* Bodies of so many bytes, and one more, in one call. */
#define MAX_GATHERED	((Size) 16 * 1024 * 1024)

/* ---- Messages ---- */

static bool
is_inline(const AsTurn *turn)
{
	return turn->ref == AS_NO_SLOT;
}

/* The server takes a time-out that fires again and again for somebody's request. */
static void
explain_cancel(const AsTurn *turn)
{
	if (geterrcode() != ERRCODE_QUERY_CANCELED || !as_session_is_late())
		return;
	errmsg(AS_LATE_MESSAGE);
	errdetail("The turn_timeout of actor type \"%s\" is %lld ms.",
			  as_type_name(turn->type), (long long) turn->type->turn_timeout / 1000);
}

void
as_turn_describe_message(void *arg)
{
	AsTurn	   *turn = arg;
	AsMessage  *message = &turn->messages[turn->at];

	if (!is_inline(turn))
		explain_cancel(turn);
	if (message->message_id == 0)
		errcontext("message %s to actor (%s, %s)",
				   text_to_cstring(message->name),
				   text_to_cstring(message->actor_type),
				   text_to_cstring(message->actor_id));
	else
		errcontext("message %lld (%s) to actor (%s, %s), attempt %d",
				   (long long) message->message_id,
				   text_to_cstring(message->name),
				   text_to_cstring(message->actor_type),
				   text_to_cstring(message->actor_id),
				   message->attempts + 1);
}

/* Is the message handled for somebody who waits, here or elsewhere? */
static bool
is_waited_for(AsTurn *turn, const AsMessage *message)
{
	return is_inline(turn) || message->cell != 0;
}

void
as_turn_bury(AsTurn *turn, AsMessage *message, const char *reason,
			 int sqlerrcode, const char *error)
{
	AsReason	why = {.reason = reason, .sqlerrcode = sqlerrcode, .error = error};

	if (is_waited_for(turn, message))
		ereport(ERROR,
				(errcode(sqlerrcode), errmsg_internal("%s", error)));
	as_letter_bury(message, &why);
	turn->nburied++;
}

/* ---- Answers ---- */

/* What the message at hand is answered: reply(), or the state by now. */
static Datum
answer_of(const AsTurn *turn)
{
	return turn->says.replied ? turn->says.reply : turn->state;
}

/*
 * The handler has called reject() or retry_after().  Who waits for an answer
 * gets this.
 */
static void
raise_verdict(AsTurn *turn, AsMessage *message)
{
	if (!is_waited_for(turn, message))
		ereport(ERROR,
				(errcode(AS_ERRCODE_VERDICT),
				 errmsg("the handler has refused the message")));
	if (turn->says.verdict == AS_VERDICT_REJECT)
		ereport(ERROR,
				(errcode(ERRCODE_RAISE_EXCEPTION),
				 errmsg("%s", turn->says.reject_reason[0] != '\0' ?
						turn->says.reject_reason : "the actor rejects the message")));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the actor cannot handle the message now"),
			 errhint("Try again in %lld ms.",
					 (long long) turn->says.retry_after / 1000)));
}

void
as_turn_prepare(AsTurn *turn, AsHandler *handler)
{
	if (!is_inline(turn))
		as_session_set_path(handler->search_path);
	turn->handler = handler;
	turn->handlers_loaded = turn->type->handlers_loaded;
	if (handler->sees_states && turn->changed)
	{
		as_turn_write_state(turn);
		if (!is_inline(turn))
		{
			PopActiveSnapshot();
			PushActiveSnapshot(GetTransactionSnapshot());
		}
	}
}

/* The bodies of messages as an array. */
static Datum
bodies_of(const AsMessage *messages, int n)
{
	Datum	   *bodies = palloc(n * sizeof(Datum));
	bool	   *nulls = palloc(n * sizeof(bool));
	int			lower = 1;

	for (int i = 0; i < n; i++)
	{
		bodies[i] = messages[i].body;
		nulls[i] = messages[i].body == (Datum) 0;
	}
	return PointerGetDatum(construct_md_array(bodies, nulls, 1, &n, &lower, JSONBOID,
											  -1, false, TYPALIGN_INT));
}

/* Call the handler; what it returns is the new state. */
static void
call_handler(AsTurn *turn, AsHandler *handler, Oid function, AsMessage *messages,
			 int n, MemoryContext context)
{
	LOCAL_FCINFO(fcinfo, 2);
	AsOpenFunction *called = as_turn_open_function(function);
	Datum		body = handler->takes_many ? bodies_of(messages, n) : messages->body;
	uint64		nwrites = as_actor_nwrites;
	PgStat_FunctionCallUsage usage;
	bool		isnull = true;
	Datum		result = (Datum) 0;

	InitFunctionCallInfoData(*fcinfo, &called->info, 2, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = turn->state;
	fcinfo->args[0].isnull = (turn->state == (Datum) 0);
	fcinfo->args[1].value = body;
	fcinfo->args[1].isnull = (body == (Datum) 0);
	if (!called->info.fn_strict ||
		(!fcinfo->args[0].isnull && !fcinfo->args[1].isnull))
	{
		int			guc_level = NewGUCNestLevel();

		/* it stays so after an error: see as_turn_forget_function() */
		called->busy = true;
		turn->called = called;
		pgstat_init_function_usage(fcinfo, &usage);
		result = FunctionCallInvoke(fcinfo);
		isnull = fcinfo->isnull;
		pgstat_end_function_usage(&usage, true);
		called->busy = false;
		turn->called = NULL;
		AtEOXact_GUC(false, guc_level);
	}

	if (turn->redo)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("the handler has caught an error that begins its turn again")));
	if (turn->says.verdict != AS_VERDICT_NONE)
		raise_verdict(turn, &messages[n - 1]);
	if (as_actor_nwrites != nwrites)
	{
		/* the next message needs it, too */
		MemoryContext old = MemoryContextSwitchTo(context);

		as_turn_take_state_again(turn);
		MemoryContextSwitchTo(old);
	}
	if (!isnull)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		turn->state = PointerGetDatum(PG_DETOAST_DATUM_COPY(result));
		turn->changed = true;
		MemoryContextSwitchTo(old);
	}
	turn->handler = NULL;
}

/*
 * Who answers the message?  One who was set by the transaction that sent it
 * may not be known here yet: before we say that there is none, look.
 */
static AsHandler *
find_handler(AsType *type, const text *name)
{
	AsHandler  *handler = as_handler_find(type, name);

	if (handler == NULL)
	{
		type->has_handlers = false;
		handler = as_handler_find(type, name);
	}
	return handler;
}

/* Its handler is not to be called: the turn ends before it. */
static void
raise_outside(AsTurn *turn, const AsMessage *message)
{
	if (is_inline(turn))
		ereport(ERROR,
				(errcode(AS_ERRCODE_NO_HANDLER),
				 errmsg("message \"%s\" of actor type \"%s\" is handled outside the database",
						text_to_cstring(message->name),
						as_type_name(turn->type)),
				 errhint("Use actorstore.ask(), or actorstore.send().")));
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("the message is to be handled outside the database")));
}

/* The function that is to answer the message, or InvalidOid. */
static Oid
function_of(AsTurn *turn, AsMessage *message, AsHandler **handler)
{
	*handler = find_handler(turn->type, message->name);
	if (*handler == NULL)
	{
		as_turn_bury(turn, message, "no handler", AS_ERRCODE_NO_HANDLER,
			 psprintf("actor type \"%s\" has no handler for message \"%s\"",
					  as_type_name(turn->type), text_to_cstring(message->name)));
		return InvalidOid;
	}
	if ((*handler)->outside)
		raise_outside(turn, message);
	return as_handler_function(turn->type, *handler);
}

static bool
is_expired(const AsTurn *turn, const AsMessage *message)
{
	return message->expires_at != 0 && message->expires_at <= turn->started_at;
}

/* Is the message nothing but its body, for its handler? */
static bool
is_plain(const AsTurn *turn, const AsMessage *message)
{
	return message->cell == 0 && message->dedup_key == NULL && !is_expired(turn, message);
}

int
as_turn_gather(AsTurn *turn)
{
	AsMessage  *first = &turn->messages[turn->at];
	int			room = turn->nmessages - turn->at;
	AsHandler  *handler;
	Size		size = 0;
	int			n = 1;

	/* the handler would be looked for twice */
	if (turn->type->has_handlers && turn->type->ntake_many == 0)
		return 1;
	if (room == 1 || turn->halt != AS_NOT_HALTED || as_is_system(first->name) ||
		!is_plain(turn, first))
		return 1;
	handler = as_handler_find(turn->type, first->name);
	if (handler == NULL || !handler->takes_many)
		return 1;
	while (n < room && is_plain(turn, &first[n]) && as_same_text(first[n].name, first->name))
	{
		size += first[n].body == (Datum) 0 ? 0 : toast_raw_datum_size(first[n].body);
		if (size > MAX_GATHERED)
			break;
		n++;
	}
	return n;
}

void
as_turn_handle(AsTurn *turn, AsMessage *message, int n, MemoryContext context)
{
	AsHandler  *handler;
	Oid			function;

	if (as_is_system(message->name) && as_life_handle(turn, message))
		return;
	if (turn->halt == AS_STOPPED)
	{
		as_turn_bury(turn, message, "stopped", AS_ERRCODE_HALTED,
			 "the actor is stopped");
		return;
	}
	if (is_expired(turn, message))
	{
		as_turn_bury(turn, message, "expired", 0, NULL);
		return;
	}
	function = function_of(turn, message, &handler);
	if (!OidIsValid(function))
		return;
	as_turn_prepare(turn, handler);
	call_handler(turn, handler, function, message, n, context);
	turn->handler = NULL;
	if (message->dedup_key != NULL)
		as_dedup_handled(message, message->cell != 0 ? answer_of(turn) :
						 turn->says.reply);
}

void
as_turn_handle_request(AsTurn *turn, AsMessage *message, MemoryContext context)
{
	bool		asked = as_request_is_asked(message);
	AsHandler  *handler = find_handler(turn->type, message->name);
	CommandId	command = GetCurrentCommandId(false);

	if (!turn->locked && (message->dedup_key != NULL ||
						  (handler != NULL && handler->writes_states)))
		as_turn_lock_late(turn);
	if (turn->locked && as_request_is_withdrawn(message))
		asked = false;
	else if (message->dedup_key != NULL &&
			 !as_dedup_claim_request(message, &turn->says.reply))
		turn->says.replied = true;
	else
	{
		as_turn_handle(turn, message, 1, context);
		CommandCounterIncrement();
		if (!turn->locked &&
			(turn->changed || turn->says.stop_reason != NULL ||
			 GetCurrentCommandId(false) != command))
		{
			as_turn_lock_late(turn);
			if (as_request_is_withdrawn(message))
				ereport(ERROR,
						(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
						 errmsg("the request has been withdrawn")));
		}
	}
	as_turn_need_answers(turn);
	if (asked)
		as_answer_make(&turn->answers[turn->at], answer_of(turn));
}

/* ---- Inline turns ---- */

/* Call the handler as the type's owner, with its path, and undo both. */
static void
call_inline(AsTurn *turn, AsHandler *handler, Oid function,
			MemoryContext context)
{
	int			guc_level = NewGUCNestLevel();
	Oid			user;
	int			sec_context;

	GetUserIdAndSecContext(&user, &sec_context);
	SetUserIdAndSecContext(turn->type->owner,
						   sec_context | SECURITY_LOCAL_USERID_CHANGE);

	/* the caller's temporary objects must not stand for the owner's */
	(void) set_config_option("search_path",
							 psprintf("%s%spg_temp", handler->search_path,
									  handler->search_path[0] != '\0' ? ", " : ""),
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
							 false);
	PushActiveSnapshot(GetTransactionSnapshot());
	call_handler(turn, handler, function, &turn->messages[0], 1, context);
	PopActiveSnapshot();
	AtEOXact_GUC(true, guc_level);
	SetUserIdAndSecContext(user, sec_context);
}

void
as_turn_call(AsTurn *turn, AsHandler *handler, Oid function,
			 MemoryContext context)
{
	if (is_inline(turn))
		call_inline(turn, handler, function, context);
	else
		call_handler(turn, handler, function, &turn->messages[turn->at], 1, context);
	turn->handler = NULL;
}

/* (Not inlined: as_turn_run_inline() catches errors.) */
static pg_noinline void
handle_inline(AsTurn *turn)
{
	AsHandler  *handler;
	Oid			function = function_of(turn, &turn->messages[0], &handler);

	as_turn_prepare(turn, handler);
	call_inline(turn, handler, function, CurrentMemoryContext);
	turn->handler = NULL;
	CommandCounterIncrement();
	if (turn->says.stop_reason != NULL)
		as_life_stop(turn);
	as_turn_write_state(turn);
}

void
as_turn_run_inline(AsTurn *turn, AsPartition *partition)
{
	ErrorContextCallback callback = {error_context_stack,
	as_turn_describe_message, turn};

	turn->partition = partition;
	turn->caller = as_turn_current;
	as_turn_current = turn;
	error_context_stack = &callback;
	PG_TRY();
	{
		handle_inline(turn);
	}
	PG_CATCH();
	{
		as_turn_forget_function(turn);
		as_turn_current = turn->caller;
		PG_RE_THROW();
	}
	PG_END_TRY();
	as_turn_current = turn->caller;
	error_context_stack = callback.previous;
}
