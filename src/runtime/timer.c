/*-------------------------------------------------------------------------
 *
 * timer.c
 *	  See timer.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/timer.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "common/hashfn.h"
#include "compat.h"
#include "lib/key_hash.h"
#include "miscadmin.h"
#include "runtime/timing.h"
#include "state/catalog.h"
#include "state/owner.h"
#include "state/partition.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* Column numbers of actorstore.timer */
enum
{
	COL_ACTOR_TYPE = 1,
	COL_ACTOR_ID,
	COL_NAME,
	COL_MESSAGE,
	COL_BODY,
	COL_DUE,
	COL_SPREAD,
	COL_MISSED,
	COL_EVERY,
	COL_START,
	COL_NTH,
	COL_TIME_ZONE,
	NATTS_TIMER = COL_TIME_ZONE
};

#define NATTS_KEY	3

void
as_timers_open(AsTimers *timers, LOCKMODE lockmode)
{
	static AsIndexNames names = {.n = 2, .names = {"timer_pkey", "timer_due"}};

	timers->rel = table_open(as_catalog()->timer, lockmode);
	as_index_set_open(&timers->indexes, timers->rel, &names, lockmode);
	timers->by_key = timers->indexes.known[0];
	timers->by_due = timers->indexes.known[1];
	timers->slot = table_slot_create(timers->rel, NULL);
}

void
as_timers_close(AsTimers *timers)
{
	ExecDropSingleTupleTableSlot(timers->slot);
	as_index_set_close(&timers->indexes);
	table_close(timers->rel, NoLock);
}

/* ---- Rows ---- */

static HeapTuple
form_row(AsTimers *timers, const AsTimer *timer)
{
	Datum		values[NATTS_TIMER];
	bool		nulls[NATTS_TIMER] = {false};
	bool		recurs = timer->every != NULL;

#define SET(col, value)	(values[(col) - 1] = (value))
#define SET_OR_NULL(col, present, value) \
	(nulls[(col) - 1] = !(present), values[(col) - 1] = (value))
	SET(COL_ACTOR_TYPE, PointerGetDatum(timer->actor_type));
	SET(COL_ACTOR_ID, PointerGetDatum(timer->actor_id));
	SET(COL_NAME, PointerGetDatum(timer->name));
	SET(COL_MESSAGE, PointerGetDatum(timer->message));
	SET_OR_NULL(COL_BODY, timer->body != 0, timer->body);
	SET(COL_DUE, TimestampTzGetDatum(timer->due));
	SET(COL_SPREAD, Int32GetDatum(timer->spread));
	SET(COL_MISSED, Int16GetDatum(timer->missed));
	SET_OR_NULL(COL_EVERY, recurs, PointerGetDatum(timer->every));
	SET_OR_NULL(COL_START, recurs, TimestampTzGetDatum(timer->start));
	SET_OR_NULL(COL_NTH, recurs, Int64GetDatum(timer->nth));
	SET_OR_NULL(COL_TIME_ZONE, timer->time_zone != NULL,
				PointerGetDatum(timer->time_zone));
#undef SET
#undef SET_OR_NULL
	return heap_form_tuple(RelationGetDescr(timers->rel), values, nulls);
}

static void
take_row(AsTimers *timers, HeapTuple row, AsTimer *timer)
{
	Datum		values[NATTS_TIMER];
	bool		nulls[NATTS_TIMER];

	heap_deform_tuple(row, RelationGetDescr(timers->rel), values, nulls);
#define GET(col)	(values[(col) - 1])
#define GET_OR_0(col)	(nulls[(col) - 1] ? (Datum) 0 : values[(col) - 1])
	timer->actor_type = DatumGetTextPP(GET(COL_ACTOR_TYPE));
	timer->actor_id = DatumGetTextPP(GET(COL_ACTOR_ID));
	timer->name = DatumGetTextPP(GET(COL_NAME));
	timer->message = DatumGetTextPP(GET(COL_MESSAGE));
	timer->body = GET_OR_0(COL_BODY);
	timer->due = DatumGetTimestampTz(GET(COL_DUE));
	timer->spread = DatumGetInt32(GET(COL_SPREAD));
	timer->missed = DatumGetInt16(GET(COL_MISSED));
	timer->every = DatumGetIntervalP(GET_OR_0(COL_EVERY));
	timer->start = DatumGetTimestampTz(GET_OR_0(COL_START));
	timer->nth = DatumGetInt64(GET_OR_0(COL_NTH));
	timer->time_zone = nulls[COL_TIME_ZONE - 1] ? NULL :
		DatumGetTextPP(GET(COL_TIME_ZONE));
#undef GET
#undef GET_OR_0
	timer->place = row->t_self;
}

