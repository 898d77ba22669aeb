/*-------------------------------------------------------------------------
 *
 * hook.c
 *	  See hook.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/hook.h"

#include "access/xact.h"
#include "runtime/sched.h"
#include "runtime/session.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* Is the whole transaction to end, and not the hook alone? */
static bool
ends_transaction(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE ||
		error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED ||
		(error->sqlerrcode == ERRCODE_QUERY_CANCELED && as_sched_self < 0);
}

/* Returns what went wrong, or NULL. */
static ErrorData *
call_in_subtransaction(AsTurn *turn, AsHandler *handler, MemoryContext context)
{
	MemoryContext old = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(old);
	PG_TRY();
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		as_turn_call(turn, handler, as_handler_function(turn->type, handler),
					 context);
		PopActiveSnapshot();
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(old);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		as_turn_forget_function(turn);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	CurrentResourceOwner = owner;
	if (error != NULL && ends_transaction(error))
		ReThrowError(error);
	return error;
}

/* The message that the hook finds in context(). */
static AsMessage *
hook_message(AsTurn *turn, text *name, Datum body, MemoryContext context)
{
	AsMessage  *message = MemoryContextAllocZero(context, sizeof(AsMessage));

	message->actor_type = turn->messages[0].actor_type;
	message->actor_id = turn->messages[0].actor_id;
	message->key_hash = turn->key_hash;
	message->name = name;
	message->body = body;
	message->sent_at = GetCurrentTimestamp();
	return message;
}

AsHookResult
as_hook_call(AsTurn *turn, const char *name, Datum body, const char **reason)
{
	MemoryContext context = GetMemoryChunkContext(turn->messages);
	text	   *message_name = cstring_to_text(name);
	AsHandler  *handler = as_handler_find(turn->type, message_name);
	AsTurn		before = *turn;
	ErrorData  *error;
	const char *stop_reason;

	*reason = NULL;
	if (handler == NULL)
		return AS_HOOK_RAN;

	/* a hook has all the time of a turn */
	if (turn->ref != AS_NO_SLOT)
		as_session_begin_turn(turn->type->owner, turn->type->turn_timeout);
	as_turn_prepare(turn, handler);
	before.changed = turn->changed;
	before.exists = turn->exists;
	before.created = turn->created;
	turn->messages = hook_message(turn, message_name, body, context);
	turn->nmessages = 1;
	turn->at = 0;
	turn->says.stop_reason = NULL;
	error = call_in_subtransaction(turn, handler, context);

	turn->messages = before.messages;
	turn->nmessages = before.nmessages;
	turn->at = before.at;
	stop_reason = turn->says.stop_reason;
	turn->says = before.says;
	turn->said = before.said;
	turn->handler = before.handler;
	if (error == NULL)
	{
		*reason = stop_reason;
		return stop_reason != NULL ? AS_HOOK_STOPPED : AS_HOOK_RAN;
	}
	turn->state = before.state;
	turn->row = NULL;			/* it may have been undone */
	turn->exists = before.exists;
	turn->changed = before.changed;
	turn->created = before.created;
	*reason = psprintf("%s: %s", unpack_sql_state(error->sqlerrcode),
					   error->message);
	return AS_HOOK_FAILED;
}
