/*-------------------------------------------------------------------------
 *
 * haul.c
 *	  The giver's side of haul.h.
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
#include "cluster/copied.h"
#include "cluster/fault.h"
#include "cluster/global.h"
#include "cluster/haul_load.h"
#include "cluster/page_slots.h"
#include "cluster/wal_ahead.h"
#include "lib/nap.h"
#include "lib/steady_clock.h"
#include "miscadmin.h"
#include "runtime/worker.h"
#include "state/actor.h"
#include "state/catalog.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* Who changes types is waited for so long; vacuum, say, is through before. */
#define TYPES_MS		200
#define TYPES_NAP_MS	5

/* Who copies slowly looks again so soon. */
#define PACE_NAP_MS		100

/* A row that is there, and was not copied */
typedef struct Late
{
	Oid			relation;
	ItemPointerData place;
} Late;

typedef struct Haul
{
	bool		copies;			/* COPY; else HAUL */
	bool		has_copy;
	bool		goes[AS_SLOTS];
	AsLoad		load;
	int64		nactors;		/* so far, copied or gone */
	double		ahead;			/* so many have been copied too early, at that time */
	int64		ahead_at;
	Late	   *late;
	int			nlate;
	int			room;			/* for late ones */
	MemoryContext memory;		/* for them */
} Haul;

/* Over the pages of a table */
typedef struct Pass
{
	Relation	rel;
	AsPageSlots *pages;
	AsCopiedTable *copied;		/* or NULL */
	TupleTableSlot *slot;
	Snapshot	snapshot;
} Pass;

/* A row on a page */
typedef struct Found
{
	ItemPointerData place;
	TransactionId xmin;
} Found;

/* ---- Rows ---- */

static void
fetch_row(Relation rel, ItemPointer place, Snapshot snapshot, TupleTableSlot *slot)
{
	if (!table_tuple_fetch_row_version(rel, place, snapshot, slot))
		elog(ERROR, "an actor that moves has gone");
	slot_getallattrs(slot);
}

static void
copy_row(Haul *haul, Pass *pass, Found *row)
{
	Datum	   *columns = pass->slot->tts_values;

	fetch_row(pass->rel, &row->place, pass->snapshot, pass->slot);
	as_copied_add(pass->copied, &row->place, row->xmin, DatumGetTextPP(columns[Anum_actor_type - 1]),
				  DatumGetTextPP(columns[Anum_actor_id - 1]));
	as_load_add(&haul->load, columns);
	haul->ahead++;
}

/* Nobody else writes rows of frozen slots. */
static void
delete_row(Haul *haul, Relation rel, ItemPointer place, Snapshot snapshot)
{
	simple_table_tuple_delete(rel, place, snapshot);
	haul->nactors++;
}

static void
send_row(Haul *haul, Relation rel, ItemPointer place, Snapshot snapshot, TupleTableSlot *slot)
{
	fetch_row(rel, place, snapshot, slot);
	as_load_add(&haul->load, slot->tts_values);
	delete_row(haul, rel, place, snapshot);
}

static void
note_late(Haul *haul, Relation rel, ItemPointer place)
{
	if (haul->nlate == haul->room)
	{
		haul->room = Max(64, 2 * haul->room);
		haul->late = haul->late == NULL ? MemoryContextAllocHuge(haul->memory, haul->room * sizeof(Late)) :
			repalloc_huge(haul->late, haul->room * sizeof(Late));
	}
	haul->late[haul->nlate].relation = RelationGetRelid(rel);
	haul->late[haul->nlate++].place = *place;
}

/* What was not copied goes at once only where nothing was: else what is gone goes first. */
static void
haul_row(Haul *haul, Pass *pass, Found *row)
{
	AsCopiedRow *copied = pass->copied == NULL ? NULL : as_copied_at(pass->copied, &row->place, row->xmin);

	if (copied != NULL)
	{
		copied->is_there = true;
		delete_row(haul, pass->rel, &row->place, pass->snapshot);
	}
	else if (haul->has_copy)
		note_late(haul, pass->rel, &row->place);
	else
		send_row(haul, pass->rel, &row->place, pass->snapshot, pass->slot);
}

/* ---- Pages ---- */

/*
 * Is whether a row is visible decided for good, unless the page changes?  Hints say so:
 * that it is visible to our snapshot, or not, has just been found out.
 */
