/*-------------------------------------------------------------------------
 *
 * mail_page.h
 *	  Pages of the table of messages: where in the buffers they are.
 *
 * The messages of an actor that wait stand on pages far from each other, and
 * to handle one takes less time than the processor needs to fetch its lines
 * from memory one after the other: the descriptor of the buffer, the line
 * pointer, the row.  The entries of the index name the next ones long before
 * they are read, so the lines can be on their way.
 *
 * For that a process remembers which buffer a page was in when it read it
 * last.  It may be in another one by now, or in none: then lines are fetched
 * that nobody needs, and the page is looked for.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_MAIL_PAGE_H
#define AS_MAIL_PAGE_H

#include "actorstore.h"

#include "storage/buf.h"
#include "storage/itemptr.h"
#include "utils/relcache.h"

/* A page of the table, pinned: what ReadBuffer() does. */
extern Buffer as_mail_page_read(Relation messages, BlockNumber block);

/*
 * A row is to be read soon: have fetched what is looked at before it; then,
 * when that has come, the row itself.
 */
extern void as_mail_page_foresee(const ItemPointerData *place);
extern void as_mail_page_foresee_row(const ItemPointerData *place);

#endif							/* AS_MAIL_PAGE_H */
