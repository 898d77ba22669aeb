/*-------------------------------------------------------------------------
 *
 * checkout.h
 *	  Turns that are handled outside of the database, by clients.
 *
 * A message whose handler is actorstore.outside(jsonb, jsonb) is handled by
 * a client: it CHECKS OUT the turn of an actor (as inside, some of its messages
 * in their order, and the requests before them), and gets the state, and a token.
 * Until it completes the turn, or fails it, or its lease runs out, the actor is
 * run nowhere else.  It holds no lock, so others may change the actor meanwhile;
 * then what it has made of the state is refused.
 *
 * A turn is of one kind: the messages that are handled in one place, up to the
 * next one that is not.  What needs no handler (a message that has expired, or
 * the system's) is a worker's.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_CHECKOUT_H
#define AS_CHECKOUT_H

#include "actorstore.h"

#include "runtime/lease.h"
#include "runtime/lease_row.h"
#include "runtime/outgoing.h"
#include "runtime/turn.h"

/* Is the message to be handled outside? */
extern bool as_is_outside(AsType *type, const AsMessage *message,
						  TimestampTz now);

/* How many of the turn's messages are, from the first one on, or are not? */
extern int	as_outside_run(AsType *type, const AsTurn *turn, bool outside);

/* Is all of the type's mail handled outside?  Then what it is called in offer.h; else 0. */
extern uint64 as_outside_only(AsType *type);

/*
 * The same for who sends to it, with what says later whether that may have
 * changed (offer.h); false if not all of it is.
 */
extern bool as_outside_find(AsType *type, AsOutside *outside);

/* Is a message for such a type really a client's, and nothing that a worker has to see? */
extern bool as_outside_takes(AsType *type, const AsMessage *message);

/*
 * A worker has put the turn's positions back into its slot.  If the turn is a
 * client's, offer it; or leave it to the one who has checked it out.  Returns
 * whether that is all; else the worker goes on with the slot, which is offered
 * to nobody any more.
 */
extern bool as_outside_keep(uint32 home, AsTurn *turn);

typedef struct AsCheckout
{
	text	   *worker;
	int			ntypes;
	text	  **types;
	int			max_turns;
	int			max_messages;	/* in a turn */
	int64		lease;			/* microseconds */
	TimestampTz deadline;		/* to wait for the first turn */
	bool		alone;			/* nothing else in the statement reads (rest.h) */

	/* called for each turn */
	void		(*sink) (const AsLeaseRow *row, const AsTurn *turn, void *arg);
	void	   *arg;
} AsCheckout;

/*
 * Check out turns of types that the caller may serve.  All but the transaction's
 * end is done when this returns.
 */
extern void as_checkout(AsCheckout *checkout);

/* ---- complete.c ---- */

typedef struct AsReply
{
	int64		message_id;
	Datum		value;			/* jsonb; 0 for NULL */
} AsReply;

typedef struct AsCompletion
{
	int64		turn_id;
	int64		token;
	Datum		state;			/* jsonb; 0: as it is */
	int			nsends;
	AsMessage  *sends;			/* as as_send() wants them, but for the sender */
	int			nreplies;
	AsReply    *replies;
} AsCompletion;

/*
 * Complete a turn: VA006 if it is not open, or with another token; 40001 if the
 * actor's state, or its mail, has changed, and the turn is offered again.  The
 * same is returned as an SQLSTATE (0: completed), and not raised, if raise is
 * false; it may be raised all the same.
 */
extern int	as_complete(AsCompletion *completion, bool raise);

/* What as_complete() keeps open between turns; to be called in the end. */
extern void as_complete_begin(void);
extern void as_complete_end(void);

/*
 * A turn has failed, with an error (NULL: it was only put off), and is to be
 * tried again after some time (microseconds; < 0: as the type says).
 */
extern void as_fail(int64 turn_id, int64 token, const char *error,
					int64 retry_after);

/* A lease is to last so long from now on; returns its end. */
extern TimestampTz as_extend_lease(int64 turn_id, int64 token, int64 lease);

/* ---- lease_sweep.c ---- */

/* Read the leases of a database that is new to its home. */
extern void as_leases_load(uint32 home);

/* Is there something to be done about them?  Then do it. */
extern bool as_leases_are_due(uint32 home);
extern void as_leases_serve(uint32 home);

/* ---- For complete.c and lease_sweep.c ---- */

/*
 * The messages of a turn that was checked out, in the current memory context,
 * as far as they are still there: false if one of the mailbox has gone.  The
 * requests are copied if the slot is known.
 */
extern bool as_outside_messages(const AsLeaseRow *row, AsMailbox *mailbox,
								AsTurn *turn);

/*
 * The turn has failed: let its message wait, or give it up, if it is the only
 * one; else let them come again one at a time.  Says how in *end.
 */
extern void as_outside_failed(AsTurn *turn, ErrorData *error, AsLeaseEnd *end);

/*
 * The actor of the turn, all of whose messages are there, had changed when it
 * was completed: it is offered again.  If that has happened too often in a row,
 * it has failed.
 */
extern void as_outside_conflicted(const AsLeaseRow *row, AsTurn *turn,
								  AsLeaseEnd *end);

#endif							/* AS_CHECKOUT_H */