static bool
is_settled(HeapTupleHeader row, bool visible)
{
	bool		locked_only = (row->t_infomask & HEAP_XMAX_INVALID) != 0 || HEAP_XMAX_IS_LOCKED_ONLY(row->t_infomask);

	if (visible)
		return locked_only;
	return HeapTupleHeaderXminInvalid(row) || ((row->t_infomask & HEAP_XMAX_COMMITTED) != 0 && !locked_only);
}

/*
 * The rows of a page that go; returns how many.  Few of those of a page do: only of
 * these is it asked whether they are visible.
 */
static int
find_on_page(const Haul *haul, const Pass *pass, Buffer buffer, const uint16 *slots, Found *found, bool *settled)
{
	Page		page = BufferGetPage(buffer);
	int			n = 0;

	*settled = true;
	for (OffsetNumber at = FirstOffsetNumber; at <= PageGetMaxOffsetNumber(page); at++)
	{
		ItemId		item = PageGetItemId(page, at);
		HeapTupleData row;
		bool		visible;

		if (!ItemIdIsNormal(item) || !haul->goes[slots[at - FirstOffsetNumber]])
			continue;
		row.t_data = (HeapTupleHeader) PageGetItem(page, item);
		row.t_len = ItemIdGetLength(item);
		row.t_tableOid = RelationGetRelid(pass->rel);
		ItemPointerSet(&row.t_self, BufferGetBlockNumber(buffer), at);
		visible = HeapTupleSatisfiesVisibility(&row, pass->snapshot, buffer);
		*settled = *settled && is_settled(row.t_data, visible);
		if (!visible)
			continue;
		found[n].place = row.t_self;
		found[n++].xmin = HeapTupleHeaderGetRawXmin(row.t_data);
	}
	return n;
}

static void
look_at_page(Haul *haul, Pass *pass, Buffer buffer)
{
	Found		found[MaxHeapTuplesPerPage];
	const uint16 *slots;
	bool		settled;
	int			n;

	/* what HAUL will delete here is not to take the page along: so it is by now what it will be then */
	do
	{
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		slots = as_page_slots_look(pass->pages, pass->rel, buffer);
		n = find_on_page(haul, pass, buffer, slots, found, &settled);
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	} while (haul->copies && n > 0 && as_wal_write_page(pass->rel, buffer));
	if (haul->copies)
		pass->copied->unsettled[BufferGetBlockNumber(buffer)] = !settled;
	for (int i = 0; i < n; i++)
	{
		if (haul->copies)
			copy_row(haul, pass, &found[i]);
		else
			haul_row(haul, pass, &found[i]);
	}
	ExecClearTuple(pass->slot);
}

/* Whoever wrote rows of ours has ended, so that we see his LSN without a lock. */
static bool
is_as_copied(const Pass *pass, Buffer buffer)
{
	BlockNumber block = BufferGetBlockNumber(buffer);

	return pass->copied != NULL && block < pass->copied->npages && !pass->copied->unsettled[block] &&
		as_page_slots_hold(pass->pages, buffer);
}

static void
haul_page(Haul *haul, Pass *pass, Buffer buffer)
{
	AsCopiedRow *rows;
	int			n;

	if (haul->copies)
		heap_page_prune_opt(pass->rel, buffer);
	if (haul->copies || !is_as_copied(pass, buffer))
	{
		look_at_page(haul, pass, buffer);
		return;
	}
	n = as_copied_on_page(pass->copied, BufferGetBlockNumber(buffer), &rows);
	for (int i = 0; i < n; i++)
	{
		rows[i].is_there = true;
		delete_row(haul, pass->rel, &rows[i].place, pass->snapshot);
	}
}

/* The copy goes no faster than it may; a rate that is changed meanwhile holds at once.  No page is locked. */
static void
pace(Haul *haul)
{
	for (;;)
	{
		double		per_ms = actorstore_rebalance_rate / 1000.0;
		int64		now = as_steady_now();

		haul->ahead -= per_ms * (now - haul->ahead_at) / 1000;
		haul->ahead_at = now;
		if (per_ms == 0)
			haul->ahead = 0;
		if (haul->ahead <= per_ms)
			return;
		(void) as_nap((long) Min(haul->ahead / per_ms, PACE_NAP_MS), AS_NAP_MOVER_COPY);
		as_worker_check_signals();
	}
}

