/*-------------------------------------------------------------------------
 *
 * page_slots.h
 *	  Which slots the rows on a page of a table of actors are in.
 *
 * That stands in no index: it follows from a hash over each row's key.  The mover
 * looks at all pages for each batch, so it remembers what it has found, and
 * looks again only where something has changed.  What has is told by
 * the page's LSN: whatever puts a row on a page of a permanent table, or takes
 * one away, is written to the WAL and leaves its place there on the page.
 *
 * What is remembered of a page holds as long as its table has the same file
 * and the page the same LSN.  Whether a row is visible is not remembered: that
 * changes without a trace.  Tables that are not in the WAL are looked at each time; so
 * are pages beyond what fits into maintenance_work_mem.
 *
 * It is this process's, and goes with it.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_PAGE_SLOTS_H
#define AS_PAGE_SLOTS_H

#include "actorstore.h"

#include "storage/block.h"
#include "storage/bufmgr.h"
#include "utils/relcache.h"

typedef struct AsPageSlots AsPageSlots;

/* A table's pages, of which there are so many by now. */
extern AsPageSlots *as_page_slots(Relation rel, BlockNumber nblocks);

/* A page, pinned; by where it was the last time, which is faster. */
extern Buffer as_page_slots_read(AsPageSlots *pages, Relation rel, BlockNumber block, BufferAccessStrategy strategy);

/*
 * Does what is remembered of a page hold?  That of changes that the caller knows to have been made
 * before; the buffer need not be locked for that.
 */
extern bool as_page_slots_hold(AsPageSlots *pages, Buffer buffer);

/*
 * The slots of the rows on a page, in the order of its items: undefined where an item has
 * no row.  The buffer must be locked; they hold until the next call.
 */
extern const uint16 *as_page_slots_look(AsPageSlots *pages, Relation rel, Buffer buffer);

#endif							/* AS_PAGE_SLOTS_H */
