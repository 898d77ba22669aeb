/*-------------------------------------------------------------------------
 *
 * rows_delete.h
 *	  Rows of the extension's tables are deleted past the executor.
 *
 * Messages and leases have no replica identity: their indexes are not unique, and
 * it would have to be written to the WAL with each message that is handled.  The
 * executor deletes nothing of such a table while a publication FOR ALL TABLES says
 * that deletes are published.  Subscribers of that are told nothing of these, as
 * they are of none.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_ROWS_DELETE_H
#define AS_ROWS_DELETE_H

#include "actorstore.h"

#include "storage/itemptr.h"

/* All rows of a table; of this type, where one is given (column actor_type). */
extern void as_rows_delete(Oid table, const text *type);

/* Those that stand there; returns how many of them nobody has deleted before. */
extern int	as_rows_delete_at(Oid table, ItemPointer places, int n);

#endif							/* AS_ROWS_DELETE_H */