/* ---- The entries that a row needs in the indexes ---- */

static void
key_of(const AsTimer *timer, Datum *values)
{
	values[0] = PointerGetDatum(timer->actor_type);
	values[1] = PointerGetDatum(timer->actor_id);
	values[2] = PointerGetDatum(timer->name);
}

static bool
index_by_key(AsTimers *timers, const AsTimer *timer, ItemPointer place,
			 IndexUniqueCheck check, bool unchanged)
{
	Datum		values[NATTS_KEY];
	bool		nulls[NATTS_KEY] = {false};

	key_of(timer, values);
	return index_insert(timers->by_key, values, nulls, place, timers->rel,
						check, unchanged, NULL);
}

static void
index_by_due(AsTimers *timers, const AsTimer *timer, ItemPointer place)
{
	Datum		values[2] = {TimestampTzGetDatum(timer->due),
	Int32GetDatum(timer->spread)};
	bool		nulls[2] = {false};

	index_insert(timers->by_due, values, nulls, place, timers->rel,
				 UNIQUE_CHECK_NO, false, NULL);
}

/*
 * The next version of a row has the same key, and the old one is ours to
 * replace: a check would walk over the dead ones.
 */
static TM_Result
replace_row(AsTimers *timers, const AsTimer *timer, ItemPointer place,
			TM_FailureData *failure)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(timers->rel),
													&TTSOpsHeapTuple);
	TM_Result	result;
	AsIndexNeed need;

	ExecStoreHeapTuple(form_row(timers, timer), slot, true);
	result = as_table_tuple_update(timers->rel, place, slot,
								   GetCurrentCommandId(true),
								   GetActiveSnapshot(), failure, &need);
	if (need == AS_ALL_INDEXES)
	{
		(void) index_by_key(timers, timer, &slot->tts_tid, UNIQUE_CHECK_NO,
							true);
		index_by_due(timers, timer, &slot->tts_tid);
		as_index_set_write(&timers->indexes, slot, false);
	}
	else if (need == AS_SUMMARIES)
		as_index_set_write_summaries(&timers->indexes, slot);
	ExecDropSingleTupleTableSlot(slot);
	return result;
}

/*
 * Insert a row unless there is one of that key; false if there is.  As
 * INSERT ... ON CONFLICT does it: the row is put in provisionally, and taken
 * back where the index shows a rival, before anybody may wait for it.
 */
static bool
insert_row(AsTimers *timers, const AsTimer *timer)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(timers->rel),
													&TTSOpsHeapTuple);
	uint32		token = SpeculativeInsertionLockAcquire(GetCurrentTransactionId());
	bool		alone;

	ExecStoreHeapTuple(form_row(timers, timer), slot, true);
	table_tuple_insert_speculative(timers->rel, slot,
								   GetCurrentCommandId(true), 0, NULL, token);
	alone = index_by_key(timers, timer, &slot->tts_tid, UNIQUE_CHECK_PARTIAL,
						 false) &&
		as_index_set_write(&timers->indexes, slot, true);
	if (alone)
		index_by_due(timers, timer, &slot->tts_tid);
	table_tuple_complete_speculative(timers->rel, slot, token, alone);
	SpeculativeInsertionLockRelease(GetCurrentTransactionId());
	ExecDropSingleTupleTableSlot(slot);
	return alone;
}

