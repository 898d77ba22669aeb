/*-------------------------------------------------------------------------
 *
 * index_set.h
 *	  The indexes of a table whose rows are written without the executor.
 *
 * Those that the extension reads are known by their names, and their entries are made
 * by who knows the columns.  There may be others: while REINDEX CONCURRENTLY is at work
 * each index has a second one, and an administrator may have made some.  These are
 * written as the executor would write them.
 *
 * REINDEX CONCURRENTLY gives other OIDs: what is kept of them holds as long as the
 * table has these indexes and no others.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_INDEX_SET_H
#define AS_INDEX_SET_H

#include "actorstore.h"

#include "executor/tuptable.h"
#include "storage/itemptr.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"

#define AS_MAX_INDEXES	3

/* Of a table, for as long as the process lives: the names, and all else is 0 at first. */
typedef struct AsIndexNames
{
	int			n;
	const char *names[AS_MAX_INDEXES];
	Oid			known[AS_MAX_INDEXES];	/* in the order of the names */
	Oid			all[AS_MAX_INDEXES];	/* the same in the table's order */
} AsIndexNames;

typedef struct AsOtherIndexes AsOtherIndexes;

typedef struct AsIndexSet
{
	Relation	rel;
	int			n;
	Relation	known[AS_MAX_INDEXES];	/* in the order of the names */
	AsOtherIndexes *others;		/* NULL if there are none */
} AsIndexSet;

/*
 * Open the indexes of a table, which is open; the locks stay until the transaction
 * ends.  Raises 55000 if one of that name is not there.
 */
extern void as_index_set_open(AsIndexSet *set, Relation rel, AsIndexNames *names,
							  LOCKMODE lockmode);
extern void as_index_set_close(AsIndexSet *set);

/*
 * What a row in a slot, which says where it stands, needs in the others.  An index of
 * unique keys raises an error if another row has the key; unless the row is
 * speculative: then the answer is false if another one may have it.
 */
extern bool as_index_set_write_others(AsIndexSet *set, TupleTableSlot *slot,
									  bool speculative);

/* The same for a version that only summaries hear of (compat.h). */
extern void as_index_set_write_summaries(AsIndexSet *set, TupleTableSlot *slot);

/* as_index_set_write_others() where nearly always there are none. */
static inline bool
as_index_set_write(AsIndexSet *set, TupleTableSlot *slot, bool speculative)
{
	return likely(set->others == NULL) ||
		as_index_set_write_others(set, slot, speculative);
}

#endif							/* AS_INDEX_SET_H */
