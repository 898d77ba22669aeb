/*-------------------------------------------------------------------------
 *
 * local_sets.c
 *	  The SQL functions that other nodes call to read and write many actors
 *	  that live here: see cluster/route_stream.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "actorstore.h"

#include "access/htup_details.h"
#include "api/args.h"
#include "api/sets.h"
#include "cluster/caller.h"
#include "cluster/route_stream.h"
#include "cluster/row_wire.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "libpq/pqformat.h"
#include "state/owner.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(actorstore_local_get_many);
PG_FUNCTION_INFO_V1(actorstore_local_scan);
PG_FUNCTION_INFO_V1(actorstore_local_write_many);

static void
begin_chunk(StringInfo wire)
{
	as_wire_begin(wire);
	pq_sendbyte(wire, AS_CHUNK_ROWS);
}

static bool
own_all(text *type, int n, text **ids, int64 epoch)
{
	for (int i = 0; i < n; i++)
	{
		if (!as_route_is_mine(type, ids[i], epoch))
			return false;
	}
	return true;
}

/* ---- Actors that are named ---- */

static void
put_chunk(ReturnSetInfo *result, StringInfo wire)
{
	Datum		value = PointerGetDatum(as_wire_end(wire));
	bool		isnull = false;

	tuplestore_putvalues(result->setResult, result->setDesc, &value, &isnull);
	pfree(wire->data);
}

static void
put_refusal(ReturnSetInfo *result)
{
	StringInfoData wire;

	as_wire_begin(&wire);
	pq_sendbyte(&wire, AS_CHUNK_NOT_MINE);
	put_chunk(result, &wire);
}

static void
put_rows(ReturnSetInfo *result, AsSet *set)
{
	StringInfoData wire;

	begin_chunk(&wire);
	for (int place = 0; set->is_open && place < set->n; place++)
	{
		HeapTuple	row = as_set_row(set, place);
		Datum		columns[Natts_actor];
		bool		nulls[Natts_actor];

		if (row == NULL)
			continue;
		if (wire.len > AS_CHUNK_BYTES)
		{
			put_chunk(result, &wire);
			begin_chunk(&wire);
		}
		heap_deform_tuple(row, RelationGetDescr(set->partition.rel), columns, nulls);
		as_wire_write(&wire, columns, true, NULL);
	}
	put_chunk(result, &wire);
}

/* local_get_many(caller, epoch, actor_type, actor_ids, lock): chunks */
Datum
actorstore_local_get_many(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	AsSet		set = {.type = as_arg_type(fcinfo, 2)};
	AsCaller	caller;

	as_reject_null(fcinfo, 1, "epoch");
	set.ids = as_arg_ids(fcinfo, 3, &set.n);
	if (!PG_ARGISNULL(4))
		as_set_parse_lock(&set, text_to_cstring(PG_GETARG_TEXT_PP(4)));
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	as_caller_become(fcinfo, &caller);
	as_caller_stand_in(fcinfo, set.type);
	if (!own_all(set.type, set.n, set.ids, PG_GETARG_INT64(1)))
		put_refusal(result);
	else
	{
		as_set_open(&set);
		if (set.is_open && set.locked)
			as_set_lock(&set, set.n, NULL);
		if (set.is_open)
			as_set_push_snapshot(&set);
		put_rows(result, &set);
		if (set.is_open)
			as_set_close(&set);
		if (set.moved)
		{
			tuplestore_clear(result->setResult);
			put_refusal(result);
		}
	}
	as_caller_return(&caller);
	return (Datum) 0;
}

/* ---- All actors of a type ---- */

typedef struct Scanning
{
	AsPartition partition;
	AsActorScan scan;
	Snapshot	snapshot;
	MemoryContext context;		/* of what the scan keeps */
	bool		is_open;
	bool		is_over;
} Scanning;

static text *
copy_arg(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : DatumGetTextPCopy(PG_GETARG_DATUM(n));
}

static void
end_scan(Datum arg)
{
	Scanning   *scanning = (Scanning *) DatumGetPointer(arg);

	if (!scanning->is_open)
		return;
	scanning->is_open = false;
	as_actor_scan_end(&scanning->scan);
	as_partition_close(&scanning->partition);
	UnregisterSnapshot(scanning->snapshot);
}

static Scanning *
begin_scan(FunctionCallInfo fcinfo)
{
	Scanning   *scanning = palloc0(sizeof(Scanning));
	AsCaller	caller;
	int64		max_rows;

	scanning->context = CurrentMemoryContext;
	as_reject_null(fcinfo, 2, "sorted");
	as_reject_null(fcinfo, 5, "max_rows");
	max_rows = PG_GETARG_INT64(5);
	as_caller_become(fcinfo, &caller);
	as_caller_stand_in(fcinfo, as_arg_type(fcinfo, 1));
	if (as_partition_open(&scanning->partition, DatumGetTextPCopy(PG_GETARG_DATUM(1)),
						  AccessShareLock))
	{
		as_type_check(scanning->partition.type, AS_PRIV_READ);
		as_partition_push_read_snapshot(&scanning->partition);
		scanning->snapshot = RegisterSnapshot(GetActiveSnapshot());
		PopActiveSnapshot();
		if (PG_GETARG_BOOL(2))
			as_actor_scan_begin_sorted(&scanning->scan, &scanning->partition,
									   scanning->snapshot, copy_arg(fcinfo, 3),
									   copy_arg(fcinfo, 4), max_rows);
		else
			as_actor_scan_begin(&scanning->scan, &scanning->partition, scanning->snapshot);
		scanning->is_open = true;
		RegisterExprContextCallback(((ReturnSetInfo *) fcinfo->resultinfo)->econtext,
									end_scan, PointerGetDatum(scanning));
	}
	as_caller_return(&caller);
	return scanning;
}