/* ---- Setting ---- */

static void
key_scan(const AsTimer *timer, ScanKey keys)
{
	Datum		values[NATTS_KEY];

	key_of(timer, values);
	for (int i = 0; i < NATTS_KEY; i++)
		ScanKeyEntryInitialize(&keys[i], 0, i + 1, BTEqualStrategyNumber,
							   InvalidOid, C_COLLATION_OID, F_TEXTEQ,
							   values[i]);
}

/* Find the row of that key; it is then in the slot. */
static bool
find(AsTimers *timers, const AsTimer *timer, Snapshot snapshot)
{
	ScanKeyData keys[NATTS_KEY];
	IndexScanDesc scan;
	bool		found;

	key_scan(timer, keys);
	scan = as_index_beginscan(timers->rel, timers->by_key, snapshot, NATTS_KEY);
	index_rescan(scan, keys, NATTS_KEY, NULL, 0);
	found = index_getnext_slot(scan, BackwardScanDirection, timers->slot);
	index_endscan(scan);
	return found;
}

/*
 * Somebody else has, or is about to have, a timer of that key.  Wait until
 * they have made up their mind.
 */
static void
wait_for_rival(AsTimers *timers, const AsTimer *timer)
{
	SnapshotData dirty;
	ItemPointerData place;

	InitDirtySnapshot(dirty);
	if (!find(timers, timer, &dirty))
		return;					/* they have gone */
	place = timers->slot->tts_tid;
	ExecClearTuple(timers->slot);
	if (!TransactionIdIsValid(dirty.xmin))
	{
		if (IsolationUsesXactSnapshot())
			as_raise_serialization_failure();
	}
	else if (dirty.speculativeToken != 0)
		SpeculativeInsertionWait(dirty.xmin, dirty.speculativeToken);
	else
		XactLockTableWait(dirty.xmin, timers->rel, &place, XLTW_InsertIndex);
}

/* Has the change been made?  If not, somebody else has made one: look again. */
static bool
succeeded(TM_Result result)
{
	CHECK_FOR_INTERRUPTS();
	switch (result)
	{
		case TM_Ok:
			return true;
		case TM_Updated:
		case TM_Deleted:
			if (IsolationUsesXactSnapshot())
				as_raise_serialization_failure();
			return false;
		default:
			elog(ERROR, "unexpected result %d of changing a timer", result);
	}
	return false;				/* keep compiler quiet */
}

static TimestampTz
due_in_slot(AsTimers *timers)
{
	bool		isnull;

	return DatumGetTimestampTz(slot_getattr(timers->slot, COL_DUE, &isnull));
}

static int32
spread_of(const AsTimer *timer)
{
	uint64		actor = as_key_hash(VARDATA_ANY(timer->actor_type),
									VARSIZE_ANY_EXHDR(timer->actor_type),
									VARDATA_ANY(timer->actor_id),
									VARSIZE_ANY_EXHDR(timer->actor_id));

	return (int32) (DatumGetUInt32(hash_any((unsigned char *) VARDATA_ANY(timer->name),
											VARSIZE_ANY_EXHDR(timer->name))) ^
					(uint32) (actor ^ (actor >> 32)));
}

void
as_timer_set(AsTimers *timers, AsTimer *timer)
{
	bool		done;

	as_owner_need(timer->actor_type, timer->actor_id);
	timer->spread = spread_of(timer);
	do
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		if (find(timers, timer, GetActiveSnapshot()))
		{
			TM_FailureData failure;
			ItemPointerData place = timers->slot->tts_tid;

			as_timing_note(DT_NOEND, due_in_slot(timers));
			ExecClearTuple(timers->slot);
			done = succeeded(replace_row(timers, timer, &place, &failure));
		}
		else
		{
			done = insert_row(timers, timer);
			if (!done)
				wait_for_rival(timers, timer);
		}
		PopActiveSnapshot();
		CHECK_FOR_INTERRUPTS();
	} while (!done);
	as_timing_note(timer->due, DT_NOEND);
	CommandCounterIncrement();
}

