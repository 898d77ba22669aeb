/*-------------------------------------------------------------------------
 *
 * page_slots.c
 *	  See page_slots.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "cluster/page_slots.h"

#include "access/htup_details.h"
#include "compat.h"
#include "lib/key_hash.h"
#include "lib/slot_map.h"
#include "miscadmin.h"
#include "state/actor.h"
#include "storage/bufpage.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"

typedef struct Seen
{
	XLogRecPtr	lsn;			/* of the page then; invalid: nothing is known */
	uint16	   *slots;
	uint16		room;			/* for so many */
	Buffer		buffer;			/* that the page was in */
} Seen;

struct AsPageSlots
{
	Oid			relation;		/* key of the hash table */
	Oid			file;			/* that these pages are in */
	BlockNumber npages;			/* that there is room for */
	Seen	   *pages;
};

static HTAB *tables = NULL;
static MemoryContext memory = NULL;

static void
make_tables(void)
{
	HASHCTL		control = {
		.keysize = sizeof(Oid), .entrysize = sizeof(AsPageSlots)
	};

	memory = AllocSetContextCreate(TopMemoryContext, "slots of the rows of pages", ALLOCSET_DEFAULT_SIZES);
	control.hcxt = memory;
	tables = hash_create("slots of the rows of pages", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static bool
has_room(Size size)
{
	return MemoryContextMemAllocated(memory, true) + size <= (Size) maintenance_work_mem * 1024;
}

static void
forget(AsPageSlots *known)
{
	for (BlockNumber block = 0; block < known->npages; block++)
	{
		if (known->pages[block].slots != NULL)
			pfree(known->pages[block].slots);
	}
	if (known->pages != NULL)
		pfree(known->pages);
	known->pages = NULL;
	known->npages = 0;
}

/* Pages that find no room are not remembered. */
static void
make_room(AsPageSlots *known, BlockNumber nblocks)
{
	Size		size = (Size) nblocks * sizeof(Seen);
	Seen	   *pages;

	if (nblocks <= known->npages || !has_room(size))
		return;
	pages = MemoryContextAllocExtended(memory, size, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	if (known->pages != NULL)
	{
		memcpy(pages, known->pages, known->npages * sizeof(Seen));
		pfree(known->pages);
	}
	known->pages = pages;
	known->npages = nblocks;
}

AsPageSlots *
as_page_slots(Relation rel, BlockNumber nblocks)
{
	Oid			relation = RelationGetRelid(rel);
	Oid			file = rel->rd_rel->relfilenode;
	AsPageSlots *known;
	bool		found;

	if (tables == NULL)
		make_tables();
	known = hash_search(tables, &relation, HASH_ENTER, &found);
	if (!found)
	{
		known->file = InvalidOid;
		known->npages = 0;
		known->pages = NULL;
	}
	if (known->file != file || !RelationNeedsWAL(rel))
		forget(known);
	known->file = file;
	if (RelationNeedsWAL(rel))
		make_room(known, nblocks);
	return known;
}

Buffer
as_page_slots_read(AsPageSlots *pages, Relation rel, BlockNumber block, BufferAccessStrategy strategy)
{
	Seen	   *seen = block < pages->npages ? &pages->pages[block] : NULL;
	Buffer		buffer;

	if (seen != NULL && BufferIsValid(seen->buffer) &&
		ReadRecentBuffer(as_rel_locator(rel), MAIN_FORKNUM, block, seen->buffer))
		return seen->buffer;
	buffer = ReadBufferExtended(rel, MAIN_FORKNUM, block, RBM_NORMAL, strategy);
	if (seen != NULL)
		seen->buffer = buffer;
	return buffer;
}

static uint16
slot_of(Relation rel, Page page, ItemId item)
{
	HeapTupleData row;
	bool		isnull;
	const text *type;
	const text *id;

	row.t_data = (HeapTupleHeader) PageGetItem(page, item);
	row.t_len = ItemIdGetLength(item);
	row.t_tableOid = RelationGetRelid(rel);
	ItemPointerSetInvalid(&row.t_self);
	type = DatumGetTextPP(heap_getattr(&row, Anum_actor_type, RelationGetDescr(rel), &isnull));
	id = DatumGetTextPP(heap_getattr(&row, Anum_actor_id, RelationGetDescr(rel), &isnull));
	return (uint16) as_slot_of(as_key_hash(VARDATA_ANY(type), VARSIZE_ANY_EXHDR(type),
										   VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id)));
}

static void
find(Relation rel, Page page, uint16 *slots)
{
	for (OffsetNumber at = FirstOffsetNumber; at <= PageGetMaxOffsetNumber(page); at++)
	{
		ItemId		item = PageGetItemId(page, at);

		if (ItemIdIsNormal(item))
			slots[at - FirstOffsetNumber] = slot_of(rel, page, item);
	}
}

/* Room to remember so many slots of a page's; false if there is none */
static bool
prepare(Seen *seen, uint16 n)
{
	seen->lsn = InvalidXLogRecPtr;
	if (n <= seen->room)
		return true;
	if (seen->slots != NULL)
		pfree(seen->slots);
	seen->slots = NULL;
	seen->room = 0;
	if (!has_room(n * sizeof(uint16)))
		return false;
	seen->slots = MemoryContextAlloc(memory, n * sizeof(uint16));
	seen->room = n;
	return true;
}

const uint16 *
as_page_slots_look(AsPageSlots *pages, Relation rel, Buffer buffer)
{
	static uint16 unknown[MaxHeapTuplesPerPage];
	Page		page = BufferGetPage(buffer);
	BlockNumber block = BufferGetBlockNumber(buffer);
	XLogRecPtr	lsn = BufferGetLSNAtomic(buffer);	/* a hint may be set meanwhile */
	Seen	   *seen = block < pages->npages ? &pages->pages[block] : NULL;

	if (seen != NULL && !XLogRecPtrIsInvalid(seen->lsn) && seen->lsn == lsn)
		return seen->slots;
	if (seen == NULL || !prepare(seen, PageGetMaxOffsetNumber(page)))
	{
		find(rel, page, unknown);
		return unknown;
	}
	find(rel, page, seen->slots);
	seen->lsn = lsn;
	return seen->slots;
}

bool
as_page_slots_hold(AsPageSlots *pages, Buffer buffer)
{
	BlockNumber block = BufferGetBlockNumber(buffer);
	Seen	   *seen = block < pages->npages ? &pages->pages[block] : NULL;

	return seen != NULL && !XLogRecPtrIsInvalid(seen->lsn) && seen->lsn == BufferGetLSNAtomic(buffer);
}
