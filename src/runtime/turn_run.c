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

#include "access/htup_details.h"
#include "access/xact.h"
#include "compat.h"
#include "miscadmin.h"
#include "runtime/halt.h"
#include "runtime/outgoing.h"
#include "runtime/session.h"
#include "state/actor.h"
#include "state/catalog.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* Tells our locks on keys from the advisory locks of users */
#define KEY_LOCK_CLASS	3

AsTurn	   *as_turn_current = NULL;

/* What the current transaction has opened, in its memory. */
typedef struct Opened
{
	LocalTransactionId lxid;
	List	   *partitions;		/* of AsPartition */
	List	   *functions;		/* of FmgrInfo */
} Opened;

static Opened opened;

static void
start_anew(void)
{
	if (opened.lxid == as_my_lxid)
		return;
	opened.lxid = as_my_lxid;
	opened.partitions = NIL;
	opened.functions = NIL;
}

/* The partition of the type, opened once in a transaction. */
static AsPartition *
open_partition(AsType *type)
{
	MemoryContext old;
	AsPartition *partition;
	ListCell   *cell;

	start_anew();
	foreach(cell, opened.partitions)
	{
		partition = lfirst(cell);
		if (partition->type == type)
			return partition;
	}
	old = MemoryContextSwitchTo(TopTransactionContext);
	partition = palloc0(sizeof(AsPartition));
	if (!as_partition_open(partition,
						   cstring_to_text_with_len(type->name, type->name_len),
						   RowExclusiveLock))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("actor type has been dropped meanwhile")));
	opened.partitions = lappend(opened.partitions, partition);
	MemoryContextSwitchTo(old);
	return partition;
}

void
as_turn_close(void)
{
	ListCell   *cell;

	if (opened.lxid == as_my_lxid)
	{
		foreach(cell, opened.partitions)
			as_partition_close(lfirst(cell));
	}
	opened.lxid = InvalidLocalTransactionId;
	as_session_keep_path();
}

/*
 * What is known of a function must not outlive the transaction: functions in
 * SQL keep plans there that nobody would tell of changes.
 */
static FmgrInfo *
function_info(Oid function)
{
	FmgrInfo   *info;
	ListCell   *cell;

	start_anew();
	foreach(cell, opened.functions)
	{
		info = lfirst(cell);
		if (info->fn_oid == function)
			return info;
	}
	info = MemoryContextAlloc(TopTransactionContext, sizeof(FmgrInfo));
	fmgr_info_cxt(function, info, TopTransactionContext);
	{
		MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);

		opened.functions = lappend(opened.functions, info);
		MemoryContextSwitchTo(old);
	}
	return info;
}

/* ---- The state ---- */

static void
take_state(AsTurn *turn, AsPartition *partition)
{
	HeapTuple	row = ExecCopySlotHeapTuple(partition->slot);

	ExecClearTuple(partition->slot);
	turn->exists = true;
	turn->state = PointerGetDatum(PG_DETOAST_DATUM(as_row_value(partition, row)));
}

/* Lock the key of an actor that has no row; false if somebody has. */
static bool
lock_key(uint64 key_hash)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) (key_hash >> 32),
						 (uint32) key_hash, KEY_LOCK_CLASS);
	return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

/* Lock the actor and take its state; false if somebody else has it. */
static bool
lock_actor(AsTurn *turn, AsPartition *partition)
{
	text	   *id = turn->messages[0].actor_id;
	AsLock		lock = as_actor_try_lock(partition, id);

	turn->version = -1;
	turn->exists = false;
	turn->state = (Datum) 0;
	if (lock == AS_LOCK_MISSING)
	{
		if (!lock_key(turn->key_hash))
			return false;

		/* whoever had the lock may have made the row */
		lock = as_actor_try_lock(partition, id);
	}
	if (lock == AS_LOCKED)
	{
		turn->version = as_row_version(partition,
									   ExecFetchSlotHeapTuple(partition->slot,
															  false, NULL));
		take_state(turn, partition);
	}
	return lock != AS_LOCK_BUSY;
}

/* A handler has written actors itself, maybe its own. */
static void
take_state_again(AsTurn *turn, AsPartition *partition)
{
	if (as_partition_find_newest(partition, turn->messages[0].actor_id, NULL))
		take_state(turn, partition);
	else
	{
		turn->exists = false;
		turn->state = (Datum) 0;
	}
	PopActiveSnapshot();
}

static void
write_state(AsTurn *turn, AsPartition *partition)
{
	text	   *id = turn->messages[0].actor_id;

	if (!turn->changed)
		return;
	turn->changed = false;
	if (!turn->exists)
	{
		/* a rival's row must not be overwritten by what knew nothing of it */
		turn->inserting = true;
		(void) as_actor_insert(partition, id, turn->state);
		turn->inserting = false;
		turn->exists = true;
		turn->created = turn->version < 0;
	}
	else
		(void) as_actor_put(partition, id, turn->state);
}

/* ---- Messages ---- */

static void
describe_message(void *arg)
{
	AsTurn	   *turn = arg;
	AsMessage  *message = &turn->messages[turn->at];

	errcontext("message %lld (%s) to actor (%s, %s), attempt %d",
			   (long long) message->message_id,
			   text_to_cstring(message->name),
			   text_to_cstring(message->actor_type),
			   text_to_cstring(message->actor_id), message->attempts + 1);
}