bool
as_timer_cancel(AsTimers *timers, text *actor_type, text *actor_id, text *name)
{
	AsTimer		timer = {.actor_type = actor_type, .actor_id = actor_id,
	.name = name};
	bool		done = false;
	bool		found;

	as_owner_need(actor_type, actor_id);
	do
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		found = find(timers, &timer, GetActiveSnapshot());
		if (found)
		{
			TM_FailureData failure;
			ItemPointerData place = timers->slot->tts_tid;

			as_timing_note(DT_NOEND, due_in_slot(timers));
			ExecClearTuple(timers->slot);
			done = succeeded(table_tuple_delete(timers->rel, &place,
												GetCurrentCommandId(true),
												GetActiveSnapshot(),
												InvalidSnapshot, true,
												&failure, false));
		}
		PopActiveSnapshot();
	} while (found && !done);
	CommandCounterIncrement();
	return found;
}

/* ---- Firing ---- */

/* A row comparison: (due, spread) >= the position. */
static void
due_scan(const AsTimerPosition *from, ScanKey key, ScanKey columns)
{
	ScanKeyEntryInitialize(&columns[0], SK_ROW_MEMBER, 1,
						   BTGreaterEqualStrategyNumber, InvalidOid,
						   InvalidOid, F_TIMESTAMPTZ_CMP,
						   TimestampTzGetDatum(from->due));
	ScanKeyEntryInitialize(&columns[1], SK_ROW_MEMBER | SK_ROW_END, 2,
						   BTGreaterEqualStrategyNumber, InvalidOid,
						   InvalidOid, F_BTINT4CMP,
						   Int32GetDatum(from->spread));
	MemSet(key, 0, sizeof(ScanKeyData));
	key->sk_flags = SK_ROW_HEADER;
	key->sk_attno = 1;
	key->sk_strategy = BTGreaterEqualStrategyNumber;
	key->sk_argument = PointerGetDatum(columns);
}

int
as_timers_read(AsTimers *timers, const AsTimerPosition *from, TimestampTz by,
			   AsTimer *found, int max, AsTimerPosition *next)
{
	ScanKeyData key;
	ScanKeyData columns[2];
	IndexScanDesc scan;
	int			n = 0;

	due_scan(from, &key, columns);
	scan = as_index_beginscan(timers->rel, timers->by_due, GetActiveSnapshot(),
							  1);
	index_rescan(scan, &key, 1, NULL, 0);
	next->due = DT_NOEND;
	next->spread = 0;
	while (index_getnext_slot(scan, ForwardScanDirection, timers->slot))
	{
		AsTimer		timer;

		take_row(timers, ExecCopySlotHeapTuple(timers->slot), &timer);
		if (n == max || timer.due > by)
		{
			next->due = timer.due;
			next->spread = timer.spread;
			break;
		}
		found[n++] = timer;
	}
	index_endscan(scan);
	ExecClearTuple(timers->slot);
	return n;
}

bool
as_timer_delete(AsTimers *timers, AsTimer *timer)
{
	TM_FailureData failure;

	return table_tuple_delete(timers->rel, &timer->place,
							  GetCurrentCommandId(true), GetActiveSnapshot(),
							  InvalidSnapshot, false, &failure, false) == TM_Ok;
}

bool
as_timer_advance(AsTimers *timers, AsTimer *timer, TimestampTz due, int64 nth)
{
	TM_FailureData failure;
	ItemPointerData place = timer->place;
	TM_Result	result;

	result = table_tuple_lock(timers->rel, &place, GetActiveSnapshot(),
							  timers->slot, GetCurrentCommandId(true),
							  LockTupleNoKeyExclusive, LockWaitSkip, 0,
							  &failure);
	ExecClearTuple(timers->slot);
	if (result != TM_Ok)
		return false;
	timer->due = due;
	timer->nth = nth;
	return replace_row(timers, timer, &place, &failure) == TM_Ok;
}
