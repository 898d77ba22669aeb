/*-------------------------------------------------------------------------
 *
 * state_sets.c
 *	  The SQL functions that read and write the state of many actors.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "actorstore.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "api/args.h"
#include "catalog/pg_collation.h"
#include "compat.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "state/actor.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(actorstore_get_many);
PG_FUNCTION_INFO_V1(actorstore_get_all);
PG_FUNCTION_INFO_V1(actorstore_list);
PG_FUNCTION_INFO_V1(actorstore_insert_many);
PG_FUNCTION_INFO_V1(actorstore_put_many);

static void
return_row(FunctionCallInfo fcinfo, TupleTableSlot *slot)
{
	tuplestore_puttupleslot(((ReturnSetInfo *) fcinfo->resultinfo)->setResult,
							slot);
}

static void
return_row_to(TupleTableSlot *slot, void *fcinfo)
{
	return_row(fcinfo, slot);
}

static void
return_tuple(FunctionCallInfo fcinfo, HeapTuple tuple)
{
	tuplestore_puttuple(((ReturnSetInfo *) fcinfo->resultinfo)->setResult,
						tuple);
}

/* Open the partition to read it; false if there is no such type. */
static bool
open_for_read(AsPartition *partition, text *type, LOCKMODE lockmode)
{
	if (!as_partition_open(partition, type, lockmode))
		return false;
	as_type_check(partition->type, AS_PRIV_READ);
	return true;
}

/* An id in the order in which actors are locked, and where it was given. */
typedef struct SortedId
{
	text	   *id;
	int			index;
} SortedId;

static int
compare_sorted_ids(const void *a, const void *b)
{
	const SortedId *left = a;
	const SortedId *right = b;
	int			result = as_compare_ids(left->id, right->id);

	return result != 0 ? result : left->index - right->index;
}

static SortedId *
sort_ids(text **ids, int n)
{
	SortedId   *sorted = palloc(Max(n, 1) * sizeof(SortedId));

	for (int i = 0; i < n; i++)
	{
		sorted[i].id = ids[i];
		sorted[i].index = i;
	}
	qsort(sorted, n, sizeof(SortedId), compare_sorted_ids);
	return sorted;
}

/* Read the actors in the order asked, from one snapshot. */
static void
get_unlocked(FunctionCallInfo fcinfo, AsPartition *partition, int n,
			 text **ids)
{
	as_partition_push_read_snapshot(partition);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (as_partition_find(partition, ids[i], GetActiveSnapshot()))
			return_row(fcinfo, partition->slot);
	}
	PopActiveSnapshot();
}

/*
 * Lock the actors in the order of their ids, and give them in the order
 * asked: once all are locked, all are as they were read.
 */
static void
get_locked(FunctionCallInfo fcinfo, AsPartition *partition, int n,
		   text **ids, LockTupleMode mode)
{
	SortedId   *sorted = sort_ids(ids, n);
	HeapTuple  *rows = palloc0(Max(n, 1) * sizeof(HeapTuple));

	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (i > 0 && as_compare_ids(sorted[i - 1].id, sorted[i].id) == 0)
			rows[sorted[i].index] = rows[sorted[i - 1].index];
		else if (as_actor_lock(partition, sorted[i].id, mode))
			rows[sorted[i].index] = ExecCopySlotHeapTuple(partition->slot);
	}
	for (int i = 0; i < n; i++)
	{
		if (rows[i] != NULL)
			return_tuple(fcinfo, rows[i]);
	}
}

static LockTupleMode
parse_lock(const char *word)
{
	if (strcmp(word, "share") == 0)
		return LockTupleShare;
	if (strcmp(word, "update") == 0)
		return LockTupleExclusive;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for lock: \"%s\"", word),
			 errhint("Valid values are \"share\", \"update\" and NULL.")));
}