static void
bury(AsTurn *turn, AsMessage *message, const char *reason, int sqlerrcode,
	 const char *error)
{
	AsReason	why = {.reason = reason, .sqlerrcode = sqlerrcode, .error = error};

	as_letter_bury(message, &why);
	turn->nburied++;
}

/* Call the handler; what it returns is the new state. */
static void
call_handler(AsTurn *turn, AsPartition *partition, Oid function,
			 AsMessage *message, MemoryContext context)
{
	LOCAL_FCINFO(fcinfo, 2);
	FmgrInfo   *info = function_info(function);
	uint64		nwrites = as_actor_nwrites;
	bool		isnull = true;
	Datum		result = (Datum) 0;

	InitFunctionCallInfoData(*fcinfo, info, 2, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = turn->state;
	fcinfo->args[0].isnull = (turn->state == (Datum) 0);
	fcinfo->args[1].value = message->body;
	fcinfo->args[1].isnull = (message->body == (Datum) 0);
	if (!info->fn_strict ||
		(!fcinfo->args[0].isnull && !fcinfo->args[1].isnull))
	{
		int			guc_level = NewGUCNestLevel();

		result = FunctionCallInvoke(fcinfo);
		isnull = fcinfo->isnull;
		AtEOXact_GUC(false, guc_level);
	}

	if (turn->verdict != AS_VERDICT_NONE)
		ereport(ERROR,
				(errcode(AS_ERRCODE_VERDICT),
				 errmsg("the handler has refused the message")));
	if (as_actor_nwrites != nwrites)
		take_state_again(turn, partition);
	if (!isnull)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		turn->state = PointerGetDatum(PG_DETOAST_DATUM_COPY(result));
		turn->changed = true;
		MemoryContextSwitchTo(old);
	}
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

/* Handle one message, or see that nobody can. */
static void
handle(AsTurn *turn, AsPartition *partition, AsMessage *message,
	   MemoryContext context)
{
	AsHandler  *handler = find_handler(turn->type, message->name);
	Oid			function;

	if (message->expires_at != 0 && message->expires_at <= turn->started_at)
	{
		bury(turn, message, "expired", 0, NULL);
		return;
	}
	if (handler == NULL)
	{
		bury(turn, message, "no handler", AS_ERRCODE_NO_HANDLER,
			 psprintf("actor type \"%s\" has no handler for message \"%s\"",
					  as_type_name(turn->type), text_to_cstring(message->name)));
		return;
	}
	function = as_handler_function(turn->type, handler);
	as_session_set_path(handler->search_path);
	turn->handler = handler;
	if (handler->sees_states && turn->changed)
	{
		write_state(turn, partition);
		PopActiveSnapshot();
		PushActiveSnapshot(GetTransactionSnapshot());
	}
	call_handler(turn, partition, function, message, context);
	turn->handler = NULL;
	if (message->dedup_key != NULL)
		as_dedup_handled(message);
}

static void
handle_messages(AsTurn *turn, AsPartition *partition, AsMailbox *mailbox)
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
		if (!as_mailbox_delete(mailbox, message))
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("the message was taken away meanwhile")));
		MemoryContextSwitchTo(message_context);
		PushActiveSnapshot(GetTransactionSnapshot());
		handle(turn, partition, message, context);
		PopActiveSnapshot();
		MemoryContextSwitchTo(context);
		MemoryContextReset(message_context);
		CommandCounterIncrement();
		if (turn->stop_reason != NULL)
		{
			as_turn_leave(turn, turn->at + 1);
			turn->more = true;
		}
	}
	turn->at = Max(turn->nmessages - 1, 0);
	write_state(turn, partition);
	if (turn->stop_reason != NULL)
		as_halt(turn->messages[0].actor_type, turn->messages[0].actor_id, true,
				turn->stop_reason);
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
	for (int i = 0; i < turn->nmessages; i++)
	{
		if (!as_mailbox_delete(mailbox, &turn->messages[i]))
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("the message was taken away meanwhile")));
		bury(turn, &turn->messages[i], reason, sqlerrcode, error);
	}
	CommandCounterIncrement();
	turn->nhandled = turn->nmessages;
}

AsTurnResult
as_turn_run(AsTurn *turn, AsMailbox *mailbox, Oid *owner)
{
	AsMessage  *first = &turn->messages[0];
	AsPartition *partition;

	turn->type = as_type_find(first->actor_type);
	if (turn->type == NULL)
	{
		bury_all(turn, mailbox, "no such type", ERRCODE_UNDEFINED_OBJECT,
				 "the actor type has been dropped");
		return AS_TURN_RAN;
	}
	switch (as_actor_halt(turn->type, first->actor_type, first->actor_id))
	{
		case AS_NOT_HALTED:
			break;
		case AS_PAUSED:
			as_turn_unread(turn);
			turn->nmessages = 0;
			turn->more = false;
			return AS_TURN_RAN;
		case AS_STOPPED:
			bury_all(turn, mailbox, "stopped", AS_ERRCODE_HALTED, NULL);
			return AS_TURN_RAN;
	}
	if (OidIsValid(*owner) && *owner != turn->type->owner)
		return AS_TURN_OTHER_OWNER;

	partition = open_partition(turn->type);
	*owner = turn->type->owner;
	if (!lock_actor(turn, partition))
		return AS_TURN_BUSY;
	as_session_begin_turn(*owner, turn->type->turn_timeout);
	handle_messages(turn, partition, mailbox);
	return AS_TURN_RAN;
}
