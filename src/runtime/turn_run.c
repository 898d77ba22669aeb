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
#include "runtime/lifecycle.h"
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

void
as_turn_key_tag(uint64 key_hash, LOCKTAG *tag)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, (uint32) (key_hash >> 32),
						 (uint32) key_hash, KEY_LOCK_CLASS);
}

/* Lock the key of an actor that has no row; false if somebody has. */
bool
as_turn_lock_key(uint64 key_hash, bool wait)
{
	LOCKTAG		tag;

	as_turn_key_tag(key_hash, &tag);
	return LockAcquire(&tag, ExclusiveLock, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

/*
 * Look at the actor without a lock, for a turn of requests, and remember which
 * version that was.
 */
static void
look_at_actor(AsTurn *turn, AsPartition *partition)
{
	turn->version = -1;
	turn->exists = false;
	turn->state = (Datum) 0;
	turn->locked = false;
	if (as_partition_find_newest(partition, turn->messages[0].actor_id, NULL))
	{
		HeapTuple	row = ExecFetchSlotHeapTuple(partition->slot, false, NULL);

		turn->version = as_row_version(partition, row);
		turn->place = row->t_self;
		turn->made_by = HeapTupleHeaderGetRawXmin(row->t_data);
		take_state(turn, partition);
	}
	PopActiveSnapshot();
}

/* Is the version that was locked the one that was looked at? */
static bool
is_the_same(AsTurn *turn, AsPartition *partition)
{
	HeapTuple	row = ExecFetchSlotHeapTuple(partition->slot, false, NULL);

	return turn->exists &&
		ItemPointerEquals(&partition->slot->tts_tid, &turn->place) &&
		TransactionIdEquals(HeapTupleHeaderGetRawXmin(row->t_data),
							turn->made_by);
}

/* Lock the actor after all; 40001 if it has changed since we looked. */
static void
lock_late(AsTurn *turn, AsPartition *partition)
{
	text	   *id = turn->messages[0].actor_id;
	AsLock		lock = as_actor_try_lock(partition, id);
	bool		same = false;

	if (lock == AS_LOCKED)
		same = is_the_same(turn, partition);
	else if (lock == AS_LOCK_MISSING && !turn->exists)
		same = as_turn_lock_key(turn->key_hash, false) &&
			as_actor_try_lock(partition, id) == AS_LOCK_MISSING;
	ExecClearTuple(partition->slot);
	if (!same)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("the actor has changed while it handled a request")));
	turn->locked = true;
}

/* Somebody has locked the actor: who?  Only a hint, for who has asked. */
static void
find_blocker(AsTurn *turn, AsPartition *partition)
{
	turn->blocker_kind = AS_BLOCKED_BY_KEY;
	turn->blocker = InvalidTransactionId;
	if (turn->nrequests == 0)
		return;
	if (as_partition_find_newest(partition, turn->messages[0].actor_id, NULL))
	{
		HeapTupleHeader row = ((HeapTuple) ExecFetchSlotHeapTuple(partition->slot,
																  false, NULL))->t_data;

		turn->blocker_kind = (row->t_infomask & HEAP_XMAX_INVALID) ?
			AS_BLOCKED_NOT : (row->t_infomask & HEAP_XMAX_IS_MULTI) ?
			AS_BLOCKED_BY_MULTI : AS_BLOCKED_BY_XID;
		turn->blocker = HeapTupleHeaderGetRawXmax(row);
	}
	ExecClearTuple(partition->slot);
	PopActiveSnapshot();
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
		/* whoever had the lock may have made the row */
		lock = as_turn_lock_key(turn->key_hash, false) ?
			as_actor_try_lock(partition, id) : AS_LOCK_BUSY;
	}
	if (lock == AS_LOCKED)
	{
		turn->version = as_row_version(partition,
									   ExecFetchSlotHeapTuple(partition->slot,
															  false, NULL));
		take_state(turn, partition);
	}
	if (lock == AS_LOCK_BUSY)
		find_blocker(turn, partition);
	turn->locked = true;
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

static void
need_answers(AsTurn *turn)
{
	if (turn->answers == NULL)
		turn->answers = MemoryContextAllocZero(GetMemoryChunkContext(turn->messages),
											   turn->nrequests * sizeof(AsAnswer));
}

void
as_turn_discard_answers(AsTurn *turn)
{
	for (int i = 0; turn->answers != NULL && i < turn->nrequests; i++)
		as_answer_discard(&turn->answers[i]);
	turn->answers = NULL;
}

void
as_turn_refuse(AsTurn *turn, int sqlerrcode, const char *message)
{
	ErrorData	error = {.sqlerrcode = sqlerrcode, .message = (char *) message};

	need_answers(turn);
	for (int i = 0; i < turn->nrequests; i++)
	{
		if (as_request_is_asked(&turn->messages[i]))
			as_answer_make_error(&turn->answers[i], &error);
	}
}

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
		write_state(turn, turn->partition);
		if (!is_inline(turn))
		{
			PopActiveSnapshot();
			PushActiveSnapshot(GetTransactionSnapshot());
		}
	}
}

void
as_turn_forget_functions(void)
{
	opened.functions = NIL;
}

/* Call the handler; what it returns is the new state. */
static void
call_handler(AsTurn *turn, Oid function, AsMessage *message,
			 MemoryContext context)
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
		raise_verdict(turn, message);
	if (as_actor_nwrites != nwrites)
	{
		/* the next message needs it, too */
		MemoryContext old = MemoryContextSwitchTo(context);

		take_state_again(turn, turn->partition);
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
		lock_late(turn, turn->partition);
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
			lock_late(turn, turn->partition);
	}
	need_answers(turn);
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
	write_state(turn, turn->partition);
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

	turn->partition = open_partition(turn->type);
	*owner = turn->type->owner;
	if (may_look_first(turn))
		look_at_actor(turn, turn->partition);
	else if (!lock_actor(turn, turn->partition))
		return AS_TURN_BUSY;
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
	(void) set_config_option("search_path", handler->search_path, PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
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

void
as_turn_run_inline(AsTurn *turn, AsPartition *partition)
{
	ErrorContextCallback callback = {error_context_stack, describe_message, turn};
	AsHandler  *handler;
	Oid			function;

	turn->partition = partition;
	turn->caller = as_turn_current;
	as_turn_current = turn;
	error_context_stack = &callback;
	PG_TRY();
	{
		function = function_of(turn, &turn->messages[0], &handler);
		as_turn_prepare(turn, handler);
		call_inline(turn, handler, function, CurrentMemoryContext);
		turn->handler = NULL;
		CommandCounterIncrement();
		if (turn->stop_reason != NULL)
			as_life_stop(turn);
		write_state(turn, partition);
	}
	PG_FINALLY();
	{
		as_turn_current = turn->caller;
	}
	PG_END_TRY();
	error_context_stack = callback.previous;
}