static bool
scan_next(Scanning *scanning)
{
	MemoryContext caller = MemoryContextSwitchTo(scanning->context);
	bool		found = as_actor_scan_next(&scanning->scan);

	MemoryContextSwitchTo(caller);
	return found;
}

/* The next chunk; the last one is not full. */
static bytea *
scan_chunk(Scanning *scanning)
{
	TupleTableSlot *slot = scanning->partition.slot;
	StringInfoData wire;

	begin_chunk(&wire);
	while (scanning->is_open && wire.len <= AS_CHUNK_BYTES)
	{
		if (!scan_next(scanning))
		{
			scanning->is_over = true;
			break;
		}
		slot_getallattrs(slot);
		as_wire_write(&wire, slot->tts_values, true, NULL);
	}
	return as_wire_end(&wire);
}

/*
 * local_scan(caller, actor_type, sorted, id_prefix, after, max_rows): chunks,
 * each when it is asked for.
 */
Datum
actorstore_local_scan(PG_FUNCTION_ARGS)
{
	FuncCallContext *context;
	Scanning   *scanning;

	if (SRF_IS_FIRSTCALL())
	{
		MemoryContext caller;

		context = SRF_FIRSTCALL_INIT();
		(void) as_arg_type(fcinfo, 1);
		caller = MemoryContextSwitchTo(context->multi_call_memory_ctx);
		context->user_fctx = begin_scan(fcinfo);
		MemoryContextSwitchTo(caller);
	}
	context = SRF_PERCALL_SETUP();
	scanning = context->user_fctx;
	if (scanning->is_over)
	{
		if (scanning->is_open)
			UnregisterExprContextCallback(((ReturnSetInfo *) fcinfo->resultinfo)->econtext,
										  end_scan, PointerGetDatum(scanning));
		end_scan(PointerGetDatum(scanning));
		SRF_RETURN_DONE(context);
	}
	if (!scanning->is_open)
		scanning->is_over = true;
	SRF_RETURN_NEXT(context, PointerGetDatum(scan_chunk(scanning)));
}

/* ---- Writing ---- */

static void
unpack(bytea *actors, int *n, text ***ids, Datum **values)
{
	StringInfoData wire = {0};
	int			room = 64;

	wire.data = VARDATA_ANY(actors);
	wire.len = wire.maxlen = VARSIZE_ANY_EXHDR(actors);
	*n = 0;
	*ids = palloc(sizeof(text *) * room);
	*values = palloc(sizeof(Datum) * room);
	while (!as_wire_is_at_end(&wire))
	{
		Datum		columns[Natts_actor] = {0};

		if (*n == room)
		{
			room *= 2;
			*ids = repalloc_huge(*ids, sizeof(text *) * room);
			*values = repalloc_huge(*values, sizeof(Datum) * room);
		}
		as_wire_read(&wire, columns, (Datum) 0);
		if (columns[Anum_actor_id - 1] == (Datum) 0)
			ereport(ERROR,
					(errcode(ERRCODE_PROTOCOL_VIOLATION),
					 errmsg("another node has sent an actor without its id")));
		(*ids)[*n] = DatumGetTextPP(columns[Anum_actor_id - 1]);
		(*values)[(*n)++] = columns[Anum_actor_value - 1];
	}
}

static bool
hold_all(text *type, int n, text **ids)
{
	for (int i = 0; i < n; i++)
	{
		if (!as_owner_try(type, ids[i]))
			return false;
	}
	return true;
}

/*
 * local_write_many(caller, epoch, errand, actor_type, actors): a kind of chunk
 */
Datum
actorstore_local_write_many(PG_FUNCTION_ARGS)
{
	text	   *type = as_arg_type(fcinfo, 3);
	char		kind = PG_ARGISNULL(2) ? '\0' : PG_GETARG_CHAR(2);
	char		answer = AS_CHUNK_NOT_MINE;
	AsCaller	caller;
	text	  **ids;
	Datum	   *values;
	int			n;

	as_reject_null(fcinfo, 1, "epoch");
	as_reject_null(fcinfo, 4, "actors");
	if (kind != AS_MANY_INSERT && kind != AS_MANY_PUT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("another node asks for what this one does not know"),
				 errhint("Install the same version on both.")));
	unpack(PG_GETARG_BYTEA_PP(4), &n, &ids, &values);
	as_caller_become(fcinfo, &caller);
	as_caller_stand_in(fcinfo, type);
	if (own_all(type, n, ids, PG_GETARG_INT64(1)) && hold_all(type, n, ids))
	{
		as_many_write((AsManyKind) kind, type, n, ids, values);
		answer = AS_CHUNK_ROWS;
	}
	as_caller_return(&caller);
	PG_RETURN_CHAR(answer);
}
