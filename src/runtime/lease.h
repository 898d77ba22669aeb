/*-------------------------------------------------------------------------
 *
 * lease.h
 *	  Turns that clients have checked out: which actors they belong to.
 *
 * The rows of actorstore.lease are the truth (lease_row.h): a turn is open as
 * long as its row is there, and its time has not run out.  What is here, in
 * shared memory, keeps everybody else from the actor meanwhile, and knows what
 * only memory knows: the actor's slot, which the client runs, with the requests
 * that hang on it, and from where on its mailbox is to be read afterwards.
 *
 * THE SLOT of an actor whose turn is checked out is RUNNING, until the lease ends:
 * who has mail for it makes it AGAIN, and nobody looks.  Where an actor has two
 * slots (slot.h), or a lease was read from its row after a restart and has none,
 * the actor's key keeps workers away.
 *
 * THE LIFE OF A LEASE
 *
 *		TAKING		a client's transaction checks the turn out
 *		OPEN		it has committed
 *		VOID		the turn cannot be completed: somebody else has changed its
 *					actor, or taken a message of it
 *
 * It ends with the transaction that deletes its row: the client's, or a worker's
 * that has found it run out, or VOID (lease_sweep.h).  Or with the client's
 * transaction that has not committed.  Who ends it gives the slot back in one
 * step with taking the lease out of here, under the one lock that guards it all:
 * so this happens once, whoever comes first, and never to a slot that has been
 * taken back with its home meanwhile.  The lock on the row decides who may delete
 * it; nobody waits for a row while he holds the lock here.
 *
 * A home that is new to its database has no leases here: before any turn is run
 * there, a worker reads the rows.  Should a lease end at that moment, whoever
 * ends it finds none here, and has all of them compared with the rows again.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_LEASE_H
#define AS_LEASE_H

#include "actorstore.h"

#include "datatype/timestamp.h"
#include "runtime/answer.h"
#include "runtime/slot.h"
#include "state/type.h"

typedef enum AsLeaseStatus
{
	AS_LEASE_TAKING,
	AS_LEASE_OPEN,
	AS_LEASE_VOID
} AsLeaseStatus;

typedef struct AsLeaseKey
{
	uint64		key_hash;
	uint64		database;
} AsLeaseKey;

typedef struct AsLeaseShared
{
	AsLeaseKey	key;
	int64		turn_id;
	TimestampTz until;
	AsLeaseStatus status;
	AsSlotRef	ref;			/* AS_NO_SLOT: none that is known */
	AsPositions taken;			/* where the turn begins */
	AsPositions left;			/* where to go on when it is done */
	bool		more;			/* there is something to do then */
	bool		empty;			/* nothing else was in the mailbox */
	bool		others;			/* the actor was found in another slot, too */
	int			nrequests;		/* the first ones that are pending in the slot */
	uint64		flow;			/* type whose place it has (flow.h); 0: none */
	uint64		deadline;		/* of the slot when it was taken (urgent.h) */
	uint64		left_deadline;	/* of what is left */
} AsLeaseShared;

extern Size as_leases_shmem_size(void);
extern void as_leases_shmem_init(void);

/* Has a worker read the rows, so that turns may be run? */
extern bool as_leases_known(uint32 home);

/* Is a turn of the actor checked out? */
extern bool as_lease_is_open(uint32 home, uint64 key_hash);

/*
 * An actor's slot has mail, and all that we told it of is to be handled outside,
 * as is whatever else its type may get: offer it, if it is IDLE, as a worker
 * would.  False if there is something that a worker has to see.
 */
extern bool as_lease_offer(uint32 home, AsSlotRef ref, uint64 type);

/* How many turns are, in the home? */
extern uint32 as_leases_count(uint32 home);

/* ---- For those who check out ---- */

typedef enum AsTaking
{
	AS_TAKEN,
	AS_TAKEN_NOT,				/* it is not ours; go on with another one */
	AS_TAKEN_FULL				/* there are too many leases */
} AsTaking;

/* Run a slot that was offered, for a turn of that number. */
extern AsTaking as_lease_take(uint32 home, AsSlotRef ref, int64 turn_id,
							  uint64 *key_hash, AsPositions *taken);

/*
 * Between these, requests may be read from the slot.  False, and nothing to
 * unlock, if the lease is no more.
 */
extern bool as_lease_lock(uint64 key_hash, int64 turn_id);
extern void as_lease_unlock(void);

/* What was taken with it */
typedef struct AsLeaseContent
{
	const AsPositions *left;
	bool		more;
	bool		empty;
	int			nrequests;
	uint64		flow;
	uint64		left_deadline;
} AsLeaseContent;

extern void as_lease_fill(uint64 key_hash, int64 turn_id,
						  const AsLeaseContent *content);

/* This process (procno < 0: no longer) is about to handle its requests. */
extern void as_lease_note_runner(uint64 key_hash, int64 turn_id, int procno);

/* Copy what is known of it; false if nothing is. */
extern bool as_lease_get(uint64 key_hash, int64 turn_id, AsLeaseShared *copy);

/* It is OPEN now, or goes on, till that time. */
extern void as_lease_set(uint64 key_hash, int64 turn_id, TimestampTz until);

/* How often in a row its actor had changed when a turn was completed; 0 if it has no slot. */
extern int	as_lease_conflicts(uint64 key_hash, int64 turn_id);

/* It cannot be completed any more. */
extern void as_lease_void(uint64 key_hash, int64 turn_id);

/* ---- Its end ---- */

typedef struct AsLeaseEnd
{
	uint64		key_hash;
	int64		turn_id;
	bool		handled;		/* else its messages are to be handled again */
	bool		conflict;		/* if so: as the actor had changed */
	AsAnswer   *answers;		/* if so: to its requests */
	int			nrequests;
	int			nmail;			/* messages that have left the mailbox */
	int			careful;		/* so many are to be run one a turn */
	uint64		outside;		/* type that is only served outside, or 0 */
	uint64		lost;			/* of sched.h, when that was looked up */
	const AsType *park;			/* it has no room for the actor (flow.h) */
} AsLeaseEnd;

/*
 * The lease is over: give its slot back.  Never fails.
 */
extern void as_lease_end(AsLeaseEnd *end);

/* ---- For workers ---- */

/* A lease was read from its row; false if there is no room. */
extern bool as_lease_remember(uint32 home, uint64 key_hash, int64 turn_id,
							  TimestampTz until, uint64 flow);

/* All rows have been read. */
extern void as_leases_set_known(uint32 home);

/* When is there something to be done about leases?  AS_NEVER: nobody knows. */
extern uint64 as_leases_next(uint32 home);

/* It is to be looked at again then. */
extern void as_leases_lower_next(uint32 home, uint64 when);

typedef struct AsLeaseDue
{
	uint64		key_hash;
	int64		turn_id;
	bool		is_void;
} AsLeaseDue;

/*
 * Those that have run out, or are VOID; all that are OPEN, if somebody wants
 * them to be compared with the rows.  Returns how many, max at most.
 */
extern int	as_leases_due(uint32 home, TimestampTz now, AsLeaseDue *due,
						  int max);

/* Have all of them compared with the rows. */
extern void as_leases_doubt(uint32 home);

/* A home is taken from the database, or is new to it: nothing is known. */
extern void as_leases_forget(uint32 home, Oid database);

#endif							/* AS_LEASE_H */
