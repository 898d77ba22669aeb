/*-------------------------------------------------------------------------
 *
 * haul.c
 *	  See haul.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/haul.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_inherits.h"
#include "cluster/global.h"
#include "cluster/page_slots.h"
#include "cluster/row_wire.h"
#include "lib/same_text.h"
#include "libpq/pqformat.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "state/actor.h"
#include "state/catalog.h"
#include "state/type.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(actorstore_local_take_actors);

/* ---- The giver ---- */

typedef struct Haul
{
	AsPeer	   *peer;
	bool		goes[AS_SLOTS];
	StringInfoData wire;
	text	   *type;			/* of the last row in it, or NULL */
	int			nrows;			/* in it */
	int64		nactors;		/* so far */
	MemoryContext load;			/* for the wire */
} Haul;

/* Over the pages of a table */
typedef struct Pass
{
	Relation	rel;
	AsPageSlots *pages;
	TupleTableSlot *slot;
	Snapshot	snapshot;
} Pass;

void
as_haul_await(AsPeer *peer)
{
	if (peer->state != AS_PEER_FLYING)
		return;
	(void) as_peers_wait(&peer, 1, 0);
	for (int i = 0; i < peer->nadded; i++)
		(void) as_peer_result(peer, i);
}

static void
begin_load(Haul *haul)
{
	MemoryContext old;

	MemoryContextReset(haul->load);
	old = MemoryContextSwitchTo(haul->load);
	as_wire_begin(&haul->wire);
	MemoryContextSwitchTo(old);
	haul->type = NULL;
	haul->nrows = 0;
}

static void
send_load(Haul *haul)
{
	static const int formats[1] = {1};
	bytea	   *rows = as_wire_end(&haul->wire);
	int			lengths[1] = {(int) (VARSIZE(rows) - VARHDRSZ)};
	const char *values[1] = {VARDATA(rows)};
	AsPeerCommand command = {
		.sql = "SELECT actorstore.local_take_actors($1)",
		.nvalues = 1, .values = values, .lengths = lengths, .formats = formats, .keep = true
	};

	as_haul_await(haul->peer);
	(void) as_peer_add_command(haul->peer, &command);
	as_global_wrote(haul->peer);
	(void) as_peer_launch(haul->peer);
	begin_load(haul);
}

static void
write_type(Haul *haul, const text *type)
{
	if (haul->type != NULL && as_same_text(haul->type, type))
	{
		pq_sendint16(&haul->wire, 0);
		return;
	}
	pq_sendint16(&haul->wire, (uint16) VARSIZE_ANY_EXHDR(type));
	appendBinaryStringInfo(&haul->wire, VARDATA_ANY(type), VARSIZE_ANY_EXHDR(type));
	haul->type = MemoryContextAlloc(haul->load, VARSIZE_ANY(type));
	memcpy(haul->type, type, VARSIZE_ANY(type));
}

/* Nobody else writes rows of frozen slots. */
static void
take_row(Haul *haul, Relation rel, TupleTableSlot *slot, Snapshot snapshot)
{
	slot_getallattrs(slot);
	write_type(haul, DatumGetTextPP(slot->tts_values[Anum_actor_type - 1]));
	as_wire_write(&haul->wire, slot->tts_values, true, NULL);
	simple_table_tuple_delete(rel, &slot->tts_tid, snapshot);
	haul->nactors++;
	if (++haul->nrows == AS_HAUL_ROWS || haul->wire.len >= AS_HAUL_BYTES)
		send_load(haul);
}

/*
 * The rows of a page that go, in places; returns how many.  Few of those of a
 * page do: only of these is it asked whether they are visible.
 */
static int
find_on_page(const Haul *haul, Relation rel, Buffer buffer, const uint16 *slots, Snapshot snapshot, ItemPointerData *places)
{
	Page		page = BufferGetPage(buffer);
	int			n = 0;

	for (OffsetNumber at = FirstOffsetNumber; at <= PageGetMaxOffsetNumber(page); at++)
	{
		ItemId		item = PageGetItemId(page, at);
		HeapTupleData row;

		if (!ItemIdIsNormal(item) || !haul->goes[slots[at - FirstOffsetNumber]])
			continue;
		row.t_data = (HeapTupleHeader) PageGetItem(page, item);
		row.t_len = ItemIdGetLength(item);
		row.t_tableOid = RelationGetRelid(rel);
		ItemPointerSet(&row.t_self, BufferGetBlockNumber(buffer), at);
		if (HeapTupleSatisfiesVisibility(&row, snapshot, buffer))
			places[n++] = row.t_self;
	}
	return n;
}

static void
haul_page(Haul *haul, Pass *pass, Buffer buffer)
{
	ItemPointerData places[MaxHeapTuplesPerPage];
	const uint16 *slots;
	int			n = 0;

	if (haul == NULL)
		heap_page_prune_opt(pass->rel, buffer);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	slots = as_page_slots_look(pass->pages, pass->rel, buffer);
	if (haul != NULL)
		n = find_on_page(haul, pass->rel, buffer, slots, pass->snapshot, places);
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	for (int i = 0; i < n; i++)
	{
		if (!table_tuple_fetch_row_version(pass->rel, &places[i], pass->snapshot, pass->slot))
			elog(ERROR, "an actor that moves has gone");
		take_row(haul, pass->rel, pass->slot, pass->snapshot);
	}
	ExecClearTuple(pass->slot);
}

