/*-------------------------------------------------------------------------
 *
 * actor_scan.c
 *	  All actors of a type, in any order or by their ids.
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

int
as_compare_ids(const text *a, const text *b)
{
	Size		len_a = VARSIZE_ANY_EXHDR(a);
	Size		len_b = VARSIZE_ANY_EXHDR(b);
	int			result = memcmp(VARDATA_ANY(a), VARDATA_ANY(b),
								Min(len_a, len_b));

	if (result != 0)
		return result;
	return len_a < len_b ? -1 : len_a > len_b;
}

static void
begin_index(AsActorScan *scan, Snapshot snapshot, text *after)
{
	AsPartition *partition = scan->partition;
	text	   *prefix = scan->prefix;
	ScanKeyData keys[2];
	int			nkeys = 1;

	/* start at the prefix, or behind the last id of the page before */
	ScanKeyEntryInitialize(&keys[0], 0, Anum_actor_type,
						   BTEqualStrategyNumber, InvalidOid,
						   C_COLLATION_OID, F_TEXTEQ,
						   PointerGetDatum(partition->type_name));
	if (after != NULL && (prefix == NULL || as_compare_ids(after, prefix) >= 0))
		ScanKeyEntryInitialize(&keys[nkeys++], 0, Anum_actor_id,
							   BTGreaterStrategyNumber, InvalidOid,
							   C_COLLATION_OID, F_TEXT_GT,
							   PointerGetDatum(after));
	else if (prefix != NULL)
		ScanKeyEntryInitialize(&keys[nkeys++], 0, Anum_actor_id,
							   BTGreaterEqualStrategyNumber, InvalidOid,
							   C_COLLATION_OID, F_TEXT_GE,
							   PointerGetDatum(prefix));
	scan->index = as_index_beginscan(partition->rel, partition->pkey, snapshot,
									 nkeys);
	index_rescan(scan->index, keys, nkeys, NULL, 0);
}

void
as_actor_scan_begin(AsActorScan *scan, AsPartition *partition,
					Snapshot snapshot)
{
	memset(scan, 0, sizeof(AsActorScan));
	scan->partition = partition;
	scan->max_rows = PG_INT64_MAX;

	/* a declared type has the table for itself */
	if (partition->type->declared)
		scan->table = table_beginscan(partition->rel, snapshot, 0, NULL);
	else
		begin_index(scan, snapshot, NULL);
}

void
as_actor_scan_begin_sorted(AsActorScan *scan, AsPartition *partition,
						   Snapshot snapshot, text *prefix, text *after,
						   int64 max_rows)
{
	memset(scan, 0, sizeof(AsActorScan));
	scan->partition = partition;
	scan->prefix = prefix;
	scan->max_rows = max_rows;
	begin_index(scan, snapshot, after);
}

/* Does the id in the slot begin with the prefix? */
static bool
has_prefix(TupleTableSlot *slot, const text *prefix)
{
	bool		isnull;
	text	   *id = DatumGetTextPP(slot_getattr(slot, Anum_actor_id, &isnull));

	return VARSIZE_ANY_EXHDR(id) >= VARSIZE_ANY_EXHDR(prefix) &&
		memcmp(VARDATA_ANY(id), VARDATA_ANY(prefix),
			   VARSIZE_ANY_EXHDR(prefix)) == 0;
}

bool
as_actor_scan_next(AsActorScan *scan)
{
	TupleTableSlot *slot = scan->partition->slot;

	CHECK_FOR_INTERRUPTS();
	if (scan->max_rows-- <= 0)
		return false;
	if (scan->table != NULL)
		return table_scan_getnextslot(scan->table, ForwardScanDirection, slot);
	return index_getnext_slot(scan->index, ForwardScanDirection, slot) &&
		(scan->prefix == NULL || has_prefix(slot, scan->prefix));
}

void
as_actor_scan_end(AsActorScan *scan)
{
	if (scan->table != NULL)
		table_endscan(scan->table);
	else
		index_endscan(scan->index);
}

void
as_actor_scan(AsPartition *partition, Snapshot snapshot,
			  AsRowCallback callback, void *arg)
{
	AsActorScan scan;
	AsPartition own = *partition;

	/* the callback may use the partition's slot */
	own.slot = table_slot_create(partition->rel, NULL);
	as_actor_scan_begin(&scan, &own, snapshot);
	while (as_actor_scan_next(&scan))
		callback(own.slot, arg);
	as_actor_scan_end(&scan);
	ExecDropSingleTupleTableSlot(own.slot);
}
