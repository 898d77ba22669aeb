/*-------------------------------------------------------------------------
 *
 * lease_row.c
 *	  See lease_row.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/lease_row.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "compat.h"
#include "state/catalog.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* Column numbers of actorstore.lease */
enum
{
	COL_TURN_ID = 1,
	COL_TOKEN,
	COL_KEY_HASH,
	COL_LEASE_UNTIL,
	COL_TAKEN_AT,
	COL_VERSION,
	COL_REQUESTS,
	COL_MESSAGES,
	COL_ROLE,
	COL_ACTOR_TYPE,
	COL_ACTOR_ID,
	COL_WORKER,
	COL_PLACES,
	NATTS_LEASE = COL_PLACES
};

/* Rows handed to the table at a time. */
#define ROWS_AT_ONCE	64

void
as_lease_table_open(AsLeaseTable *leases, LOCKMODE lockmode)
{
	static AsIndexNames names = {.n = 1, .names = {"lease_turn"}};

	leases->rel = table_open(as_catalog()->lease, lockmode);
	as_index_set_open(&leases->indexes, leases->rel, &names, lockmode);
	leases->by_turn = leases->indexes.known[0];
	leases->slot = table_slot_create(leases->rel, NULL);
}

void
as_lease_table_close(AsLeaseTable *leases)
{
	ExecDropSingleTupleTableSlot(leases->slot);
	as_index_set_close(&leases->indexes);
	table_close(leases->rel, NoLock);
}

/* ---- Rows ---- */

static bytea *
form_places(const AsLeaseRow *row)
{
	Size		size = row->nmessages * sizeof(AsLeaseMessage);
	bytea	   *places = palloc(VARHDRSZ + size);

	StaticAssertStmt(sizeof(AsLeaseMessage) == 16, "as it is on disk");
	SET_VARSIZE(places, VARHDRSZ + size);
	memcpy(VARDATA(places), row->messages, size);
	return places;
}

static HeapTuple
form_row(AsLeaseTable *leases, const AsLeaseRow *row)
{
	Datum		values[NATTS_LEASE];
	bool		nulls[NATTS_LEASE] = {false};

#define SET(col, value)	(values[(col) - 1] = (value))
	SET(COL_TURN_ID, Int64GetDatum(row->turn_id));
	SET(COL_TOKEN, Int64GetDatum(row->token));
	SET(COL_KEY_HASH, Int64GetDatum((int64) row->key_hash));
	SET(COL_LEASE_UNTIL, TimestampTzGetDatum(row->until));
	SET(COL_TAKEN_AT, TimestampTzGetDatum(row->taken_at));
	SET(COL_VERSION, Int64GetDatum(row->version));
	SET(COL_REQUESTS, Int32GetDatum(row->nrequests));
	SET(COL_MESSAGES, Int32GetDatum(row->nmessages));
	SET(COL_ROLE, ObjectIdGetDatum(row->role));
	SET(COL_ACTOR_TYPE, PointerGetDatum(row->actor_type));
	SET(COL_ACTOR_ID, PointerGetDatum(row->actor_id));
	SET(COL_WORKER, PointerGetDatum(row->worker));
	SET(COL_PLACES, PointerGetDatum(form_places(row)));
#undef SET
	return heap_form_tuple(RelationGetDescr(leases->rel), values, nulls);
}

/* Behind a bytea's length nothing is aligned as these are. */
static const AsLeaseMessage *
take_places(const bytea *places)
{
	Size		size = VARSIZE_ANY_EXHDR(places);

	return memcpy(palloc(size), VARDATA_ANY(places), size);
}

/* A copy, in the current memory context, of the row in the slot. */
static void
take_row(AsLeaseTable *leases, AsLeaseRow *row)
{
	HeapTuple	tuple = ExecCopySlotHeapTuple(leases->slot);
	Datum		values[NATTS_LEASE];
	bool		nulls[NATTS_LEASE];
	bytea	   *places;

	heap_deform_tuple(tuple, RelationGetDescr(leases->rel), values, nulls);
#define GET(col)	(values[(col) - 1])
	row->turn_id = DatumGetInt64(GET(COL_TURN_ID));
	row->token = DatumGetInt64(GET(COL_TOKEN));
	row->key_hash = (uint64) DatumGetInt64(GET(COL_KEY_HASH));
	row->until = DatumGetTimestampTz(GET(COL_LEASE_UNTIL));
	row->taken_at = DatumGetTimestampTz(GET(COL_TAKEN_AT));
	row->version = DatumGetInt64(GET(COL_VERSION));
	row->nrequests = DatumGetInt32(GET(COL_REQUESTS));
	row->nmessages = DatumGetInt32(GET(COL_MESSAGES));
	row->role = DatumGetObjectId(GET(COL_ROLE));
	row->actor_type = DatumGetTextPP(GET(COL_ACTOR_TYPE));
	row->actor_id = DatumGetTextPP(GET(COL_ACTOR_ID));
	row->worker = DatumGetTextPP(GET(COL_WORKER));
	places = DatumGetByteaPP(GET(COL_PLACES));
#undef GET
	row->messages = take_places(places);
	row->nmessages = Min(row->nmessages, (int) (VARSIZE_ANY_EXHDR(places) /
												sizeof(AsLeaseMessage)));
	row->place = leases->slot->tts_tid;
}