/* Rows that are put in behind the end meanwhile are none of frozen slots. */
static void
haul_partition(Haul *haul, Oid relation, LOCKMODE lockmode, MemoryContext row)
{
	Pass		pass;
	BlockNumber nblocks;
	BufferAccessStrategy strategy;

	pass.rel = table_open(relation, lockmode);
	pass.slot = table_slot_create(pass.rel, NULL);
	pass.snapshot = GetActiveSnapshot();
	nblocks = RelationGetNumberOfBlocks(pass.rel);
	pass.pages = as_page_slots(pass.rel, nblocks);
	strategy = nblocks > (BlockNumber) NBuffers / 4 ? GetAccessStrategy(BAS_BULKREAD) : NULL;
	for (BlockNumber block = 0; block < nblocks; block++)
	{
		Buffer		buffer;
		MemoryContext old = MemoryContextSwitchTo(row);

		CHECK_FOR_INTERRUPTS();
		buffer = ReadBufferExtended(pass.rel, MAIN_FORKNUM, block, RBM_NORMAL, strategy);
		haul_page(haul, &pass, buffer);
		ReleaseBuffer(buffer);
		MemoryContextSwitchTo(old);
		MemoryContextReset(row);
	}
	if (strategy != NULL)
		FreeAccessStrategy(strategy);
	ExecDropSingleTupleTableSlot(pass.slot);
	table_close(pass.rel, NoLock);
}

/* With haul NULL only look. */
static void
haul_partitions(Haul *haul, LOCKMODE lockmode)
{
	List	   *partitions = find_inheritance_children(as_catalog()->actor, lockmode);
	MemoryContext row = AllocSetContextCreate(CurrentMemoryContext, "actor that moves", ALLOCSET_DEFAULT_SIZES);
	ListCell   *cell;

	PushActiveSnapshot(GetTransactionSnapshot());
	foreach(cell, partitions)
		haul_partition(haul, lfirst_oid(cell), lockmode, row);
	PopActiveSnapshot();
	MemoryContextDelete(row);
}

void
as_haul_look(void)
{
	haul_partitions(NULL, AccessShareLock);
}

/*
 * Nobody may make a partition meanwhile: create_type() would put into it rows that we
 * look for where they were.
 */
int64
as_haul_actors(AsPeer *peer, const AsTransit *transit)
{
	Haul	   *haul = palloc0(sizeof(Haul));

	haul->peer = peer;
	for (int i = 0; i < transit->n; i++)
		haul->goes[transit->slots[i]] = true;
	haul->load = AllocSetContextCreate(CurrentMemoryContext, "actors that move", ALLOCSET_DEFAULT_SIZES);
	begin_load(haul);

	LockRelationOid(as_catalog_relation("type"), ShareUpdateExclusiveLock);
	haul_partitions(haul, RowExclusiveLock);
	if (haul->nrows > 0)
		send_load(haul);
	CommandCounterIncrement();
	MemoryContextDelete(haul->load);
	return haul->nactors;
}

/* ---- The taker ---- */

typedef struct Arrival
{
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
read_type(StringInfo wire, text *before)
{
	int			n = (int) pq_getmsgint(wire, 2);
	const char *bytes;
	text	   *type;

	if (n == 0 && before != NULL)
		return before;
	bytes = pq_getmsgbytes(wire, n);
	(void) pg_verifymbstr(bytes, n, false);
	type = cstring_to_text_with_len(bytes, n);
	as_check_name("actor_type", type);
	return type;
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
		type = row->type = read_type(&wire, type);
		row->columns[Anum_actor_type - 1] = PointerGetDatum(type);
		row->columns[Anum_actor_id - 1] = PointerGetDatum(NULL);
		as_wire_read(&wire, row->columns, (Datum) 0);
		if (DatumGetPointer(row->columns[Anum_actor_id - 1]) == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_PROTOCOL_VIOLATION),
					 errmsg("another node has sent an actor without an id")));
	}
}

/* By type, and by id, as neighbours in the index are put in faster. */
static int
compare_arrivals(const void *a, const void *b)
{
	const Arrival *x = a;
	const Arrival *y = b;
	int			order = x->type == y->type ? 0 : as_compare_ids(x->type, y->type);

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
		as_index_row(partition, DatumGetTextPP(rows[i].columns[Anum_actor_id - 1]), &slots[i]->tts_tid,
					 UNIQUE_CHECK_YES, false);
		ExecDropSingleTupleTableSlot(slots[i]);
	}
}

/* Nothing happens to the actors: of triggers only those fire that always do. */
static void
store_otherwise(AsPartition *partition, Arrival *rows, int n)
{
	AsAdmin		admin;

	as_admin_begin(&admin);
	(void) set_config_option("session_replication_role", "replica", PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	for (int i = 0; i < n; i++)
	{
		as_executor_insert(partition, form(partition, &rows[i]));
		CommandCounterIncrement();
	}
	as_admin_leave(&admin);
}

/* Rows of one type */
static void
store(Arrival *rows, int n)
{
	AsPartition partition;

	if (!as_partition_open(&partition, rows[0].type, RowExclusiveLock))
		(void) as_type_get(rows[0].type);	/* 42704 */
	if (partition.plain)
		store_plain(&partition, rows, n);
	else
		store_otherwise(&partition, rows, n);
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
		if (i < load.n && as_compare_ids(load.rows[first].type, load.rows[i].type) == 0)
			continue;
		store(&load.rows[first], i - first);
		first = i;
	}
	PG_RETURN_VOID();
}
