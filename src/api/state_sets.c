/*-------------------------------------------------------------------------
 *
 * state_sets.c
 *	  The SQL functions that read and write the state of many actors, wherever
 *	  they live.
 *
 * Nodes work at the same time, each on its own actors, all in this transaction.
 * But locks are taken node by node, by the nodes' numbers, and on each by the
 * actors' ids: one order for everybody, so that two calls wait for each other
 * in one direction only.  (By ids alone a call would take a round trip for
 * each run of ids that live on one node: about as many as it has ids.)  What
 * was read under its lock stays as it was until the transaction ends; so once
 * the last lock is taken, all that was read is the state of that moment.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "actorstore.h"

#include "api/args.h"
#include "api/sets.h"
#include "api/sets_there.h"
#include "cluster/route.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(actorstore_get_many);
PG_FUNCTION_INFO_V1(actorstore_get_all);
PG_FUNCTION_INFO_V1(actorstore_list);
PG_FUNCTION_INFO_V1(actorstore_insert_many);
PG_FUNCTION_INFO_V1(actorstore_put_many);

static void
return_here(AsSet *set, Tuplestorestate *store)
{
	for (int place = 0; place < set->n; place++)
	{
		HeapTuple	row = as_set_row(set, place);

		if (row != NULL)
			tuplestore_puttuple(store, row);
	}
}

Datum
actorstore_get_many(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	AsSet		set = {.type = as_arg_type(fcinfo, 0)};

	set.ids = as_arg_ids(fcinfo, 1, &set.n);
	if (!PG_ARGISNULL(2))
	{
		as_set_parse_lock(&set, text_to_cstring(PG_GETARG_TEXT_PP(2)));
		PreventCommandIfReadOnly("actorstore.get_many() with a lock");
		PreventCommandIfParallelMode("actorstore.get_many() with a lock");
	}
	InitMaterializedSRF(fcinfo, 0);
	if (as_route_is_needed())
	{
		as_set_read_anywhere(&set, result->setResult, result->setDesc);
		return (Datum) 0;
	}
	as_set_open(&set);
	if (!set.is_open)
		return (Datum) 0;
	if (set.locked)
		as_set_lock(&set, set.n, NULL);
	as_set_push_snapshot(&set);
	return_here(&set, result->setResult);
	as_set_close(&set);
	return (Datum) 0;
}

/* Open the partition to read it; false if there is no such type. */
static bool
open_to_scan(AsPartition *partition, text *type)
{
	if (!as_partition_open(partition, type, AccessShareLock))
		return false;
	as_type_check(partition->type, AS_PRIV_READ);
	as_partition_push_read_snapshot(partition);
	return true;
}

static void
close_after_scan(AsPartition *partition)
{
	PopActiveSnapshot();
	as_partition_close(partition);
}

Datum
actorstore_get_all(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	text	   *type = as_arg_type(fcinfo, 0);
	AsPartition partition;
	AsActorScan scan;
	bool		is_here;

	InitMaterializedSRF(fcinfo, 0);
	is_here = open_to_scan(&partition, type);
	if (is_here)
		as_actor_scan_begin(&scan, &partition, GetActiveSnapshot());
	if (as_route_is_needed())
		as_scan_everywhere(type, is_here ? &scan : NULL, result->setResult, result->setDesc);
	else
	{
		while (is_here && as_actor_scan_next(&scan))
			tuplestore_puttupleslot(result->setResult, partition.slot);
	}
	if (is_here)
	{
		as_actor_scan_end(&scan);
		close_after_scan(&partition);
	}
	return (Datum) 0;
}

Datum
actorstore_list(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	text	   *type = as_arg_type(fcinfo, 0);
	text	   *prefix = PG_ARGISNULL(1) ? NULL : PG_GETARG_TEXT_PP(1);
	text	   *after = PG_ARGISNULL(2) ? NULL : PG_GETARG_TEXT_PP(2);
	int64		max_rows = PG_ARGISNULL(3) ? PG_INT64_MAX : PG_GETARG_INT32(3);
	AsPartition partition;
	AsActorScan scan;
	bool		is_here;

	if (max_rows < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_rows must not be negative")));
	InitMaterializedSRF(fcinfo, 0);
	is_here = open_to_scan(&partition, type);
	if (is_here)
		as_actor_scan_begin_sorted(&scan, &partition, GetActiveSnapshot(), prefix,
								   after, max_rows);
	if (as_route_is_needed())
		as_list_everywhere(type, prefix, after, max_rows, is_here ? &scan : NULL,
						   result->setResult, result->setDesc);
	else
	{
		while (is_here && as_actor_scan_next(&scan))
			tuplestore_puttupleslot(result->setResult, partition.slot);
	}
	if (is_here)
	{
		as_actor_scan_end(&scan);
		close_after_scan(&partition);
	}
	return (Datum) 0;
}

static Datum
write_many(FunctionCallInfo fcinfo, const char *function, AsManyKind kind)
{
	text	   *type = as_arg_type(fcinfo, 0);
	int			n;
	text	  **ids = as_arg_ids(fcinfo, 1, &n);
	Datum	   *values = as_arg_values(fcinfo, 2, n);

	PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);
	if (as_route_is_needed())
		as_many_write_anywhere(kind, type, n, ids, values);
	else
		as_many_write(kind, type, n, ids, values);
	PG_RETURN_INT64(n);
}

Datum
actorstore_insert_many(PG_FUNCTION_ARGS)
{
	return write_many(fcinfo, "actorstore.insert_many()", AS_MANY_INSERT);
}

Datum
actorstore_put_many(PG_FUNCTION_ARGS)
{
	return write_many(fcinfo, "actorstore.put_many()", AS_MANY_PUT);
}
