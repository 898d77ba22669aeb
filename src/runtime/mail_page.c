/*-------------------------------------------------------------------------
 *
 * mail_page.c
 *	  See mail_page.h.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/mail_page.h"

#include "compat.h"
#include "lib/near.h"
#include "storage/buf_internals.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "utils/rel.h"

/* Pages remembered: 512 MB of messages; touched as far as the table goes. */
#define NPAGES		65536

/* Bytes of a row, at most: the columns, and a body of usual size. */
#define MAX_ROW		(6 * AS_LINE)

static Buffer buffers[NPAGES];

Buffer
as_mail_page_read(Relation messages, BlockNumber block)
{
	Buffer	   *known = &buffers[block % NPAGES];

	if (BufferIsValid(*known) &&
		ReadRecentBuffer(as_rel_locator(messages), MAIN_FORKNUM, block, *known))
		return *known;
	*known = ReadBuffer(messages, block);
	return *known;
}

void
as_mail_page_foresee(const ItemPointerData *place)
{
	Buffer		buffer = buffers[ItemPointerGetBlockNumber(place) % NPAGES];
	Page		page;

	if (!BufferIsValid(buffer))
		return;
	page = BufferGetPage(buffer);
	__builtin_prefetch(GetBufferDescriptor(buffer - 1), 1);
	__builtin_prefetch(page);
	__builtin_prefetch(PageGetItemId(page, ItemPointerGetOffsetNumber(place)));
}

/*
 * Nobody holds the page still, and it may be another one's by now: what is read
 * here may be of any row, or none, and says but what to fetch.  valgrind, whom
 * the server tells that pages without a pin are not to be read, would complain.
 */
void
as_mail_page_foresee_row(const ItemPointerData *place)
{
#ifndef USE_VALGRIND
	Buffer		buffer = buffers[ItemPointerGetBlockNumber(place) % NPAGES];
	char	   *page;
	ItemIdData	item;

	if (!BufferIsValid(buffer))
		return;
	page = (char *) BufferGetPage(buffer);
	item = *PageGetItemId(page, ItemPointerGetOffsetNumber(place));
	as_bring_near(page + ItemIdGetOffset(&item), Min(ItemIdGetLength(&item), MAX_ROW));
#endif
}
