/*-------------------------------------------------------------------------
 *
 * flow.h
 *	  How much of a type may happen: messages a second, actors at once.
 *
 * A type with rate_limit or max_concurrency has a FLOW in shared memory: a
 * bucket of tokens, one for each message, that holds a tenth of a second's; and
 * the number of workers that are in a transaction with turns of the type (the
 * turns of a transaction come one after another).  Types without limits know
 * nothing of all this.
 *
 * A worker that has read an actor's messages asks for tokens and a place, and
 * gets fewer tokens than it wants, or nothing.  Then the slot is PARKED: it
 * stays SCHEDULED, so that nobody else queues it, and stands in the flow's own
 * queue instead of the others, in the order of arrival.  Those that come later
 * do not pass it by.  It is put back, as admitted, by
 *
 *	- the worker (or client: lease.h) that gives a place back, at the end of its transaction, or goes
 *	  on with it in the same one;
 *	- whoever looks for work when NEXT of the home has come: the time that
 *	  there are tokens.  A slot that was admitted may find nothing to do and
 *	  take no place, so while there are places and slots that are parked, NEXT is
 *	  soon;
 *	- who changes a type: all of them.
 *
 *		Worker:  no room;  slot SCHEDULED;  lock:  still no room?  parked
 *
 * One lock guards it all.  All of it is lost with the shared memory: the slots
 * are, too.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_FLOW_H
#define AS_FLOW_H

#include "actorstore.h"

#include "runtime/slot.h"
#include "state/type.h"

extern Size as_flow_shmem_size(void);
extern void as_flow_shmem_init(void);

/* To be called once, when the library is loaded. */
extern void as_flow_init(void);

/* ---- For workers ---- */

/*
 * May n messages of an actor of the type be handled now?  Returns how many; 0
 * if the slot is to be parked.
 */
extern int	as_flow_enter(AsType *type, AsSlotRef ref, int n);

/*
 * The same for a turn that a client checks out, which keeps its place until
 * it ends: *place is then to be given to as_flow_leave_outside(), or 0.
 */
extern int	as_flow_enter_outside(AsType *type, AsSlotRef ref, int n,
								  uint64 *place);
extern void as_flow_leave_outside(uint32 home, uint64 place);

/* It was checked out before the server was started; returns its place. */
extern uint64 as_flow_keep_outside(AsType *type);

/* So many of them were not handled after all. */
extern void as_flow_undo(AsType *type, int n);

/*
 * Park a slot that is SCHEDULED, and in no queue.  False if there is room by
 * now: then the caller queues it.
 */
extern bool as_flow_park(uint32 home, const AsType *type, AsSlotRef ref);

/* A slot of a type that this worker has a place for, or AS_NO_SLOT. */
extern AsSlotRef as_flow_take(void);

/* The transaction is over, or the process: give its places back. */
extern void as_flow_leave(uint32 home);

/* How many milliseconds till there is room for slots that are parked; max at most. */
extern long as_flow_sleep(uint32 home, long max);

/* Is it time for that?  Then put them back. */
extern bool as_flow_is_wanted(uint32 home);
extern void as_flow_serve(uint32 home);

/* ---- For others ---- */

/* At commit, put all slots of this database back: a type has changed. */
extern void as_flow_note_change(void);

/* Has it changed none? */
extern bool as_flow_is_silent(void);

/* Put them back now: one may have changed. */
extern void as_flow_doubt(uint32 home);

/* A home is taken from the database: no slot is left. */
extern void as_flow_forget(uint32 home, Oid database);

#endif							/* AS_FLOW_H */
