/*-------------------------------------------------------------------------
 *
 * give.h
 *	  How a node gives slots away: what it does as a voter (ballot.h) before
 *	  anybody is asked to accept a proposal that takes slots from it.
 *
 *		close		the slots are closed to new actors (state/owner.h), which is
 *					committed
 *		consent		in a second transaction: wait for all that hold one of the
 *					slots, prepared transactions included; then look whether
 *					something lives there (55006); if not, they are given: closed
 *					until the epoch is decided, whatever else is promised or
 *					accepted meanwhile
 *		withdraw	it has not come to that: open them again
 *
 * Nobody is kept waiting by this but those who want one of the slots.  For what
 * was given nobody may ask back, as somebody may have accepted the proposal
 * by then: only the decision of the epoch settles it.  If whoever proposed is
 * gone for long, the resolver has an epoch decided in which all stays as it is.
 *
 * A slot holds something if any of the tables by actor has a row for it.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_GIVE_H
#define AS_GIVE_H

#include "actorstore.h"
#include "cluster/ballot.h"
#include "cluster/node.h"

/*
 * The steps.  Like those of ballot.h, but consent throws: 55006, or 55P03 if
 * others hold the slots for longer than actorstore.peer_timeout.  coordinator is
 * the process of this server that waits for the answer, or 0.
 */
extern void as_give_close(int64 epoch, int64 ballot, text *proposal,
						  AsVote *vote);
extern void as_give_consent(int64 epoch, int64 ballot, int coordinator,
							AsVote *vote);
extern void as_give_withdraw(int64 epoch, int64 ballot);

/*
 * Of these members, those that a proposal takes slots from, and that can be asked:
 * not who is lost by it (force.h).
 */
extern void as_give_find(text *proposal, const AsNode *members, int n, bool *gives);

/* Has somebody closed slots here long ago, and left them so? */
extern bool as_give_is_stuck(void);

/* Which slots (by number) hold anything here? */
extern void as_give_occupied(bool *occupied);

/*
 * Wait for all that hold one of these slots; 55P03 if that takes longer than so
 * many milliseconds.
 */
extern void as_give_wait(const int *slots, int n, int timeout);

/* The same for slots that are frozen: nobody comes any more. */
extern void as_give_wait_frozen(const int *slots, int n, int timeout);

#endif							/* AS_GIVE_H */
