/*-------------------------------------------------------------------------
 *
 * partition_find.c
 *	  Finding an actor's row: by the place where it was last seen, or through
 *	  the primary key.
 *
 * An index leads to every version of a row that vacuum has not removed, and
 * the older ones stay as long as anybody's snapshot is open.  An actor that
 * changes often would become slower with each change.  So each backend leaves
 * a note where it has put or seen the newest version (lib/place_map.h), and
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
#include "lib/key_hash.h"
#include "lib/place_map.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "storage/shmem.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* cells of a backend's own map, where the library is not preloaded */
#define OWN_CELLS	4096

/* how many snapshots to take for a row before the index is asked */
#define MAX_SNAPSHOTS	10

static AsPlaceMapShared *places = NULL;

static uint64
shared_cells(void)
{
	return pg_nextpower2_32((uint32) actorstore_place_cache_size);
}

Size
as_places_shmem_size(void)
{
	return as_place_map_size(shared_cells());
}

void
as_places_shmem_init(void)
{
	bool		found;

	places = ShmemInitStruct("actorstore places", as_places_shmem_size(),
							 &found);
	if (!found)
		as_place_map_init(places, shared_cells());
}

static AsPlaceMapShared *
place_map(void)
{
	if (places == NULL)
	{
		places = MemoryContextAlloc(TopMemoryContext,
									as_place_map_size(OWN_CELLS));
		as_place_map_init(places, OWN_CELLS);
	}
	return places;
}

/* Where the map keeps the place of the actor: tables differ, too. */
static uint64
place_key(AsPartition *partition, const text *id)
{
	uint64		table = ((uint64) MyDatabaseId << 32) |
	RelationGetRelid(partition->rel);

	return as_key_hash(VARDATA_ANY(partition->type_name),
					   VARSIZE_ANY_EXHDR(partition->type_name),
					   VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id)) ^
		(table * UINT64CONST(0x9E3779B97F4A7C15));
}

void
as_partition_remember(AsPartition *partition, const text *id,
					  ItemPointer newest, ItemPointer before)
{
	uint64		key = place_key(partition, id);

	if (before != NULL)
		as_place_map_set(place_map(), key, AS_PLACE_BEFORE,
						 ItemPointerGetBlockNumber(before),
						 ItemPointerGetOffsetNumber(before));
	as_place_map_set(place_map(), key, AS_PLACE_NEWEST,
					 ItemPointerGetBlockNumber(newest),
					 ItemPointerGetOffsetNumber(newest));
}

static bool
same_text(Datum datum, const text *wanted)
{
	text	   *got = (text *) DatumGetPointer(datum);

	return !VARATT_IS_EXTERNAL(got) && !VARATT_IS_COMPRESSED(got) &&
		VARSIZE_ANY_EXHDR(got) == VARSIZE_ANY_EXHDR(wanted) &&
		memcmp(VARDATA_ANY(got), VARDATA_ANY(wanted),
			   VARSIZE_ANY_EXHDR(wanted)) == 0;
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

	return same_text(heap_getattr(tuple, Anum_actor_type, desc, &isnull),
					 partition->type_name) &&
		same_text(heap_getattr(tuple, Anum_actor_id, desc, &isnull), id);
}

typedef enum Found
{
	FOUND,
	NOT_VISIBLE,				/* a version of the actor, but no visible one */
	NOT_THERE					/* nothing of the actor */
} Found;

/*
 * Get ready to look at a place on a page that we have not looked at yet.
 *
 * The page is vacuumed in passing, as a fetch through an index does it:
 * otherwise, the better places are remembered, the less room there is for HOT
 * updates.  And where vacuum has left a pointer to the row's next version on
 * the page, the place becomes that version's.
 *
 * False if there is no such page: the table may have been truncated.
 */
