/*-------------------------------------------------------------------------
 *
 * copied.h
 *	  Which rows of actors have been copied to the taker before their slots were
 *	  frozen (haul.h), and where they stood.
 *
 * A row of a table is as it was copied if it is at the same place of the same file,
 * with the same xmin.  Whatever writes an actor makes a new row, at another
 * place.  A place that a row has left is given to another one only with another xmin:
 * that of the row which was copied had committed before, and inserts no more.
 *
 * On a page with the same LSN the same rows are in the same places (page_slots.h).
 * Whether they are visible may have changed all the same, if somebody who had
 * inserted or deleted one of them had not ended: such pages are "unsettled".
 *
 * It is this process's, and goes with it.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_COPIED_H
#define AS_COPIED_H

#include "actorstore.h"

#include "cluster/transit.h"
#include "storage/block.h"
#include "storage/itemptr.h"
#include "utils/relcache.h"

typedef struct AsCopiedRow
{
	ItemPointerData place;
	TransactionId xmin;
	bool		is_there;		/* still, as it was copied */
	text	   *type;
	text	   *id;
} AsCopiedRow;

/* A table's rows, in the order of their places */
typedef struct AsCopiedTable
{
	Oid			relation;		/* key of the hash table */
	Oid			file;
	int			nrows;
	int			room;
	AsCopiedRow *rows;
	BlockNumber npages;			/* that were looked at */
	bool	   *unsettled;		/* for each of them */
	int			next;			/* row to look for */
} AsCopiedTable;

/* Nothing is copied, or no more; then, begin to. */
extern void as_copied_forget(void);
extern void as_copied_begin(const AsTransit *transit);

/* Are that the slots? */
extern bool as_copied_is_of(const AsTransit *transit);

/* A table is about to be copied.  Its rows are added in order. */
extern AsCopiedTable *as_copied_add_table(Relation rel, BlockNumber npages);
extern void as_copied_add(AsCopiedTable *table, ItemPointer place, TransactionId xmin,
						  const text *type, const text *id);

/* What was copied of a table; NULL: nothing that holds. */
extern AsCopiedTable *as_copied_table(Relation rel);

/*
 * For whoever goes through the table once more, in order: its rows on a page, as
 * an array; and the one at a place, or NULL.
 */
extern int	as_copied_on_page(AsCopiedTable *table, BlockNumber block, AsCopiedRow **rows);
extern AsCopiedRow *as_copied_at(AsCopiedTable *table, ItemPointer place, TransactionId xmin);

/* Call back for each row that is not there any more. */
typedef void (*AsCopiedCallback) (const AsCopiedRow *row, void *arg);
extern void as_copied_gone(AsCopiedCallback callback, void *arg);

#endif							/* AS_COPIED_H */
