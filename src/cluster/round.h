/*-------------------------------------------------------------------------
 *
 * round.h
 *	  The proposer of an epoch: rounds of promise, accept and learn.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#ifndef AS_ROUND_H
#define AS_ROUND_H

#include "actorstore.h"

/*
 * Makes the proposal for the epoch after the one in force here, from what is in
 * force here; NULL if nothing is left to do; or throws.
 */
typedef text *(*AsProposing) (void *arg);

/*
 * Have the next epoch decided: what propose() says, unless something else was
 * accepted before; then that first, and propose() is asked again.  Returns when
 * its proposal is decided and in force here, and all members that can be reached
 * have been told.  VA009 without a majority.
 */
extern void as_round_run(AsProposing propose, void *arg);

/* The number of the node that has proposed under that ballot. */
extern int	as_round_proposer(int64 ballot);

#endif							/* AS_ROUND_H */