static bool
enter_page(Relation rel, ItemPointer place)
{
	BlockNumber block = ItemPointerGetBlockNumber(place);
	OffsetNumber offset = ItemPointerGetOffsetNumber(place);
	Buffer		buffer;
	Page		page;

	if (block >= RelationGetNumberOfBlocks(rel))
		return false;
	buffer = ReadBuffer(rel, block);
	heap_page_prune_opt(rel, buffer);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	page = BufferGetPage(buffer);
	if (offset <= PageGetMaxOffsetNumber(page))
	{
		ItemId		item = PageGetItemId(page, offset);

		if (ItemIdIsRedirected(item))
			ItemPointerSetOffsetNumber(place, ItemIdGetRedirect(item));
	}
	UnlockReleaseBuffer(buffer);
	return true;
}

/*
 * Look for the visible version at a place and along the update chain that
 * starts there.
 */
static Found
find_from_place(AsPartition *partition, const text *id, Snapshot snapshot,
				ItemPointer place)
{
	BufferHeapTupleTableSlot *slot = (BufferHeapTupleTableSlot *) partition->slot;
	HeapTuple	tuple = &slot->base.tupdata;
	TransactionId prior_xmax = InvalidTransactionId;
	ItemPointerData tid = *place;
	BlockNumber block = InvalidBlockNumber;

	for (;;)
	{
		Buffer		buffer;
		bool		visible;

		if (ItemPointerGetBlockNumber(&tid) != block)
		{
			block = ItemPointerGetBlockNumber(&tid);
			if (!enter_page(partition->rel, &tid))
				return NOT_THERE;
		}

		tuple->t_self = tid;
		visible = heap_fetch(partition->rel, snapshot, tuple, &buffer, true);
		if (!BufferIsValid(buffer))
			return NOT_THERE;	/* no row there any more */

		if (!is_actor(partition, id, tuple) ||
			(TransactionIdIsValid(prior_xmax) &&
			 !TransactionIdEquals(HeapTupleHeaderGetXmin(tuple->t_data),
								  prior_xmax)))
		{
			ReleaseBuffer(buffer);
			return NOT_THERE;
		}
		if (visible)
		{
			ExecStorePinnedBufferHeapTuple(tuple, partition->slot, buffer);
			partition->slot->tts_tableOid = RelationGetRelid(partition->rel);
			return FOUND;
		}

		/* xmax and ctid must be read together */
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		tid = tuple->t_data->t_ctid;
		if ((tuple->t_data->t_infomask & HEAP_XMAX_INVALID) ||
			HeapTupleHeaderIsOnlyLocked(tuple->t_data) ||
			HeapTupleHeaderIndicatesMovedPartitions(tuple->t_data) ||
			HeapTupleHeaderIsSpeculative(tuple->t_data) ||
			ItemPointerEquals(&tid, &tuple->t_self))
			prior_xmax = InvalidTransactionId;
		else
			prior_xmax = HeapTupleHeaderGetUpdateXid(tuple->t_data);
		UnlockReleaseBuffer(buffer);

		/* deleted, or never committed, or not yet: the index knows */
		if (!TransactionIdIsValid(prior_xmax))
			return NOT_VISIBLE;
		CHECK_FOR_INTERRUPTS();
	}
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
	uint32		block;
	uint16		offset;
	ItemPointerData place;

	if (!as_place_map_get(place_map(), place_key(partition, id), age, &block,
						  &offset))
		return NOT_THERE;
	ItemPointerSet(&place, block, offset);
	return find_from_place(partition, id, snapshot, &place);
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
	Found		newest;
	Found		before;

	ExecClearTuple(partition->slot);
	if (place != NULL &&
		find_from_place(partition, id, snapshot, place) == FOUND)
		return FOUND;
	if (IsolationIsSerializable())
		return NOT_THERE;
	newest = find_from_memory(partition, id, snapshot, AS_PLACE_NEWEST);
	if (newest != NOT_VISIBLE)
		return newest;
	before = find_from_memory(partition, id, snapshot, AS_PLACE_BEFORE);
	return before == FOUND ? FOUND : NOT_VISIBLE;
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
