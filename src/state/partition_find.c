/*-------------------------------------------------------------------------
 *
 * partition_find.c
 *	  Finding an actor's row: by the place where it was last seen, or through
 *	  the primary key.
 *
 * An index leads to every version of a row that vacuum has not removed, and
 * the older ones stay as long as anybody's snapshot is open.  An actor that
 * changes often would become slower with each change.  So each backend leaves
 * a note where it has put or seen the newest version (partition_place.c), and
 * whoever comes next starts there and follows the row's update chain, which
 * leads only to newer versions.  The note also says where the version before
 * stood, which is the visible one until the newest has committed.
 *
 * A note is never trusted: the row found must bear the actor's key, and each
 * step along the chain is verified as the heap's own code does, by comparing
 * xmin with the xmax that led there.  Otherwise the index is asked.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "state/partition.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "compat.h"
#include "lib/near.h"
#include "lib/same_text.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* bytes of a row that are brought near before it is looked for */
#define MAX_EXPECTED	512

/* how many snapshots to take for a row before the index is asked */
#define MAX_SNAPSHOTS	10

static bool
is_plainly(Datum datum, const text *wanted)
{
	text	   *got = (text *) DatumGetPointer(datum);

	return !VARATT_IS_EXTERNAL(got) && !VARATT_IS_COMPRESSED(got) &&
		as_same_text(got, wanted);
}

/*
 * Is this a row of the actor?  A key that was compressed, which happens beside
 * a large value, counts as another's: the index compares better.
 */
static bool
is_actor(AsPartition *partition, const text *id, HeapTuple tuple)
{
	TupleDesc	desc = RelationGetDescr(partition->rel);
	bool		isnull;

	return is_plainly(heap_getattr(tuple, Anum_actor_type, desc, &isnull),
					 partition->type_name) &&
		is_plainly(heap_getattr(tuple, Anum_actor_id, desc, &isnull), id);
}

typedef enum Found
{
	FOUND,
	NOT_VISIBLE,				/* a version of the actor, but no visible one */
	NOT_THERE					/* nothing of the actor */
} Found;

/*
 * Is there such a block?  A note may be older than the table's last truncation.
 *
 * Asking the kernel costs a system call.  The size that smgr remembers may be
 * too small, others extend the table, but not too large: who truncates it holds
 * an AccessExclusiveLock and has every backend forget the size before the
 * pages go, and we have read those invalidations when we got our own lock.
 */
static bool
has_block(Relation rel, BlockNumber block)
{
	BlockNumber known = RelationGetSmgr(rel)->smgr_cached_nblocks[MAIN_FORKNUM];

	return (known != InvalidBlockNumber && block < known) ||
		block < RelationGetNumberOfBlocks(rel);
}

/* The page that the slot's row is on */
static Buffer
last_page(AsPartition *partition)
{
	return TTS_EMPTY(partition->slot) ? InvalidBuffer :
		((BufferHeapTupleTableSlot *) partition->slot)->buffer;
}

/*
 * Pin the page, and vacuum it in passing, as a fetch through an index does it:
 * otherwise, the better places are remembered, the less room there is for HOT
 * updates.
 *
 * An index fetch does so as soon as less than fillfactor's share of the page is
 * free.  With room left for HOT updates that would be after each of them, for
 * one dead row version at a time; we wait until the room is used up.
 *
 * Who looks for many actors, one after the other, often finds the next on the
 * page of the last one: the slot has that pinned, and has seen to it.
 */
static Buffer
read_page(AsPartition *partition, BlockNumber block)
{
	Relation	rel = partition->rel;
	Buffer		last = last_page(partition);
	Buffer		buffer;
	Page		page;

	if (BufferIsValid(last) && BufferGetBlockNumber(last) == block)
	{
		IncrBufferRefCount(last);
		return last;
	}
	buffer = ReadBuffer(rel, block);
	page = BufferGetPage(buffer);

	/* unlocked: nothing depends on the answer */
	if (PageIsFull(page) || PageGetHeapFreeSpace(page) < BLCKSZ / 10)
		heap_page_prune_opt(rel, buffer);
	return buffer;
}

/*
 * The row version at a place on a page that is locked; false if there is none.
 * Where vacuum has left a pointer to the row's next version on the page, the
 * place becomes that version's.
 */
