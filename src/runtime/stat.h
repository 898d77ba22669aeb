/*-------------------------------------------------------------------------
 *
 * stat.h
 *	  What has been counted of each actor type since the server started, or the
 *	  type was made.
 *
 * A fixed number of types have an entry each; the last entry is shared by
 * those that came later.  An entry belongs to a type of a database for ever, or
 * to whatever type has the name: it starts anew when one is dropped.  Its name is written under a lock before it is published, the counters by
 * atomic additions.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_STAT_H
#define AS_STAT_H

#include "actorstore.h"

#include "lib/histogram.h"
#include "port/atomics.h"
#include "runtime/turn.h"

typedef struct AsStatShared
{
	/* written once, under the lock */
	Oid			database;
	int			name_len;		/* 0 for the entry of all others */
	char		name[AS_MAX_NAME_BYTES];

	/* written by anyone, by atomic additions */
	pg_atomic_uint64 handled;
	pg_atomic_uint64 turns;
	pg_atomic_uint64 created;	/* actors that got their first state */
	pg_atomic_uint64 failed;	/* attempts */
	pg_atomic_uint64 retried;	/* attempts that will be made again */
	pg_atomic_uint64 dead;		/* messages that became dead letters */
	pg_atomic_uint64 conflicts; /* writes that expected another version */
	pg_atomic_uint64 waiting_us;	/* what is counted below, summed up */
	pg_atomic_uint64 handling_us;
	AsHistogramShared waiting;	/* from sent, or due, to its turn */
	AsHistogramShared handling; /* in its turn */

	/* the same for what is asked, which is part of the above; by workers */
	AsHistogramShared ask_waiting;
	AsHistogramShared ask_handling;

	/* by those who ask */
	pg_atomic_uint64 timed_out; /* gave up, as their time was over */
	AsHistogramShared round_trip;	/* from the question to its answer */
} AsStatShared;

extern Size as_stat_shmem_size(void);
extern void as_stat_shmem_init(void);

/* How many entries there are, and the n-th; false if nobody has it. */
extern int	as_stat_count(void);
extern bool as_stat_get(int n, AsStatShared **stat);

/* The entry of a type of this database. */
extern AsStatShared *as_stat_of(AsType *type);

/* A turn's transaction has committed. */
extern void as_stat_count_turn(const AsTurn *turn);

/* Who asked has got an answer, after so long; or gave up. */
extern void as_stat_count_answer(AsType *type, int64 us);
extern void as_stat_count_timeout(AsType *type);

/* Somebody's write has lost a race; see conflict.h, which calls this. */
extern void as_stat_count_conflict(AsType *type);

/* A message's attempt has failed; will there be another one? */
extern void as_stat_count_failure(AsType *type, bool again);

/* A type is dropped: if that is committed, one of its name starts anew. */
extern void as_stat_type_dropped(const text *type);

#endif							/* AS_STAT_H */
