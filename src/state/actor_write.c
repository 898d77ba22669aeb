/*-------------------------------------------------------------------------
 *
 * actor_write.c
 *	  One actor's row: inserted, given its next version, deleted, locked.
 *
 * Each write is the loop that the executor's UPDATE runs under READ
 * COMMITTED: find the version that a fresh snapshot sees, try to replace it,
 * wait for whoever is replacing it already, and go on with theirs.
 *
 * The index entry of a row's next version goes in with UNIQUE_CHECK_NO: the
 * key is the same, and the old version is ours to replace, so no other live
 * row can have it; checking would walk over all dead versions of the row.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "state/actor.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "compat.h"
#include "miscadmin.h"
#include "state/owner.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

uint64		as_actor_nwrites = 0;

/*
 * How often to try to insert an actor that is not there, and is there when we
 * try.  Rivals do not come and go so often in between; it is a trigger of the
 * table that inserts what is there already.
 */
#define MAX_TRIES	1000

/*
 * What to do after an attempt to change the row version at hand: true if it
 * succeeded; else go on looking, from *place if that is valid.
 */
static bool
succeeded(TM_Result result, TM_FailureData *failure, ItemPointer place)
{
	CHECK_FOR_INTERRUPTS();
	switch (result)
	{
		case TM_Ok:
			return true;

		case TM_Updated:
			if (IsolationUsesXactSnapshot())
				as_raise_serialization_failure();
			*place = failure->ctid;
			return false;

		case TM_Deleted:
			if (IsolationUsesXactSnapshot())
				as_raise_serialization_failure();
			ItemPointerSetInvalid(place);
			return false;

		case TM_SelfModified:
			ereport(ERROR,
					(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
					 errmsg("actor to be changed was already modified by an operation triggered by the current command")));
			break;

		default:
			elog(ERROR, "unexpected result %d of changing a row", result);
	}
	return false;				/* keep compiler quiet */
}

/*
 * The slot for rows that are written owns its row until it gets another one or
 * is dropped.  So the row must lie where the slot does: the current context may
 * be reset before that, by who writes in a context of one message, or when an
 * error is caught.
 */
static MemoryContext
enter_row_context(AsPartition *partition)
{
	return MemoryContextSwitchTo(partition->plain ?
								 partition->new_slot->tts_mcxt :
								 CurrentMemoryContext);
}

static HeapTuple
first_row(AsPartition *partition, text *id, Datum value)
{
	MemoryContext old = enter_row_context(partition);
	HeapTuple	row = as_row_first(partition, id, value);

	MemoryContextSwitchTo(old);
	return row;
}

static HeapTuple
next_row(AsPartition *partition, text *id, HeapTuple before, Datum value)
{
	MemoryContext old = enter_row_context(partition);
	HeapTuple	row = as_row_next(partition, id, before, value);

	MemoryContextSwitchTo(old);
	return row;
}

/* Lock the version found, at place; a BEFORE trigger may look at it. */
static TM_Result
lock_version(AsPartition *partition, ItemPointer place, LockTupleMode mode,
			 LockWaitPolicy policy, TM_FailureData *failure)
{
	ExecClearTuple(partition->slot);
	return table_tuple_lock(partition->rel, place, GetActiveSnapshot(),
							partition->slot, GetCurrentCommandId(true), mode,
							policy, 0, failure);
}

static TM_Result
replace_version(AsPartition *partition, text *id, ItemPointer place,
				HeapTuple *row, TM_FailureData *failure)
{
	TM_Result	result;
	AsIndexNeed need;

	if (!partition->plain)
	{
		result = lock_version(partition, place, LockTupleNoKeyExclusive,
							  LockWaitBlock, failure);
		if (result == TM_Ok)
			*row = as_executor_update(partition, place, *row);
		return result;
	}

	ExecStoreHeapTuple(*row, partition->new_slot, true);
	result = as_table_tuple_update(partition->rel, place, partition->new_slot,
								   GetCurrentCommandId(true),
								   GetActiveSnapshot(), failure,
								   &need);
	if (need == AS_ALL_INDEXES)
		as_index_row(partition, id, &partition->new_slot->tts_tid,
					 UNIQUE_CHECK_NO, true);
	return result;
}

static TM_Result
delete_version(AsPartition *partition, text *id, ItemPointer place,
			   TM_FailureData *failure)
{
	TM_Result	result;

	if (!partition->plain)
	{
		result = lock_version(partition, place, LockTupleExclusive,
							  LockWaitBlock, failure);
		if (result == TM_Ok)
			as_executor_delete(partition, id, place);
		return result;
	}
	return table_tuple_delete(partition->rel, place, GetCurrentCommandId(true),
							  GetActiveSnapshot(), InvalidSnapshot, true,
							  failure, false);
}

