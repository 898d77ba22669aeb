/*-------------------------------------------------------------------------
 *
 * actor_scan.c
 *	  All actors of a type.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "state/actor.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/tableam.h"
#include "catalog/pg_collation.h"
#include "compat.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

/* A declared type has the table for itself. */
static void
scan_table(AsPartition *partition, Snapshot snapshot, TupleTableSlot *slot,
		   AsRowCallback callback, void *arg)
{
	TableScanDesc scan = table_beginscan(partition->rel, snapshot, 0, NULL);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		callback(slot, arg);
	}
	table_endscan(scan);
}

static void
scan_index(AsPartition *partition, Snapshot snapshot, TupleTableSlot *slot,
		   AsRowCallback callback, void *arg)
{
	ScanKeyData key;
	IndexScanDesc scan;

	ScanKeyEntryInitialize(&key, 0, Anum_actor_type, BTEqualStrategyNumber,
						   InvalidOid, C_COLLATION_OID, F_TEXTEQ,
						   PointerGetDatum(partition->type_name));
	scan = as_index_beginscan(partition->rel, partition->pkey, snapshot, 1);
	index_rescan(scan, &key, 1, NULL, 0);
	while (index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		callback(slot, arg);
	}
	index_endscan(scan);
}

void
as_actor_scan(AsPartition *partition, Snapshot snapshot,
			  AsRowCallback callback, void *arg)
{
	TupleTableSlot *slot = table_slot_create(partition->rel, NULL);

	if (partition->type->declared)
		scan_table(partition, snapshot, slot, callback, arg);
	else
		scan_index(partition, snapshot, slot, callback, arg);
	ExecDropSingleTupleTableSlot(slot);
}
