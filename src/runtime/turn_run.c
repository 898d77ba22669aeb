/*-------------------------------------------------------------------------
 *
 * turn_run.c
 *	  One actor's turn: lock, call the handlers, write the state.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/turn.h"

#include "access/xact.h"
#include "compat.h"
#include "miscadmin.h"
#include "runtime/checkout.h"
#include "runtime/flow.h"
#include "runtime/lifecycle.h"
#include "runtime/offer.h"
#include "runtime/outgoing.h"
#include "runtime/session.h"
#include "state/actor.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

AsTurn	   *as_turn_current = NULL;

/* ---- Messages ---- */

static void
describe_message(void *arg)
{
	AsTurn	   *turn = arg;
	AsMessage  *message = &turn->messages[turn->at];

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

static bool
is_inline(const AsTurn *turn)
{
	return turn->ref == AS_NO_SLOT;
}

/* Is the message handled for somebody who waits, here or elsewhere? */
static bool
is_waited_for(AsTurn *turn, const AsMessage *message)
{
	return is_inline(turn) || message->cell != 0;
}

/* Nobody will ever handle the message. */
static void
bury(AsTurn *turn, AsMessage *message, const char *reason, int sqlerrcode,
	 const char *error)
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
	return turn->replied ? turn->reply : turn->state;
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
	if (turn->verdict == AS_VERDICT_REJECT)
		ereport(ERROR,
				(errcode(ERRCODE_RAISE_EXCEPTION),
				 errmsg("%s", turn->reject_reason[0] != '\0' ?
						turn->reject_reason : "the actor rejects the message")));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the actor cannot handle the message now"),
			 errhint("Try again in %lld ms.",
					 (long long) turn->retry_after / 1000)));
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

/* Call the handler; what it returns is the new state. */
static void
call_handler(AsTurn *turn, Oid function, AsMessage *message,
			 MemoryContext context)
{
	LOCAL_FCINFO(fcinfo, 2);
	AsOpenFunction *called = as_turn_open_function(function);
	uint64		nwrites = as_actor_nwrites;
	bool		isnull = true;
	Datum		result = (Datum) 0;

	InitFunctionCallInfoData(*fcinfo, &called->info, 2, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = turn->state;
	fcinfo->args[0].isnull = (turn->state == (Datum) 0);
	fcinfo->args[1].value = message->body;
	fcinfo->args[1].isnull = (message->body == (Datum) 0);
	if (!called->info.fn_strict ||
		(!fcinfo->args[0].isnull && !fcinfo->args[1].isnull))
	{
		int			guc_level = NewGUCNestLevel();

		/* it stays so after an error: see as_turn_forget_function() */
		called->busy = true;
		turn->called = called;
		result = FunctionCallInvoke(fcinfo);
		isnull = fcinfo->isnull;
		called->busy = false;
		turn->called = NULL;
		AtEOXact_GUC(false, guc_level);
	}

	if (turn->redo)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("the handler has caught an error that begins its turn again")));
	if (turn->verdict != AS_VERDICT_NONE)
		raise_verdict(turn, message);
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
		bury(turn, message, "no handler", AS_ERRCODE_NO_HANDLER,
			 psprintf("actor type \"%s\" has no handler for message \"%s\"",
					  as_type_name(turn->type), text_to_cstring(message->name)));
		return InvalidOid;
	}
	if ((*handler)->outside)
		raise_outside(turn, message);
	return as_handler_function(turn->type, *handler);
}

/* Handle one message, or see that nobody can. */
static void
handle(AsTurn *turn, AsMessage *message, MemoryContext context)
{
	AsHandler  *handler;
	Oid			function;

	if (as_is_system(message->name) && as_life_handle(turn, message))
		return;
	if (turn->halt == AS_STOPPED)
	{
		bury(turn, message, "stopped", AS_ERRCODE_HALTED,
			 "the actor is stopped");
		return;
	}
	if (message->expires_at != 0 && message->expires_at <= turn->started_at)
	{
		bury(turn, message, "expired", 0, NULL);
		return;
	}
	function = function_of(turn, message, &handler);
	if (!OidIsValid(function))
		return;
	as_turn_prepare(turn, handler);
	call_handler(turn, function, message, context);
	turn->handler = NULL;
	if (message->dedup_key != NULL)
		as_dedup_handled(message, message->cell != 0 ? answer_of(turn) :
						 turn->reply);
}

