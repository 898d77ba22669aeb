/*-------------------------------------------------------------------------
 *
 * partition.h
 *	  An actor type's partition, opened and locked, and its rows by key.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_PARTITION_H
#define AS_PARTITION_H

#include "actorstore.h"

#include "access/skey.h"
#include "compat.h"
#include "executor/tuptable.h"
#include "lib/place_map.h"
#include "state/type.h"
#include "storage/itemptr.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

/* Column numbers of actorstore.actor and all its partitions */
#define Anum_actor_type			1
#define Anum_actor_id			2
#define Anum_actor_value		3
#define Anum_actor_version		4
#define Anum_actor_created_at	5
#define Anum_actor_updated_at	6
#define Natts_actor				6

typedef struct AsPartition
{
	AsType	   *type;
	text	   *type_name;
	Relation	rel;
	Relation	pkey;			/* unique index (actor_type, actor_id) */

	/*
	 * Nothing hangs on the table but its primary key: no further index,
	 * trigger or check constraint.
	 */
	bool		plain;

	TupleTableSlot *slot;		/* for rows that are read */
	TupleTableSlot *new_slot;	/* for rows that are written */
} AsPartition;

/*
 * Open the partition of the type and lock it and its primary key until the
 * end of the transaction.  False if there is no such type.
 */
extern bool as_partition_open(AsPartition *partition, text *type_name,
							  LOCKMODE lockmode);

/*
 * The same, but raise 42704 for an unknown type, or declare it implicitly;
 * raise 42501 if the current role lacks the privilege.
 */
extern void as_partition_open_for(AsPartition *partition, text *type_name,
								  AsPrivilege privilege, bool declare,
								  LOCKMODE lockmode);

/* Called by as_partition_open(), if it is set. */
extern void (*as_partition_open_hook) (AsPartition *partition,
									   LOCKMODE lockmode);

/* Close it again, keeping the locks. */
extern void as_partition_close(AsPartition *partition);

/*
 * Push the snapshot that a read of the partition should use: the active one
 * again, or a newer one if the type was changed (its rows moved or rewritten)
 * after that was taken.  Raises 40001 if the transaction may not look at a
 * newer one.  To be popped by PopActiveSnapshot().
 */
extern void as_partition_push_read_snapshot(AsPartition *partition);

/* The same for a write, which looks at what is committed by now. */
extern void as_partition_push_write_snapshot(AsPartition *partition);

/*
 * The actor will be looked for soon: have what is remembered of it brought near
 * while something else is done.
 */
extern void as_partition_expect(const text *type_name, const text *id);

/*
 * Find the version of the actor's row that the snapshot sees and put it,
 * pinned, into partition->slot.  False (and an empty slot) if there is none.
 */
extern bool as_partition_find(AsPartition *partition, const text *id,
							  Snapshot snapshot);

/*
 * The same for a write: pushes the snapshot to look with, to be popped by
 * PopActiveSnapshot() whatever is found.  place, if not NULL, is a place to
 * look first.
 */
extern bool as_partition_find_newest(AsPartition *partition, const text *id,
									 ItemPointer place);

/* Fill in the two scan keys of the primary key for an actor. */
extern void as_partition_scan_keys(AsPartition *partition, const text *id,
								   ScanKey keys);

/*
 * Remember where the newest version of an actor's row stands now, and, if not
 * NULL, where the one that it replaces stood.
 */
extern void as_partition_remember(AsPartition *partition, const text *id,
								  ItemPointer newest, ItemPointer before);

/* What was remembered of that version; false if nothing was. */
extern bool as_partition_recall(AsPartition *partition, const text *id,
								AsPlaceAge age, ItemPointer place);

/* Raise 40001 for a row that somebody else changed after our snapshot. */
extern as_noreturn void as_raise_serialization_failure(void);

/*
 * Memory for the places shared by all backends, when the library is
 * preloaded.
 */
extern Size as_places_shmem_size(void);
extern void as_places_shmem_init(void);

#endif							/* AS_PARTITION_H */