Datum
actorstore_get_many(PG_FUNCTION_ARGS)
{
	text	   *type = as_arg_type(fcinfo, 0);
	int			n;
	text	  **ids = as_arg_ids(fcinfo, 1, &n);
	bool		locked = !PG_ARGISNULL(2);
	LockTupleMode mode = LockTupleShare;
	AsPartition partition;

	if (locked)
	{
		mode = parse_lock(text_to_cstring(PG_GETARG_TEXT_PP(2)));
		PreventCommandIfReadOnly("actorstore.get_many() with a lock");
		PreventCommandIfParallelMode("actorstore.get_many() with a lock");
	}
	InitMaterializedSRF(fcinfo, 0);
	if (!open_for_read(&partition, type,
					   locked ? RowShareLock : AccessShareLock))
		return (Datum) 0;
	if (locked && mode == LockTupleExclusive)
		as_type_check(partition.type, AS_PRIV_WRITE);

	if (locked)
		get_locked(fcinfo, &partition, n, ids, mode);
	else
		get_unlocked(fcinfo, &partition, n, ids);
	as_partition_close(&partition);
	return (Datum) 0;
}

Datum
actorstore_get_all(PG_FUNCTION_ARGS)
{
	text	   *type = as_arg_type(fcinfo, 0);
	AsPartition partition;

	InitMaterializedSRF(fcinfo, 0);
	if (!open_for_read(&partition, type, AccessShareLock))
		return (Datum) 0;

	as_partition_push_read_snapshot(&partition);
	as_actor_scan(&partition, GetActiveSnapshot(), return_row_to, fcinfo);
	PopActiveSnapshot();
	as_partition_close(&partition);
	return (Datum) 0;
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

Datum
actorstore_list(PG_FUNCTION_ARGS)
{
	text	   *type = as_arg_type(fcinfo, 0);
	text	   *prefix = PG_ARGISNULL(1) ? NULL : PG_GETARG_TEXT_PP(1);
	text	   *after = PG_ARGISNULL(2) ? NULL : PG_GETARG_TEXT_PP(2);
	int64		max_rows = PG_ARGISNULL(3) ? PG_INT64_MAX : PG_GETARG_INT32(3);
	AsPartition partition;
	ScanKeyData keys[2];
	int			nkeys = 1;
	IndexScanDesc scan;

	if (max_rows < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_rows must not be negative")));
	InitMaterializedSRF(fcinfo, 0);
	if (!open_for_read(&partition, type, AccessShareLock))
		return (Datum) 0;

	/* start at the prefix, or behind the last id of the page before */
	ScanKeyEntryInitialize(&keys[0], 0, Anum_actor_type,
						   BTEqualStrategyNumber, InvalidOid,
						   C_COLLATION_OID, F_TEXTEQ, PointerGetDatum(type));
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

	as_partition_push_read_snapshot(&partition);
	scan = as_index_beginscan(partition.rel, partition.pkey,
							  GetActiveSnapshot(), nkeys);
	index_rescan(scan, keys, nkeys, NULL, 0);
	while (max_rows-- > 0 &&
		   index_getnext_slot(scan, ForwardScanDirection, partition.slot) &&
		   (prefix == NULL || has_prefix(partition.slot, prefix)))
	{
		CHECK_FOR_INTERRUPTS();
		return_row(fcinfo, partition.slot);
	}
	index_endscan(scan);
	PopActiveSnapshot();
	as_partition_close(&partition);
	return (Datum) 0;
}

static Datum
write_many(FunctionCallInfo fcinfo, const char *function,
		   void (*write) (AsPartition *, int, text **, Datum *))
{
	text	   *type = as_arg_type(fcinfo, 0);
	int			n;
	text	  **ids = as_arg_ids(fcinfo, 1, &n);
	Datum	   *values = as_arg_values(fcinfo, 2, n);
	SortedId   *sorted = sort_ids(ids, n);
	text	  **sorted_ids = palloc(Max(n, 1) * sizeof(text *));
	Datum	   *sorted_values = palloc(Max(n, 1) * sizeof(Datum));
	AsPartition partition;

	for (int i = 0; i < n; i++)
	{
		sorted_ids[i] = sorted[i].id;
		sorted_values[i] = values[sorted[i].index];
	}

	PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);
	as_partition_open_for(&partition, type, AS_PRIV_WRITE, true,
						  RowExclusiveLock);
	write(&partition, n, sorted_ids, sorted_values);
	as_partition_close(&partition);
	PG_RETURN_INT64(n);
}

Datum
actorstore_insert_many(PG_FUNCTION_ARGS)
{
	return write_many(fcinfo, "actorstore.insert_many()",
					  as_actor_insert_many);
}

Datum
actorstore_put_many(PG_FUNCTION_ARGS)
{
	return write_many(fcinfo, "actorstore.put_many()", as_actor_put_many);
}
