/*-------------------------------------------------------------------------
 *
 * actor.h
 *	  Reading and writing the rows of actors.
 *
 * Everything here works on an open partition and in the current transaction.
 * Writes look at what is committed by now (READ COMMITTED) or at the
 * transaction's snapshot (above that: 40001 when somebody was faster), wait
 * for concurrent writers of the same row, and advance the command counter, so
 * that the next call sees them.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_ACTOR_H
#define AS_ACTOR_H

#include "actorstore.h"

#include "access/htup.h"
#include "nodes/lockoptions.h"
#include "state/partition.h"
#include "utils/jsonb.h"

typedef enum AsOutcome
{
	AS_DONE,
	AS_MISSING,					/* there is no such actor */
	AS_MISMATCH					/* it has another version than expected */
} AsOutcome;

typedef struct AsWrite
{
	/* what to do */
	Datum		value;			/* jsonb; not for a deletion */
	bool		merge;			/* value is a merge patch */
	bool		versioned;		/* only if the version is the expected one */
	int64		expected_version;

	/*
	 * The row as it is now; after a deletion, as it was; after AS_MISMATCH,
	 * as somebody else made it; undefined after AS_MISSING.
	 */
	HeapTuple	row;
} AsWrite;

/* Raise 54000 for a jsonb above actorstore.max_value_size. */
extern void as_check_value_size(Datum value);

/* Insert an actor at version 0; 23505 if it exists.  Returns its row. */
extern HeapTuple as_actor_insert(AsPartition *partition, text *id,
								 Datum value);

/* Give an actor its next version. */
extern AsOutcome as_actor_update(AsPartition *partition, text *id,
								 AsWrite *write);

/* Insert the actor or give it its next version; returns its row. */
extern HeapTuple as_actor_put(AsPartition *partition, text *id, Datum value);

/*
 * The same for an actor whose row the transaction has locked, or written
 * itself, and is "old" since: nobody needs to look for it.
 */
extern HeapTuple as_actor_put_locked(AsPartition *partition, text *id,
									 HeapTuple old, Datum value);

/*
 * The same, with a guess whether the actor is missing, for speed; returns
 * whether it was.
 */
extern bool as_actor_put_guess(AsPartition *partition, text *id, Datum value,
							   bool missing);

extern AsOutcome as_actor_delete(AsPartition *partition, text *id,
								 AsWrite *write);

/*
 * Lock the newest version of an actor's row and leave it in
 * partition->slot; false if there is none.
 */
extern bool as_actor_lock(AsPartition *partition, text *id,
						  LockTupleMode mode);

typedef enum AsLock
{
	AS_LOCK_MISSING,			/* there is no such actor */
	AS_LOCK_BUSY,				/* somebody else has locked it */
	AS_LOCKED
} AsLock;

/* The same for a write, without waiting. */
extern AsLock as_actor_try_lock(AsPartition *partition, text *id);

/*
 * An actor was not found: is there a row of it all the same?  *xid: who is
 * about to insert it; invalid if it is there by now, or our snapshot does not
 * show it.
 */
extern bool as_actor_find_rival(AsPartition *partition, text *id,
								TransactionId *xid);

/*
 * The same, but wait until it is there, or they have gone; 40001 if it is
 * there and our snapshot does not show it.
 */
extern bool as_actor_wait_for_rival(AsPartition *partition, text *id);

/* Insert an actor that is missing; false if it is not, or about to be there. */
extern bool as_actor_try_insert(AsPartition *partition, text *id,
								Datum value);

/* Grows with each write of this process: did anything write an actor? */
extern uint64 as_actor_nwrites;

/*
 * Write many actors; ids must be in ascending order (C collation) and
 * without NULLs.  A repeated id raises 23505 or 21000.
 */
extern void as_actor_insert_many(AsPartition *partition, int n, text **ids,
								 Datum *values);
extern void as_actor_put_many(AsPartition *partition, int n, text **ids,
							  Datum *values);

/* Compare ids in the order of the C collation. */
extern int	as_compare_ids(const text *a, const text *b);

/*
 * The actors of the partition's type that a snapshot sees, which must stay
 * registered or active meanwhile: in any order, or by id: those that begin
 * with the prefix and come behind the id after (both may be NULL), max_rows at
 * most.  Each is left in partition->slot.
 */
typedef struct AsActorScan
{
	AsPartition *partition;
	struct TableScanDescData *table;	/* this one, */
	struct IndexScanDescData *index;	/* or this one */
	text	   *prefix;
	int64		max_rows;		/* left */
} AsActorScan;

extern void as_actor_scan_begin(AsActorScan *scan, AsPartition *partition,
								Snapshot snapshot);
extern void as_actor_scan_begin_sorted(AsActorScan *scan,
									   AsPartition *partition,
									   Snapshot snapshot, text *prefix,
									   text *after, int64 max_rows);
extern bool as_actor_scan_next(AsActorScan *scan);
extern void as_actor_scan_end(AsActorScan *scan);

/* Call back for each actor of the partition's type that the snapshot sees. */
typedef void (*AsRowCallback) (TupleTableSlot *slot, void *arg);
extern void as_actor_scan(AsPartition *partition, Snapshot snapshot,
						  AsRowCallback callback, void *arg);

/* A row of the partition as a datum of type actorstore.actor. */
extern Datum as_actor_datum(AsPartition *partition, HeapTuple row);

/* Its columns */
extern int64 as_row_version(AsPartition *partition, HeapTuple row);
extern Datum as_row_value(AsPartition *partition, HeapTuple row);

/* The result of applying an RFC 7396 merge patch. */
extern Jsonb *as_merge_patch(Jsonb *target, Jsonb *patch);

/*-------------------------------------------------------------------------
 * For actor_*.c only
 *-------------------------------------------------------------------------
 */

/* The first row of an actor. */
extern HeapTuple as_row_first(AsPartition *partition, text *id, Datum value);

/* The next version of a row. */
extern HeapTuple as_row_next(AsPartition *partition, text *id, HeapTuple old,
							 Datum value);

/* Put the primary key's entry for a row in. */
extern bool as_index_row(AsPartition *partition, text *id, ItemPointer place,
						 int unique_check, bool unchanged);

/*
 * The same writes through the executor's machinery, for partitions with
 * further indexes, triggers or constraints.  The row to update or delete must
 * be locked.  Both return the row as it was stored.
 */
extern HeapTuple as_executor_insert(AsPartition *partition, HeapTuple row);
extern HeapTuple as_executor_update(AsPartition *partition, ItemPointer place,
									HeapTuple row);
extern void as_executor_delete(AsPartition *partition, text *id,
							   ItemPointer place);

/*
 * Insert through the executor, or return NULL if the primary key refuses the
 * row, unless this is the last try.
 */
extern HeapTuple as_executor_try_insert(AsPartition *partition, HeapTuple row,
										bool last_try);

#endif							/* AS_ACTOR_H */