static void
index_row(AsLeaseTable *leases, int64 turn_id, TupleTableSlot *slot)
{
	Datum		value = Int64GetDatum(turn_id);
	bool		isnull = false;

	index_insert(leases->by_turn, &value, &isnull, &slot->tts_tid, leases->rel,
				 UNIQUE_CHECK_NO, false, NULL);
	as_index_set_write(&leases->indexes, slot, false);
}

static void
insert_some(AsLeaseTable *leases, AsLeaseRow *rows, int n,
			TupleTableSlot **slots)
{
	for (int i = 0; i < n; i++)
	{
		if (slots[i] == NULL)
			slots[i] = MakeSingleTupleTableSlot(RelationGetDescr(leases->rel),
												&TTSOpsHeapTuple);
		ExecStoreHeapTuple(form_row(leases, &rows[i]), slots[i], true);
	}
	table_multi_insert(leases->rel, slots, n, GetCurrentCommandId(true), 0,
					   NULL);
	for (int i = 0; i < n; i++)
	{
		index_row(leases, rows[i].turn_id, slots[i]);
		ExecClearTuple(slots[i]);
	}
}

void
as_lease_rows_insert(AsLeaseTable *leases, AsLeaseRow *rows, int n)
{
	TupleTableSlot *slots[ROWS_AT_ONCE] = {NULL};

	for (int done = 0; done < n; done += ROWS_AT_ONCE)
		insert_some(leases, rows + done, Min(n - done, ROWS_AT_ONCE), slots);
	for (int i = 0; i < ROWS_AT_ONCE && slots[i] != NULL; i++)
		ExecDropSingleTupleTableSlot(slots[i]);
}

bool
as_lease_row_find(AsLeaseTable *leases, int64 turn_id, AsLeaseRow *row)
{
	ScanKeyData key;
	IndexScanDesc scan;
	bool		found;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(turn_id));
	PushActiveSnapshot(GetLatestSnapshot());
	scan = as_index_beginscan(leases->rel, leases->by_turn, GetActiveSnapshot(),
							  1);
	index_rescan(scan, &key, 1, NULL, 0);
	found = index_getnext_slot(scan, ForwardScanDirection, leases->slot);
	if (found)
		take_row(leases, row);
	index_endscan(scan);
	ExecClearTuple(leases->slot);
	PopActiveSnapshot();
	return found;
}

static AsRowChange
outcome(TM_Result result)
{
	switch (result)
	{
		case TM_Ok:
			return AS_ROW_CHANGED;
		case TM_WouldBlock:
		case TM_BeingModified:
			return AS_ROW_LOCKED;
		default:
			return AS_ROW_CHANGED_BEFORE;
	}
}

AsRowChange
as_lease_row_delete(AsLeaseTable *leases, const AsLeaseRow *row, bool wait)
{
	ItemPointerData place = row->place;
	TM_FailureData failure;

	return outcome(table_tuple_delete(leases->rel, &place,
									  GetCurrentCommandId(true),
									  GetLatestSnapshot(), InvalidSnapshot,
									  wait, &failure, false));
}

AsRowChange
as_lease_row_extend(AsLeaseTable *leases, const AsLeaseRow *row,
					TimestampTz until)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(leases->rel),
													&TTSOpsHeapTuple);
	ItemPointerData place = row->place;
	AsLeaseRow	longer = *row;
	TM_FailureData failure;
	TM_Result	result;
	AsIndexNeed need;

	longer.until = until;
	ExecStoreHeapTuple(form_row(leases, &longer), slot, true);
	result = as_table_tuple_update(leases->rel, &place, slot,
								   GetCurrentCommandId(true),
								   GetLatestSnapshot(), &failure, &need);
	if (need == AS_ALL_INDEXES)
		index_row(leases, row->turn_id, slot);
	else if (need == AS_SUMMARIES)
		as_index_set_write_summaries(&leases->indexes, slot);
	ExecDropSingleTupleTableSlot(slot);
	return outcome(result);
}

void
as_lease_rows_scan(AsLeaseTable *leases, AsLeaseCallback callback, void *arg)
{
	TableScanDesc scan = table_beginscan(leases->rel, GetActiveSnapshot(), 0,
										 NULL);
	AsLeaseRow	row;

	while (table_scan_getnextslot(scan, ForwardScanDirection, leases->slot))
	{
		take_row(leases, &row);
		callback(&row, arg);
	}
	table_endscan(scan);
	ExecClearTuple(leases->slot);
}