/* Rows that are put in behind the end meanwhile are none of frozen slots, or are found by HAUL. */
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
	pass.copied = haul->copies ? as_copied_add_table(pass.rel, nblocks) : as_copied_table(pass.rel);
	strategy = nblocks > (BlockNumber) NBuffers / 4 ? GetAccessStrategy(BAS_BULKREAD) : NULL;
	for (BlockNumber block = 0; block < nblocks; block++)
	{
		Buffer		buffer;
		MemoryContext old = MemoryContextSwitchTo(row);

		CHECK_FOR_INTERRUPTS();
		as_haul_give_way(block);
		if (haul->copies)
		{
			as_wal_pace();
			pace(haul);
		}
		buffer = as_page_slots_read(pass.pages, pass.rel, block, strategy);
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

static void
haul_partitions(Haul *haul, LOCKMODE lockmode)
{
	List	   *partitions = find_inheritance_children(as_catalog()->actor, lockmode);
	MemoryContext row = AllocSetContextCreate(CurrentMemoryContext, "actor that moves", ALLOCSET_DEFAULT_SIZES);
	ListCell   *cell;

	foreach(cell, partitions)
		haul_partition(haul, lfirst_oid(cell), lockmode, row);
	MemoryContextDelete(row);
}

/* ---- Both passes ---- */

/*
 * Nobody may make a partition meanwhile: create_type() would put into it rows that we
 * look for where they were.  Whoever does may wait at the taker for what has been copied,
 * which has locked the tables there: then he is not waited for for long.
 */
static void
lock_types(void)
{
	TimestampTz deadline = as_peer_deadline(TYPES_MS);

	while (!ConditionalLockRelationOid(as_catalog()->type, ShareUpdateExclusiveLock))
	{
		if (GetCurrentTimestamp() >= deadline)
			ereport(ERROR,
					(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
					 errmsg("types of actors that shall move are being changed")));
		as_peer_nap(TYPES_NAP_MS, AS_NAP_SLOT);
	}
}

/* While they are being changed a copy would be made for nothing. */
static void
look_at_types(void)
{
	lock_types();
	UnlockRelationOid(as_catalog()->type, ShareUpdateExclusiveLock);
}

static Haul *
make_haul(AsPeer *peer, const AsTransit *transit, bool copies)
{
	Haul	   *haul = palloc0(sizeof(Haul));

	haul->copies = copies;
	haul->memory = CurrentMemoryContext;
	haul->ahead_at = as_steady_now();
	for (int i = 0; i < transit->n; i++)
		haul->goes[transit->slots[i]] = true;
	as_load_begin(&haul->load, peer);
	return haul;
}

void
as_haul_copy(const AsTransit *transit)
{
	AsPeer	   *peer;
	Haul	   *haul;

	as_haul_forget();
	look_at_types();
	peer = as_global_begin_ahead(as_node_need_number(transit->taker));
	as_copied_begin(transit);
	haul = make_haul(peer, transit, true);
	PushActiveSnapshot(GetTransactionSnapshot());
	haul_partitions(haul, AccessShareLock);
	PopActiveSnapshot();
	as_load_end(&haul->load);
	AS_FAULT("move_copying");
	as_haul_await(peer);
}

void
as_haul_forget(void)
{
	as_copied_forget();
	as_global_drop_ahead();
}

void
as_haul_forget_others(const AsTransit *transit)
{
	if (!as_copied_is_of(transit) || !as_global_is_ahead(as_node_need_number(transit->taker)))
		as_haul_forget();
}

static void
send_gone(const AsCopiedRow *row, void *haul)
{
	as_load_add_gone(&((Haul *) haul)->load, row->type, row->id);
}

/* What has changed since it was copied */
static void
send_late(Haul *haul)
{
	MemoryContext row = AllocSetContextCreate(CurrentMemoryContext, "actor that moves", ALLOCSET_DEFAULT_SIZES);

	as_copied_gone(send_gone, haul);
	for (int i = 0; i < haul->nlate; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(row);
		Relation	rel = table_open(haul->late[i].relation, NoLock);
		TupleTableSlot *slot = table_slot_create(rel, NULL);

		send_row(haul, rel, &haul->late[i].place, GetActiveSnapshot(), slot);
		ExecDropSingleTupleTableSlot(slot);
		table_close(rel, NoLock);
		MemoryContextSwitchTo(old);
		MemoryContextReset(row);
	}
	MemoryContextDelete(row);
}


int64
as_haul_actors(AsPeer *peer, const AsTransit *transit)
{
	Haul	   *haul = make_haul(peer, transit, false);

	haul->has_copy = as_copied_is_of(transit);
	lock_types();
	PushActiveSnapshot(GetTransactionSnapshot());
	haul_partitions(haul, RowExclusiveLock);
	if (haul->has_copy)
		send_late(haul);
	PopActiveSnapshot();
	as_load_end(&haul->load);
	as_copied_forget();
	CommandCounterIncrement();
	return haul->nactors;
}
