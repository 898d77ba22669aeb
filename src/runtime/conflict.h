/*-------------------------------------------------------------------------
 *
 * conflict.h
 *	  Which actors' versions are contended: whoever writes with an expected
 *	  version (update_versioned, compare_and_swap, delete_versioned) and finds
 *	  another one has lost a race.
 *
 * A fixed number of actors of all databases are kept, those with the most lost
 * races since the server started, by the "space-saving" algorithm (Metwally,
 * Agrawal and El Abbadi 2005): an actor that is not among them takes the place
 * of the one with the smallest count, and its count from there on, as it may
 * have had as many before.  What it certainly lost is its count less that.
 * Whoever has lost more than a hundredth of all races is among them.
 *
 * All under one lock: a lost race is a transaction that is done again, or an
 * error; it can wait for that.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_CONFLICT_H
#define AS_CONFLICT_H

#include "actorstore.h"

#include "datatype/timestamp.h"
#include "state/type.h"

typedef struct AsConflict
{
	Oid			database;		/* InvalidOid: nobody's place */
	uint64		key_hash;
	uint64		count;
	uint64		inherited;		/* of the count, from whom it has the place */
	TimestampTz last;
	Oid			owner;			/* of the type, then: another one's has its own places */
	int			type_len;
	int			id_len;
	char		type[AS_MAX_NAME_BYTES];
	char		id[AS_MAX_NAME_BYTES];
} AsConflict;

extern Size as_conflicts_shmem_size(void);
extern void as_conflicts_shmem_init(void);

/* The actor had another version than expected. */
extern void as_conflict_note(AsType *type, text *id);

/* Nothing is known of a type's actors. */
extern void as_conflicts_forget(const char *type, int type_len);

/* Those of this database, as they are now; to be freed by the caller. */
extern AsConflict *as_conflicts_copy(int *n);

#endif							/* AS_CONFLICT_H */
