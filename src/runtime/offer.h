/*-------------------------------------------------------------------------
 *
 * offer.h
 *	  Turns that wait for clients, and clients that wait for turns.
 *
 * A worker that finds an actor's next message to be one that is handled outside
 * OFFERS its slot: it puts it at the end of its type's queue, and leaves it IDLE.
 * A client that checks turns out takes slots from the queues of the types that
 * it serves, and runs them (lease.h).  What an offer says is a hint: who takes
 * it looks at the mailbox, and has a worker look where it has nothing to do.
 *
 * Where all of a type's messages are handled outside, those who end a turn, or
 * send, offer the slot without a worker's look (lease.c), unless there is, or may
 * be, something that is not a client's: mail of the system, requests, a message
 * without a handler, an actor that is halted.  What they know of handlers may be
 * old: whoever changes one raises "lost" (sched.h) when he has committed, so they
 * compare it with what it was before they looked; if it is raised later, the
 * sweep finds what they have offered.
 *
 * While a slot is offered, its mail waits, but something may arrive that is to be
 * handled before it, and inside: so who has mail for it has a worker look, as
 * for any IDLE slot.  That is not needed if what arrives can come only behind
 * the message that waits: in a lane behind the first one, that of the system
 * excepted.  So an offer says in its WORD which lane that is:
 *
 *		Sender:  position into the slot;  barrier;  word says so?  nothing more
 *		Client:  word := 0;  slot RUNNING;  positions out
 *		Worker:  slot RUNNING;  positions out;  looks;  word := 0;  looks whether
 *				 there are positions again
 *
 * A sender who has seen the word put its position in before the client took
 * them out, or the worker looked again.
 *
 * A slot that is offered may be given up (slot.h) for another actor, as any IDLE
 * one.  Then its offer is of another generation, and who takes it has all
 * mailboxes looked through.  Who puts another into its place, or withdraws it,
 * only says that this is to be done when a client looks: before one has come
 * there is no room for more offers, and to look would mean to give up others,
 * for ever.  No client waits before he has looked.
 *
 * Where the type wants the nearest deadline first, a slot has one (urgent.h) and
 * stands before those with later ones, as far as that is found in a few steps.
 *
 * WAITING.  A client that finds nothing puts itself at the end of the list of
 * those who wait, and sleeps on its latch.  One lock guards queues and list, and
 * whenever it is free, this holds:
 *
 *		Where a type's queue is not empty, somebody is about to look at it, or
 *		nobody who waits wants it.
 *
 * Who puts something into a queue wakes the first one on the list who wants that
 * type, and who has not been woken yet, unless one that has been woken is sure
 * to have room for it.  Who was woken takes itself off the list, takes what it
 * can, and then, or if it goes without having done so (an error, a cancel, the
 * end of its process), wakes the next one if anything is left.  So each turn
 * wakes one client at most, and no wake-up is lost with the one that it was for.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_OFFER_H
#define AS_OFFER_H

#include "actorstore.h"
#include "datatype/timestamp.h"

#include "runtime/slot.h"
#include "state/type.h"

/* For so many types a client may wait. */
#define AS_MAX_WISHES	64

/* Types that a client serves, and how much it can take */
typedef struct AsWishes
{
	int			ntypes;
	uint64		types[AS_MAX_WISHES];	/* as_offer_type() */
	int			room;			/* turns */
} AsWishes;

extern Size as_offers_shmem_size(void);
extern void as_offers_shmem_init(void);

/* What a type is called here. */
extern uint64 as_offer_type(const text *name);

/*
 * Offer a slot that we run, whose next message is of that type and in that
 * lane.  False if there is no room for the type.
 */
extern bool as_offer_put(uint32 home, uint64 type, AsSlotRef ref, int lane);

/* Need nobody look at the slot for what has arrived in the lane? */
extern bool as_offer_covers(AsSlotRef ref, int lane);

/*
 * Who runs the slot has something else to do with it: it is offered no more.
 * Returns whether it was; then what has arrived meanwhile is in the slot, and
 * nobody has asked for a look at it.
 */
extern bool as_offer_withdraw(AsSlotRef ref);

/*
 * Is there anything for us?  Who has called this calls as_offer_leave() in the
 * end, which an error or the end of the process does as well.
 */
extern bool as_offer_look(const AsWishes *wishes);

/* Take the next slot that was offered; AS_NO_SLOT if there is none. */
extern AsSlotRef as_offer_take(void);

/* Wait for one, till that time at most, or till somebody sets our latch; it may end for nothing. */
extern void as_offer_wait(TimestampTz deadline);

/* We take no more: others may have what is left. */
extern void as_offer_leave(void);

/* A home is taken from the database: no slot is left. */
extern void as_offers_forget(Oid database);

/* How many slots are offered in this database? */
extern int	as_offers_count(void);

#endif							/* AS_OFFER_H */