/*
 * A request.  One with a dedup_key that was handled before gets the answer of
 * that time.
 */
static void
handle_request(AsTurn *turn, AsMessage *message, MemoryContext context)
{
	bool		asked = as_request_is_asked(message);
	AsHandler  *handler = find_handler(turn->type, message->name);
	CommandId	command = GetCurrentCommandId(false);

	if (!turn->locked && (message->dedup_key != NULL ||
						  (handler != NULL && handler->writes_states)))
		as_turn_lock_late(turn);
	if (message->dedup_key != NULL &&
		!as_dedup_claim_request(message, &turn->reply))
		turn->replied = true;
	else
	{
		handle(turn, message, context);
		CommandCounterIncrement();
		if (!turn->locked &&
			(turn->changed || turn->stop_reason != NULL ||
			 GetCurrentCommandId(false) != command))
			as_turn_lock_late(turn);
	}
	as_turn_need_answers(turn);
	if (asked)
		as_answer_make(&turn->answers[turn->at], answer_of(turn));
}

static void
handle_messages(AsTurn *turn, AsMailbox *mailbox)
{
	MemoryContext context = CurrentMemoryContext;
	MemoryContext message_context = AllocSetContextCreate(context,
														  "actorstore message",
														  ALLOCSET_DEFAULT_SIZES);
	ErrorContextCallback callback = {error_context_stack, describe_message, turn};

	error_context_stack = &callback;
	as_turn_current = turn;
	for (turn->at = 0; turn->at < turn->nmessages; turn->at++)
	{
		AsMessage  *message = &turn->messages[turn->at];

		CHECK_FOR_INTERRUPTS();
		if (message->cell != 0 && turn->halt != AS_NOT_HALTED)
			continue;			/* it was refused */
		if (message->cell == 0 && !as_mailbox_delete(mailbox, message))
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("the message was taken away meanwhile")));
		turn->replied = false;
		turn->reply = (Datum) 0;
		MemoryContextSwitchTo(message_context);
		PushActiveSnapshot(GetTransactionSnapshot());
		if (message->cell != 0)
			handle_request(turn, message, context);
		else
			handle(turn, message, context);
		if (turn->stop_reason != NULL)
			as_life_stop(turn);
		PopActiveSnapshot();
		MemoryContextSwitchTo(context);
		MemoryContextReset(message_context);
		CommandCounterIncrement();
		if (turn->exited)
		{
			as_turn_leave(turn, turn->at + 1);
			turn->more = true;
		}
	}
	turn->at = Max(turn->nmessages - 1, 0);
	as_turn_write_state(turn);
	as_turn_current = NULL;
	error_context_stack = callback.previous;
	MemoryContextDelete(message_context);
	turn->nhandled = turn->nmessages;
}

/* Nobody will ever handle these. */
static void
bury_all(AsTurn *turn, AsMailbox *mailbox, const char *reason, int sqlerrcode,
		 const char *error)
{
	as_turn_refuse(turn, sqlerrcode, error);
	for (int i = turn->nrequests; i < turn->nmessages; i++)
	{
		if (!as_mailbox_delete(mailbox, &turn->messages[i]))
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("the message was taken away meanwhile")));
		if (turn->type == NULL && as_is_system(turn->messages[i].name))
			as_life_nobody(&turn->messages[i]);
		else
			bury(turn, &turn->messages[i], reason, sqlerrcode, error);
	}
	CommandCounterIncrement();
	turn->nhandled = turn->nmessages;
}

bool
as_turn_is_down(const AsTurn *turn)
{
	const AsMessage *first = &turn->messages[0];
	AsType	   *type = as_type_find(first->actor_type);

	return type != NULL &&
		as_actor_halt(type, first->actor_type, first->actor_id) == AS_DOWN;
}

/* Has the system something to say to an actor that is stopped? */
static bool
has_system_messages(const AsTurn *turn)
{
	for (int i = turn->nrequests; i < turn->nmessages; i++)
	{
		if (as_is_system(turn->messages[i].name))
			return true;
	}
	return false;
}

/*
 * The actor has exited, or is paused: is there anything to be done that needs
 * its lock?
 */
