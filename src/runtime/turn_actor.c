/*-------------------------------------------------------------------------
 *
 * turn_actor.c
 *	  The actor of a turn: its partition, its lock, its state.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/turn.h"

#include "access/htup_details.h"
#include "compat.h"
#include "miscadmin.h"
#include "runtime/session.h"
#include "state/actor.h"
#include "state/owner.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* Tells our locks on keys from the advisory locks of users */
#define KEY_LOCK_CLASS	3

/* What the current transaction has opened, in its memory. */
typedef struct Opened
{
	LocalTransactionId lxid;
	List	   *partitions;		/* of AsPartition */
	List	   *functions;		/* of AsOpenFunction */
	List	   *forgotten;		/* the same, not freed yet */
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
	opened.forgotten = NIL;
}

/* The partition of the type, opened once in a transaction. */
AsPartition *
as_turn_open_partition(AsType *type)
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
 * What functions that have failed had in memory.  Whoever calls one now has
 * rolled back to before that, so nothing else hangs on it.
 */
static void
free_forgotten(void)
{
	ListCell   *cell;

	foreach(cell, opened.forgotten)
		MemoryContextDelete(((AsOpenFunction *) lfirst(cell))->context);
	list_free(opened.forgotten);
	opened.forgotten = NIL;
}

/*
 * What is known of a function must not outlive the transaction: functions in
 * SQL keep plans there that nobody would tell of changes.  They keep what they
 * are at there, too: one that is at work further up is another one.
 */
AsOpenFunction *
as_turn_open_function(Oid function)
{
	MemoryContext context;
	MemoryContext old;
	AsOpenFunction *result;
	ListCell   *cell;

	start_anew();
	free_forgotten();
	foreach(cell, opened.functions)
	{
		result = lfirst(cell);
		if (result->info.fn_oid == function && !result->busy)
			return result;
	}
	context = AllocSetContextCreate(TopTransactionContext, "actorstore function",
									ALLOCSET_SMALL_SIZES);
	result = MemoryContextAllocZero(context, sizeof(AsOpenFunction));
	result->context = context;
	fmgr_info_cxt(function, &result->info, context);
	old = MemoryContextSwitchTo(TopTransactionContext);
	opened.functions = lappend(opened.functions, result);
	MemoryContextSwitchTo(old);
	return result;
}

void
as_turn_forget_function(AsTurn *turn)
{
	MemoryContext old;

	if (turn->called == NULL || opened.lxid != as_my_lxid)
		return;
	old = MemoryContextSwitchTo(TopTransactionContext);
	opened.functions = list_delete_ptr(opened.functions, turn->called);
	opened.forgotten = lappend(opened.forgotten, turn->called);
	turn->called = NULL;
	MemoryContextSwitchTo(old);
}

/* ---- The state ---- */

static void
take_state(AsTurn *turn, AsPartition *partition)
{
	HeapTuple	row = ExecCopySlotHeapTuple(partition->slot);

	ExecClearTuple(partition->slot);
	turn->exists = true;
	turn->row = row;
	turn->state = PointerGetDatum(PG_DETOAST_DATUM(as_row_value(partition, row)));
}

void
as_turn_key_tag(uint64 key_hash, LOCKTAG *tag)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, (uint32) (key_hash >> 32),
						 (uint32) key_hash, KEY_LOCK_CLASS);
}

/* Mail is something that keeps a slot from being given away, requests are not. */
bool
as_turn_hold(const AsTurn *turn)
{
	return turn->nmessages > turn->nrequests ?
		as_owner_hold_old(turn->key_hash) : as_owner_hold(turn->key_hash);
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
void
as_turn_look(AsTurn *turn)
{
	AsPartition *partition = turn->partition;
	turn->version = -1;
	turn->exists = false;
	turn->row = NULL;
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
void
as_turn_lock_late(AsTurn *turn)
{
	AsPartition *partition = turn->partition;
	text	   *id = turn->messages[0].actor_id;
	AsLock		lock = as_actor_try_lock(partition, id);
	bool		same = false;

	if (lock == AS_LOCKED)
		same = is_the_same(turn, partition);
	else if (lock == AS_LOCK_MISSING && !turn->exists)
		same = as_turn_lock_key(turn->key_hash, false) &&
			!as_actor_find_rival(partition, id, &turn->blocker);
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

/*
 * Lock the key of an actor that was not there.  Whoever had it may have made
 * the row; or somebody is about to, without the key: we would wait for him.
 */
static AsLock
lock_missing(AsTurn *turn)
{
	text	   *id = turn->messages[0].actor_id;

	if (!as_turn_lock_key(turn->key_hash, false))
	{
		turn->blocker_kind = AS_BLOCKED_BY_KEY;
		return AS_LOCK_BUSY;
	}
	if (!as_actor_find_rival(turn->partition, id, &turn->blocker))
		return AS_LOCK_MISSING;
	if (!TransactionIdIsValid(turn->blocker))
		return as_actor_try_lock(turn->partition, id);
	turn->blocker_kind = AS_BLOCKED_BY_XID;
	return AS_LOCK_BUSY;
}

/* Lock the actor and take its state; false if somebody else has it. */
bool
as_turn_lock(AsTurn *turn)
{
	AsPartition *partition = turn->partition;
	AsLock		lock = as_actor_try_lock(partition, turn->messages[0].actor_id);

	turn->version = -1;
	turn->exists = false;
	turn->row = NULL;
	turn->state = (Datum) 0;
	turn->blocker_kind = AS_BLOCKED_NOT;
	if (lock == AS_LOCK_MISSING)
		lock = lock_missing(turn);
	if (lock == AS_LOCKED)
	{
		turn->version = as_row_version(partition,
									   ExecFetchSlotHeapTuple(partition->slot,
															  false, NULL));
		take_state(turn, partition);
	}
	if (lock == AS_LOCK_BUSY && turn->blocker_kind == AS_BLOCKED_NOT)
		find_blocker(turn, partition);
	turn->locked = true;
	return lock != AS_LOCK_BUSY;
}

/* A handler has written actors itself, maybe its own. */
void
as_turn_take_state_again(AsTurn *turn)
{
	AsPartition *partition = turn->partition;
	if (as_partition_find_newest(partition, turn->messages[0].actor_id, NULL))
		take_state(turn, partition);
	else
	{
		turn->exists = false;
		turn->row = NULL;
		turn->state = (Datum) 0;
	}
	PopActiveSnapshot();
}

/* A rival's row must not be overwritten by what knew nothing of it. */
static void
insert_state(AsTurn *turn)
{
	text	   *id = turn->messages[0].actor_id;

	if (turn->ref == AS_NO_SLOT)
	{
		if (!as_actor_try_insert(turn->partition, id, turn->state))
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("the actor has been inserted while it handled a message")));
	}
	else
	{
		turn->inserting = true;
		(void) as_actor_insert(turn->partition, id, turn->state);
		turn->inserting = false;
	}
	turn->exists = true;
	turn->created = turn->version < 0;
}

void
as_turn_write_state(AsTurn *turn)
{
	if (!turn->changed)
		return;
	turn->changed = false;
	if (!turn->exists)
		insert_state(turn);
	else if (turn->row != NULL)
		(void) as_actor_put_locked(turn->partition,
								   turn->messages[0].actor_id, turn->row,
								   turn->state);
	else
		(void) as_actor_put(turn->partition, turn->messages[0].actor_id,
							turn->state);
	turn->row = NULL;
}