static bool
version_at(Relation rel, Buffer buffer, ItemPointer place, HeapTuple tuple)
{
	Page		page = BufferGetPage(buffer);
	OffsetNumber offset = ItemPointerGetOffsetNumber(place);
	ItemId		item;

	if (offset > PageGetMaxOffsetNumber(page))
		return false;
	item = PageGetItemId(page, offset);
	if (ItemIdIsRedirected(item))
	{
		ItemPointerSetOffsetNumber(place, ItemIdGetRedirect(item));
		item = PageGetItemId(page, ItemPointerGetOffsetNumber(place));
	}
	if (!ItemIdIsNormal(item))
		return false;
	tuple->t_data = (HeapTupleHeader) PageGetItem(page, item);
	tuple->t_len = ItemIdGetLength(item);
	tuple->t_tableOid = RelationGetRelid(rel);
	tuple->t_self = *place;
	return true;
}

/*
 * Have the row behind the place brought near: two rows in turn were on this
 * page, so the next is probably that one.
 */
static void
expect_next(Buffer buffer, ItemPointer place)
{
	Page		page = BufferGetPage(buffer);
	OffsetNumber next = OffsetNumberNext(ItemPointerGetOffsetNumber(place));
	ItemId		item;

	if (next > PageGetMaxOffsetNumber(page))
		return;
	item = PageGetItemId(page, next);
	if (!ItemIdIsNormal(item))
		return;
	as_bring_near(PageGetItem(page, item), Min(ItemIdGetLength(item), MAX_EXPECTED));
}

/* Who has put the next version in?  InvalidTransactionId if nobody has. */
static TransactionId
replaced_by(HeapTuple tuple)
{
	HeapTupleHeader row = tuple->t_data;

	if ((row->t_infomask & HEAP_XMAX_INVALID) ||
		HeapTupleHeaderIsOnlyLocked(row) ||
		HeapTupleHeaderIndicatesMovedPartitions(row) ||
		HeapTupleHeaderIsSpeculative(row) ||
		ItemPointerEquals(&row->t_ctid, &tuple->t_self))
		return InvalidTransactionId;
	return HeapTupleHeaderGetUpdateXid(row);
}

/*
 * Look for the visible version at a place, and along the update chain that
 * starts there as long as it stays on the page, which is locked.  If the chain
 * leaves the page, *place says where to, and *prior_xmax who has left it.
 */
static Found
find_on_page(AsPartition *partition, const text *id, Snapshot snapshot,
			 Buffer buffer, ItemPointer place, TransactionId *prior_xmax)
{
	HeapTuple	tuple = &((BufferHeapTupleTableSlot *) partition->slot)->base.tupdata;
	BlockNumber block = ItemPointerGetBlockNumber(place);

	do
	{
		if (!version_at(partition->rel, buffer, place, tuple) ||
			!is_actor(partition, id, tuple) ||
			(TransactionIdIsValid(*prior_xmax) &&
			 !TransactionIdEquals(HeapTupleHeaderGetXmin(tuple->t_data),
								  *prior_xmax)))
		{
			*prior_xmax = InvalidTransactionId;
			return NOT_THERE;
		}
		if (HeapTupleSatisfiesVisibility(tuple, snapshot, buffer))
			return FOUND;
		*prior_xmax = replaced_by(tuple);
		*place = tuple->t_data->t_ctid;
	} while (TransactionIdIsValid(*prior_xmax) &&
			 ItemPointerGetBlockNumber(place) == block);

	/* deleted, or never committed, or not yet, unless it goes on elsewhere */
	return NOT_VISIBLE;
}

/*
 * Look for the visible version at a place and along the update chain that
 * starts there.  This does without the predicate locks that a serializable
 * transaction leaves on what it reads.
 */
static Found
find_from_place(AsPartition *partition, const text *id, Snapshot snapshot,
				ItemPointer start)
{
	TransactionId prior_xmax = InvalidTransactionId;
	ItemPointerData place = *start;

	Assert(!IsolationIsSerializable());
	do
	{
		BlockNumber block = ItemPointerGetBlockNumber(&place);
		Buffer		buffer;
		Found		found;

		if (!has_block(partition->rel, block))
			return NOT_THERE;
		buffer = read_page(partition, block);
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		found = find_on_page(partition, id, snapshot, buffer, &place,
							 &prior_xmax);
		if (buffer == last_page(partition))
			expect_next(buffer, &place);
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
		if (found == FOUND)
		{
			HeapTuple	tuple = &((BufferHeapTupleTableSlot *) partition->slot)->base.tupdata;

			ExecStorePinnedBufferHeapTuple(tuple, partition->slot, buffer);
			partition->slot->tts_tableOid = RelationGetRelid(partition->rel);
			return FOUND;
		}
		ReleaseBuffer(buffer);
		if (found == NOT_THERE)
			return NOT_THERE;
		CHECK_FOR_INTERRUPTS();
	} while (TransactionIdIsValid(prior_xmax));
	return NOT_VISIBLE;
}