AsOutcome
as_actor_update(AsPartition *partition, text *id, AsWrite *write)
{
	ItemPointerData next;
	ItemPointerData place;
	bool		done;

	as_owner_need(partition->type_name, id);
	ItemPointerSetInvalid(&next);
	do
	{
		TM_FailureData failure;
		TM_Result	result;
		HeapTuple	old;
		Datum		value = write->value;

		if (!as_partition_find_newest(partition, id,
									  ItemPointerIsValid(&next) ? &next : NULL))
		{
			PopActiveSnapshot();
			return AS_MISSING;
		}
		old = ExecFetchSlotHeapTuple(partition->slot, false, NULL);
		if (write->versioned &&
			as_row_version(partition, old) != write->expected_version)
		{
			write->row = heap_copytuple(old);
			PopActiveSnapshot();
			return AS_MISMATCH;
		}
		if (write->merge)
			value = JsonbPGetDatum(as_merge_patch(DatumGetJsonbP(as_row_value(partition, old)),
												  DatumGetJsonbP(value)));
		place = old->t_self;
		write->row = next_row(partition, id, old, value);
		result = replace_version(partition, id, &place, &write->row, &failure);
		done = succeeded(result, &failure, &next);
		PopActiveSnapshot();
	} while (!done);

	as_partition_remember(partition, id, &write->row->t_self, &place);
	CommandCounterIncrement();
	return AS_DONE;
}

AsOutcome
as_actor_delete(AsPartition *partition, text *id, AsWrite *write)
{
	ItemPointerData next;
	bool		done;

	as_owner_need(partition->type_name, id);
	as_actor_nwrites++;
	ItemPointerSetInvalid(&next);
	do
	{
		TM_FailureData failure;
		TM_Result	result;
		ItemPointerData place;

		if (!as_partition_find_newest(partition, id,
									  ItemPointerIsValid(&next) ? &next : NULL))
		{
			PopActiveSnapshot();
			return AS_MISSING;
		}
		write->row = ExecCopySlotHeapTuple(partition->slot);
		if (write->versioned &&
			as_row_version(partition, write->row) != write->expected_version)
		{
			PopActiveSnapshot();
			return AS_MISMATCH;
		}
		place = write->row->t_self;
		result = delete_version(partition, id, &place, &failure);
		done = succeeded(result, &failure, &next);
		PopActiveSnapshot();
	} while (!done);

	CommandCounterIncrement();
	return AS_DONE;
}

static AsLock
lock_newest(AsPartition *partition, text *id, LockTupleMode mode,
			LockWaitPolicy policy)
{
	ItemPointerData next;
	bool		done;

	as_owner_need(partition->type_name, id);
	ItemPointerSetInvalid(&next);
	do
	{
		TM_FailureData failure;
		TM_Result	result;
		ItemPointerData place;

		if (!as_partition_find_newest(partition, id,
									  ItemPointerIsValid(&next) ? &next : NULL))
		{
			PopActiveSnapshot();
			return AS_LOCK_MISSING;
		}
		place = partition->slot->tts_tid;
		result = lock_version(partition, &place, mode, policy, &failure);
		if (result == TM_WouldBlock)
		{
			PopActiveSnapshot();
			return AS_LOCK_BUSY;
		}
		done = succeeded(result, &failure, &next);
		PopActiveSnapshot();
	} while (!done);
	return AS_LOCKED;
}

bool
as_actor_lock(AsPartition *partition, text *id, LockTupleMode mode)
{
	return lock_newest(partition, id, mode, LockWaitBlock) == AS_LOCKED;
}

AsLock
as_actor_try_lock(AsPartition *partition, text *id)
{
	return lock_newest(partition, id, LockTupleNoKeyExclusive, LockWaitSkip);
}

HeapTuple
as_actor_insert(AsPartition *partition, text *id, Datum value)
{
	HeapTuple	row;

	as_owner_need(partition->type_name, id);
	row = first_row(partition, id, value);
	if (partition->plain)
	{
		ExecStoreHeapTuple(row, partition->new_slot, true);
		table_tuple_insert(partition->rel, partition->new_slot,
						   GetCurrentCommandId(true), 0, NULL);
		as_index_row(partition, id, &partition->new_slot->tts_tid,
					 UNIQUE_CHECK_YES, false);
	}
	else
		row = as_executor_insert(partition, row);

	as_partition_remember(partition, id, &row->t_self, NULL);
	CommandCounterIncrement();
	return row;
}

