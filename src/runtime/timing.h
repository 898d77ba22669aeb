/*-------------------------------------------------------------------------
 *
 * timing.h
 *	  When the next timer of a database is due, and who waits for it.
 *
 * The rows of actorstore.timer are the truth.  What is here only says when to
 * look at them, and from which due time on.
 *
 * NEXT is a time such that no timer that somebody has told us of is due
 * earlier.  It follows the protocol of a slot's lowest position (slot.h):
 * whoever has set a timer lowers it by an atomic minimum after his commit; who
 * looks for what is due takes it out by exchange, before he takes his
 * snapshot, and afterwards lowers it to what he saw next.  0 stands for "not
 * known": all timers are looked at.
 *
 * A transaction that changes a timer keeps others from firing it, and they do
 * not wait: should it roll back when the timer is due, it lowers NEXT to that
 * time again.  What became of a prepared one nobody tells: the end of each
 * makes NEXT unknown.
 *
 * THE STEWARD of a home sleeps till NEXT and fires what is due (fire.c).  While
 * there is none, the home's workers do, and DUE TIMES of sched.h include NEXT:
 *
 *		who lowers it:  NEXT := min;  barrier;  steward ready?  else next_due
 *		steward leaves: not ready;  barrier;  next_due := min of NEXT
 *
 * Either the steward that leaves sees what was lowered, or who lowers it sees
 * no steward.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_TIMING_H
#define AS_TIMING_H

#include "actorstore.h"

#include "datatype/timestamp.h"
#include "port/atomics.h"

typedef enum AsStewardStatus
{
	AS_STEWARD_NONE,			/* nobody */
	AS_STEWARD_STARTING,		/* registered by the launcher */
	AS_STEWARD_READY			/* fires timers */
} AsStewardStatus;

typedef struct AsTimingShared
{
	/* written by anyone, by atomic operations */
	pg_atomic_uint64 next;		/* TimestampTz, 0 or AS_NEVER (sched.h) */
	pg_atomic_uint64 since;		/* somebody has fired timers ever since; 0:
								 * nobody yet */
	pg_atomic_uint64 nfired;	/* messages sent */

	/* written by the launcher while NONE, by the steward afterwards */
	pg_atomic_uint32 steward;	/* AsStewardStatus */
	pg_atomic_uint32 leave;		/* the launcher wants it to go */
	pg_atomic_uint64 started_at;
	int			procno;
	int			pid;
} AsTimingShared;

extern Size as_timing_shmem_size(void);
extern void as_timing_shmem_init(void);

/* To be called once, when the library is loaded. */
extern void as_timing_init(void);

extern AsTimingShared *as_timing(uint32 home);

/* The home is another database's now: nothing is known of its timers. */
extern void as_timing_forget(uint32 home);

/* A timer is due at that time; 0: at any. */
extern void as_timing_lower(uint32 home, TimestampTz due);

/* When do the workers have to fire timers?  AS_NEVER while a steward does. */
extern uint64 as_timing_for_workers(uint32 home);

/* Wake the home's steward, if it has one. */
extern void as_timing_wake(uint32 home);

/*
 * The current transaction has set a timer that is due then, or taken one away,
 * or another one's place, that was.  DT_NOEND: there is none of the kind.
 */
extern void as_timing_note(TimestampTz set, TimestampTz taken);

/* Has it done nothing of the kind? */
extern bool as_timing_is_silent(void);

/* A prepared transaction has ended. */
extern void as_timing_doubt(void);

#endif							/* AS_TIMING_H */