static bool
wakes(AsTurn *turn, AsMailbox *mailbox)
{
	if (turn->halt == AS_PAUSED || turn->type->paused)
	{
		as_turn_unread(turn);
		as_turn_refuse(turn, AS_ERRCODE_HALTED, "the actor is paused");
		turn->nhandled = turn->nmessages = turn->nrequests;
		turn->more = false;
		return false;
	}
	if (turn->halt == AS_DOWN && !as_turn_read_system(turn, mailbox))
	{
		as_turn_refuse(turn, AS_ERRCODE_HALTED, "the actor is stopped");
		turn->nhandled = turn->nmessages;
		return false;
	}
	if (has_system_messages(turn))
	{
		as_turn_refuse(turn, AS_ERRCODE_HALTED, "the actor is stopped");
		return true;
	}
	bury_all(turn, mailbox, "stopped", AS_ERRCODE_HALTED,
			 "the actor is stopped");
	return false;
}

/* May the turn begin without a lock?  Not if that has just failed. */
static bool
may_look_first(AsTurn *turn)
{
	AsSlotShared *slot = as_slot(turn->ref);

	return turn->nmessages == turn->nrequests && slot->careful == 0 &&
		slot->conflicts == 0;
}

/* As many messages as the type lets through stay in the turn; false: none. */
static bool
enter_flow(AsTurn *turn)
{
	int			n = as_flow_enter(turn->type, turn->ref, turn->nmessages);

	if (n < turn->nmessages && n > 0)
	{
		as_turn_leave(turn, n);
		turn->more = true;
	}
	return n > 0;
}

/*
 * What is handled outside, and what comes behind that, is left to another turn;
 * false if that is all.
 */
static bool
cut_outside(AsTurn *turn)
{
	int			n = as_outside_run(turn->type, turn, false);

	if (n == 0)
	{
		turn->outside_type = as_offer_type(turn->messages[0].actor_type);
		turn->outside_lane = turn->nrequests > 0 ? AS_LANES : turn->messages[0].lane;
	}
	else if (n < turn->nmessages)
	{
		as_turn_leave(turn, n);
		turn->more = true;
	}
	return n > 0;
}

/*
 * Before we had the lock, the actor may have exited in another slot or in a
 * call(), or have been paused.
 */
static bool
has_changed(AsTurn *turn)
{
	const AsMessage *first = &turn->messages[0];
	AsType	   *type = as_type_get(first->actor_type);

	return !type->has_halted &&
		as_actor_halt(type, first->actor_type, first->actor_id) != turn->halt;
}

AsTurnResult
as_turn_run(AsTurn *turn, AsMailbox *mailbox, Oid *owner)
{
	AsMessage  *first = &turn->messages[0];

	turn->type = as_type_find(first->actor_type);
	if (turn->type == NULL)
	{
		bury_all(turn, mailbox, "no such type", ERRCODE_UNDEFINED_OBJECT,
				 "the actor type has been dropped");
		return AS_TURN_RAN;
	}
	turn->halt = as_actor_halt(turn->type, first->actor_type, first->actor_id);
	if (turn->halt != AS_NOT_HALTED && !wakes(turn, mailbox))
		return AS_TURN_RAN;
	if (OidIsValid(*owner) && *owner != turn->type->owner)
		return AS_TURN_OTHER_OWNER;
	if (turn->halt == AS_NOT_HALTED && !cut_outside(turn))
		return AS_TURN_OUTSIDE;
	if (!enter_flow(turn))
		return AS_TURN_PARKED;

	turn->partition = as_turn_open_partition(turn->type);
	*owner = turn->type->owner;
	if (may_look_first(turn))
		as_turn_look(turn);
	else if (!as_turn_lock(turn) || has_changed(turn))
	{
		as_flow_undo(turn->type, turn->nmessages);
		return AS_TURN_BUSY;
	}
	as_session_begin_turn(*owner, turn->type->turn_timeout);
	handle_messages(turn, mailbox);
	return AS_TURN_RAN;
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
	call_handler(turn, function, &turn->messages[0], context);
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
		call_handler(turn, function, &turn->messages[turn->at], context);
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
	if (turn->stop_reason != NULL)
		as_life_stop(turn);
	as_turn_write_state(turn);
}

void
as_turn_run_inline(AsTurn *turn, AsPartition *partition)
{
	ErrorContextCallback callback = {error_context_stack, describe_message, turn};

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