void
as_partition_scan_keys(AsPartition *partition, const text *id,
					   ScanKey keys)
{
	static ScanKeyData prototype[2];
	static bool initialized = false;

	if (!initialized)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		ScanKeyInit(&prototype[0], Anum_actor_type, BTEqualStrategyNumber,
					F_TEXTEQ, (Datum) 0);
		ScanKeyInit(&prototype[1], Anum_actor_id, BTEqualStrategyNumber,
					F_TEXTEQ, (Datum) 0);
		prototype[0].sk_collation = C_COLLATION_OID;
		prototype[1].sk_collation = C_COLLATION_OID;
		MemoryContextSwitchTo(old);
		initialized = true;
	}
	memcpy(keys, prototype, sizeof(prototype));
	keys[0].sk_argument = PointerGetDatum(partition->type_name);
	keys[1].sk_argument = PointerGetDatum(id);
}

static bool
find_by_index(AsPartition *partition, const text *id, Snapshot snapshot)
{
	ScanKeyData keys[2];
	IndexScanDesc scan;
	bool		found;

	as_partition_scan_keys(partition, id, keys);
	scan = as_index_beginscan(partition->rel, partition->pkey, snapshot, 2);
	index_rescan(scan, keys, 2, NULL, 0);
	found = index_getnext_slot(scan, ForwardScanDirection, partition->slot);
	index_endscan(scan);
	return found;
}

/* Is this row version the newest of its row, as far as can be told? */
static bool
is_newest(HeapTuple tuple)
{
	return (tuple->t_data->t_infomask & HEAP_XMAX_INVALID) != 0 ||
		ItemPointerEquals(&tuple->t_data->t_ctid, &tuple->t_self);
}

static Found
find_from_memory(AsPartition *partition, const text *id, Snapshot snapshot,
				 AsPlaceAge age)
{
	ItemPointerData place;

	if (!as_partition_recall(partition, id, age, &place))
		return NOT_THERE;
	return find_from_place(partition, id, snapshot, &place);
}

static Found
find_from_places(AsPartition *partition, const text *id, Snapshot snapshot,
				 ItemPointer place)
{
	Found		newest;
	Found		before;

	if (place != NULL &&
		find_from_place(partition, id, snapshot, place) == FOUND)
		return FOUND;
	newest = find_from_memory(partition, id, snapshot, AS_PLACE_NEWEST);
	if (newest != NOT_VISIBLE)
		return newest;
	before = find_from_memory(partition, id, snapshot, AS_PLACE_BEFORE);
	return before == FOUND ? FOUND : NOT_VISIBLE;
}

/*
 * Find the row without the index, at a place given (or NULL) or remembered.
 *
 * A serializable transaction reads through the index, which leaves the
 * predicate locks that a scan by the executor would leave.
 */
static Found
find_by_place(AsPartition *partition, const text *id, Snapshot snapshot,
			  ItemPointer place)
{
	Found		found = NOT_THERE;

	if (!IsolationIsSerializable())
		found = find_from_places(partition, id, snapshot, place);
	if (found != FOUND)
		ExecClearTuple(partition->slot);
	return found;
}

static bool
find_and_remember(AsPartition *partition, const text *id, Snapshot snapshot)
{
	HeapTuple	tuple = &((BufferHeapTupleTableSlot *) partition->slot)->base.tupdata;

	if (!find_by_index(partition, id, snapshot))
		return false;
	if (is_newest(tuple))
		as_partition_remember(partition, id, &tuple->t_self, NULL);
	return true;
}

bool
as_partition_find(AsPartition *partition, const text *id, Snapshot snapshot)
{
	return find_by_place(partition, id, snapshot, NULL) == FOUND ||
		find_and_remember(partition, id, snapshot);
}

bool
as_partition_find_newest(AsPartition *partition, const text *id,
						 ItemPointer place)
{
	for (int tries = 1;; tries++)
	{
		Found		found;

		/* with our pin on its page, nobody could vacuum that */
		ExecClearTuple(partition->slot);
		as_partition_push_write_snapshot(partition);
		found = find_by_place(partition, id, GetActiveSnapshot(), place);
		if (found == FOUND)
			return true;

		/*
		 * Others may have put in, and committed, two versions since we took
		 * the snapshot.  A newer one is cheaper than the index.
		 */
		if (found == NOT_VISIBLE && !IsolationUsesXactSnapshot() &&
			tries < MAX_SNAPSHOTS)
		{
			PopActiveSnapshot();
			continue;
		}
		return find_and_remember(partition, id, GetActiveSnapshot());
	}
}