/* Is there a row of that key, by whomever?  *dirty says who is at it. */
static bool
find_dirty(AsPartition *partition, text *id, SnapshotData *dirty,
		   ItemPointer place)
{
	ScanKeyData keys[2];
	IndexScanDesc scan;
	bool		found;

	InitDirtySnapshot(*dirty);
	as_partition_scan_keys(partition, id, keys);
	scan = as_index_beginscan(partition->rel, partition->pkey, dirty, 2);
	index_rescan(scan, keys, 2, NULL, 0);
	found = index_getnext_slot(scan, ForwardScanDirection, partition->slot);
	if (found)
		*place = partition->slot->tts_tid;
	index_endscan(scan);
	ExecClearTuple(partition->slot);
	return found;
}

bool
as_actor_find_rival(AsPartition *partition, text *id, TransactionId *xid)
{
	SnapshotData dirty;
	ItemPointerData place;
	bool		found = find_dirty(partition, id, &dirty, &place);

	*xid = found ? dirty.xmin : InvalidTransactionId;
	return found;
}

/*
 * Somebody else has, or is about to have, a row of that key.  Wait until they
 * have made up their mind.
 */
bool
as_actor_wait_for_rival(AsPartition *partition, text *id)
{
	SnapshotData dirty;
	ItemPointerData place;

	if (!find_dirty(partition, id, &dirty, &place))
		return false;			/* they have gone */
	if (!TransactionIdIsValid(dirty.xmin))
	{
		/* committed, or our own */
		if (IsolationUsesXactSnapshot())
			as_raise_serialization_failure();
	}
	else if (dirty.speculativeToken != 0)
		SpeculativeInsertionWait(dirty.xmin, dirty.speculativeToken);
	else
		XactLockTableWait(dirty.xmin, partition->rel, &place,
						  XLTW_InsertIndex);
	return true;
}

/*
 * Insert a row unless there is one of that key; false if there is.  As
 * INSERT ... ON CONFLICT does it: the row is put in provisionally, and taken
 * back where the index shows a rival, before anybody may wait for it.
 */
static bool
insert_if_missing(AsPartition *partition, text *id, HeapTuple row)
{
	uint32		token = SpeculativeInsertionLockAcquire(GetCurrentTransactionId());
	bool		alone;

	ExecStoreHeapTuple(row, partition->new_slot, true);
	table_tuple_insert_speculative(partition->rel, partition->new_slot,
								   GetCurrentCommandId(true), 0, NULL, token);
	alone = as_index_row(partition, id, &partition->new_slot->tts_tid,
						 UNIQUE_CHECK_PARTIAL, false);
	table_tuple_complete_speculative(partition->rel, partition->new_slot,
									 token, alone);
	SpeculativeInsertionLockRelease(GetCurrentTransactionId());
	return alone;
}

/* Insert the row of an actor that is missing; NULL if it is there. */
static HeapTuple
try_insert(AsPartition *partition, text *id, Datum value, bool last_try)
{
	HeapTuple	row;

	as_owner_need(partition->type_name, id);
	row = first_row(partition, id, value);
	if (!partition->plain)
		row = as_executor_try_insert(partition, row, last_try);
	else if (!insert_if_missing(partition, id, row))
		row = NULL;
	if (row != NULL)
	{
		as_partition_remember(partition, id, &row->t_self, NULL);
		CommandCounterIncrement();
	}
	return row;
}

bool
as_actor_try_insert(AsPartition *partition, text *id, Datum value)
{
	return try_insert(partition, id, value, false) != NULL;
}

HeapTuple
as_actor_put(AsPartition *partition, text *id, Datum value)
{
	AsWrite		write = {.value = value};

	for (int tries = 1; as_actor_update(partition, id, &write) == AS_MISSING;
		 tries++)
	{
		HeapTuple	row = try_insert(partition, id, value, tries == MAX_TRIES);

		if (row != NULL)
			return row;
		CHECK_FOR_INTERRUPTS();
		(void) as_actor_wait_for_rival(partition, id);
	}
	return write.row;
}

HeapTuple
as_actor_put_locked(AsPartition *partition, text *id, HeapTuple old,
					Datum value)
{
	ItemPointerData place = old->t_self;
	TM_FailureData failure;
	HeapTuple	row = next_row(partition, id, old, value);

	if (replace_version(partition, id, &place, &row, &failure) != TM_Ok)
		return as_actor_put(partition, id, value);
	as_partition_remember(partition, id, &row->t_self, &place);
	CommandCounterIncrement();
	return row;
}

bool
as_actor_put_guess(AsPartition *partition, text *id, Datum value,
				   bool missing)
{
	AsWrite		write = {.value = value};

	if (!missing && as_actor_update(partition, id, &write) == AS_DONE)
		return false;

	/* if the guess is wrong, this leaves a dead row */
	if (try_insert(partition, id, value, false) != NULL)
		return true;
	(void) as_actor_put(partition, id, value);
	return false;
}
