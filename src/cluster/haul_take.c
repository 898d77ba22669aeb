/*-------------------------------------------------------------------------
 *
 * haul_take.c
 *	  The taker's side of haul.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/haul.h"

#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "cluster/haul_load.h"
#include "cluster/row_wire.h"
#include "cluster/wal_ahead.h"
#include "libpq/pqformat.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "state/actor.h"
#include "state/catalog.h"
#include "state/type.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(actorstore_local_take_actors);

typedef struct Arrival
{
	bool		gone;			/* it came before, and is there no more */
	text	   *type;
	Datum		columns[Natts_actor];
} Arrival;

typedef struct Load
{
	int			n;
	int			room;
	Arrival    *rows;
} Load;

static text *
read_name(StringInfo wire, int n, const char *what)
{
	const char *bytes = pq_getmsgbytes(wire, n);
	text	   *name;

	(void) pg_verifymbstr(bytes, n, false);
	name = cstring_to_text_with_len(bytes, n);
	as_check_name(what, name);
	return name;
}

static void
read_key(StringInfo wire, text *before, Arrival *row)
{
	int			n = (int) pq_getmsgint(wire, 2);

	row->gone = n == AS_LOAD_GONE;
	if (row->gone)
		n = (int) pq_getmsgint(wire, 2);
	row->type = n == 0 && before != NULL ? before : read_name(wire, n, "actor_type");
	row->columns[Anum_actor_type - 1] = PointerGetDatum(row->type);
	row->columns[Anum_actor_id - 1] = PointerGetDatum(NULL);
}

static void
read_row(StringInfo wire, text *before, Arrival *row)
{
	read_key(wire, before, row);
	if (row->gone)
		row->columns[Anum_actor_id - 1] = PointerGetDatum(read_name(wire, (int) pq_getmsgint(wire, 2), "actor_id"));
	else
		as_wire_read(wire, row->columns, (Datum) 0);
	if (DatumGetPointer(row->columns[Anum_actor_id - 1]) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("another node has sent an actor without an id")));
}

static void
read_load(bytea *packed, Load *load)
{
	StringInfoData wire;
	text	   *type = NULL;

	wire.data = VARDATA_ANY(packed);
	wire.len = wire.maxlen = (int) VARSIZE_ANY_EXHDR(packed);
	wire.cursor = 0;
	load->n = 0;
	load->room = AS_HAUL_ROWS;
	load->rows = palloc0(load->room * sizeof(Arrival));
	while (!as_wire_is_at_end(&wire))
	{
		Arrival    *row;

		CHECK_FOR_INTERRUPTS();
		if (load->n == AS_HAUL_ROWS)
			ereport(ERROR,
					(errcode(ERRCODE_PROTOCOL_VIOLATION),
					 errmsg("another node has sent more than %d actors at once", AS_HAUL_ROWS)));
		row = &load->rows[load->n++];
		read_row(&wire, type, row);
		type = row->type;
		as_haul_give_way(load->n);
	}
}

/* What is gone first; by type, and by id, as neighbours in the index are put in faster. */
static int
compare_arrivals(const void *a, const void *b)
{
	const Arrival *x = a;
	const Arrival *y = b;
	int			order = y->gone - x->gone;

	if (order == 0 && x->type != y->type)
		order = as_compare_ids(x->type, y->type);
	return order != 0 ? order :
		as_compare_ids(DatumGetTextPP(x->columns[Anum_actor_id - 1]), DatumGetTextPP(y->columns[Anum_actor_id - 1]));
}

static HeapTuple
form(AsPartition *partition, Arrival *row)
{
	bool		nulls[Natts_actor] = {false};

	as_actor_nwrites++;
	return heap_form_tuple(RelationGetDescr(partition->rel), row->columns, nulls);
}

