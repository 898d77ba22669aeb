/*-------------------------------------------------------------------------
 *
 * rows_delete.c
 *	  See rows_delete.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "state/rows_delete.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "lib/same_text.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

static TM_Result
delete_version(Relation rel, ItemPointer place, Snapshot snapshot)
{
	TM_FailureData failure;

	return table_tuple_delete(rel, place, GetCurrentCommandId(true), snapshot,
							  InvalidSnapshot, true, &failure, false);
}

/* Whoever is at the row is waited for; what he has made of it goes. */
static bool
delete_row(Relation rel, ItemPointer place, Snapshot snapshot)
{
	TM_Result	result = delete_version(rel, place, snapshot);

	if (result == TM_Updated)
	{
		TupleTableSlot *last = table_slot_create(rel, NULL);
		TM_FailureData failure;

		result = table_tuple_lock(rel, place, snapshot, last, GetCurrentCommandId(true), LockTupleExclusive,
								  LockWaitBlock, TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &failure);
		if (result == TM_Ok)
			result = delete_version(rel, &last->tts_tid, snapshot);
		ExecDropSingleTupleTableSlot(last);
	}
	return result == TM_Ok;
}

static bool
is_of_type(TupleTableSlot *slot, AttrNumber column, const text *type)
{
	bool		isnull;
	Datum		value = slot_getattr(slot, column, &isnull);
	text	   *name = DatumGetTextPP(value);
	bool		is = as_same_text(name, type);

	if ((Pointer) name != DatumGetPointer(value))
		pfree(name);
	return is;
}

void
as_rows_delete(Oid table, const text *type)
{
	Relation	rel = table_open(table, RowExclusiveLock);
	AttrNumber	column = get_attnum(table, "actor_type");
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		if (type == NULL || is_of_type(slot, column, type))
			(void) delete_row(rel, &slot->tts_tid, snapshot);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

int
as_rows_delete_at(Oid table, ItemPointer places, int n)
{
	Relation	rel = table_open(table, RowExclusiveLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	int			ndeleted = 0;

	for (int i = 0; i < n; i++)
		ndeleted += delete_version(rel, &places[i], snapshot) == TM_Ok;
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
	CommandCounterIncrement();
	return ndeleted;
}