static void
store_plain(AsPartition *partition, Arrival *rows, int n)
{
	TupleTableSlot **slots = palloc(n * sizeof(TupleTableSlot *));

	for (int i = 0; i < n; i++)
	{
		slots[i] = MakeSingleTupleTableSlot(RelationGetDescr(partition->rel), &TTSOpsHeapTuple);
		ExecStoreHeapTuple(form(partition, &rows[i]), slots[i], true);
	}
	table_multi_insert(partition->rel, slots, n, GetCurrentCommandId(true), 0, NULL);
	for (int i = 0; i < n; i++)
	{
		as_haul_give_way(i);
		as_index_row(partition, DatumGetTextPP(rows[i].columns[Anum_actor_id - 1]), &slots[i]->tts_tid,
					 UNIQUE_CHECK_YES, false);
		ExecDropSingleTupleTableSlot(slots[i]);
	}
}

static void
store_otherwise(AsPartition *partition, Arrival *rows, int n)
{
	for (int i = 0; i < n; i++)
	{
		as_executor_insert(partition, form(partition, &rows[i]));
		CommandCounterIncrement();
	}
}

/* Was the row put in by this transaction? */
static bool
is_ours(TupleTableSlot *slot)
{
	HeapTuple	row = ExecFetchSlotHeapTuple(slot, false, NULL);

	return TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(row->t_data));
}

static void
drop(AsPartition *partition, Arrival *rows, int n)
{
	for (int i = 0; i < n; i++)
	{
		text	   *id = DatumGetTextPP(rows[i].columns[Anum_actor_id - 1]);

		PushActiveSnapshot(GetTransactionSnapshot());
		if (!as_partition_find(partition, id, GetActiveSnapshot()) || !is_ours(partition->slot))
			ereport(ERROR,
					(errcode(ERRCODE_PROTOCOL_VIOLATION),
					 errmsg("another node takes back an actor that it has not sent")));
		as_actor_nwrites++;
		if (partition->plain)
			simple_table_tuple_delete(partition->rel, &partition->slot->tts_tid, GetActiveSnapshot());
		else
		{
			ItemPointerData place = partition->slot->tts_tid;

			ExecClearTuple(partition->slot);
			as_executor_delete(partition, id, &place);
		}
		PopActiveSnapshot();
		CommandCounterIncrement();
	}
}

/* Nothing happens to the actors: of triggers only those fire that always do. */
static void
as_replica(void (*act) (AsPartition *, Arrival *, int), AsPartition *partition, Arrival *rows, int n)
{
	AsAdmin		admin;

	as_admin_begin(&admin);
	(void) set_config_option("session_replication_role", "replica", PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	act(partition, rows, n);
	as_admin_leave(&admin);
}

/* Rows of one type, which are all gone, or none */
static void
take(Arrival *rows, int n)
{
	AsPartition partition;

	if (!as_partition_open(&partition, rows[0].type, RowExclusiveLock))
		(void) as_type_get(rows[0].type);	/* 42704 */
	if (!partition.plain)
		as_replica(rows[0].gone ? drop : store_otherwise, &partition, rows, n);
	else if (rows[0].gone)
		drop(&partition, rows, n);
	else
		store_plain(&partition, rows, n);
	as_partition_close(&partition);
	CommandCounterIncrement();
}

/* local_take_actors(moved) */
Datum
actorstore_local_take_actors(PG_FUNCTION_ARGS)
{
	Load		load;
	int			first = 0;

	PreventCommandIfReadOnly("actorstore.local_take_actors()");
	read_load(PG_GETARG_BYTEA_PP(0), &load);
	qsort(load.rows, load.n, sizeof(Arrival), compare_arrivals);
	for (int i = 1; i <= load.n; i++)
	{
		if (i < load.n && load.rows[first].gone == load.rows[i].gone &&
			as_compare_ids(load.rows[first].type, load.rows[i].type) == 0)
			continue;
		take(&load.rows[first], i - first);
		first = i;
	}
	as_wal_pace();
	PG_RETURN_VOID();
}
